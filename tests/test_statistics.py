"""Mean and covariance of streamed features: those of all samples at once."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcgan_jax.errors import DataError
from dcgan_jax.metrics.statistics import FeatureStatistics, check_pair

FEATURES = np.random.default_rng(0).normal(3.0, 2.0, (101, 7))


def _statistics(*batches):
  statistics = FeatureStatistics(7)
  for batch in batches:
    statistics.add(batch)
  return statistics


@pytest.mark.parametrize('batch_size', [1, 2, 30, 100, 101])
def test_statistics_do_not_depend_on_the_batch_size(batch_size):
  statistics = _statistics(*(FEATURES[i : i + batch_size] for i in range(0, 101, batch_size)))
  assert statistics.num == 101
  assert_allclose(statistics.mean, FEATURES.mean(axis=0), rtol=0, atol=1e-10)
  assert_allclose(statistics.covariance, np.cov(FEATURES, rowvar=False), rtol=0, atol=1e-10)


def test_statistics_do_not_depend_on_the_order():
  forward, backward = _statistics(FEATURES[:20], FEATURES[20:]), _statistics(FEATURES[50:], FEATURES[:50][::-1])
  assert_allclose(forward.mean, backward.mean, rtol=0, atol=1e-10)
  assert_allclose(forward.covariance, backward.covariance, rtol=0, atol=1e-10)


def test_merging_is_adding_all_samples():
  merged = _statistics(FEATURES[:20])
  merged.merge(_statistics(FEATURES[20:70], FEATURES[70:]))
  merged.merge(_statistics())
  assert merged.num == 101
  assert_allclose(merged.mean, FEATURES.mean(axis=0), rtol=0, atol=1e-10)
  assert_allclose(merged.covariance, np.cov(FEATURES, rowvar=False), rtol=0, atol=1e-10)


def test_merging_leaves_the_other_as_it_was():
  other = _statistics(FEATURES[:20])
  merged = _statistics()
  merged.merge(other)
  merged.add(FEATURES[20:])
  assert other.num == 20
  assert_allclose(other.covariance, np.cov(FEATURES[:20], rowvar=False), rtol=0, atol=1e-10)


def test_a_mean_of_ten_million_leaves_nine_digits_of_a_deviation_of_one():
  # Adding up squares, as E[x^2] - E[x]^2, would leave two.
  far = np.random.default_rng(1).normal(0.0, 1.0, (1000, 7))
  statistics = _statistics(*np.split(1e7 + far, 40))
  assert_allclose(statistics.covariance, np.cov(1e7 + far, rowvar=False), rtol=0, atol=1e-9)
  assert_allclose(statistics.covariance, np.cov(far, rowvar=False), rtol=0, atol=1e-8)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, jnp.bfloat16])
def test_low_precision_features_are_accumulated_in_float64(dtype):
  low = jnp.asarray(FEATURES, dtype)
  exact = np.asarray(low).astype(np.float64)
  assert_allclose(_statistics(low[:50], low[50:]).mean, exact.mean(axis=0), rtol=0, atol=1e-10)
  assert_allclose(_statistics(low[:50], low[50:]).covariance, np.cov(exact, rowvar=False), rtol=0, atol=1e-10)


def test_an_empty_batch_changes_nothing():
  statistics = _statistics(FEATURES, FEATURES[:0])
  assert statistics.num == 101
  assert_allclose(statistics.mean, FEATURES.mean(axis=0), rtol=1e-12)


def test_a_batch_with_nan_is_refused_and_leaves_no_trace():
  statistics = _statistics(FEATURES)
  bad = FEATURES[:5].copy()
  bad[2, 3], bad[4, 0] = np.nan, np.inf
  with pytest.raises(DataError, match=r'^NaN or infinity in 2 of 5 rows of the features, first in row 2; look at'):
    statistics.add(bad)
  assert statistics.num == 101 and np.isfinite(statistics.covariance).all()


@pytest.mark.parametrize(
  'shape, message',
  [
    ((7,), r'The features have shape \(7,\); expected one row per sample, \[N, F\].'),
    ((5, 2, 2, 7), r'The features have shape \(5, 2, 2, 7\)'),
    ((5, 8), 'Each sample has 8 features; expected 7, as in the statistics.'),
  ],
)
def test_features_of_another_shape_are_refused(shape, message):
  with pytest.raises(DataError, match=message):
    _statistics(np.zeros(shape))


def test_statistics_of_other_features_do_not_merge():
  with pytest.raises(DataError, match='Each sample has 6 features; expected 7'):
    _statistics().merge(FeatureStatistics(6))


def test_merging_nothing_with_nothing_is_nothing():
  nothing = _statistics()
  nothing.merge(_statistics())
  assert nothing.num == 0


def test_mean_and_covariance_say_how_many_samples_they_need():
  with pytest.raises(DataError, match='have seen 0 samples; add at least 1 first'):
    _ = _statistics().mean
  with pytest.raises(DataError, match='have seen 1 samples; add at least 2 first'):
    _ = _statistics(FEATURES[:1]).covariance


def test_a_pair_of_other_widths_names_both():
  with pytest.raises(DataError, match='The real features have 7 columns and the fakes 3; take both from'):
    check_pair(FEATURES, FEATURES[:, :3], ('real features', 'fakes'))
