"""Neighbours against naive loops, and the metrics made of them against their laws and torch-fidelity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.neighbours import density_coverage, k_nearest, k_nearest_others, precision_recall

RNG = np.random.RandomState(0)
REAL = RNG.normal(size=(120, 6))
FAKE = RNG.normal(size=(90, 6)) * 0.8 + 0.4
METRICS = [precision_recall, density_coverage]


@pytest.mark.parametrize('block', [1, 7, 90, 1000])
def test_nearest_are_those_of_a_full_sort(block):
  distances = cdist(FAKE, REAL)
  expected = np.argsort(distances, axis=1)[:, :4]
  indices, found = k_nearest(FAKE, REAL, 4, block=block)
  assert_array_equal(indices, expected)
  assert_allclose(found, np.take_along_axis(distances, expected, axis=1), rtol=1e-10)
  assert found.dtype == np.float64


@pytest.mark.parametrize('block', [1, 7, 1000])
def test_nearest_others_leave_out_the_sample_itself_and_nothing_else(block):
  distances = cdist(REAL, REAL)
  np.fill_diagonal(distances, np.inf)
  indices, found = k_nearest_others(REAL, 119, block=block)
  assert_array_equal(indices, np.argsort(distances, axis=1)[:, :119])
  assert_allclose(found, np.sort(distances, axis=1)[:, :119], rtol=1e-10)


@pytest.mark.parametrize('offset', [0.0, 1e5])
def test_a_copy_of_an_image_is_found_at_distance_zero(offset):
  indices, distances = k_nearest(REAL[[5, 77]] + offset, REAL + offset, 1)
  assert_array_equal(indices[:, 0], [5, 77])
  assert_array_equal(distances[:, 0], [0, 0])


def test_a_duplicate_is_a_neighbour_at_distance_zero():
  twice = np.concatenate([REAL, REAL])
  indices, distances = k_nearest_others(twice, 1, block=50)
  assert_array_equal(indices[:, 0], (np.arange(240) + 120) % 240)
  assert_array_equal(distances, np.zeros((240, 1)))


@pytest.mark.parametrize('block', [1, 2, 3, 9])
def test_of_equally_near_rows_the_first_is_nearest(block):
  indices, _ = k_nearest(np.zeros((1, 3)), np.repeat(np.eye(3), 3, axis=0), 5, block=block)
  assert_array_equal(indices, [[0, 1, 2, 3, 4]])


def test_distances_keep_their_digits_far_from_the_origin():
  # In float32, or from the origin, a distance of 1 between vectors of length 10^5 would be lost.
  far = REAL + 1e5
  assert_allclose(k_nearest(far[:10], far[10:], 3)[1], np.sort(cdist(far[:10], far[10:]))[:, :3], rtol=1e-8)


@pytest.mark.parametrize('metric', METRICS)
def test_fakes_equal_to_the_real_samples_score_one(metric):
  assert metric(REAL, REAL) == (1, 1)
  assert metric(REAL, REAL[::-1], block=7) == (1, 1)


@pytest.mark.parametrize('metric', METRICS)
def test_fakes_far_from_the_real_samples_score_zero(metric):
  assert metric(REAL, FAKE + 1e3) == (0, 0)


@pytest.mark.parametrize('metric', METRICS)
def test_scores_do_not_depend_on_order_block_scale_or_place(metric):
  expected = metric(REAL, FAKE)
  assert min(expected) > 0.1
  assert metric(REAL[::-1], FAKE[::-1]) == expected
  assert metric(REAL, FAKE, block=7) == expected
  assert metric(1e3 * REAL - 1e4, 1e3 * FAKE - 1e4) == expected


def test_precision_is_recall_with_the_roles_exchanged():
  assert precision_recall(REAL, FAKE) == precision_recall(FAKE, REAL)[::-1]


def test_fakes_of_one_mode_are_precise_but_recall_and_cover_little():
  one_mode = REAL[np.argmin(np.abs(REAL).sum(axis=1))] + 1e-3 * FAKE
  precision, recall = precision_recall(REAL, one_mode)
  density, coverage = density_coverage(REAL, one_mode)
  assert precision == 1 and recall < 0.02
  assert density > 1 and coverage < 0.2


@pytest.mark.parametrize('k', [1, 3, 10])
def test_precision_and_recall_are_those_of_naive_loops(k):
  radius = lambda x: np.sort(cdist(x, x), axis=1)[:, k]
  real_radii, fake_radii = radius(REAL), radius(FAKE)
  inside = lambda y, x, radii: np.mean([any(np.linalg.norm(b - a) <= r for a, r in zip(x, radii)) for b in y])  # noqa: B905
  expected = inside(FAKE, REAL, real_radii), inside(REAL, FAKE, fake_radii)
  assert_allclose(precision_recall(REAL, FAKE, k=k, block=50), expected, rtol=1e-12)


@pytest.mark.parametrize('k', [1, 5])
def test_density_and_coverage_are_those_of_naive_loops(k):
  radii = np.sort(cdist(REAL, REAL), axis=1)[:, k]
  counts = [sum(np.linalg.norm(b - a) < r for b in FAKE) for a, r in zip(REAL, radii, strict=True)]
  expected = sum(counts) / (k * len(FAKE)), np.mean([count > 0 for count in counts])
  assert_allclose(density_coverage(REAL, FAKE, k=k, block=50), expected, rtol=1e-12)


def test_scores_of_copied_samples_do_not_depend_on_rounding():
  # Each fake is a real sample, so that many lie exactly on the edge of a ball.
  real = REAL.astype(np.float32)
  copies = real[::2]
  for metric in METRICS:
    scores = {metric(real + shift, copies + shift, block=block) for block in (7, 64, 500) for shift in (0, 2)}
    assert len(scores) == 1


def test_precision_and_recall_are_those_recorded_from_torch_fidelity():
  # prc_features_to_metric of torch-fidelity 0.4.0 on these float64 features; it takes the fakes first.
  assert_allclose(precision_recall(REAL, FAKE), (0.9333333373069763, 0.5083333253860474), rtol=1e-6)


def test_precision_and_recall_are_those_of_torch_fidelity():
  reason = 'compares with torch-fidelity, which needs PyTorch and torchvision'
  torch = pytest.importorskip('torch', reason=reason)
  metric_prc = pytest.importorskip('torch_fidelity.metric_prc', reason=reason, exc_type=ImportError)
  fake, real = torch.from_numpy(FAKE), torch.from_numpy(REAL)
  expected = metric_prc.prc_features_to_metric(fake, real, prc_neighborhood=3, verbose=False)
  precision, recall = precision_recall(REAL, FAKE, k=3)
  assert_allclose(precision, expected[metric_prc.KEY_METRIC_PRECISION], rtol=1e-6)
  assert_allclose(recall, expected[metric_prc.KEY_METRIC_RECALL], rtol=1e-6)


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda: k_nearest(FAKE, REAL, 121), 'k is 121, with 120 samples to choose neighbours from; expected 1 to 120.'),
    (lambda: k_nearest(FAKE, REAL, 0), 'k is 0, with 120'),
    (lambda: k_nearest_others(REAL, 120), 'k is 120, with 119 samples'),
    (lambda: precision_recall(REAL, FAKE[:3]), 'k is 3, with 2 samples'),
    (lambda: density_coverage(REAL[:5], FAKE), 'k is 5, with 4 samples'),
  ],
)
def test_more_neighbours_than_samples_are_refused(call, message):
  with pytest.raises(ConfigError, match=message):
    call()


@pytest.mark.parametrize('metric', METRICS)
def test_bad_features_are_refused(metric):
  with pytest.raises(DataError, match='The real features have 6 columns and the fake features 5'):
    metric(REAL, FAKE[:, :5])
  with pytest.raises(DataError, match='NaN or infinity in 90 of 90 rows of the fake features, first in row 0'):
    metric(REAL, FAKE * np.nan)
  with pytest.raises(DataError, match=r'The real features have shape \(120, 6, 1\); expected one row per sample'):
    metric(REAL[:, :, None], FAKE)


def test_density_of_no_fakes_is_refused():
  with pytest.raises(DataError, match='There are no fake features; give at least one sample.'):
    density_coverage(REAL, FAKE[:0])
