"""The two forms of each layer against each other and against Flax's layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.models import convolution

# (operation on this machine, XLA's form, our layer, Flax's layer)
CONVOLUTION = (convolution.convolve, convolution._convolve_by_xla, convolution.Conv, nn.Conv)
TRANSPOSED = (
  convolution.convolve_transposed,
  convolution._convolve_transposed_by_xla,
  convolution.ConvTranspose,
  nn.ConvTranspose,
)
BOTH = pytest.mark.parametrize('layers', [CONVOLUTION, TRANSPOSED], ids=['convolve', 'convolve_transposed'])
# Even and odd, equal and unequal.
SIZES = {1: [(6,), (5,)], 2: [(4, 5)], 3: [(2, 3, 4)]}
OPTIONS = {'use_bias': True, 'dtype': jnp.float32, 'kernel_init': nn.initializers.normal(1.0)}


def integers(seed, *shape):
  """Small whole numbers, whose sums of products float32 holds exactly in any order."""
  return jnp.asarray(np.random.default_rng(seed).integers(-3, 4, shape), jnp.float32)


def value_and_gradients(operation, x, kernel):
  """The output, and the gradients of its product with whole numbers."""
  y, pullback = jax.vjp(operation, x, kernel)
  return y, *pullback(integers(2, *y.shape))


@BOTH
@pytest.mark.parametrize('dimensions', [1, 2, 3])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [3, 4, 5])
def test_all_forms_and_flax_agree_exactly_in_values_and_gradients(layers, dimensions, stride, kernel_size):
  ours, by_xla, _, flax_layer = layers
  for sizes in SIZES[dimensions]:
    window, strides = (kernel_size,) * dimensions, (stride,) * dimensions
    x, kernel = integers(0, 2, *sizes, 3), integers(1, *window, 3, 2)
    by_flax = flax_layer(2, window, strides=strides, padding='SAME', use_bias=False)
    forms = [
      lambda x, kernel: ours(x, kernel, stride=stride),
      lambda x, kernel: by_xla(x, kernel, stride=stride),
      lambda x, kernel, by_flax=by_flax: by_flax.apply({'params': {'kernel': kernel}}, x),
    ]
    results = jax.jit(lambda x, kernel, forms=forms: [value_and_gradients(f, x, kernel) for f in forms])(x, kernel)
    for result in results[:2]:
      jax.tree.map(assert_array_equal, result, results[2])


@BOTH
@pytest.mark.parametrize('kernel_size, stride', [(2, 3), (3, 3), (4, 4)])
def test_all_forms_agree_for_windows_no_longer_than_the_stride(layers, kernel_size, stride):
  x, kernel = integers(0, 2, 7, 3), integers(1, kernel_size, 3, 2)
  assert_array_equal(layers[0](x, kernel, stride=stride), layers[1](x, kernel, stride=stride))


def test_transposed_convolution_is_pytorchs_with_the_kernel_flipped():
  """ConvTranspose2d(4, stride 2, padding 1): output[2 i + m - 1] += input[i] kernel[m], as PyTorch documents it."""
  x, kernel = integers(0, 1, 3, 3, 2), integers(1, 4, 4, 2, 5)
  padded = np.zeros((8, 8, 5))
  for i, j in np.ndindex(3, 3):
    padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum('c,hwcf->hwf', x[0, i, j], kernel)
  flipped = kernel[::-1, ::-1]
  assert_array_equal(convolution.convolve_transposed(x, flipped, stride=2)[0], padded[1:-1, 1:-1])


def test_columns_of_an_unstrided_convolution_are_made_of_the_fewer_channels():
  """To an image as from one: 9 x 3 columns, not 9 x 64."""
  run = jax.jit(functools.partial(convolution.convolve, stride=1))
  texts = [run.lower(jnp.zeros((2, 4, 4, n)), jnp.zeros((3, 3, n, 67 - n))).as_text() for n in (3, 64)]
  assert ['2x4x4x27xf32' in text for text in texts] == [True, True]
  assert not any('576' in text for text in texts)


@BOTH
@pytest.mark.parametrize('use_bias', [True, False])
def test_parameters_are_those_of_the_flax_layer(layers, use_bias, key):
  x = jnp.zeros((1, 4, 4, 3))
  options = OPTIONS | {'use_bias': use_bias, 'dtype': jnp.bfloat16}
  ours = layers[2](2, 4, 2, **options).init(key, x)
  by_flax = layers[3](2, (4, 4), strides=(2, 2), **options).init(key, x)
  assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype(jnp.float32)}
  jax.tree.map(assert_array_equal, ours, by_flax)


@BOTH
def test_layers_compute_what_the_flax_layers_compute(layers, key):
  x = integers(0, 2, 4, 4, 3)
  flax_layer = layers[3](2, (4, 4), strides=(2, 2), **OPTIONS)
  variables = {'params': {'kernel': integers(1, 4, 4, 3, 2), 'bias': jnp.array([1.0, -2.0])}}
  assert_array_equal(layers[2](2, 4, 2, **OPTIONS).apply(variables, x), flax_layer.apply(variables, x))


@BOTH
def test_layers_compute_in_their_dtype(layers, key):
  layer = layers[2](2, 4, 2, **OPTIONS | {'dtype': jnp.bfloat16})
  y, _ = jax.eval_shape(lambda x: layer.init_with_output(key, x), jnp.zeros((1, 4, 4, 3)))
  assert y.dtype == jnp.bfloat16


# Through columns, and at stride 1 also through winograd.py: shapes of input and kernel, and the stride.
LAYERS = pytest.mark.parametrize(
  'shape, kernel_shape, stride',
  [((2, 4, 4, 3), (4, 4, 3, 2), 2), ((2, 4, 4, 3), (3, 3, 3, 2), 1), ((16, 4, 4, 8), (3, 3, 8, 8), 1)],
)


def gradients_of(operation, stride):
  return jax.jit(jax.value_and_grad(lambda x, kernel: jnp.tanh(operation(x, kernel, stride=stride)).sum(), (0, 1)))


@BOTH
@LAYERS
def test_nothing_convolves_on_a_cpu_forward_or_backward(layers, shape, kernel_shape, stride):
  x, kernel = integers(0, *shape), integers(1, *kernel_shape)
  programs = [gradients_of(form, stride).lower(x, kernel).compile().as_text() for form in layers[:2]]
  # The second is there to show that the words searched for would be found.
  assert ['convolution(' in program for program in programs] == [False, True]


@BOTH
@LAYERS
def test_only_xlas_convolution_is_lowered_for_a_gpu_forward_and_backward(layers, shape, kernel_shape, stride):
  x, kernel = integers(0, *shape), integers(1, *kernel_shape)
  texts = [
    gradients_of(layers[0], stride).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    for platform in ('cuda', 'cpu')
  ]
  assert [text.count('stablehlo.convolution') for text in texts] == [3, 0]
  assert [text.count('stablehlo.dot_general') for text in texts] == [0, 3]


@BOTH
def test_second_derivatives_of_a_gradient_penalty_equal_those_of_xlas_form(layers):
  """The gradient for the kernel of the squared norm of the gradient for x, as R1 needs it."""

  def penalty_gradient(operation, x, kernel):
    def penalty(kernel):
      gradient = jax.grad(lambda x: jnp.tanh(operation(x, kernel, stride=2)).sum())(x)
      return (gradient**2).sum()

    return jax.jit(jax.grad(penalty))(kernel)

  x, kernel = integers(0, 2, 4, 4, 3) / 8, integers(1, 4, 4, 3, 2) / 8
  ours, by_xla = (penalty_gradient(form, x, kernel) for form in layers[:2])
  assert np.abs(by_xla).max() > 0.1
  assert_allclose(ours, by_xla, rtol=1e-4, atol=1e-5)
