"""The layers with fewer multiplications against XLA's own convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.models import convolution, winograd

HALVING, KEEPING = (4, 2), (3, 1)  # kernel size and stride
# The form, the batch, the spatial sizes of the larger side, and both numbers of channels.
SHAPES = [
  (HALVING, 16, (8,), 8, 12),
  (HALVING, 8, (16,), 9, 8),
  (HALVING, 4, (16, 16), 16, 24),
  (HALVING, 16, (8, 24), 8, 8),
  (HALVING, 2, (16, 16, 16), 8, 8),
  (KEEPING, 16, (4,), 8, 12),
  (KEEPING, 8, (8,), 9, 8),
  (KEEPING, 4, (8, 8), 16, 24),
  (KEEPING, 16, (4, 12), 8, 8),
]
# Whose tiles reach over the edge.
SHAPES += [
  (HALVING, 4, (28, 14), 8, 12),
  (HALVING, 16, (6,), 8, 8),
  (KEEPING, 16, (3,), 8, 8),
  (KEEPING, 8, (9,), 8, 8),
  (KEEPING, 4, (14, 7), 8, 12),
  (KEEPING, 16, (6, 6), 8, 8),
  (KEEPING, 2, (7, 8, 11), 8, 9),
]
BOTH = pytest.mark.parametrize('form', [HALVING, KEEPING], ids=str)


def arrays(form, batch, sizes, inputs, outputs):
  (kernel_size, stride), random = form, np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(random.standard_normal(shape), jnp.float32)
  kernel = draw(*(kernel_size,) * len(sizes), inputs, outputs)
  return draw(batch, *sizes, inputs), kernel, draw(batch, *(size // stride for size in sizes), outputs)


def assert_close(ours, theirs):
  """To 1e-5 of the largest value."""
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


def value_and_gradients(function):
  def run(x, kernel, cotangent):
    y, pullback = jax.vjp(function, x, kernel)
    return y, pullback(cotangent)

  return jax.jit(run)


def adjoint_by_xla(y, kernel, *, stride):
  flipped = jnp.flip(kernel, range(y.ndim - 2)).swapaxes(-1, -2)
  return convolution._convolve_transposed_by_xla(y, flipped, stride=stride)


def ours_and_xlas(form):
  """The two functions of (x, kernel)."""
  return [functools.partial(f, stride=form[1]) for f in (winograd.convolve, convolution._convolve_by_xla)]


@pytest.mark.parametrize('shapes', SHAPES, ids=str)
def test_convolution_and_gradients_are_xlas(shapes):
  (_, stride), (x, kernel, y) = shapes[0], arrays(*shapes)
  assert winograd.suits(x, kernel, stride=stride)
  ours, theirs = (value_and_gradients(f)(x, kernel, y) for f in ours_and_xlas(shapes[0]))
  assert_close(ours, theirs)


@pytest.mark.parametrize('shapes', SHAPES, ids=str)
def test_transposed_convolution_and_gradients_are_xlas(shapes):
  (_, stride), (x, kernel, y) = shapes[0], arrays(*shapes)
  forms = [functools.partial(f, stride=stride) for f in (winograd.convolve_adjoint, adjoint_by_xla)]
  ours, theirs = (value_and_gradients(f)(y, kernel, x) for f in forms)
  assert_close(ours, theirs)


@BOTH
def test_the_layers_take_this_form_where_it_suits(form):
  stride, (x, kernel, y) = form[1], arrays(form, 4, (16, 16), 16, 24)
  run = lambda function, *args: jax.jit(functools.partial(function, stride=stride))(*args)
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(-1, -2)
  assert_array_equal(run(convolution.convolve, x, kernel), run(winograd.convolve, x, kernel))
  assert_array_equal(run(convolution.convolve_transposed, y, flipped), run(winograd.convolve_adjoint, y, kernel))


@pytest.mark.parametrize(
  'shape, kernel_shape, stride, dtype',
  [
    ((4, 16, 16, 16), (5, 5, 16, 24), 2, jnp.float32),
    ((4, 16, 16, 16), (4, 4, 16, 24), 1, jnp.float32),
    ((4, 10, 16, 16), (4, 4, 16, 24), 2, jnp.float32),
    ((4, 15, 16, 16), (4, 4, 16, 24), 2, jnp.float32),
    ((4, 16, 16, 3), (4, 4, 3, 24), 2, jnp.float32),
    ((3, 16, 16, 16), (4, 4, 16, 24), 2, jnp.float32),
    ((4, 16, 16, 16), (4, 4, 16, 24), 2, jnp.bfloat16),
    ((16, 12, 12, 16), (4, 4, 16, 24), 2, jnp.float32),
    ((16, 16, 16, 16), (3, 3, 16, 24), 2, jnp.float32),
    ((16, 16, 16, 16), (1, 1, 16, 24), 1, jnp.float32),
    ((16, 16, 16, 16), (3, 1, 16, 24), 1, jnp.float32),
    ((16, 5, 5, 16), (3, 3, 16, 24), 1, jnp.float32),
    ((16, 16, 16, 3), (3, 3, 3, 24), 1, jnp.float32),
    ((16, 16, 16, 16), (3, 3, 16, 3), 1, jnp.float32),
    ((15, 4, 4, 16), (3, 3, 16, 24), 1, jnp.float32),
    ((16, 16, 16, 16), (3, 3, 16, 24), 1, jnp.bfloat16),
  ],
)
def test_other_layers_are_left_to_the_plain_product(shape, kernel_shape, stride, dtype):
  x, kernel = (jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel_shape))
  assert not winograd.suits(x, kernel, stride=stride)


@BOTH
def test_the_error_is_a_few_times_that_of_the_definition(form):
  """512 channels, as the widest preset has; against NumPy in float64. With jaxlib 0.7.2 it is 4.6 times XLA's."""
  (size, stride), (x, kernel, _) = form, arrays(form, 4, (16, 16), 512, 8)
  padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
  exact = np.einsum('bhwcij,ijcf->bhwf', windows, kernel, optimize=True)
  deviation = lambda y: float(np.sqrt(np.mean((np.asarray(y, np.float64) - exact) ** 2) / np.mean(exact**2)))
  ours, theirs = (deviation(f(x, kernel)) for f in ours_and_xlas(form))
  assert ours < 5 * theirs < 5e-6


