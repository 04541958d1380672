"""Deep convolutional GANs in JAX and Flax: train, sample and resume them.

import dcgan_jax
run = dcgan_jax.load('runs/cifar10')
images = run.sample(64, seed=0)      # uint8 [64, 32, 32, 3]
"""

from typing import TYPE_CHECKING

from dcgan_jax.errors import CheckpointError, ConfigError, DataError, UserError

if TYPE_CHECKING:
  from dcgan_jax.run import Run, load

__version__ = '0.1.0'
__all__ = ['CheckpointError', 'ConfigError', 'DataError', 'Run', 'UserError', '__version__', 'load']


def __getattr__(name: str):
  # JAX takes most of a second to import, and `launch.py --help` and its error messages do without.
  if name in ('Run', 'load'):
    from dcgan_jax import run

    return getattr(run, name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
