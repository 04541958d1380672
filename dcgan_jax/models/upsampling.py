"""Enlarging by copies or interpolation and then convolving, where a transposed convolution would leave a checkerboard.

A transposed convolution whose kernel is no multiple of its stride gives some pixels more terms than their neighbours;
here every pixel gets equally many. References: Odena, Dumoulin and Olah 2016, "Deconvolution and checkerboard
artifacts".
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.models.convolution import Conv


def nearest(x: jax.Array, stride: int) -> jax.Array:
  """Repeats every position `stride` times along every spatial dimension: [B, *spatial, C] -> [B, *(s * stride), C]."""
  for axis in range(1, x.ndim - 1):
    x = jnp.repeat(x, stride, axis=axis)
  return x


def bilinear(x: jax.Array, stride: int) -> jax.Array:
  """Interpolates linearly in every spatial dimension, pixels being areas: [B, *spatial, C] -> [B, *(s * stride), C]."""
  return jax.image.resize(x, (x.shape[0], *(size * stride for size in x.shape[1:-1]), x.shape[-1]), 'linear')


class UpsampledConv(nn.Module):
  """Enlarging, then a convolution of stride 1, [B, *spatial, C] -> [B, *(spatial * stride), features].

  A sibling of `ConvTranspose` with the same attributes and parameters.

  Attributes:
    features: F.
    kernel_size: in every dimension.
    stride: how many times larger the output is along every spatial dimension.
    use_bias: add one per feature.
    dtype: of activations; parameters are float32.
    kernel_init: of weights.
    enlarge: `nearest` or `bilinear`.
  """

  features: int
  kernel_size: int
  stride: int
  use_bias: bool
  dtype: jnp.dtype
  kernel_init: Callable
  enlarge: Callable = nearest

  def setup(self):
    self.layer = Conv(self.features, self.kernel_size, 1, self.use_bias, self.dtype, self.kernel_init)
    nn.share_scope(self, self.layer)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Enlarges x and convolves it."""
    return self.layer(self.enlarge(x.astype(self.dtype), self.stride))
