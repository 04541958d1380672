"""The generator and discriminator of Radford et al. 2016 (DCGAN) at any size, in 1, 2 or 3 spatial dimensions."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.errors import ConfigError, counted
from dcgan_jax.keys import fold
from dcgan_jax.models.conditional import UNCONDITIONAL, Conditioning
from dcgan_jax.models.convolution import Conv, ConvTranspose
from dcgan_jax.models.initializers import Initialization
from dcgan_jax.models.normalization import constrained


def base_shape(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
  """Spatial size from which strides reach an example: base * product(strides) = size in every dimension.

  Args:
    shape: of an example, (*spatial, channels).
    strides: of the layers.

  Raises:
    ConfigError: a size is no multiple of the product of the strides.
  """
  factor = math.prod(strides)
  if any(size % factor for size in shape[:-1]):
    sizes = ' x '.join(map(str, shape[:-1]))
    raise ConfigError(
      f'With strides {tuple(strides)}, {counted(len(strides), "layer")} can reach multiples of {factor}, not examples '
      f'of size {sizes}; change config.data.image_size or the number of widths of both networks'
    )
  return tuple(size // factor for size in shape[:-1])


class Generator(nn.Module):
  """Projection, then transposed convolutions with normalisation and activation, tanh out.

  Attributes:
    shape: of an example, (*spatial, channels); every size is base * product(strides).
    widths: channels of each layer's input, from the base upwards.
    strides: of each layer; as many as widths.
    kernel_size: of the layers, in every dimension: one for all, or one each.
    activation: of all layers but the last.
    norm: a normalisation of normalization.py, or None; none follows the last layer.
    norm_before_reshape: normalise the projection per unit, as the authors' code does, rather than per channel.
    bias: layers without normalisation after them have a bias; the others' would be undone.
    initialization: of weights.
    conv: makes the layers that enlarge: ConvTranspose or a sibling of the same signature.
    conditioning: how labels enter.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters are float32.

  References: Radford et al. 2016, figure 1 and section 3.
  """

  takes = (
    'shape', 'widths', 'strides', 'kernel_size', 'activation', 'norm', 'norm_before_reshape', 'bias', 'initialization',
    'conv', 'conditioning', 'spectral_norm', 'dtype',
  )  # fmt: skip
  shape: tuple[int, ...]
  widths: tuple[int, ...]
  strides: tuple[int, ...]
  kernel_size: int | tuple[int, ...]
  activation: Callable
  norm: Callable | None
  norm_before_reshape: bool
  bias: bool
  initialization: Initialization
  conv: Callable = ConvTranspose
  conditioning: Conditioning = UNCONDITIONAL
  spectral_norm: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Maps latents [B, Z] to examples in [-1, 1], [B, *shape].

    Args:
      z: latents, [B, Z].
      labels: int32 [B], or None of an unconditional network.
      train: normalise by this batch's statistics.
    """
    base = (*base_shape(self.shape, self.strides), self.widths[0])
    sizes = one_each(self.kernel_size, self.widths)
    bias = self.bias and self.norm is None
    options = {'dtype': self.dtype, 'kernel_init': self.initialization.weights}

    def apply(layer: nn.Module, x: jax.Array) -> jax.Array:
      return constrained(layer, x, spectral_norm=self.spectral_norm, train=train)

    def finish(x: jax.Array, name: str) -> jax.Array:
      return self.activation(x if self.norm is None else self.norm(x, name=name, train=train, labels=labels))

    z = self.conditioning.at_input(z, labels)
    x = apply(nn.Dense(math.prod(base), use_bias=bias, name='projection', **options), z)
    x = finish(x if self.norm_before_reshape else x.reshape(-1, *base), 'norm_0').reshape(-1, *base)
    for i, (width, stride) in enumerate(zip(self.widths[1:], self.strides[:-1], strict=True), start=1):
      layer = self.conv(width, sizes[i - 1], stride, use_bias=bias, name=f'conv_{i}', **options)
      x = finish(apply(layer, x), f'norm_{i}')
    layer = self.conv(self.shape[-1], sizes[-1], self.strides[-1], use_bias=self.bias, name='output', **options)
    return jnp.tanh(apply(layer, x).astype(jnp.float32))


