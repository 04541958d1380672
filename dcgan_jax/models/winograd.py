"""A convolution with kernel 4 and stride 2, and its transpose, with fewer multiplications than their definition.

Every output of such a layer is a sum over 2 taps of each of the input's 2 phases. Four neighbouring outputs of a filter
with 2 taps need 8 multiplications as defined, and 5 if both are first evaluated as polynomials at 5 points (Toom and
Cook); in two dimensions 25 instead of 64. What remains are 5 products of matrices for one dimension, 25 for two, and
sums before and after them. In float32 the error is three to four times that of one product (root mean square).

References: Winograd 1980; Lavin and Gray 2016, section 4; for the choice of points Barabasz et al. 2020.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

KERNEL_SIZE, STRIDE = 4, 2
TILE = 4  # outputs of one tile, along each dimension
# With less to multiply the sums take longer than the multiplications that they save; measured.
MIN_CHANNELS, MIN_TILES = 8, 16
MAX_WASTE = 1.5  # share of tiles over that of outputs, where tiles reach over the edge
_TAPS = KERNEL_SIZE // STRIDE
_POINTS = TILE + _TAPS - 1
# Where the polynomials are evaluated, besides infinity: the pairs +-a, +-b with the least error, to three bits.
_NEAR, _FAR = 0.375, 1.25


def _matrices(points: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What maps inputs [5] and taps [2] to the 5 points, and their products back to outputs [4]."""
  inputs = np.zeros((_POINTS, _POINTS))
  kernels = np.zeros((_POINTS, _TAPS))
  outputs = np.zeros((TILE, _POINTS))
  for i, point in enumerate(points):
    others = [other for other in points if other != point]
    inputs[i, :-1] = np.poly(others)[::-1]
    kernels[i] = np.array([1.0, point]) / np.prod([point - other for other in others])
    outputs[:, i] = point ** np.arange(TILE)
  inputs[-1] = np.poly(points)[::-1]
  kernels[-1, -1] = outputs[-1, -1] = 1.0
  return inputs, kernels, outputs


_INPUTS, _KERNELS, _OUTPUTS = _matrices((_NEAR, -_NEAR, _FAR, -_FAR))


def suits(x: jax.ShapeDtypeStruct, kernel: jax.Array, *, stride: int) -> bool:
  """Whether this module can convolve inputs of the shape and type of x with the kernel, and faster than a product.

  Coarser types than float32 lose too much in the sums.
  """
  batch, *sizes, _ = x.shape
  *window, inputs, outputs = kernel.shape
  possible = stride == STRIDE and set(window) == {KERNEL_SIZE} and not any(size % STRIDE for size in sizes)
  tiles, needed = (math.prod(n) for n in ([_tiles(size) for size in sizes], [size / STRIDE / TILE for size in sizes]))
  enough = min(inputs, outputs) >= MIN_CHANNELS and batch * tiles >= MIN_TILES and tiles <= MAX_WASTE * needed
  return possible and enough and x.dtype == jnp.float32


