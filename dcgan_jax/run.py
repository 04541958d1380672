"""A trained run in Python: load it, draw from it, look through its discriminator's eyes."""

import itertools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dcgan_jax import build, images, sample, workdir
from dcgan_jax.checkpoint import Checkpoints
from dcgan_jax.errors import DataError
from dcgan_jax.state import GANState
from dcgan_jax.validate import validate


class Run:
  """A restored run; `load` makes it.

  Attributes:
    config: the run's config.
    step: updates the state has seen.
    shape: of an example, (*spatial, C).
    state: everything that was saved.
  """

  def __init__(self, config: ConfigDict, model: build.Model, state: GANState, shape: tuple[int, ...]):
    self.config = config
    self.step = int(state.step)
    self.shape = shape
    self.state = state
    self._model = model
    self._generate = sample.compile_generate(model.generator)
    self._judge = jax.jit(
      lambda variables, x: model.discriminator.apply(
        variables, x, train=False, keys=jax.random.split(jax.random.key(0), x.shape[0])
      )
    )

  def sample(self, num: int, *, seed: int = 0, batch_size: int = 64) -> np.ndarray:
    """Draws uint8 [num, *shape] from the averaged generator; sample i is a function of (seed, i) alone."""
    return sample.draw(
      self._generate, self.state.averaged, self._model.latents, num=num, seed=seed, batch_size=batch_size
    )

  def generate(self, z: Any) -> np.ndarray:
    """Maps latents [B, Z] to examples in [-1, 1], [B, *shape], by the averaged generator.

    Raises:
      DataError: z is not [B, Z].
    """
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or z.shape[1] != self._model.latent_size:
      raise DataError(f'z has the shape {z.shape}; expected [B, {self._model.latent_size}]')
    return np.asarray(self._generate(self.state.averaged, z))

  def features(self, examples: Any) -> np.ndarray:
    """The discriminator's view of examples: all convolutions, max-pooled to 4 cells a side, flattened, [B, F].

    Args:
      examples: uint8, or floats in [-1, 1], [B, *shape].

    Raises:
      DataError: the examples are not of the run's shape.

    References: Radford et al. 2016, section 5.1.
    """
    examples = np.asarray(examples)
    if examples.shape[1:] != self.shape:
      raise DataError(f'The examples have the shape {examples.shape}; expected [B, {", ".join(map(str, self.shape))}]')
    x = images.to_float(examples) if examples.dtype == np.uint8 else examples.astype(np.float32)
    _, activations = self._judge(self.state.discriminator.variables, x)
    return np.concatenate([np.asarray(_max_pool(layer, cells=4)) for layer in activations], axis=1)


def load(directory: str | os.PathLike, *, step: int | None = None) -> Run:
  """Restores a run on the devices at hand, whatever it was trained on.

  Args:
    directory: the run's work directory.
    step: of the checkpoint; None is the newest.

  Raises:
    CheckpointError: no run, no checkpoint, or a damaged one.
  """
  directory = pathlib.Path(directory).expanduser()
  config = ConfigDict(workdir.read(directory, 'config.json')).lock()
  validate(config.to_dict())
  shape = tuple(workdir.read(directory, 'run.json')['shape'])
  model = build.build_model(config, shape)
  abstract = jax.eval_shape(model.create, jax.random.key(0))
  checkpoints = Checkpoints(directory / 'checkpoints', read_only=True)
  sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return Run(config, model, checkpoints.restore(abstract, sharding=sharding, step=step), shape)


def _max_pool(x: jax.Array, *, cells: int) -> jax.Array:
  """Maxima over a grid of `cells` (fewer where x is smaller) along every spatial dimension, flattened: [B, F]."""
  batch, *sizes, channels = x.shape
  edges = [np.linspace(0, size, min(cells, size) + 1) for size in sizes]
  spans = [list(zip(np.floor(e[:-1]).astype(int), np.ceil(e[1:]).astype(int), strict=True)) for e in edges]
  pooled = [
    x[(slice(None), *(slice(*span) for span in cell))].max(axis=range(1, x.ndim - 1))
    for cell in itertools.product(*spans)
  ]
  return jnp.stack(pooled, axis=1).reshape(batch, len(pooled) * channels)
