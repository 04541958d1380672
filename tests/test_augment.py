"""What the discriminator sees."""

import jax
import numpy as np
from numpy.testing import assert_array_equal

from dcgan_jax import augment


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
