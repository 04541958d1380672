"""Normalisation of activations, all with one signature, and of weights by their spectral norm.

A normalisation is called inside a network's `__call__` as norm(x, name='norm_1', train=train, labels=labels) with
activations x [B, *spatial, C] or [B, C] and labels int32 [B] or None; the other arguments are bound beforehand. Those
that all share: `epsilon`, added to the variance; `gains`, how the scales start; `dtype`, of the result.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.errors import ConfigError


def batch(
  x: jax.Array, *, name: str, train: bool, labels: jax.Array | None, decay: float, epsilon: float,
  axis_name: str | None, gains: Callable, dtype: jnp.dtype,
) -> jax.Array:  # fmt: skip
  """Batch normalisation over all devices; moving statistics in sampling. Ioffe and Szegedy 2015.

  Args:
    x: activations, [B, ..., C].
    name: of the layer.
    train: normalise by this batch's statistics and bring the moving ones up to date.
    labels: ignored.
    decay: share of the moving statistics that a step keeps; PyTorch's momentum 0.1 is 0.9 here.
    epsilon: added to the variance.
    axis_name: of the devices that share the batch; None: this one alone.
    gains: how the scales start.
    dtype: of the result.
  """
  del labels
  layer = nn.BatchNorm(momentum=decay, epsilon=epsilon, axis_name=axis_name, scale_init=gains, dtype=dtype, name=name)
  return layer(x, use_running_average=not train)


def conditional_batch(
  x: jax.Array, *, name: str, train: bool, labels: jax.Array, decay: float, epsilon: float, axis_name: str | None,
  num_classes: int, gains: Callable, dtype: jnp.dtype,
) -> jax.Array:  # fmt: skip
  """Batch normalisation with a scale and a bias for each class; the statistics are those of all classes together.

  Args:
    x: activations, [B, ..., C].
    name: of the layer; the tables are called name_gain and name_bias.
    train: as in `batch`, like decay, epsilon, axis_name, gains and dtype.
    labels: int32 [B], in [0, num_classes).
    num_classes: rows of the tables.

  References: Dumoulin et al. 2017, section 2.2; de Vries et al. 2017, section 3.
  """
  layer = nn.BatchNorm(
    momentum=decay, epsilon=epsilon, axis_name=axis_name, use_scale=False, use_bias=False, dtype=jnp.float32, name=name
  )
  x = layer(x, use_running_average=not train)

  def of_class(what: str, start: Callable) -> jax.Array:
    rows = nn.Embed(num_classes, x.shape[-1], embedding_init=start, name=f'{name}_{what}')(labels)
    return jnp.expand_dims(rows, range(1, x.ndim - 1))

  return (x * of_class('gain', gains) + of_class('bias', nn.initializers.zeros)).astype(dtype)


def virtual_batch(
  x: jax.Array, *, name: str, train: bool, labels: jax.Array | None, epsilon: float, gains: Callable,
  dtype: jnp.dtype, reference_size: int,
) -> jax.Array:  # fmt: skip
  """Normalises each example by the statistics of a fixed reference batch and itself, so examples do not meet.

  For a generator inside `WithReference`, which puts the reference batch before the others. There are no moving
  statistics: training and sampling are the same, on any number of devices.

  Args:
    x: activations, [R + B, ..., C], the reference batch first; it is normalised by its own statistics.
    name: of the layer.
    train, labels: ignored.
    epsilon: added to the variance.
    gains: how the scales start.
    dtype: of the result.
    reference_size: R.

  References: Salimans et al. 2016, section 3.4.
  """
  del train, labels
  x = x.astype(jnp.float32)
  space = tuple(range(1, x.ndim - 1))
  reference, others = x[:reference_size], x[reference_size:]
  mean, variance = (statistic(reference, axis=(0, *space))[None] for statistic in (jnp.mean, jnp.var))
  own_mean, own_variance = jnp.mean(others, axis=space), jnp.var(others, axis=space)

  # Statistics of R examples and one more, from those of the R and of the one.
  share = 1 / (reference_size + 1)
  mixed_mean = (1 - share) * mean + share * own_mean
  mixed_variance = (1 - share) * variance + share * own_variance + share * (1 - share) * jnp.square(own_mean - mean)

  def of_each(of_reference: jax.Array, of_others: jax.Array) -> jax.Array:
    rows = jnp.concatenate([jnp.repeat(of_reference, reference_size, axis=0), of_others])
    return jnp.expand_dims(rows, space)

  y = (x - of_each(mean, mixed_mean)) * jax.lax.rsqrt(of_each(variance, mixed_variance) + epsilon)
  return _Affine(gains, name=name)(y).astype(dtype)


class WithReference(nn.Module):
  """A generator whose `virtual_batch` sees the same reference batch before every batch; parameters are the network's.

  Attributes:
    network: a generator, (z [B, Z], labels, train) -> examples [B, *shape].
    reference_latents: [R, Z], a constant: the same on every device, at every step and in sampling.
    num_classes: the reference batch goes through the classes in turn; None: an unconditional network.
  """

  network: nn.Module
  reference_latents: jax.Array
  num_classes: int | None

  def setup(self):
    nn.share_scope(self, self.network)

  def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Maps latents [B, Z], with labels int32 [B] if there are classes, to examples in [-1, 1], [B, *shape]."""
    size = len(self.reference_latents)
    z = jnp.concatenate([jnp.asarray(self.reference_latents, z.dtype), z])
    if self.num_classes is not None:
      labels = jnp.concatenate([jnp.arange(size, dtype=labels.dtype) % self.num_classes, labels])
    return self.network(z, labels, train=train)[size:]


