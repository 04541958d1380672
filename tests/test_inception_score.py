"""The Inception Score against its bounds, its definition and torch-fidelity."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.inception_score import inception_score

LOGITS = np.random.RandomState(0).normal(size=(103, 6)) * 2


def test_score_of_sure_and_evenly_spread_samples_is_the_number_of_classes():
  assert_allclose(inception_score(np.tile(1000 * np.eye(6), (10, 1)), splits=1)[0], 6, rtol=1e-12)


def test_score_of_samples_of_one_class_is_one():
  assert_allclose(inception_score(1000 * np.eye(6)[np.zeros(20, int)]), (1, 0), atol=1e-12)


def test_score_of_undecided_logits_is_one():
  assert_allclose(inception_score(np.zeros((20, 6))), (1, 0), atol=1e-12)


def test_score_is_the_definition_over_splits_of_uneven_size():
  scores = []
  for part in (LOGITS[:34], LOGITS[34:68], LOGITS[68:]):
    p = scipy.special.softmax(part, axis=1)
    scores.append(np.exp(np.mean([scipy.stats.entropy(row, p.mean(axis=0)) for row in p])))
  assert_allclose(inception_score(LOGITS, splits=3, seed=None), (np.mean(scores), np.std(scores)), rtol=1e-12)


def test_score_of_one_split_does_not_depend_on_the_order():
  score = inception_score(LOGITS, splits=1, seed=None)[0]
  assert_allclose(inception_score(LOGITS[::-1], splits=1, seed=5)[0], score, rtol=1e-12)


def test_score_does_not_depend_on_what_is_added_to_a_samples_logits():
  assert_allclose(inception_score(LOGITS + 1e4 * np.arange(103)[:, None]), inception_score(LOGITS), rtol=1e-9)


def test_samples_sorted_by_class_are_shuffled_before_they_are_split():
  in_order = 1000 * np.eye(6)[np.repeat(np.arange(6), 50)]
  assert_allclose(inception_score(in_order, splits=6, seed=None), (1, 0), atol=1e-12)
  assert inception_score(in_order, splits=6)[0] > 5


def test_score_is_that_recorded_from_torch_fidelity():
  # isc_features_to_metric of torch-fidelity 0.4.0 on these float64 logits, with its defaults: shuffled, rng_seed=2020.
  assert_allclose(inception_score(LOGITS, splits=10, seed=2020), (1.9220437131995585, 0.23393679462717784), rtol=1e-6)


@pytest.mark.parametrize('seed', [None, 2020])
def test_score_is_that_of_torch_fidelity(seed):
  reason = 'compares with torch-fidelity, which needs PyTorch and torchvision'
  torch = pytest.importorskip('torch', reason=reason)
  metric_isc = pytest.importorskip('torch_fidelity.metric_isc', reason=reason, exc_type=ImportError)
  settings = dict(splits=10, shuffle=seed is not None, rng_seed=seed)
  expected = metric_isc.isc_features_to_metric(torch.from_numpy(LOGITS), **settings)
  mean, deviation = inception_score(LOGITS, splits=10, seed=seed)
  assert_allclose(mean, expected[metric_isc.KEY_METRIC_ISC_MEAN], rtol=1e-6)
  assert_allclose(deviation, expected[metric_isc.KEY_METRIC_ISC_STD], rtol=1e-6)


def test_more_splits_than_samples_are_refused():
  with pytest.raises(ConfigError, match='splits is 10 with 9 samples; expected 1 to 9.'):
    inception_score(LOGITS[:9])


def test_bad_logits_are_refused():
  with pytest.raises(DataError, match=r'The logits have shape \(6,\); expected one row per sample'):
    inception_score(LOGITS[0])
  with pytest.raises(DataError, match='NaN or infinity in 103 of 103 rows of the logits, first in row 0'):
    inception_score(LOGITS * np.inf)
