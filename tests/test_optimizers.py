"""The averaging rate."""

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from dcgan_jax.optimizers import averaging_decay

STEPS = jnp.arange(0, 5000, 7)


def test_a_generator_weighs_one_half_after_its_half_life_of_images():
  decay = averaging_decay(20, half_life=1000.0, ramp_up=0.05)
  assert_allclose(decay(jnp.int32(10**6)) ** (1000 / 20), 0.5, rtol=1e-5)


def test_early_on_the_half_life_is_a_share_of_the_images_seen():
  """After 100 steps of 20 images, a twentieth of 2000 images is 5 steps."""
  decay = averaging_decay(20, half_life=1e9, ramp_up=0.05)
  assert_allclose(decay(jnp.int32(100)) ** 5, 0.5, rtol=1e-5)


def test_first_step_keeps_nothing_of_the_untrained_generator():
  assert averaging_decay(128, half_life=50_000.0, ramp_up=0.05)(jnp.int32(0)) == 0.0


def test_decay_rises_to_the_full_one_and_never_above():
  decays = averaging_decay(64, half_life=5000.0, ramp_up=0.05)(STEPS)
  full = 0.5 ** (64 / 5000)
  assert (np.diff(decays) >= 0).all()
  assert_allclose(decays[-1], full, rtol=1e-6)
  assert decays.max() <= np.float32(full) * (1 + 1e-6)