@jax.jit
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolution with stride 2 and padding 'SAME'.

  Args:
    x: inputs, [B, *spatial, C], every size even.
    kernel: [4, ..., 4, C, F].

  Returns:
    [B, *(spatial / 2), F].
  """
  sizes = [size // STRIDE for size in x.shape[1:-1]]
  tiles = [_tiles(size) for size in x.shape[1:-1]]
  points = _input_points(_resize(x, [n * TILE * STRIDE for n in tiles]))
  return _resize(_outputs(points @ _kernel_points(kernel), batch=x.shape[0], tiles=tiles), sizes)


@jax.jit
def convolve_adjoint(y: jax.Array, kernel: jax.Array) -> jax.Array:
  """The linear map of x that `convolve` is, transposed: [B, *spatial, F] -> [B, *(spatial * 2), C].

  Args:
    y: what `convolve` would return.
    kernel: [4, ..., 4, C, F].
  """
  dtype, sizes = jnp.result_type(y, kernel), [size * STRIDE for size in y.shape[1:-1]]
  tiles = [_tiles(size) for size in sizes]
  batch, *_, features = y.shape
  outputs = functools.partial(_outputs, batch=batch, tiles=tiles)
  products = jax.ShapeDtypeStruct((_POINTS ** len(tiles), batch * math.prod(tiles), features), dtype)
  x = jax.ShapeDtypeStruct((batch, *(n * TILE * STRIDE for n in tiles), kernel.shape[-2]), dtype)
  (points,) = jax.linear_transpose(outputs, products)(_resize(y, [n * TILE for n in tiles]))
  points = points @ _kernel_points(kernel).swapaxes(1, 2)
  return _resize(jax.linear_transpose(_input_points, x)(points)[0], sizes)


def _tiles(size):
  """How many tiles cover the outputs of an input of this size, along one dimension."""
  return math.ceil(size / (STRIDE * TILE))


def _resize(x, sizes):
  """Cuts off, or fills up with zeros, the end of every spatial dimension."""
  ends = [(0, new - old, 0) for old, new in zip(x.shape[1:-1], sizes, strict=True)]
  return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])


def _input_points(x):
  """Every tile of inputs at the points, [5^d, B * tiles, 2^d * C]."""
  dimensions, channels = x.ndim - 2, x.shape[-1]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] + [(1, 1, 0)] * dimensions + [(0, 0, 0)])
  cells = [size // STRIDE for size in x.shape[1:-1]]
  # Along the last dimension the phases lie beside the channels already, along the others they get there at the end.
  x = x.reshape(x.shape[0], *itertools.chain(*((n, STRIDE) for n in cells[:-1])), cells[-1], STRIDE * channels)
  for i in range(dimensions):
    # Each dimension before has put its points in front and left its tiles and its phase behind.
    sums = _combine(_windows(x, 1 + 3 * i), _INPUTS)
    if i == dimensions - 1:
      phases = range(dimensions + 1, dimensions + 1 + 2 * i, 2)
      sums = [jnp.moveaxis(part, phases, range(-1 - i, -1)) for part in sums]
    x = _materialize(jnp.stack(sums))
  return x.reshape(_POINTS**dimensions, -1, STRIDE**dimensions * channels)


def _kernel_points(kernel):
  """The kernel at the points, [5^d, 2^d * C, F]."""
  dimensions = kernel.ndim - 2
  kernel = kernel.reshape(*(_TAPS, STRIDE) * dimensions, *kernel.shape[-2:])
  kernel = kernel.transpose(*range(0, 2 * dimensions, 2), *range(1, 2 * dimensions, 2), -2, -1)
  for i in range(dimensions):
    kernel = jnp.stack(_combine(_slices(kernel, i), _KERNELS))
  return _materialize(kernel.reshape(_POINTS**dimensions, -1, kernel.shape[-1]))


def _outputs(products, *, batch, tiles):
  """The outputs, [B, *(tiles * 4), F], from their tiles at the points, [5^d, B * tiles, F]."""
  features = products.shape[-1]
  x = products.reshape(*(_POINTS,) * len(tiles), batch, *tiles, features)
  # The first axis holds the points of the last dimension; their sums go beside its tiles.
  for dimension in range(len(tiles), 0, -1):
    x = _materialize(jnp.stack(_combine(_slices(x, 0), _OUTPUTS), 2 * dimension))
  return x.reshape(batch, *(n * TILE for n in tiles), features)


def _windows(x, axis):
  """The inputs of every tile along an axis, one array for each place in it; neighbouring tiles share one input."""
  tiles = x.shape[axis] // TILE
  body, last = lax.split(x, (tiles * TILE, 1), axis)
  body = body.reshape(*x.shape[:axis], tiles, TILE, *x.shape[axis + 1 :])
  places = _slices(body, axis + 1)
  _, others = lax.split(places[0], (1, tiles - 1), axis)
  return [places[0], *places[1:], lax.concatenate([others, last], axis)]


def _slices(x, axis):
  """x[..., i, ...] for each i along an axis; split and stack are each other's gradients, and fast, as pads are not."""
  return [part.squeeze(axis) for part in lax.split(x, (1,) * x.shape[axis], axis)]


def _combine(parts, matrix):
  """Sums of parts with the weights of each row of a matrix."""
  rows = ([(float(weight), part) for weight, part in zip(row, parts, strict=True) if weight] for row in matrix)
  return [sum((weight * part for weight, part in row[1:]), start=row[0][0] * row[0][1]) for row in rows]


def _materialize(x):
  """Keeps XLA from fusing across this point."""
  return lax.optimization_barrier(x)
