"""The kernel distance against the definition of its estimator and torch-fidelity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.kernel import kernel_distance

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 5))
Y = RNG.normal(size=(50, 5)) * 1.2 + 0.3


def test_distance_is_the_unbiased_estimator_written_as_sums():
  x, y = X[:6], Y[:6]

  def kernel(a, b):
    return (sum(p * q for p, q in zip(a, b, strict=True)) / 5 + 1) ** 3

  within = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(6) for j in range(6) if i != j) / (6 * 5)
  between = sum(kernel(a, b) for a in x for b in y) / (6 * 6)
  mean, deviation = kernel_distance(x, y, num_subsets=3, subset_size=6)
  assert_allclose(mean, within - 2 * between, rtol=1e-12)
  assert_allclose(deviation, 0, atol=1e-12)


def test_distance_is_unbiased():
  # The mean over many independent pairs of sets from one distribution is within four of its own deviations of zero.
  rng = np.random.default_rng(0)
  distances = [kernel_distance(*rng.normal(size=(2, 20, 5)), num_subsets=1, subset_size=20)[0] for _ in range(400)]
  assert abs(np.mean(distances)) < 4 * np.std(distances) / 20


def test_distance_of_a_set_to_itself_is_not_above_zero():
  # Unbiased, it leaves out the diagonal within but not between.
  assert -1 < kernel_distance(X, X, num_subsets=1, subset_size=60)[0] < 0


def test_distance_between_point_masses_has_its_closed_form():
  x, y = np.full((10, 4), 1.0), np.full((10, 4), -1.0)
  # k(x, x) = k(y, y) = (1 + 1)^3 and k(x, y) = (1 - 1)^3.
  assert_allclose(kernel_distance(x, y, num_subsets=2, subset_size=10)[0], 8 + 8 - 2 * 0, rtol=1e-12)


def test_distance_is_symmetric_and_does_not_depend_on_the_order_of_whole_sets():
  whole = dict(num_subsets=1, subset_size=50)
  distance = kernel_distance(X[:50], Y, **whole)[0]
  assert_allclose(kernel_distance(Y, X[:50], **whole)[0], distance, rtol=1e-11)
  assert_allclose(kernel_distance(X[:50][::-1], Y[::-1], **whole)[0], distance, rtol=1e-11)


def test_subsets_depend_on_the_seed_alone():
  draw = lambda seed: kernel_distance(X, Y, num_subsets=5, subset_size=20, seed=seed)
  assert draw(3) == draw(3)
  assert draw(3) != draw(4)


def test_float32_features_are_computed_in_float64():
  low = X.astype(np.float32), Y.astype(np.float32)
  exact = (side.astype(np.float64) for side in low)
  settings = dict(num_subsets=3, subset_size=20)
  assert kernel_distance(*low, **settings) == kernel_distance(*exact, **settings)


def test_distance_is_that_recorded_from_torch_fidelity():
  # kid_features_to_metric of torch-fidelity 0.4.0 on these float64 features, with rng_seed=2020.
  mean, deviation = kernel_distance(X, Y, num_subsets=10, subset_size=20, seed=2020)
  assert_allclose((mean, deviation), (0.01677844944389135, 0.31677928527895965), rtol=1e-6)


def test_distance_is_that_of_torch_fidelity():
  reason = 'compares with torch-fidelity, which needs PyTorch and torchvision'
  torch = pytest.importorskip('torch', reason=reason)
  metric_kid = pytest.importorskip('torch_fidelity.metric_kid', reason=reason, exc_type=ImportError)
  settings = dict(kid_subsets=10, kid_subset_size=20, rng_seed=2020, verbose=False)
  expected = metric_kid.kid_features_to_metric(torch.from_numpy(X), torch.from_numpy(Y), **settings)
  mean, deviation = kernel_distance(X, Y, num_subsets=10, subset_size=20, seed=2020)
  assert_allclose(mean, expected[metric_kid.KEY_METRIC_KID_MEAN], rtol=1e-6)
  assert_allclose(deviation, expected[metric_kid.KEY_METRIC_KID_STD], rtol=1e-6)


def test_a_subset_larger_than_a_set_is_refused():
  with pytest.raises(ConfigError, match='subset_size is 1000 with 60 and 50 samples; expected 2 to 50.'):
    kernel_distance(X, Y)
  with pytest.raises(ConfigError, match='subset_size is 1 with'):
    kernel_distance(X, Y, subset_size=1)
  with pytest.raises(ConfigError, match='num_subsets is 0; expected at least 1.'):
    kernel_distance(X, Y, num_subsets=0, subset_size=20)


def test_bad_features_are_refused():
  with pytest.raises(DataError, match='The first features have 5 columns and the second features 4'):
    kernel_distance(X, Y[:, :4], subset_size=20)
  with pytest.raises(DataError, match='NaN or infinity in 50 of 50 rows of the second features, first in row 0'):
    kernel_distance(X, Y * np.nan, subset_size=20)
