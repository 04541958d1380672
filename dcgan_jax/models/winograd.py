"""Convolutions with kernel 4 and stride 2 or kernel 3 and stride 1, and their transposes, with fewer multiplications.

Every output of such a layer is a sum over 2 taps of each of the input's 2 phases, or over 3 taps of its only one. Four
neighbouring outputs of a filter with 2 taps need 8 multiplications as defined, and 5 if both are first evaluated as
polynomials at 5 points (Toom and Cook), with 3 taps 12 and 6; in two dimensions 25 instead of 64, and 36 instead of
144. What remains are as many products of matrices, and sums before and after them. In float32 the error is three to
four times that of one product (root mean square); with 3 taps two to four times, in gradients up to six.

References: Winograd 1980; Lavin and Gray 2016, section 4; for the choice of points Barabasz et al. 2020.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE = 4  # outputs of one tile, along each dimension
# With less to multiply the sums take longer than the multiplications that they save; measured.
MIN_CHANNELS, MIN_TILES = 8, 16


@dataclasses.dataclass(frozen=True)
class Form:
  """What tells one kind of layer from the others.

  Attributes:
    kernel_size: along every dimension, as the stride.
    stride: a divisor of the kernel size.
    finite: where the polynomials are evaluated, besides infinity.
    max_waste: tiles over the outputs' share of them, where tiles reach over the edge; measured, too.
  """

  kernel_size: int
  stride: int
  finite: tuple[float, ...]
  max_waste: float

  @property
  def taps(self) -> int:
    return self.kernel_size // self.stride

  @property
  def points(self) -> int:
    return len(self.finite) + 1

  @functools.cached_property
  def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What maps inputs [points] and taps [taps] to the points, and their products back to outputs [4]."""
    inputs = np.zeros((self.points, self.points))
    kernels = np.zeros((self.points, self.taps))
    outputs = np.zeros((TILE, self.points))
    for i, point in enumerate(self.finite):
      others = [other for other in self.finite if other != point]
      inputs[i, :-1] = np.poly(others)[::-1]
      kernels[i] = point ** np.arange(self.taps) / np.prod([point - other for other in others])
      outputs[:, i] = point ** np.arange(TILE)
    inputs[-1] = np.poly(self.finite)[::-1]
    kernels[-1, -1] = outputs[-1, -1] = 1.0
    return inputs, kernels, outputs


# The finite points are pairs +-a, +-b, and 0 where their number is odd: those with the least error, to three bits.
_FORMS = (
  Form(kernel_size=4, stride=2, finite=(0.375, -0.375, 1.25, -1.25), max_waste=1.5),
  Form(kernel_size=3, stride=1, finite=(0.0, 0.625, -0.625, 1.5, -1.5), max_waste=2.0),
)
FORMS = {(form.kernel_size, form.stride): form for form in _FORMS}


def suits(x: jax.ShapeDtypeStruct, kernel: jax.Array, *, stride: int) -> bool:
  """Whether this module can convolve inputs of the shape and type of x with the kernel, and faster than a product.

  Coarser types than float32 lose too much in the sums.
  """
  batch, *sizes, _ = x.shape
  *window, inputs, outputs = kernel.shape
  form = FORMS.get((window[0], stride))
  if form is None or len(set(window)) > 1 or any(size % stride for size in sizes) or x.dtype != jnp.float32:
    return False
  tiles = math.prod(_tiles(size, stride) for size in sizes)
  needed = math.prod(size / stride / TILE for size in sizes)
  # A program for batches of any size is made for large ones.
  enough = jax.export.is_symbolic_dim(batch) or batch * tiles >= MIN_TILES
  return min(inputs, outputs) >= MIN_CHANNELS and enough and tiles <= form.max_waste * needed


