"""This package's compiled update of a task, and how many multiplications and bytes the task asks for."""

import functools
import importlib
import pathlib
import sys
import tempfile

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dcgan_jax.building import game as build_game  # noqa: E402
from dcgan_jax.building import model as build_model  # noqa: E402
from dcgan_jax.data.arrays import ArraySource  # noqa: E402
from dcgan_jax.data.resident import ResidentFeeder  # noqa: E402
from dcgan_jax.data.streamed import StreamedFeeder  # noqa: E402
from dcgan_jax.games import parallel, step  # noqa: E402
from dcgan_jax.training import hooks, loop  # noqa: E402


def config_of(task):
  """configs/cifar10.py at the task's size, widths, batch and precision."""
  config = importlib.import_module('configs.cifar10').reference()
  config.update(batch_size=task['batch_size'], precision=task['precision'], reuse_fakes=task.get('reuse_fakes', True))
  config.steps_per_call = task.get('steps_per_call', 10)
  config.data.image_size = task['size']
  config.generator.update(widths=tuple(task['generator_widths']), latent_size=task['latent_size'])
  config.discriminator.widths = tuple(task['discriminator_widths'])
  return config


class Trainer:
  """The update as `launch.py train` compiles it, on all devices; `step` runs one block of steps_per_call."""

  def __init__(self, task, *, images):
    """Compiles; images uint8 [N, H, W, C], on the device or, for a task with `streamed`, fed by Grain."""
    config = config_of(task)
    devices = jax.local_devices()
    model = build_model.build_model(config, images.shape[1:])
    make_feeder = StreamedFeeder if task.get('streamed') else ResidentFeeder
    self.feeder = make_feeder(ArraySource(images), seed=0, batch_size=config.batch_size)
    self.state = parallel.replicate(jax.jit(model.create)(jax.random.key(0)), devices)
    self.data = parallel.replicate(self.feeder.data, devices)
    self.key = parallel.replicate(jax.random.key(1), devices)
    self.per_call = config.steps_per_call
    game = build_game.build_game(config, model)
    self.update = parallel.compile_update(
      functools.partial(step.train_step, game=game), self.feeder.gather, steps_per_call=self.per_call, devices=devices
    )
    self.steps = 0

  def step(self):
    rows = self.feeder.block(self.steps, self.per_call, self.per_call)
    self.state, self.scalars = self.update(self.state, rows, self.per_call, self.data, self.key)
    self.steps += self.per_call

  def wait(self):
    jax.block_until_ready(self.state)


class Loop(Trainer):
  """The same within the loop of `launch.py train`, progress bar and scalars included; `step` runs four blocks."""

  blocks = 4

  def __init__(self, task, *, images):
    super().__init__(task, images=images)
    self.folder = tempfile.TemporaryDirectory()
    every = config_of(task).logging.scalars_every
    bar = hooks.Progress(step=0, steps=10**6, batch_size=task['batch_size'])
    self.watchers = (bar, hooks.Scalars(pathlib.Path(self.folder.name), every=every, step=0))

  def step(self):
    self.steps += self.blocks * self.per_call
    self.state = loop.train(
      self.state,
      update=lambda state, rows, count: self.update(state, rows, count, self.data, self.key),
      block=self.feeder.block,
      steps=self.steps,
      steps_per_call=self.per_call,
      watchers=self.watchers,
      hooks=(),
    )


def multiplications_per_image(task):
  """That the mathematics needs for one image in both updates, G's forward pass serving both.

  Forward, towards weights and towards inputs a layer costs the same. G: forward once, back once (its projection not
  towards z). D's update: two passes forward, two back (its first layer not towards the images). G's update: D forward
  once and back towards the images alone.
  """
  base = task['size'] // 2 ** len(task['generator_widths'])
  projection = task['latent_size'] * base**2 * task['generator_widths'][0]
  generator = _layers(base * 2, task['generator_widths'], (*task['generator_widths'][1:], task['channels']), grow=2)
  widths = task['discriminator_widths']
  discriminator = _layers(task['size'] // 2, (task['channels'], *widths[:-1]), widths, grow=0.5)
  last = base**2 * widths[-1]
  return (
    2 * projection + 3 * sum(generator)
    + 2 * (3 * (sum(discriminator) + last) - discriminator[0])
    + 2 * (sum(discriminator) + last)
  )  # fmt: skip


def _layers(side, inputs, outputs, grow):
  """Multiplications of each 4 x 4, stride 2 layer; a transposed one uses 4 of its 16 weights for an output pixel."""
  counts = []
  for width, output in zip(inputs, outputs, strict=True):
    counts.append(int(side**2 * width * output * (4 if grow > 1 else 16)))
    side = int(side * grow)
  return counts


def random_images(task, count=4096):
  """uint8 [count, size, size, channels]; what they show does not change the time."""
  shape = (count, task['size'], task['size'], task['channels'])
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
