"""The Fréchet distance against its closed forms, SciPy's square root and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.frechet import check_sample_count, frechet_distance
from dcgan_jax.metrics.statistics import FeatureStatistics

SIZE = 40


def _gaussian(seed, num=500, decay=1.0):
  """Mean and covariance of samples whose deviations fall from 1 to 10^-decay, in random directions."""
  rng = np.random.default_rng(seed)
  mixing = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0] * np.logspace(0, -decay, SIZE)
  samples = rng.normal(size=(num, SIZE)) @ mixing.T + rng.normal(size=SIZE)
  return samples.mean(axis=0), np.cov(samples, rowvar=False)


def test_distance_to_itself_is_zero():
  gaussian = _gaussian(0)
  assert 0 <= frechet_distance(*gaussian, *gaussian) < 1e-12


@pytest.mark.parametrize('num, decay', [(10, 1.0), (500, 12.0)], ids=['ten samples', 'variances down to 1e-24'])
def test_distance_of_a_singular_covariance_to_itself_is_zero(num, decay):
  gaussian = _gaussian(0, num, decay)
  assert 0 <= frechet_distance(*gaussian, *gaussian) < 1e-12


def test_distance_is_symmetric():
  a, b = _gaussian(0, 20), _gaussian(1)
  assert_allclose(frechet_distance(*a, *b), frechet_distance(*b, *a), rtol=1e-12)


def test_distance_between_shifted_gaussians_is_the_squared_shift():
  mean, covariance = _gaussian(0)
  shift = np.linspace(-1, 2, SIZE)
  assert_allclose(frechet_distance(mean, covariance, mean + shift, covariance), shift @ shift, rtol=1e-12)


def test_distance_between_diagonal_covariances_is_that_of_their_deviations():
  a, b = np.random.default_rng(0).uniform(0, 3, (2, SIZE))
  distance = frechet_distance(np.zeros(SIZE), np.diag(a**2), np.zeros(SIZE), np.diag(b**2))
  assert_allclose(distance, ((a - b) ** 2).sum(), rtol=1e-12)


def test_distance_between_scaled_gaussians():
  _, covariance = _gaussian(0)
  distance = frechet_distance(np.zeros(SIZE), covariance, np.zeros(SIZE), 9 * covariance)
  assert_allclose(distance, (3 - 1) ** 2 * np.trace(covariance), rtol=1e-12)


def test_distance_does_not_depend_on_the_choice_of_axes():
  (mean_a, a), (mean_b, b) = _gaussian(0), _gaussian(1)
  turn = np.linalg.qr(np.random.default_rng(2).normal(size=(SIZE, SIZE)))[0]
  turned = frechet_distance(turn @ mean_a, turn @ a @ turn.T, turn @ mean_b, turn @ b @ turn.T)
  assert_allclose(turned, frechet_distance(mean_a, a, mean_b, b), rtol=1e-11)


def test_distance_to_a_single_point_is_the_shift_and_all_of_the_variance():
  mean, covariance = _gaussian(0)
  distance = frechet_distance(mean, covariance, np.zeros(SIZE), np.zeros((SIZE, SIZE)))
  assert_allclose(distance, mean @ mean + np.trace(covariance), rtol=1e-12)


def test_distance_between_two_points_is_the_squared_shift():
  nothing = np.zeros((SIZE, SIZE))
  assert frechet_distance(np.zeros(SIZE), nothing, np.ones(SIZE), nothing) == SIZE


def test_distance_equals_that_of_scipys_matrix_root():
  (mean_a, a), (mean_b, b) = _gaussian(0), _gaussian(1)
  expected = ((mean_a - mean_b) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
  assert_allclose(frechet_distance(mean_a, a, mean_b, b), expected, rtol=1e-10)


def test_distance_of_singular_covariances_that_do_not_overlap_is_all_of_both_variances():
  # Eigenvalues that are zero but for rounding would count with their roots, 1e-8 each.
  directions = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))[0]
  a, b = directions[:, : SIZE // 2], 3 * directions[:, SIZE // 2 :]
  distance = frechet_distance(np.zeros(SIZE), a @ a.T, np.zeros(SIZE), b @ b.T)
  assert_allclose(distance, (1 + 9) * SIZE / 2, rtol=1e-12)


def test_rounding_below_zero_in_a_covariance_gives_no_nan():
  mean, covariance = _gaussian(0, 10)
  distance = frechet_distance(mean, covariance - 1e-17 * np.eye(SIZE), mean, covariance)
  assert 0 <= distance < 1e-12


def test_distance_is_that_recorded_from_torch_fidelity():
  # fid_features_to_statistics and fid_statistics_to_metric of torch-fidelity 0.4.0 on these float64 features.
  real, fake = _recorded_features()
  assert_allclose(_distance_of_features(real, fake), 566.4431858742666, rtol=1e-6)


def test_distance_is_that_of_torch_fidelity():
  reason = 'compares with torch-fidelity, which needs PyTorch and torchvision'
  torch = pytest.importorskip('torch', reason=reason)
  metric_fid = pytest.importorskip('torch_fidelity.metric_fid', reason=reason, exc_type=ImportError)
  real, fake = _recorded_features()
  statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake)]
  expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
  assert_allclose(_distance_of_features(real, fake), expected, rtol=1e-6)


def test_fewer_samples_than_features_are_refused_unless_asked_twice():
  check_sample_count(2048, 2048)
  check_sample_count(100, 64)
  check_sample_count(10, 2048, allow_few=True)
  with pytest.raises(
    ConfigError, match=r'^2047 samples are too few .* Use at least 2048 .*ask for it again with --allow-few'
  ):
    check_sample_count(2047, 2048)


@pytest.mark.parametrize(
  'arrays, message',
  [
    ((np.zeros(3), np.eye(3), np.zeros(2), np.eye(2)), r'shape \(2,\) .* \(2, 2\); expected \(3,\) and \(3, 3\)'),
    ((np.zeros(3), np.ones(3), np.zeros(3), np.eye(3)), r'a covariance of shape \(3,\); expected \(3,\) and \(3, 3\)'),
    ((np.zeros(3), np.eye(3), np.zeros(3), np.full((3, 3), np.nan)), 'holds NaN or infinity'),
    ((np.full(3, np.inf), np.eye(3), np.zeros(3), np.eye(3)), 'holds NaN or infinity'),
  ],
  ids=['widths', 'rank', 'nan', 'infinity'],
)
def test_bad_statistics_are_refused(arrays, message):
  with pytest.raises(DataError, match=message):
    frechet_distance(*arrays)


def _recorded_features():
  """Two sets of features with correlations; RandomState's numbers are the same in every NumPy."""
  rng = np.random.RandomState(0)
  real = rng.normal(size=(300, 32)) @ rng.normal(size=(32, 32))
  fake = rng.normal(size=(200, 32)) @ rng.normal(size=(32, 32)) + 0.5
  return real, fake


def _distance_of_features(real, fake):
  statistics = [FeatureStatistics(32), FeatureStatistics(32)]
  statistics[0].add(real)
  statistics[1].add(fake)
  (a, b) = statistics
  return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