@functools.partial(jax.jit, static_argnames='stride')
def convolve(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """Convolution with padding 'SAME'.

  Args:
    x: inputs, [B, *spatial, C], every size a multiple of the stride.
    kernel: [k, ..., k, C, F], of a size that has a form with this stride.
    stride: steps of the window along every spatial dimension.

  Returns:
    [B, *(spatial / stride), F].
  """
  form = FORMS[kernel.shape[0], stride]
  sizes = [size // stride for size in x.shape[1:-1]]
  tiles = [_tiles(size, stride) for size in x.shape[1:-1]]
  points = _input_points(_resize(x, [n * TILE * stride for n in tiles]), form)
  return _resize(_outputs(points @ _kernel_points(kernel, form), form, batch=x.shape[0], tiles=tiles), sizes)


@functools.partial(jax.jit, static_argnames='stride')
def convolve_adjoint(y: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
  """The linear map of x that `convolve` is, transposed: [B, *spatial, F] -> [B, *(spatial * stride), C].

  Args:
    y: what `convolve` would return.
    kernel: [k, ..., k, C, F], as for `convolve`.
    stride: as for `convolve`.
  """
  form = FORMS[kernel.shape[0], stride]
  dtype, sizes = jnp.result_type(y, kernel), [size * stride for size in y.shape[1:-1]]
  tiles = [_tiles(size, stride) for size in sizes]
  batch, *_, features = y.shape
  inputs = functools.partial(_input_points, form=form)
  outputs = functools.partial(_outputs, form=form, batch=batch, tiles=tiles)
  y = _resize(y, [n * TILE for n in tiles])
  # Zeros, not a shape alone: where shard_map checks which values differ between devices, they are as y is.
  products = jnp.zeros_like(y, dtype, shape=(form.points ** len(tiles), batch * math.prod(tiles), features))
  (points,) = jax.linear_transpose(outputs, products)(y)
  points = points @ _kernel_points(kernel, form).swapaxes(1, 2)
  x = jnp.zeros_like(points, shape=(batch, *(n * TILE * stride for n in tiles), kernel.shape[-2]))
  return _resize(jax.linear_transpose(inputs, x)(points)[0], sizes)


def _tiles(size, stride):
  """How many tiles cover the outputs of an input of this size, along one dimension."""
  return math.ceil(size / (stride * TILE))


def _resize(x, sizes):
  """Cuts off, or fills up with zeros, the end of every spatial dimension."""
  ends = [(0, new - old, 0) for old, new in zip(x.shape[1:-1], sizes, strict=True)]
  return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])


def _input_points(x, form):
  """Every tile of inputs at the points, [points^d, B * tiles, stride^d * C]."""
  dimensions, channels, stride = x.ndim - 2, x.shape[-1], form.stride
  border = (form.kernel_size - stride) // 2
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] + [(border, border, 0)] * dimensions + [(0, 0, 0)])
  cells = [size // stride for size in x.shape[1:-1]]
  # Along the last dimension the phases lie beside the channels already, along the others they get there at the end.
  x = x.reshape(x.shape[0], *itertools.chain(*((n, stride) for n in cells[:-1])), cells[-1], stride * channels)
  inputs, _, _ = form.matrices
  for i in range(dimensions):
    # Each dimension before has put its points in front and left its tiles and its phase behind.
    sums = _combine(_windows(x, 1 + 3 * i), inputs)
    if i == dimensions - 1:
      phases = range(dimensions + 1, dimensions + 1 + 2 * i, 2)
      sums = [jnp.moveaxis(part, phases, range(-1 - i, -1)) for part in sums]
    x = _materialize(jnp.stack(sums))
  return x.reshape(form.points**dimensions, -1, stride**dimensions * channels)


def _kernel_points(kernel, form):
  """The kernel at the points, [points^d, stride^d * C, F]."""
  dimensions = kernel.ndim - 2
  kernel = kernel.reshape(*(form.taps, form.stride) * dimensions, *kernel.shape[-2:])
  kernel = kernel.transpose(*range(0, 2 * dimensions, 2), *range(1, 2 * dimensions, 2), -2, -1)
  _, taps, _ = form.matrices
  for i in range(dimensions):
    kernel = jnp.stack(_combine(_slices(kernel, i), taps))
  return _materialize(kernel.reshape(form.points**dimensions, -1, kernel.shape[-1]))


def _outputs(products, form, *, batch, tiles):
  """The outputs, [B, *(tiles * 4), F], from their tiles at the points, [points^d, B * tiles, F]."""
  features = products.shape[-1]
  _, _, outputs = form.matrices
  x = products.reshape(*(form.points,) * len(tiles), batch, *tiles, features)
  # The first axis holds the points of the last dimension; their sums go beside its tiles.
  for dimension in range(len(tiles), 0, -1):
    x = _materialize(jnp.stack(_combine(_slices(x, 0), outputs), 2 * dimension))
  return x.reshape(batch, *(n * TILE for n in tiles), features)


def _windows(x, axis):
  """The inputs of every tile along an axis, one array for each place in it; neighbouring tiles share some inputs."""
  tiles, shared = divmod(x.shape[axis], TILE)
  body, *ends = lax.split(x, (tiles * TILE, *(1,) * shared), axis)
  body = body.reshape(*x.shape[:axis], tiles, TILE, *x.shape[axis + 1 :])
  places = _slices(body, axis + 1)
  nexts = [lax.split(place, (1, tiles - 1), axis)[1] for place in places[:shared]]
  return places + [lax.concatenate(parts, axis) for parts in zip(nexts, ends, strict=True)]


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
