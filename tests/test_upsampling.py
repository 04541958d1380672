"""Enlarging before a convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.models import normalization
from dcgan_jax.models.convolution import ConvTranspose
from dcgan_jax.models.upsampling import UpsampledConv, bilinear, nearest

SPACES = pytest.mark.parametrize('space', [(5,), (3, 4), (2, 3, 4)], ids=len)
STRIDES = pytest.mark.parametrize('stride', [1, 2, 3])
EVERY = pytest.mark.parametrize('enlarge', [nearest, bilinear])


def layer(features=2, kernel_size=3, stride=2, kind=UpsampledConv, **options):
  options = {'use_bias': True, 'dtype': jnp.float32, 'kernel_init': nn.initializers.normal(1.0)} | options
  return kind(features, kernel_size, stride, **options)


def values(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


@SPACES
@STRIDES
def test_nearest_copies_the_pixel_that_each_position_lies_in(space, stride):
  x = values(2, *space, 3)
  y = nearest(x, stride)
  assert y.shape == (2, *(size * stride for size in space), 3)
  for index in np.ndindex(*y.shape[1:-1]):
    assert_array_equal(y[(slice(None), *index)], x[(slice(None), *(i // stride for i in index))])


@SPACES
@STRIDES
def test_bilinear_interpolates_between_pixel_centres_along_each_dimension(space, stride):
  x = values(2, *space, 3)
  expected = x
  for axis, size in enumerate(space, start=1):
    at = (np.arange(size * stride) + 0.5) / stride - 0.5
    expected = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, expected)
  assert_allclose(bilinear(x, stride), expected, rtol=1e-4, atol=1e-5)


@EVERY
@SPACES
def test_layer_is_flaxs_convolution_of_the_enlarged_input(enlarge, space):
  x, network = values(2, *space, 3), layer(enlarge=enlarge)
  y, variables = network.init_with_output(jax.random.key(0), x)
  by_flax = nn.Conv(2, (3,) * len(space), padding='SAME').apply(variables, enlarge(x, 2))
  assert y.shape == (2, *(size * 2 for size in space), 2)
  assert_allclose(y, by_flax, rtol=1e-4, atol=1e-5)


@EVERY
def test_layer_has_the_parameters_of_a_transposed_convolution(enlarge, key):
  x = values(2, 3, 4, 3)
  ours, other = (
    jax.eval_shape(network.init, key, x) for network in (layer(enlarge=enlarge), layer(kind=ConvTranspose))
  )
  assert ours == other


@EVERY
def test_constant_input_has_a_constant_interior_where_a_transposed_convolution_leaves_a_checkerboard(enlarge, key):
  x = np.ones((1, 6, 6, 2), np.float32)
  interior, board = (
    network.init_with_output(key, x)[0][0, 2:-2, 2:-2]
    for network in (layer(enlarge=enlarge), layer(kind=ConvTranspose))
  )
  assert_allclose(interior, jnp.broadcast_to(interior[:1, :1], interior.shape), rtol=1e-5, atol=1e-5)
  assert jnp.abs(board - board[:1, :1]).max() > 0.1


def test_spectral_norm_reaches_the_kernel(key):
  x, network = values(2, 3, 4, 3), layer(name='layer')

  class Constrained(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
      made = layer(name='layer')
      return normalization.constrained(made, x, spectral_norm=True, train=train)

  constrained = Constrained()
  variables = constrained.init(key, x, train=False)
  step = jax.jit(functools.partial(constrained.apply, train=True, mutable=['batch_stats']))
  for _ in range(100):
    y, moved = step(variables, x)
    variables = {**variables, **moved}
  params = variables['params']['layer']
  largest = np.linalg.svd(np.reshape(params['kernel'], (-1, 2)), compute_uv=False)[0]
  assert_allclose(
    y, network.apply({'params': params | {'kernel': params['kernel'] / largest}}, x), rtol=1e-3, atol=1e-4
  )


@EVERY
def test_half_precision_is_for_activations_alone(enlarge, key):
  y, variables = layer(enlarge=enlarge, dtype=jnp.bfloat16).init_with_output(key, values(2, 3, 4, 3))
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