class Discriminator(nn.Module):
  """Strided convolutions with LeakyReLU and normalisation, then one linear unit.

  Attributes:
    widths: channels of each layer's output, from the image downwards.
    strides: of each layer; as many as widths.
    kernel_size: of the convolutions, in every dimension: one for all, or one each.
    activation: of all convolutions.
    norm: a normalisation of normalization.py, or None; the first layer never has one, as its statistics would tell
      real from fake by colour alone (Radford et al. 2016, section 3).
    dropout: share of activations set to zero after each layer in training.
    bias: layers without normalisation after them have a bias.
    initialization: of weights.
    conditioning: how labels enter.
    minibatch: a layer of minibatch.py that lets the last activations see their batch, (x, train) -> x; None: no such.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters and logits are float32.
  """

  takes = (
    'widths', 'strides', 'kernel_size', 'activation', 'norm', 'dropout', 'bias', 'initialization', 'conditioning',
    'minibatch', 'spectral_norm', 'dtype',
  )  # fmt: skip
  widths: tuple[int, ...]
  strides: tuple[int, ...]
  kernel_size: int | tuple[int, ...]
  activation: Callable
  norm: Callable | None
  dropout: float
  bias: bool
  initialization: Initialization
  conditioning: Conditioning = UNCONDITIONAL
  minibatch: Callable | None = None
  spectral_norm: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, labels: jax.Array | None = None, *, train: bool, keys: jax.Array
  ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Judges examples.

    Args:
      x: examples in [-1, 1], [B, *spatial, C].
      labels: int32 [B], or None of an unconditional network.
      train: normalise by this batch's statistics, and drop activations.
      keys: one random key per example, [B], for dropout.

    Returns:
      Logits [B], positive for real, and the activations of every convolution, [B, *spatial_i, widths_i].
    """
    base_shape(x.shape[1:], self.strides)
    sizes = one_each(self.kernel_size, self.widths)
    options = {'dtype': self.dtype, 'kernel_init': self.initialization.weights}

    def apply(layer: nn.Module, x: jax.Array) -> jax.Array:
      return constrained(layer, x, spectral_norm=self.spectral_norm, train=train)

    x, features = self.conditioning.at_input(x, labels), []
    for i, (width, stride) in enumerate(zip(self.widths, self.strides, strict=True)):
      normalized = self.norm is not None and i > 0
      layer = Conv(width, sizes[i], stride, use_bias=self.bias and not normalized, name=f'conv_{i}', **options)
      x = apply(layer, x)
      if normalized:
        x = self.norm(x, name=f'norm_{i}', train=train, labels=labels)
      x = self.activation(x)
      features.append(x)
      if train and self.dropout:
        x = drop(fold(keys, i), x, self.dropout)
    if self.minibatch is not None:
      x = self.minibatch(x, train=train)
    x = x.reshape(x.shape[0], -1)
    logits = apply(nn.Dense(1, use_bias=self.bias, name='output', **options), x)
    return logits.astype(jnp.float32).squeeze(-1) + self.conditioning.at_output(x, labels, train=train), tuple(features)


def one_each(kernel_size: int | tuple[int, ...], layers: Sequence) -> tuple[int, ...]:
  """The kernel size of each layer: the given ones, or one for all."""
  return (kernel_size,) * len(layers) if isinstance(kernel_size, int) else tuple(kernel_size)


def drop(keys: jax.Array, x: jax.Array, share: float) -> jax.Array:
  """Dropout whose mask belongs to the example and not to the device.

  Args:
    keys: one per example, [B].
    x: activations, [B, ...].
    share: of activations set to zero, in [0, 1); the others are scaled by 1 / (1 - share).
  """
  kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - share, x.shape[1:]))(keys)
  return jnp.where(kept, x / (1 - share), jnp.zeros((), x.dtype))
