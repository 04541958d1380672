"""This package's compiled update of a task, and how many multiplications and bytes the task asks for."""

import functools
import importlib
import pathlib
import sys

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dcgan_jax import build_model, parallel, step  # noqa: E402
from dcgan_jax.data.arrays import ArraySource  # noqa: E402
from dcgan_jax.data.resident import ResidentFeeder  # noqa: E402


def config_of(task):
  """configs/cifar10.py at the task's size, widths, batch and precision."""
  config = importlib.import_module('configs.cifar10').get_config()
  config.update(batch_size=task['batch_size'], precision=task['precision'], reuse_fakes=task.get('reuse_fakes', True))
  config.steps_per_call = task.get('steps_per_call', 10)
  config.data.image_size = task['size']
  config.generator.update(widths=tuple(task['generator_widths']), latent_size=task['latent_size'])
  config.discriminator.widths = tuple(task['discriminator_widths'])
  return config


class Trainer:
  """The update as `launch.py train` compiles it, over resident data; `step` runs one block of steps_per_call."""

  def __init__(self, task, *, images, devices=None):
    """Compiles; images uint8 [N, H, W, C]."""
    config = config_of(task)
    devices = devices or jax.local_devices()
    model = build_model.build_model(config, images.shape[1:])
    self.feeder = ResidentFeeder(ArraySource(images), seed=0, batch_size=config.batch_size)
    self.state = parallel.replicate(jax.jit(model.create)(jax.random.key(0)), devices)
    self.data = parallel.replicate(self.feeder.data, devices)
    self.key = parallel.replicate(jax.random.key(1), devices)
    self.per_call = config.steps_per_call
    game = build_model.build_game(config, model)
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
