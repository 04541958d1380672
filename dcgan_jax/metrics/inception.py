"""Inception-v3 of 2015-12-05, the network whose features FID, KID and the Inception Score are defined by.

The layers keep the names of the TensorFlow graph (`mixed_4_tower_conv_1` is 'mixed_4/tower/conv_1' there); every batch
norm is folded into its convolution. What differs from the Inception-v3 of other libraries, and moves FID where it is
missed: images are resized as TensorFlow 1 did it, average pools leave the padding out of the count, `mixed_10` pools by
maximum, and there are 1008 classes.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from dcgan_jax.errors import DataError, look_up

SIZE = 299


class InceptionV3(nn.Module):
  """Features of images, as torch-fidelity's `FeatureExtractorInceptionV3` computes them, to 1e-4.

  depth: the deepest output wanted, a key of `LAYERS`; what lies behind it is neither computed nor needs parameters.

  References: Szegedy et al. 2016; Heusel et al. 2017 (FID); torch-fidelity 0.4.0.
  """

  depth: str = '2048'

  @nn.compact
  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Resizes, scales and describes images.

    Args:
      images: uint8 or float holding 0..255, [B, H, W, C] of any size, C 1 or 3; grey is repeated.

    Returns:
      All outputs up to `depth`, float32: means over space '64' [B, 64], '192' [B, 192], '768' [B, 768] and
      '2048' [B, 2048]; 'logits' [B, 1008] without the bias (torch-fidelity's `logits_unbiased`), as the Inception Score
      has used them since 2016.

    Raises:
      DataError: these are no images of one or three channels.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
      raise DataError(f'Inception takes images [B, H, W, 1] or [B, H, W, 3], not {list(images.shape)}')
    shapes = {name: shape for group in layers_up_to(self.depth) for name, shape in group.items()}
    layers = {name: self.param(name, _initial_layer, shape) for name, shape in shapes.items()}
    compute = functools.partial(_features, depth=self.depth)
    return lax.platform_dependent(images, layers, cpu=functools.partial(_in_passes, compute), default=compute)


def layers_up_to(depth: str) -> list[dict[str, tuple[int, ...]]]:
  """Kernel shapes of the layers that an output needs, by the output that needs them first."""
  look_up(LAYERS, depth, 'depth of Inception')
  names = list(LAYERS)
  return [LAYERS[name] for name in names[: names.index(depth) + 1]]


def resize(images: jax.Array, size: int) -> jax.Array:
  """Bilinear resize of TensorFlow 1: no half-pixel centres, corners not aligned, no antialiasing.

  Args:
    images: float32 [B, H, W, C].
    size: side of the result in pixels.

  Returns:
    [B, size, size, C]. Pixel i of the result lies at i * H / size of the input, in float32.
  """
  for axis in (2, 1):
    length = images.shape[axis]
    position = np.arange(size, dtype=np.float32) * np.float32(length / size)
    low = position.astype(np.int32)
    share = (position - low.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
    below = jnp.take(images, low, axis)
    above = jnp.take(images, np.minimum(low + 1, length - 1), axis)
    images = below + (above - below) * jnp.broadcast_to(share, below.shape)
  return images


def _in_passes(compute, images, layers):
  """Applies `compute` to a few images at a time.

  The maps of a whole batch do not fit a CPU's caches: two cores do one image at a time half as fast again as sixteen.
  """
  most = max(1, (os.cpu_count() or 1) // 2)
  size = max(n for n in range(1, most + 1) if images.shape[0] % n == 0)
  passes = images.reshape(images.shape[0] // size, size, *images.shape[1:])
  outputs = lax.map(lambda images: compute(images, layers), passes)
  return {name: output.reshape(-1, output.shape[-1]) for name, output in outputs.items()}


def _features(images, layers, *, depth):
  """All outputs up to `depth`."""
  outputs = {}
  x = images.astype(jnp.float32)
  x = jnp.broadcast_to(x, (*x.shape[:-1], 3))
  x = (resize(x, SIZE) - 128.0) / 128.0

  x = _convolve(x, layers['conv'], stride=2, padding='VALID')
  x = _convolve(x, layers['conv_1'], padding='VALID')
  x = _convolve(x, layers['conv_2'])
  x = _max_pool(x)
  outputs['64'] = _mean(x)
  if depth == '64':
    return outputs

  x = _convolve(x, layers['conv_3'])
  x = _convolve(x, layers['conv_4'], padding='VALID')
  x = _max_pool(x)
  outputs['192'] = _mean(x)
  if depth == '192':
    return outputs

  for block in ('mixed', 'mixed_1', 'mixed_2'):
    x = _block_35(x, layers, block)
  x = _reduce_to_17(x, layers, 'mixed_3')
  for block in ('mixed_4', 'mixed_5', 'mixed_6', 'mixed_7'):
    x = _block_17(x, layers, block)
  outputs['768'] = _mean(x)
  if depth == '768':
    return outputs

  x = _reduce_to_8(x, layers, 'mixed_8')
  x = _block_8(x, layers, 'mixed_9', pool=_average_then_project)
  x = _block_8(x, layers, 'mixed_10', pool=_maximum_then_project)
  outputs['2048'] = _mean(x)
  if depth == 'logits':
    outputs['logits'] = jnp.matmul(outputs['2048'], layers['logits']['kernel'], precision=lax.Precision.HIGHEST)
  return outputs


def _block_35(x, layers, block):
  direct = _convolve(x, layers[f'{block}_conv'])
  five = _tower(x, layers, f'{block}_tower', 2)
  three = _tower(x, layers, f'{block}_tower_1', 3)
  pooled = _average_then_project(x, layers[f'{block}_tower_2_conv'])
  return jnp.concatenate([direct, five, three, pooled], axis=-1)


def _reduce_to_17(x, layers, block):
  direct = _convolve(x, layers[f'{block}_conv'], stride=2, padding='VALID')
  tower = _tower(x, layers, f'{block}_tower', 2)
  tower = _convolve(tower, layers[f'{block}_tower_conv_2'], stride=2, padding='VALID')
  return jnp.concatenate([direct, tower, _max_pool(x)], axis=-1)


def _block_17(x, layers, block):
  direct = _convolve(x, layers[f'{block}_conv'])
  seven = _tower(x, layers, f'{block}_tower', 3)
  double = _tower(x, layers, f'{block}_tower_1', 5)
  pooled = _average_then_project(x, layers[f'{block}_tower_2_conv'])
  return jnp.concatenate([direct, seven, double, pooled], axis=-1)


def _reduce_to_8(x, layers, block):
  three = _convolve(x, layers[f'{block}_tower_conv'])
  three = _convolve(three, layers[f'{block}_tower_conv_1'], stride=2, padding='VALID')
  seven = _tower(x, layers, f'{block}_tower_1', 3)
  seven = _convolve(seven, layers[f'{block}_tower_1_conv_3'], stride=2, padding='VALID')
  return jnp.concatenate([three, seven, _max_pool(x)], axis=-1)


def _block_8(x, layers, block, *, pool):
  direct = _convolve(x, layers[f'{block}_conv'])
  three = _fork(_tower(x, layers, f'{block}_tower', 1), layers, f'{block}_tower_mixed')
  double = _fork(_tower(x, layers, f'{block}_tower_1', 2), layers, f'{block}_tower_1_mixed')
  return jnp.concatenate([direct, *three, *double, pool(x, layers[f'{block}_tower_2_conv'])], axis=-1)


def _tower(x, layers, tower, length):
  """The first convolutions of a tower, one after the other."""
  for i in range(length):
    x = _convolve(x, layers[f'{tower}_conv_{i}' if i else f'{tower}_conv'])
  return x


def _fork(x, layers, tower):
  """Two convolutions of the same input, side by side."""
  return [_convolve(x, layers[f'{tower}_{name}']) for name in ('conv', 'conv_1')]


def _convolve(x, layer, *, stride=1, padding='SAME'):
  return nn.relu(_add_bias(_convolve_linearly(x, layer, stride=stride, padding=padding), layer))


def _convolve_linearly(x, layer, *, stride=1, padding='SAME'):
  # Precision: elsewhere than on CPUs the default rounds the factors to fewer than 24 bits, which moves FID.
  return lax.conv_general_dilated(
    x,
    layer['kernel'],
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=lax.Precision.HIGHEST,
  )


def _add_bias(x, layer):
  return x + jnp.broadcast_to(layer['bias'], x.shape)


def _average_then_project(x, layer):
  """Average pool 3x3 that counts no padding, then a 1x1 convolution: computed in reverse, on fewer channels."""
  x = _convolve_linearly(x, layer)
  counts = np.ones((1, *x.shape[1:3], 1), np.float32)
  counts = _pool(counts, np.add, 0.0)
  return nn.relu(_add_bias(_pool(x, jnp.add, 0.0) / jnp.broadcast_to(counts, x.shape), layer))


def _maximum_then_project(x, layer):
  return _convolve(_pool(x, jnp.maximum, -jnp.inf), layer)


def _pool(x, combine, padding):
  """Combines the 3x3 neighbours of every pixel, first along W and then along H; outside lies `padding`."""
  for axis in (2, 1):
    width = [(1, 1) if i == axis else (0, 0) for i in range(4)]
    padded = (np if isinstance(x, np.ndarray) else jnp).pad(x, width, constant_values=padding)
    n = x.shape[axis]
    first, second, third = (padded[(slice(None),) * axis + (slice(i, i + n),)] for i in range(3))
    x = combine(combine(first, second), third)
  return x


def _max_pool(x):
  """Maximum over 3x3 at every second pixel, no padding: [B, H, W, C] -> [B, (H - 1) // 2, (W - 1) // 2, C]."""
  for axis in (2, 1):
    n = (x.shape[axis] - 1) // 2
    first, second, third = (lax.slice_in_dim(x, i, i + 2 * n - 1, 2, axis) for i in range(3))
    x = jnp.maximum(jnp.maximum(first, second), third)
  return x


def _mean(x):
  return x.mean((1, 2))


def _initial_layer(key, shape):
  """Random parameters that keep the size of the signal, for tests and to have shapes without a file."""
  kernel = nn.initializers.he_normal()(key, shape, jnp.float32)
  return {'kernel': kernel} if len(shape) == 2 else {'kernel': kernel, 'bias': jnp.zeros(shape[-1:], jnp.float32)}


def _chain(prefix, *shapes):
  """Kernel shapes (h, w, in, out) of `prefix`, `prefix`_1, `prefix`_2, ..."""
  return {f'{prefix}_{i}' if i else prefix: shape for i, shape in enumerate(shapes)}


def _shapes_35(block, inputs, pooled):
  return (
    _chain(f'{block}_conv', (1, 1, inputs, 64))
    | _chain(f'{block}_tower_conv', (1, 1, inputs, 48), (5, 5, 48, 64))
    | _chain(f'{block}_tower_1_conv', (1, 1, inputs, 64), (3, 3, 64, 96), (3, 3, 96, 96))
    | _chain(f'{block}_tower_2_conv', (1, 1, inputs, pooled))
  )


def _shapes_17(block, n):
  wide, high = (1, 7, n, n), (7, 1, n, n)
  return (
    _chain(f'{block}_conv', (1, 1, 768, 192))
    | _chain(f'{block}_tower_conv', (1, 1, 768, n), wide, (7, 1, n, 192))
    | _chain(f'{block}_tower_1_conv', (1, 1, 768, n), high, wide, high, (1, 7, n, 192))
    | _chain(f'{block}_tower_2_conv', (1, 1, 768, 192))
  )


def _shapes_8(block, inputs):
  fork = (1, 3, 384, 384), (3, 1, 384, 384)
  return (
    _chain(f'{block}_conv', (1, 1, inputs, 320))
    | _chain(f'{block}_tower_conv', (1, 1, inputs, 384))
    | _chain(f'{block}_tower_mixed_conv', *fork)
    | _chain(f'{block}_tower_1_conv', (1, 1, inputs, 448), (3, 3, 448, 384))
    | _chain(f'{block}_tower_1_mixed_conv', *fork)
    | _chain(f'{block}_tower_2_conv', (1, 1, inputs, 192))
  )


# Kernel shapes by the output that needs them first; an output needs the layers of all before it, too.
LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
  '64': _chain('conv', (3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)),
  '192': {'conv_3': (1, 1, 64, 80), 'conv_4': (3, 3, 80, 192)},
  '768': _shapes_35('mixed', 192, 32)
  | _shapes_35('mixed_1', 256, 64)
  | _shapes_35('mixed_2', 288, 64)
  | _chain('mixed_3_conv', (3, 3, 288, 384))
  | _chain('mixed_3_tower_conv', (1, 1, 288, 64), (3, 3, 64, 96), (3, 3, 96, 96))
  | _shapes_17('mixed_4', 128)
  | _shapes_17('mixed_5', 160)
  | _shapes_17('mixed_6', 160)
  | _shapes_17('mixed_7', 192),
  '2048': _chain('mixed_8_tower_conv', (1, 1, 768, 192), (3, 3, 192, 320))
  | _chain('mixed_8_tower_1_conv', (1, 1, 768, 192), (1, 7, 192, 192), (7, 1, 192, 192), (3, 3, 192, 192))
  | _shapes_8('mixed_9', 1280)
  | _shapes_8('mixed_10', 2048),
  'logits': {'logits': (2048, 1008)},
}
