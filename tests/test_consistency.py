"""Consistency of logits under a transformation, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.objectives.consistency import fake_consistency, real_consistency
from dcgan_jax.objectives.gradient_penalty import weighted

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.uniform(-1, 1, (5, 2, 3, 1)).astype(np.float32) for _ in range(2))
WEIGHTS = RNG.normal(0, 1, (2, 3, 1)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(1), 5)
BOTH = pytest.mark.parametrize(
  'term, images', [(real_consistency, REAL), (fake_consistency, FAKE)], ids=['real', 'fake']
)


def critic(x, weights=WEIGHTS):
  return (x**2 * weights[None]).sum((1, 2, 3))


def brighten(keys, x):
  return x + jax.vmap(jax.random.uniform)(keys)[:, None, None, None]


@BOTH
def test_consistency_is_the_squared_change_of_the_logit(term, images):
  shift = np.asarray(jax.vmap(jax.random.uniform)(KEYS), np.float64)[:, None, None, None]
  logits = [(x**2 * WEIGHTS[None]).sum((1, 2, 3)) for x in (images.astype(np.float64), images + shift)]
  found = term(KEYS, critic, REAL, FAKE, transform=brighten)
  assert_allclose(found, (logits[0] - logits[1]) ** 2, rtol=1e-4)


@BOTH
def test_a_transformation_that_changes_nothing_costs_nothing(term, images):
  assert_array_equal(term(KEYS, critic, REAL, FAKE, transform=lambda keys, x: x), np.zeros(5))


@BOTH
def test_an_invariant_critic_pays_nothing(term, images):
  mirror = lambda keys, x: x[:, :, ::-1]
  assert_allclose(term(KEYS, lambda x: x.sum((1, 2, 3)), REAL, FAKE, transform=mirror), np.zeros(5), atol=1e-10)


@BOTH
def test_gradients_reach_the_critic_by_both_its_judgements(term, images):
  """For logits x . w the penalty is ((x - y) . w)^2 with gradient 2 ((x - y) . w) (x - y)."""
  loss = lambda w: term(KEYS, lambda x: (x * w[None]).sum((1, 2, 3)), REAL, FAKE, transform=brighten).sum()
  change = images.astype(np.float64) - np.asarray(brighten(KEYS, images), np.float64)
  expected = (2 * (change * WEIGHTS[None]).sum((1, 2, 3))[:, None, None, None] * change).sum(0)
  assert_allclose(jax.grad(loss)(WEIGHTS), expected, rtol=1e-4)


def test_consistency_can_be_weighted_with_the_penalties():
  terms = [
    (w, functools.partial(t, transform=lambda _, x: -x + 1))
    for w, t in ((2.0, real_consistency), (3.0, fake_consistency))
  ]
  change = lambda x: ((x**2 - (1 - x) ** 2) * WEIGHTS[None]).sum((1, 2, 3)) ** 2
  found = weighted(terms, every=1)(KEYS, jnp.int32(0), critic, REAL, FAKE)
  assert_allclose(found, 2 * change(REAL) + 3 * change(FAKE), rtol=1e-4)
