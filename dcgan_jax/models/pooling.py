"""Pooling of activations of any size."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def max_pool(x: jax.Array, *, cells: int) -> jax.Array:
  """Maxima over a grid of `cells` (fewer where x is smaller) along every spatial dimension, flattened: [B, F]."""
  batch, *sizes, channels = x.shape
  edges = [np.linspace(0, size, min(cells, size) + 1) for size in sizes]
  spans = [list(zip(np.floor(e[:-1]).astype(int), np.ceil(e[1:]).astype(int), strict=True)) for e in edges]
  pooled = [
    x[(slice(None), *(slice(*span) for span in cell))].max(axis=range(1, x.ndim - 1))
    for cell in itertools.product(*spans)
  ]
  return jnp.stack(pooled, axis=1).reshape(batch, len(pooled) * channels)
