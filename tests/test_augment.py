"""What the discriminator sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.games import augment


def mirrored(keys, x):
  """Which images flip mirrored; fails where one is neither mirrored nor unchanged."""
  flipped = np.asarray(augment.flip(keys, x))
  unchanged = (flipped == x).all((1, 2, 3))
  assert_array_equal(flipped[~unchanged], x[~unchanged, :, ::-1])
  return ~unchanged


def images(number):
  return np.random.default_rng(0).uniform(-1.0, 1.0, (number, 2, 3, 1)).astype(np.float32)


def test_flip_mirrors_exactly_or_not_at_all_and_half_of_the_images(key):
  share = mirrored(jax.random.split(key, 2000), images(2000)).mean()
  # Four standard errors.
  assert abs(share - 0.5) < 4 * 0.5 / 2000**0.5


def test_flip_belongs_to_the_key_wherever_in_the_batch_it_stands(key):
  keys, x = jax.random.split(key, 20), images(20)
  decisions = mirrored(keys, x)
  assert_array_equal(mirrored(keys[5:][::-1], x[:15]), decisions[5:][::-1])
  assert 0 < decisions.sum() < 20


def test_unchanged_images_are_the_images(key):
  x = images(3)
  assert augment.unchanged(jax.random.split(key, 3), x) is x


@pytest.fixture(scope='module')
def photos():
  return jax.random.uniform(jax.random.key(3), (64, 8, 12, 3), minval=-1.0, maxval=1.0)


@pytest.fixture(scope='module')
def keys_of_photos():
  return jax.random.split(jax.random.key(4), 64)


def test_color_changes_brightness_saturation_and_contrast_of_each_image_alone(photos, keys_of_photos):
  """An affine map of each image: all of its pixels and its grey values by the same three numbers."""
  changed = np.asarray(augment.color(keys_of_photos, photos), np.float64)
  for before, after in zip(np.asarray(photos, np.float64), changed, strict=True):
    grey, grey_after = before.mean(axis=-1), after.mean(axis=-1)
    contrast, brightness = np.polyfit(grey.ravel(), grey_after.ravel(), 1)
    assert_allclose(contrast * grey + brightness, grey_after, atol=1e-5)
    assert 0.5 <= contrast <= 1.5
    assert abs(brightness - (1 - contrast) * grey.mean()) <= 0.5  # The mean itself only moves by the brightness.
    colour, colour_after = before - grey[..., None], after - grey_after[..., None]
    factor = (colour * colour_after).sum() / (colour**2).sum()
    assert_allclose(factor * colour, colour_after, atol=1e-5)
    assert 0 <= factor / contrast <= 2


def test_color_uses_all_of_its_range(keys_of_photos):
  means = augment.color(keys_of_photos, jnp.zeros((64, 2, 2, 3))).mean(axis=(1, 2, 3))
  assert means.min() < -0.4
  assert means.max() > 0.4


def test_translation_moves_by_whole_pixels_and_fills_with_zeros(photos, keys_of_photos):
  moved, seen = augment.translation(keys_of_photos, photos, fraction=0.25), set()
  for before, after in zip(np.asarray(photos), np.asarray(moved), strict=True):
    padded = np.pad(before, ((2, 2), (3, 3), (0, 0)))
    windows = {(i, j): padded[i : i + 8, j : j + 12] for i in range(5) for j in range(7)}
    (shift,) = [shift for shift, window in windows.items() if np.allclose(window, after, atol=1e-6)]
    seen.add(shift)
  assert {i for i, _ in seen} == set(range(5))
  assert {j for _, j in seen} == set(range(7))


def test_cutout_removes_a_rectangle_of_half_the_size_where_it_lies_within_the_image(photos, keys_of_photos):
  cut = np.asarray(augment.cutout(keys_of_photos, photos))
  holes = (cut == 0).all(axis=-1)
  assert_allclose(cut[~holes], np.asarray(photos)[~holes])
  sizes = set()
  for hole in holes:
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    assert hole.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    sizes.add((len(rows), len(columns)))
  assert max(sizes) == (4, 6)
  assert min(rows for rows, _ in sizes) == 2


def test_gradients_go_back_through_the_very_same_changes(photos, keys_of_photos):
  """Linear but for a constant: the gradient of a sum with weights is the change's adjoint, found by differences."""
  change = augment.sequence([augment.color, augment.translation, augment.cutout])
  weights = jax.random.normal(jax.random.key(5), photos.shape)
  value, gradient = jax.value_and_grad(lambda x: (weights * change(keys_of_photos, x)).sum())(photos)
  step = jax.random.normal(jax.random.key(6), photos.shape)
  other = (weights * change(keys_of_photos, photos + step)).sum()
  assert_allclose(other - value, (gradient * step).sum(), rtol=1e-3)


def test_fading_noise_falls_linearly_to_none(keys_of_photos):
  noise = augment.fading_noise(0.5, steps=100)
  zeros = jnp.zeros((64, 50))
  for step, deviation in ((0, 0.5), (50, 0.25), (100, 0.0), (1000, 0.0)):
    assert_allclose(noise(keys_of_photos, zeros, jnp.int32(step)).std(), deviation, rtol=0.05)


def test_a_sequence_gives_each_part_keys_of_its_own(keys_of_photos):
  zeros = jnp.zeros((64, 4))
  twice = augment.sequence([lambda keys, x: augment.noise(keys, x, 1.0)] * 2)(keys_of_photos, zeros)
  assert_allclose(twice.std(), np.sqrt(2), rtol=0.1)
