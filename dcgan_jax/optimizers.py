"""Rates of optimisation from plain numbers: the averaging of the generator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def averaging_decay(batch_size: int, *, half_life: float, ramp_up: float) -> Callable[[jax.Array], jax.Array]:
  """Decay of the averaged generator: step -> share kept, in [0, 1).

  Args:
    batch_size: images per step.
    half_life: images after which a generator's weight in the average has halved.
    ramp_up: early on the half-life is at most this share of the images seen, so that the average forgets the
      untrained generator quickly.

  References: Karras et al. 2020 (StyleGAN2-ADA), whose ramp-up this is.
  """

  def decay(step: jax.Array) -> jax.Array:
    images = jnp.minimum(half_life, ramp_up * batch_size * step.astype(jnp.float32))
    return 0.5 ** (batch_size / jnp.maximum(images, 1e-8))

  return decay
