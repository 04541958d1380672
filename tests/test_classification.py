"""The auxiliary classifier's loss, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from dcgan_jax.objectives.classification import classification

LOGITS = np.array([[0.3, -1.0, 2.0], [1e3, 0.0, -1e3], [-5.0, 5.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = np.array([2, 1, 0, 1], np.int32)


def probabilities():
  shifted = np.exp(LOGITS.astype(np.float64) - LOGITS.max(1, keepdims=True))
  return shifted / shifted.sum(1, keepdims=True)


def test_loss_is_minus_the_logarithm_of_the_probability_of_the_label():
  rows = [0, 2, 3]
  expected = [-np.log(probabilities()[row, LABELS[row]]) for row in rows]
  assert_allclose(classification(LOGITS, LABELS)[np.array(rows)], expected, rtol=1e-5)


def test_loss_of_a_hopeless_guess_is_the_distance_of_its_logits():
  assert_allclose(classification(LOGITS, LABELS)[1], 1000.0, rtol=1e-6)


def test_undecided_classes_cost_the_logarithm_of_their_number():
  assert_allclose(classification(jnp.zeros((2, 10)), jnp.array([0, 9])), np.full(2, np.log(10)), rtol=1e-6)


def test_gradient_is_probability_minus_label():
  gradient = jax.grad(lambda x: classification(x, LABELS).sum())(LOGITS)
  assert_allclose(gradient, probabilities() - np.eye(3)[LABELS], atol=1e-6)