@pytest.mark.parametrize('form, share', [(HALVING, 0.5), (KEEPING, 0.35)], ids=str)
def test_it_needs_a_fraction_of_the_operations(form, share):
  """25 / 64 or 36 / 144 of the multiplications, and some sums."""
  arguments = arrays(form, 16, (16, 16), 64, 128)
  flops = lambda function: _flops(value_and_gradients(function).lower(*arguments).cost_analysis())
  ours, theirs = map(flops, ours_and_xlas(form))
  assert ours < share * theirs


def _flops(analysis):
  return (analysis[0] if isinstance(analysis, list) else analysis)['flops']


@BOTH
def test_second_derivatives_of_a_gradient_penalty_are_xlas(form):
  x, kernel, _ = arrays(form, 4, (16, 16), 8, 8)
  kernel = kernel / 16

  def penalty_gradient(function):
    def penalty(kernel):
      return (jax.grad(lambda x: jnp.tanh(function(x, kernel)).sum())(x) ** 2).sum()

    return jax.jit(jax.grad(penalty))(kernel)

  ours, theirs = map(penalty_gradient, ours_and_xlas(form))
  assert_close(ours, theirs)


@BOTH
def test_a_batch_of_batches_and_forward_derivatives_work(form):
  x, kernel, _ = arrays(form, 4, (16, 16), 8, 8)
  convolve, _ = ours_and_xlas(form)
  both = jax.vmap(convolve, (0, None))(jnp.stack([x, -x]), kernel)
  assert_close(both[1], -both[0])
  value, tangent = jax.jvp(lambda x: convolve(x, kernel), (x,), (x,))
  assert_close(value, tangent)