def instance(
  x: jax.Array, *, name: str, train: bool, labels: jax.Array | None, epsilon: float, gains: Callable, dtype: jnp.dtype
) -> jax.Array:
  """Normalises each channel of each example over space. Ulyanov et al. 2016.

  Args:
    x: activations, [B, *spatial, C].
    name: of the layer.
    train, labels: ignored.
    epsilon: added to the variance.
    gains: how the scales start, one per channel.
    dtype: of the result.

  Raises:
    ConfigError: there is no space to normalise over; every value would become zero.
  """
  del train, labels
  if math.prod(x.shape[1:-1]) == 1:
    raise ConfigError(
      'instance normalisation averages over space, which activations of shape '
      f'[B, {", ".join(map(str, x.shape[1:]))}] do not have; set config.generator.norm_before_reshape to False '
      "where it is True, or the network's normalization to 'batch', 'layer' or 'none'"
    )
  return nn.InstanceNorm(epsilon=epsilon, scale_init=gains, dtype=dtype, name=name)(x)


def layer(
  x: jax.Array, *, name: str, train: bool, labels: jax.Array | None, epsilon: float, gains: Callable, dtype: jnp.dtype
) -> jax.Array:
  """Normalises each example over space and channels together. Ba et al. 2016.

  Args:
    x: activations, [B, ..., C].
    name: of the layer.
    train, labels: ignored.
    epsilon: added to the variance.
    gains: how the scales start, one per channel.
    dtype: of the result.
  """
  del train, labels
  axes = tuple(range(1, x.ndim))
  norm = nn.LayerNorm(epsilon=epsilon, scale_init=gains, reduction_axes=axes, feature_axes=-1, dtype=dtype, name=name)
  return norm(x)


def constrained(layer: nn.Module, x: jax.Array, *, spectral_norm: bool, train: bool) -> jax.Array:
  """Applies a named layer to x, with its kernel divided by its largest singular value if `spectral_norm`.

  The kernel is taken as a matrix [k * ... * k * C, F]; each pass in training makes one power iteration, whose vector
  lives with the batch statistics. References: Miyato et al. 2018, section 2 and appendix A.
  """
  if not spectral_norm:
    return layer(x)
  if layer.is_initializing():
    layer(x)
    start = jax.tree.map(lambda leaf: leaf, layer.variables['params'])
  y = nn.SpectralNorm(layer, name=f'{layer.name}_spectral')(x, update_stats=train)
  if layer.is_initializing():
    # Flax has stored the divided kernel as the parameter; the initialisation is the one that was asked for.
    for name, value in start.items():
      layer.put_variable('params', name, value)
  return y


class _Affine(nn.Module):
  """x * scale + bias, one of each per channel, called as Flax's normalisations call theirs."""

  gains: Callable

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    starts = {'scale': self.gains, 'bias': nn.initializers.zeros}
    scale, bias = (self.param(name, start, x.shape[-1:], jnp.float32) for name, start in starts.items())
    shape = (*(1,) * (x.ndim - 1), x.shape[-1])
    return x * scale.reshape(shape) + bias.reshape(shape)
