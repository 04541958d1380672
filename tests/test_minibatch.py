"""Layers that see the batch: against loops, and on one device against four."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.games.parallel import AXIS
from dcgan_jax.models import minibatch

KERNELS, DIMENSIONS = 3, 2


class Network(nn.Module):
  """A network that is one call."""

  function: Callable

  @nn.compact
  def __call__(self, *args, **options):
    return self.function(*args, **options)


def fail(values):
  raise AssertionError('sampling asked other devices')


def discrimination(gather=lambda x: x):
  sizes = {'num_kernels': KERNELS, 'kernel_dim': DIMENSIONS}
  return Network(functools.partial(minibatch.discrimination, gather=gather, **sizes))


def standard_deviation(mean=lambda x: x):
  return Network(functools.partial(minibatch.standard_deviation, mean=mean))


LAYERS = {
  'discrimination': (discrimination, functools.partial(lax.all_gather, axis_name=AXIS, tiled=True)),
  'standard_deviation': (standard_deviation, functools.partial(lax.pmean, axis_name=AXIS)),
}
BOTH = pytest.mark.parametrize('make, collective', LAYERS.values(), ids=LAYERS)
SHAPES = pytest.mark.parametrize('shape', [(8, 5), (8, 4, 2), (8, 2, 2, 2), (8, 2, 1, 2, 2)], ids=len)


def values(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


@SHAPES
def test_discrimination_sums_the_closeness_to_every_example_of_the_batch(shape, key):
  x, network = values(*shape), discrimination()
  y, variables = network.init_with_output(key, x, train=False)
  flat = np.float64(x).reshape(8, -1)
  tensor = np.float64(variables['params']['minibatch_kernels']['kernel']).reshape(-1, KERNELS, DIMENSIONS)
  points = np.einsum('bf,fkd->bkd', flat, tensor)
  expected = np.zeros((8, KERNELS))
  for i in range(8):
    for j in range(8):
      for b in range(KERNELS):
        expected[i, b] += np.exp(-sum(abs(points[i, b, c] - points[j, b, c]) for c in range(DIMENSIONS)))
  assert_array_equal(y[:, : flat.shape[1]], np.float32(flat))
  assert_allclose(y[:, flat.shape[1] :], expected, rtol=1e-4)


@SHAPES
def test_standard_deviation_over_the_batch_is_averaged_and_appended_as_a_channel(shape):
  x = values(*shape)
  y = standard_deviation().apply({}, x, train=False)
  assert_array_equal(y[..., :-1], x)
  assert_allclose(y[..., -1], np.full(shape[:-1], np.float64(x).std(axis=0).mean()), rtol=1e-5)


@BOTH
def test_four_devices_see_the_batch_of_one_and_share_its_gradients(make, collective, key):
  x, target = values(8, 3, 2), np.float32(np.random.default_rng(1).normal(size=(8, 100)))
  params = make().init(key, x, train=False).get('params', {})

  def results(network, x, target):
    def loss(params, x):
      y = network.apply({'params': params}, x, train=True)
      return (y.reshape(len(y), -1) * target[:, : y[0].size]).mean(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (gradients, x_gradients), y = jax.jit(functools.partial(results, make()))(x, target)
  split = [leaf.reshape(4, 2, *leaf.shape[1:]) for leaf in (x, target)]
  device = functools.partial(results, make(collective))
  (parts, x_parts), y_parts = jax.jit(jax.vmap(device, axis_name=AXIS))(*split)
  assert_allclose(y_parts.reshape(y.shape), y, rtol=1e-5, atol=1e-6)
  # A device's loss is the mean over a quarter of the batch.
  assert_allclose(x_parts.reshape(x.shape) / 4, x_gradients, rtol=1e-4, atol=1e-6)
  jax.tree.map(lambda part, whole: assert_allclose(part.mean(0), whole, rtol=1e-4, atol=1e-6), parts, gradients)


@BOTH
def test_sampling_knows_its_own_batch_alone(make, collective, key):
  del collective
  x = values(4, 3, 2)
  variables = make().init(key, x, train=False)
  assert_array_equal(make(fail).apply(variables, x, train=False), make().apply(variables, x, train=True))
  with pytest.raises(AssertionError, match='other devices'):
    make(fail).apply(variables, x, train=True)


@BOTH
def test_a_collapsed_batch_is_told_from_a_varied_one(make, collective, key):
  del collective
  varied, network = values(8, 3, 2), make()
  variables = network.init(key, varied, train=False)
  collapsed = network.apply(variables, np.tile(varied[:1], (8, 1, 1)), train=False)
  if make is discrimination:
    assert_allclose(collapsed[:, -KERNELS:], 8.0)
    assert (network.apply(variables, varied, train=False)[:, -KERNELS:] < 7.0).all()
  else:
    assert_allclose(collapsed[..., -1], 1e-4)
    assert (network.apply(variables, varied, train=False)[..., -1] > 0.5).all()


@BOTH
def test_gradients_of_a_collapsed_batch_are_finite(make, collective, key):
  del collective
  x, network = np.ones((4, 3, 2), np.float32), make()
  variables = network.init(key, x, train=False)
  gradients = jax.grad(lambda variables, x: network.apply(variables, x, train=True).sum(), (0, 1))(variables, x)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_distances_start_near_one_in_any_number_of_dimensions(key):
  x = values(64, 300)
  for dimensions in (2, 16, 64):
    network = Network(
      functools.partial(minibatch.discrimination, gather=lambda x: x, num_kernels=20, kernel_dim=dimensions)
    )
    closeness = network.init_with_output(key, x, train=False)[0][:, 300:]
    # The 63 others at a distance near 1.1 have a closeness near 0.33 each.
    assert 0.2 < ((closeness - 1) / 63).mean() < 0.5


def test_discrimination_never_holds_every_difference_at_once(key):
  """Of 100 examples, 8 kernels and 64 dimensions there are 5,120,000 differences: 20 MB."""
  network = Network(functools.partial(minibatch.discrimination, gather=lambda x: x, num_kernels=8, kernel_dim=64))
  x = values(100, 10)
  variables = network.init(key, x, train=False)
  step = jax.jit(jax.grad(lambda variables: jnp.square(network.apply(variables, x, train=True)).sum()))
  assert step.lower(variables).compile().memory_analysis().temp_size_in_bytes < 5e6


@BOTH
def test_half_precision_stays_half(make, collective, key):
  del collective
  x = jnp.bfloat16(values(4, 3, 2))
  y, variables = make().init_with_output(key, x, train=False)
  assert y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} <= {jnp.dtype('float32')}
