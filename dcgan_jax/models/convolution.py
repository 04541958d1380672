"""Strided convolution and its transpose, each in the form its platform runs fastest.

XLA's CPU backend runs dilated convolutions about twenty times slower than the same multiplications as one matrix
product, and inside a compiled loop, as training is, plain ones thirty times slower and more. So on CPUs all layers
lower to products over columns, or where they suit to those of winograd.py, which need fewer multiplications: kernel 4
with stride 2, kernel 3 with stride 1. Elsewhere they lower to XLA's own convolution. All forms share parameters (those
of `nn.Conv` and `nn.ConvTranspose`: same names, shapes and values), so a checkpoint does not know which one made it.
One, two or three spatial dimensions, padding 'SAME'.
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dcgan_jax.models import winograd

_SPATIAL = {1: 'W', 2: 'HW', 3: 'DHW'}


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """Convolution with padding 'SAME', as `nn.Conv` computes it.

  Args:
    x: inputs, [B, *spatial, C].
    kernel: [k, ..., k, C, F].
    stride: steps of the window along every spatial dimension.

  Returns:
    [B, *ceil(spatial / stride), F].
  """
  forms = {'cpu': _convolve_on_cpu, 'default': _convolve_by_xla}
  return lax.platform_dependent(x, kernel, **{k: functools.partial(f, stride=stride) for k, f in forms.items()})


def convolve_transposed(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """Fractionally strided convolution with padding 'SAME', as `nn.ConvTranspose` computes it.

  Args:
    x: inputs, [B, *spatial, C].
    kernel: [k, ..., k, C, F], applied unflipped to the input with stride - 1 zeros between its elements.
    stride: how many times larger the output is along every spatial dimension.

  Returns:
    [B, *(spatial * stride), F].
  """
  forms = {'cpu': _convolve_transposed_on_cpu, 'default': _convolve_transposed_by_xla}
  return lax.platform_dependent(x, kernel, **{k: functools.partial(f, stride=stride) for k, f in forms.items()})


class Conv(nn.Module):
  """Strided convolution, [B, *spatial, C] -> [B, *ceil(spatial / stride), features]."""

  features: int
  kernel_size: int
  stride: int
  use_bias: bool
  dtype: jnp.dtype
  kernel_init: Callable

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _layer(self, x, functools.partial(convolve, stride=self.stride))


class ConvTranspose(nn.Module):
  """Fractionally strided convolution, [B, *spatial, C] -> [B, *(spatial * stride), features]."""

  features: int
  kernel_size: int
  stride: int
  use_bias: bool
  dtype: jnp.dtype
  kernel_init: Callable

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return _layer(self, x, functools.partial(convolve_transposed, stride=self.stride))


def _layer(module: nn.Module, x: jax.Array, operation: Callable) -> jax.Array:
  shape = (module.kernel_size,) * (x.ndim - 2) + (x.shape[-1], module.features)
  kernel = module.param('kernel', module.kernel_init, shape, jnp.float32)
  y = operation(x.astype(module.dtype), kernel.astype(module.dtype))
  if module.use_bias:
    bias = module.param('bias', nn.initializers.zeros, (module.features,), jnp.float32)
    y = y + jnp.broadcast_to(bias.astype(module.dtype), y.shape)
  return y


def _convolve_by_xla(x, kernel, *, stride):
  spatial = _SPATIAL[x.ndim - 2]
  layouts = (f'N{spatial}C', f'{spatial}IO', f'N{spatial}C')
  return lax.conv_general_dilated(x, kernel, (stride,) * len(spatial), 'SAME', dimension_numbers=layouts)


def _convolve_transposed_by_xla(x, kernel, *, stride):
  spatial = _SPATIAL[x.ndim - 2]
  layouts = (f'N{spatial}C', f'{spatial}IO', f'N{spatial}C')
  return lax.conv_transpose(x, kernel, (stride,) * len(spatial), 'SAME', dimension_numbers=layouts)


def _convolve_on_cpu(x, kernel, *, stride):
  if winograd.suits(x, kernel, stride=stride):
    return winograd.convolve(x, kernel, stride=stride)
  size, (inputs, outputs) = kernel.shape[0], kernel.shape[-2:]
  if stride == 1 and size % 2 and outputs < inputs:
    # Then both operations are one, and columns are made of the fewer channels: up to ten times as fast for an image.
    return _convolve_transposed_on_cpu(x, kernel, stride=1)
  return _columns(x, kernel_size=kernel.shape[0], stride=stride) @ _kernel_matrix(kernel, stride=stride)


def _convolve_transposed_on_cpu(x, kernel, *, stride):
  # A transposed convolution is the adjoint of the convolution whose kernel is flipped in space and swaps its channels.
  kernel = jnp.flip(kernel, range(x.ndim - 2)).swapaxes(-1, -2)
  output = jax.ShapeDtypeStruct((x.shape[0], *(n * stride for n in x.shape[1:-1]), kernel.shape[-2]), x.dtype)
  if winograd.suits(output, kernel, stride=stride):
    return winograd.convolve_adjoint(x, kernel, stride=stride)
  columns = x @ _kernel_matrix(kernel, stride=stride).T
  # Zeros, not a shape alone: where shard_map checks which values differ between devices, they are as the columns are.
  like = jnp.zeros_like(columns, shape=output.shape)
  return jax.linear_transpose(functools.partial(_columns, kernel_size=kernel.shape[0], stride=stride), like)(columns)[0]


def _columns(x, *, kernel_size, stride):
  """The values under the window at every output position: [B, *outputs, K], in the order of `_kernel_matrix`.

  Along the last spatial axis `stride` neighbouring positions and their channels lie together in memory, so a window is
  copied in pieces of that size: as few as there are, and without any other change of layout.
  """
  batch, *sizes, channels = x.shape
  blocks = math.ceil(kernel_size / stride)
  padding, cut, outputs = [(0, 0, 0)], [batch], []
  for size in sizes:
    output = math.ceil(size / stride)
    before = max((output - 1) * stride + kernel_size - size, 0) // 2
    cells = output - 1 + blocks
    padding.append((before, cells * stride - before - size, 0))
    cut += [cells, stride]
    outputs.append(output)
  x = lax.pad(x, jnp.zeros((), x.dtype), [*padding, (0, 0, 0)])
  x = x.reshape(*cut[:-1], stride * channels)

  def piece(offsets, block):
    index = [slice(None)]
    for offset, output in zip(offsets, outputs, strict=False):
      shift, phase = divmod(offset, stride)
      index += [slice(shift, shift + output), phase]
    return x[(*index, slice(block, block + outputs[-1]))]

  rows = itertools.product(range(kernel_size), repeat=len(sizes) - 1)
  return jnp.concatenate([piece(offsets, block) for offsets in rows for block in range(blocks)], axis=-1)


def _kernel_matrix(kernel, *, stride):
  """The kernel as [K, F]; along the last spatial axis filled up with zeros to a multiple of the stride."""
  n, size = kernel.ndim - 2, kernel.shape[0]
  missing = math.ceil(size / stride) * stride - size
  return jnp.pad(kernel, [(0, 0)] * (n - 1) + [(0, missing)] + [(0, 0)] * 2).reshape(-1, kernel.shape[-1])
