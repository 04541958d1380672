"""The layers with fewer multiplications against XLA's own convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.models import convolution, winograd

# The batch, the spatial sizes of the larger side, and both numbers of channels.
SHAPES = [(16, (8,), 8, 12), (8, (16,), 9, 8), (4, (16, 16), 16, 24), (16, (8, 24), 8, 8), (2, (16, 16, 16), 8, 8)]
SHAPES += [(4, (28, 14), 8, 12), (16, (6,), 8, 8)]  # whose tiles reach over the edge


def arrays(batch, sizes, inputs, outputs):
  random = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(random.standard_normal(shape), jnp.float32)
  halves = tuple(size // 2 for size in sizes)
  return draw(batch, *sizes, inputs), draw(*(4,) * len(sizes), inputs, outputs), draw(batch, *halves, outputs)


def assert_close(ours, theirs):
  """To 1e-5 of the largest value."""
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


def value_and_gradients(function):
  def run(x, kernel, cotangent):
    y, pullback = jax.vjp(function, x, kernel)
    return y, pullback(cotangent)

  return jax.jit(run)


def adjoint_by_xla(y, kernel):
  flipped = jnp.flip(kernel, range(y.ndim - 2)).swapaxes(-1, -2)
  return convolution._convolve_transposed_by_xla(y, flipped, stride=2)


by_xla = functools.partial(convolution._convolve_by_xla, stride=2)


@pytest.mark.parametrize('shapes', SHAPES, ids=str)
def test_convolution_and_gradients_are_xlas(shapes):
  x, kernel, y = arrays(*shapes)
  assert winograd.suits(x, kernel, stride=2)
  assert_close(value_and_gradients(winograd.convolve)(x, kernel, y), value_and_gradients(by_xla)(x, kernel, y))


@pytest.mark.parametrize('shapes', SHAPES, ids=str)
def test_transposed_convolution_and_gradients_are_xlas(shapes):
  x, kernel, y = arrays(*shapes)
  ours = value_and_gradients(winograd.convolve_adjoint)(y, kernel, x)
  assert_close(ours, value_and_gradients(adjoint_by_xla)(y, kernel, x))


def test_the_layers_take_this_form_where_it_suits():
  x, kernel, y = arrays(4, (16, 16), 16, 24)
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(-1, -2)
  convolved = jax.jit(functools.partial(convolution.convolve, stride=2))(x, kernel)
  assert_array_equal(convolved, jax.jit(winograd.convolve)(x, kernel))
  transposed = jax.jit(functools.partial(convolution.convolve_transposed, stride=2))(y, flipped)
  assert_array_equal(transposed, jax.jit(winograd.convolve_adjoint)(y, kernel))


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
  ],
)
def test_other_layers_are_left_to_the_plain_product(shape, kernel_shape, stride, dtype):
  x, kernel = (jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel_shape))
  assert not winograd.suits(x, kernel, stride=stride)


def test_the_error_is_a_few_times_that_of_the_definition():
  """512 channels, as the widest preset has; against NumPy in float64."""
  x, kernel, _ = arrays(4, (16, 16), 512, 8)
  padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), (1, 2))[:, ::2, ::2]
  exact = np.einsum('bhwcij,ijcf->bhwf', windows, kernel, optimize=True)
  deviation = lambda y: float(np.sqrt(np.mean((np.asarray(y, np.float64) - exact) ** 2) / np.mean(exact**2)))
  assert deviation(winograd.convolve(x, kernel)) < 4 * deviation(by_xla(x, kernel)) < 4e-6


def test_it_needs_less_than_half_of_the_operations():
  """25 / 64 of the multiplications, and some sums."""
  x, kernel, y = arrays(16, (16, 16), 64, 128)
  flops = lambda function: _flops(value_and_gradients(function).lower(x, kernel, y).cost_analysis())
  assert flops(winograd.convolve) < 0.5 * flops(by_xla)


def _flops(analysis):
  return (analysis[0] if isinstance(analysis, list) else analysis)['flops']


def test_second_derivatives_of_a_gradient_penalty_are_xlas():
  x, kernel, _ = arrays(4, (16, 16), 8, 8)
  kernel = kernel / 16

  def penalty_gradient(function):
    def penalty(kernel):
      return (jax.grad(lambda x: jnp.tanh(function(x, kernel)).sum())(x) ** 2).sum()

    return jax.jit(jax.grad(penalty))(kernel)

  assert_close(penalty_gradient(winograd.convolve), penalty_gradient(by_xla))


def test_a_batch_of_batches_and_forward_derivatives_work():
  x, kernel, _ = arrays(4, (16, 16), 8, 8)
  both = jax.vmap(winograd.convolve, (0, None))(jnp.stack([x, -x]), kernel)
  assert_close(both[1], -both[0])
  value, tangent = jax.jvp(lambda x: winograd.convolve(x, kernel), (x,), (x,))
  assert_close(value, tangent)
