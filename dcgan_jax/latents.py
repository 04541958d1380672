"""Latent geometry: the distributions z is drawn from."""

import functools
from collections.abc import Callable

import jax


def normal(keys: jax.Array, *, latent_size: int) -> jax.Array:
  """z ~ N(0, 1), [B, Z], from one key per example, [B]."""
  return _draw(functools.partial(jax.random.normal, shape=(latent_size,)), keys)


def uniform(keys: jax.Array, *, latent_size: int) -> jax.Array:
  """z ~ U(-1, 1), [B, Z], from one key per example, [B]. Radford et al. 2016, section 4."""
  return _draw(functools.partial(jax.random.uniform, shape=(latent_size,), minval=-1.0, maxval=1.0), keys)


def _draw(draw_one: Callable, keys: jax.Array) -> jax.Array:
  return jax.vmap(draw_one)(keys)
