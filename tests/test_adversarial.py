"""The adversarial losses: laws, and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcgan_jax.objectives.adversarial import NON_SATURATING, SATURATING, cross_entropy

BOTH = pytest.mark.parametrize('loss', [NON_SATURATING, SATURATING], ids=['non_saturating', 'saturating'])
LOGITS = np.array([-9.0, -2.5, -0.1, 0.0, 0.7, 8.0], np.float32)


def sigmoid(logits):
  return 1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64)))


@BOTH
def test_discriminator_loss_of_undecided_logits_is_two_log_two(loss):
  assert_allclose(loss.discriminator(jnp.zeros(3), jnp.zeros(3)), np.full(3, 2 * np.log(2)), rtol=1e-6)


def test_discriminator_loss_is_the_cross_entropy_of_its_probabilities():
  expected = -np.log(sigmoid(LOGITS)) - np.log1p(-sigmoid(LOGITS[::-1]))
  assert_allclose(cross_entropy(LOGITS, LOGITS[::-1]), expected, rtol=1e-5)


def test_generator_losses_are_the_two_logarithms_of_goodfellow_et_al():
  assert_allclose(NON_SATURATING.generator(LOGITS), -np.log(sigmoid(LOGITS)), rtol=1e-5)
  assert_allclose(SATURATING.generator(LOGITS), np.log1p(-sigmoid(LOGITS)), rtol=1e-5)


def test_discriminator_loss_falls_as_either_judgement_improves():
  x = np.linspace(-5.0, 5.0, 21, dtype=np.float32)
  assert (np.diff(cross_entropy(x, 0.0 * x)) < 0).all()
  assert (np.diff(cross_entropy(0.0 * x, x)) > 0).all()


@BOTH
def test_generator_loss_falls_as_the_discriminator_is_fooled(loss):
  assert (np.diff(loss.generator(np.linspace(-5.0, 5.0, 21, dtype=np.float32))) < 0).all()


@BOTH
def test_losses_and_gradients_of_huge_logits_are_finite(loss):
  huge = jnp.array([-1e4, 1e4])
  for function in (lambda x: loss.discriminator(x, -x), lambda x: loss.discriminator(-x, x), loss.generator):
    values, gradients = function(huge), jax.grad(lambda x, f=function: f(x).sum())(huge)
    assert jnp.isfinite(values).all() and jnp.isfinite(gradients).all()


def test_generator_gradients_share_sign_and_add_up_to_minus_one_wherever_the_discriminator_stands():
  """d/dx of -log D and of log(1 - D) are -(1 - D) and -D: strong on recognised fakes, and strong on fooling ones."""
  gradients = [jax.grad(lambda x, f=loss.generator: f(x).sum())(LOGITS) for loss in (NON_SATURATING, SATURATING)]
  assert_allclose(gradients, [sigmoid(LOGITS) - 1, -sigmoid(LOGITS)], rtol=1e-4)


@BOTH
def test_losses_are_one_value_per_example(loss):
  values = loss.discriminator(jnp.arange(3.0), jnp.arange(3.0)), loss.generator(jnp.arange(3.0))
  assert [value.shape for value in values] == [(3,), (3,)]
