"""The residual generator and discriminator of SNGAN, at any size, in 1, 2 or 3 spatial dimensions.

References: Miyato et al. 2018, tables 3 and 4 (32 x 32: widths 256, 256, 256 and 128, 128, 128, 128); Gulrajani et al.
2017, appendix F.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.models.conditional import UNCONDITIONAL, Conditioning
from dcgan_jax.models.convolution import Conv
from dcgan_jax.models.dcgan import base_shape, one_each
from dcgan_jax.models.initializers import Initialization
from dcgan_jax.models.normalization import constrained
from dcgan_jax.models.upsampling import nearest


class Block(nn.Module):
  """Two convolutions, each behind normalisation and activation, beside a shortcut; the two paths are added.

  Attributes:
    width: channels of the output.
    kernel_size: of the two convolutions; the shortcut's is 1.
    enlarge: how many times larger the output is; pixels are repeated before the first convolution.
    shrink: how many times smaller the output is; pixels are averaged after the second convolution.
    activation: before each convolution.
    norm: before each activation; None: none.
    starts_with_activation: and normalisation; not where the input is an image.
    inner_bias: the first convolution has a bias.
    outer_bias: the second convolution and the shortcut have biases.
    initialization, spectral_norm, dtype: as the network's.
  """

  width: int
  kernel_size: int
  enlarge: int
  shrink: int
  activation: Callable
  norm: Callable | None
  starts_with_activation: bool
  inner_bias: bool
  outer_bias: bool
  initialization: Initialization
  spectral_norm: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, labels: jax.Array | None, *, train: bool) -> jax.Array:
    """[B, *spatial, C] -> [B, *(spatial * enlarge / shrink), width]."""

    def conv(x: jax.Array, name: str, kernel_size: int, bias: bool) -> jax.Array:
      layer = Conv(self.width, kernel_size, 1, bias, self.dtype, self.initialization.weights, name=name)
      return constrained(layer, x, spectral_norm=self.spectral_norm, train=train)

    def activate(x: jax.Array, name: str) -> jax.Array:
      return self.activation(x if self.norm is None else self.norm(x, name=name, train=train, labels=labels))

    h = activate(x, 'norm_0') if self.starts_with_activation else x
    h = conv(nearest(h, self.enlarge), 'conv_0', self.kernel_size, self.inner_bias)
    h = conv(activate(h, 'norm_1'), 'conv_1', self.kernel_size, self.outer_bias)
    h = _average(h, self.shrink)
    # A convolution of size 1 may come before or after copies and averages; it is cheapest where pixels are fewest.
    if x.shape[-1] != self.width or self.enlarge != 1 or self.shrink != 1:
      x = nearest(conv(_average(x, self.shrink), 'shortcut', 1, self.outer_bias), self.enlarge)
    return h + x


class Generator(nn.Module):
  """Projection, then residual blocks that enlarge, normalisation, activation and a convolution, tanh out.

  Attributes:
    shape: of an example, (*spatial, channels); every size is base * product(strides).
    widths: channels of each block's output, from the base upwards; the base has as many as the first.
    strides: how many times each block enlarges; as many as widths.
    kernel_size: of the blocks, in every dimension: one for all, or one each; the last layer's is the last block's.
    activation: before all convolutions.
    norm: a normalisation of normalization.py, or None; none follows the last layer.
    bias: layers have a bias, the blocks' only without normalisation: along the shortcuts, too, it would reach the last
      normalisation as a constant per channel, and be undone.
    initialization: of weights.
    conditioning: how labels enter.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters are float32.

  References: Miyato et al. 2018, table 4a.
  """

  takes = (
    'shape', 'widths', 'strides', 'kernel_size', 'activation', 'norm', 'bias', 'initialization', 'conditioning',
    'spectral_norm', 'dtype',
  )  # fmt: skip
  shape: tuple[int, ...]
  widths: tuple[int, ...]
  strides: tuple[int, ...]
  kernel_size: int | tuple[int, ...]
  activation: Callable
  norm: Callable | None
  bias: bool
  initialization: Initialization
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

    z = self.conditioning.at_input(z, labels)
    layer = nn.Dense(math.prod(base), use_bias=self.bias, name='projection', **options)
    x = constrained(layer, z, spectral_norm=self.spectral_norm, train=train).reshape(-1, *base)
    for i, (width, stride) in enumerate(zip(self.widths, self.strides, strict=True)):
      block = Block(
        width, sizes[i], stride, 1, norm=self.norm, starts_with_activation=True,
        inner_bias=bias, outer_bias=bias, name=f'block_{i}', **_shared(self),
      )  # fmt: skip
      x = block(x, labels, train=train)
    x = self.activation(x if self.norm is None else self.norm(x, name='norm', train=train, labels=labels))
    layer = Conv(self.shape[-1], sizes[-1], 1, use_bias=self.bias, name='output', **options)
    return jnp.tanh(constrained(layer, x, spectral_norm=self.spectral_norm, train=train).astype(jnp.float32))


class Discriminator(nn.Module):
  """Residual blocks that shrink, activation, the sum over space, then one linear unit.

  Attributes:
    widths: channels of each block's output, from the image downwards.
    strides: how many times each block shrinks; as many as widths.
    kernel_size: of the blocks, in every dimension: one for all, or one each.
    activation: before all convolutions but the first.
    norm: a normalisation of normalization.py inside all blocks but the first, or None, as the authors have it.
    bias: layers without normalisation after them have a bias.
    initialization: of weights.
    conditioning: how labels enter; at the output with the sums over space.
    minibatch: a layer of minibatch.py that lets the sums over space see their batch, (x, train) -> x; None: no such.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters and logits are float32.

  References: Miyato et al. 2018, table 4b.
  """

  takes = (
    'widths', 'strides', 'kernel_size', 'activation', 'norm', 'bias', 'initialization', 'conditioning', 'minibatch',
    'spectral_norm', 'dtype',
  )  # fmt: skip
  widths: tuple[int, ...]
  strides: tuple[int, ...]
  kernel_size: int | tuple[int, ...]
  activation: Callable
  norm: Callable | None
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
      train: normalise by this batch's statistics.
      keys: one random key per example, [B]; nothing here is random.

    Returns:
      Logits [B], positive for real, and the output of every block, [B, *spatial_i, widths_i].
    """
    del keys
    base_shape(x.shape[1:], self.strides)
    sizes = one_each(self.kernel_size, self.widths)

    x, features = self.conditioning.at_input(x, labels), []
    for i, (width, stride) in enumerate(zip(self.widths, self.strides, strict=True)):
      norm = self.norm if i > 0 else None
      block = Block(
        width, sizes[i], 1, stride, norm=norm, starts_with_activation=i > 0,
        inner_bias=self.bias and norm is None, outer_bias=self.bias, name=f'block_{i}', **_shared(self),
      )  # fmt: skip
      x = block(x, labels, train=train)
      features.append(x)
    h = self.activation(x).sum(axis=tuple(range(1, x.ndim - 1)), dtype=jnp.float32)
    if self.minibatch is not None:
      h = self.minibatch(h, train=train)
    layer = nn.Dense(1, use_bias=self.bias, dtype=self.dtype, kernel_init=self.initialization.weights, name='output')
    logits = constrained(layer, h, spectral_norm=self.spectral_norm, train=train).astype(jnp.float32).squeeze(-1)
    return logits + self.conditioning.at_output(h, labels, train=train), tuple(features)


def _average(x: jax.Array, stride: int) -> jax.Array:
  """Means of stride x ... x stride pixels."""
  window = (stride,) * (x.ndim - 2)
  return nn.avg_pool(x, window, strides=window) if stride > 1 else x


def _shared(network: nn.Module) -> Mapping[str, Any]:
  """What blocks take from their network as it is."""
  return {name: getattr(network, name) for name in ('activation', 'initialization', 'spectral_norm', 'dtype')}
