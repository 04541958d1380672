"""Feature matching, against NumPy and on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from numpy.testing import assert_allclose

from dcgan_jax.objectives.feature_matching import feature_matching

RNG = np.random.default_rng(0)
FAKE, REAL = (RNG.normal(i, 1, (8, 2, 2, 3)).astype(np.float32) for i in range(2))
UNUSED = np.full((8, 4), np.nan, np.float32)


def same(x):
  return x


def test_loss_is_the_squared_distance_of_the_mean_last_activations():
  expected = 0.0
  for index in np.ndindex(2, 2, 3):
    means = [np.mean([example[index] for example in x.astype(np.float64)]) for x in (FAKE, REAL)]
    expected += (means[0] - means[1]) ** 2
  found = feature_matching((UNUSED, jnp.array(FAKE)), (UNUSED, REAL), mean=same)
  assert found.shape == ()
  assert_allclose(found, expected, rtol=1e-5)


def test_batches_of_equal_means_match_whatever_their_order_size_and_spread():
  spread = np.concatenate([FAKE - 2, FAKE + 2])
  assert_allclose(feature_matching((jnp.array(FAKE),), (spread[::-1],), mean=same), 0.0, atol=1e-10)


def test_gradient_moves_every_fake_by_the_difference_of_the_means():
  gradient = jax.grad(lambda x: feature_matching((x,), (REAL,), mean=same))(FAKE)
  expected = 2 * (FAKE.mean(0) - REAL.mean(0)) / 8
  assert_allclose(gradient, np.broadcast_to(expected[None], FAKE.shape), rtol=1e-4)


def test_half_precision_activations_are_averaged_in_float32():
  """Means of 1 and 1 + 2^-10 are the same bfloat16."""
  fake, real = jnp.ones((1024, 1), jnp.bfloat16), jnp.ones((1024, 1), jnp.bfloat16).at[0].set(2)
  assert_allclose(feature_matching((fake,), (real,), mean=same), 2.0**-20, rtol=1e-5)


@pytest.mark.parametrize('devices', [2, 4])
def test_loss_and_averaged_gradients_do_not_depend_on_the_number_of_devices(devices):
  def loss(mean, weights, fake, real):
    return feature_matching((jnp.tanh(fake @ weights),), (jnp.tanh(real @ weights),), mean=mean)

  weights = RNG.normal(0, 1, (3, 4)).astype(np.float32)
  split = lambda x: x.reshape(devices, -1, *x.shape[1:])
  mean = functools.partial(lax.pmean, axis_name='devices')
  run = jax.vmap(jax.value_and_grad(functools.partial(loss, mean)), axis_name='devices', in_axes=(None, 0, 0))
  values, gradients = run(weights, split(FAKE), split(REAL))
  expected, expected_gradient = jax.value_and_grad(functools.partial(loss, same))(weights, FAKE, REAL)
  assert_allclose(values, np.full(devices, expected), rtol=1e-5)
  assert_allclose(gradients.mean(0), expected_gradient, rtol=1e-4, atol=1e-6)
