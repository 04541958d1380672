"""Class counts and duplicates: what a collapsed generator looks like in numbers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.diversity import class_counts, duplicate_share, effective_classes, near_duplicate_share

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 4, 4, 3), np.uint8)
REAL, FAKE = RNG.normal(size=(2, 500, 8))


def test_classes_are_counted_with_those_that_never_occur():
  counts = class_counts(np.array([2, 0, 2, 2], np.int32), 4)
  assert_array_equal(counts, [1, 0, 3, 0])
  assert counts.dtype == np.int64


def test_effective_classes_are_all_when_balanced_and_one_when_collapsed():
  assert_allclose(effective_classes([30, 30, 30, 30]), 4, rtol=1e-12)
  assert effective_classes([0, 120, 0, 0]) == 1
  assert_allclose(effective_classes([60, 60, 0, 0]), 2, rtol=1e-12)


def test_effective_classes_do_not_depend_on_the_number_of_samples_or_the_order_of_classes():
  assert_allclose(effective_classes([10, 20, 70]), effective_classes([700, 100, 200]), rtol=1e-12)


def test_labels_outside_the_classes_are_refused():
  with pytest.raises(DataError, match='The labels go from -1 to 3; expected 0 to 9.'):
    class_counts(np.array([-1, 3]), 10)
  with pytest.raises(DataError, match='The labels go from 0 to 10; expected 0 to 9.'):
    class_counts(np.array([0, 10]), 10)


@pytest.mark.parametrize('labels', [np.eye(10), np.zeros(10)], ids=['probabilities', 'float'])
def test_labels_that_are_not_integers_are_refused(labels):
  with pytest.raises(DataError, match='The labels are float64 of shape .*; expected one integer per sample'):
    class_counts(labels, 10)


def test_classes_of_no_samples_are_refused():
  with pytest.raises(DataError, match='No samples in any class'):
    effective_classes(class_counts(np.zeros(0, int), 10))


def test_different_images_have_no_duplicates():
  assert duplicate_share(IMAGES) == 0


def test_duplicates_are_counted_wherever_they_stand():
  assert duplicate_share(np.concatenate([IMAGES, IMAGES[::-1]])) == 0.5
  assert duplicate_share(np.repeat(IMAGES[:1], 50, axis=0)) == 0.98


def test_images_that_differ_in_one_pixel_are_not_duplicates():
  almost = IMAGES.copy()
  almost[:, 0, 0, 0] ^= 1
  assert duplicate_share(np.concatenate([IMAGES, almost])) == 0


def test_near_duplicates_of_real_samples_among_themselves_are_the_quantile():
  # Nearest neighbours come in pairs, so that the quantile is met to within two samples.
  share = near_duplicate_share(REAL, REAL, quantile=0.058)
  assert 0.058 <= share <= 0.058 + 2 / 500
  # Elsewhere rounding is another.
  assert {near_duplicate_share(REAL, REAL[::-1] + shift, quantile=0.058) for shift in (0, 1, 2, 5, 10)} == {share}


def test_fakes_of_the_same_distribution_have_about_as_many_near_duplicates():
  assert 0.02 < near_duplicate_share(REAL, FAKE, quantile=0.05) < 0.1


def test_variants_of_a_few_images_are_near_duplicates():
  variants = FAKE[np.arange(500) % 10] + 1e-3 * REAL
  assert near_duplicate_share(REAL, variants) == 1


def test_near_duplicates_do_not_depend_on_order_block_or_scale():
  expected = near_duplicate_share(REAL, FAKE)
  assert near_duplicate_share(REAL[::-1], FAKE[::-1]) == expected
  assert near_duplicate_share(REAL, FAKE, block=33) == expected
  assert near_duplicate_share(1e3 * REAL, 1e3 * FAKE) == expected


def test_exact_duplicates_are_near_even_if_real_samples_have_some():
  real = np.concatenate([REAL[:250], REAL[:250]])
  assert near_duplicate_share(real, np.concatenate([FAKE[:1], FAKE[:499]])) == 2 / 500


def test_bad_input_is_refused():
  with pytest.raises(DataError, match='500 real samples and 400 fakes; expected equally many, at least two.'):
    near_duplicate_share(REAL, FAKE[:400])
  with pytest.raises(ConfigError, match='quantile is 1.0; expected a share between 0 and 1, for example 0.01.'):
    near_duplicate_share(REAL, FAKE, quantile=1.0)
  with pytest.raises(DataError, match='NaN or infinity in 500 of 500 rows of the fake features'):
    near_duplicate_share(REAL, FAKE * np.nan)
  with pytest.raises(DataError, match=r'The images have shape \(0, 4, 4, 3\); expected at least one'):
    duplicate_share(IMAGES[:0])
