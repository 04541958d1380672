"""Layers that let a discriminator see how an example's batch varies, so that a collapsed generator is found out.

A layer is called inside a network's `__call__` as minibatch(x, train=train) with activations x [B, *spatial, C] or
[B, F]; the other arguments are bound beforehand. In training the batch is the one of all devices, of which this one
knows its share and gets the rest by the function that is handed in; in sampling it is the batch given.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

# Under the square root, whose gradient at zero is infinite.
_EPSILON = 1e-8


def discrimination(
  x: jax.Array, *, train: bool, gather: Callable[[jax.Array], jax.Array], num_kernels: int, kernel_dim: int
) -> jax.Array:
  """Appends how close each example is to those of its batch, in `num_kernels` learned ways.

  o_b(x_i) = sum over j of exp(-|M_b(x_i) - M_b(x_j)|_1), the example itself included, with M = x T linear.

  Args:
    x: activations, [B, *spatial, C], flattened to [B, F].
    train: compare with the examples of all devices.
    gather: [B, ...] of this device -> [B of all devices, ...], differentiable.
    num_kernels: features to append.
    kernel_dim: dimensions in which each of them measures distance.

  Returns:
    [B, F + num_kernels].

  References: Salimans et al. 2016, section 3.2.
  """
  x = x.reshape(x.shape[0], -1)
  # Distances, sums of kernel_dim terms, start around 1: at 20 the exponential would have no gradient left.
  weights = nn.initializers.variance_scaling(1 / kernel_dim**2, 'fan_in', 'normal')
  layer = nn.Dense(num_kernels * kernel_dim, use_bias=False, kernel_init=weights, name='minibatch_kernels')
  points = layer(x.astype(jnp.float32)).reshape(-1, num_kernels, kernel_dim)
  closeness = _closeness(points, gather(points) if train else points)
  return jnp.concatenate([x, closeness.astype(x.dtype)], axis=-1)


def standard_deviation(x: jax.Array, *, train: bool, mean: Callable[[jax.Array], jax.Array]) -> jax.Array:
  """Appends the batch's standard deviation, averaged over all features, as one more channel with the same value.

  Args:
    x: activations, [B, *spatial, C].
    train: the deviation is that of the examples of all devices.
    mean: a mean on this device -> the mean over all devices, differentiable.

  Returns:
    [B, *spatial, C + 1].

  References: Karras et al. 2018, section 3.
  """

  def over_batch(values: jax.Array) -> jax.Array:
    average = values.mean(axis=0, keepdims=True)
    return mean(average) if train else average

  values = x.astype(jnp.float32)
  variance = over_batch(jnp.square(values - over_batch(values)))
  deviation = jnp.sqrt(variance + _EPSILON).mean()
  return jnp.concatenate([x, jnp.full((*x.shape[:-1], 1), deviation.astype(x.dtype))], axis=-1)


def _closeness(points: jax.Array, others: jax.Array) -> jax.Array:
  """Sums of exp(-L1 distance) of points [B, kernels, dim] to others [N, kernels, dim]: [B, kernels].

  One dimension at a time, and again in the backward pass: B * N * kernels numbers live at once, not dim times as many.
  """

  @jax.checkpoint
  def add(distances: jax.Array, coordinates: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    own, other = coordinates
    return distances + jnp.abs(own[:, None] - other[None]), None

  start = jnp.zeros_like(points, shape=(len(points), *others.shape[:-1]))
  distances, _ = jax.lax.scan(add, start, (jnp.moveaxis(points, -1, 0), jnp.moveaxis(others, -1, 0)))
  return jnp.exp(-distances).sum(axis=1)
