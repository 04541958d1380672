"""The distributions of z."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax import latents

BOTH = pytest.mark.parametrize('draw', [latents.normal, latents.uniform])


@BOTH
def test_z_belongs_to_its_key_wherever_in_the_batch_it_stands(draw, key):
  keys = jax.random.split(key, 6)
  z = draw(keys, latent_size=4)
  assert_array_equal(draw(keys[3:][::-1], latent_size=4), z[3:][::-1])
  assert len(np.unique(z)) == 6 * 4


# Of 100,000 draws; the tolerances of the moments are over four standard errors.
@pytest.mark.parametrize('draw, variance, fourth', [(latents.normal, 1.0, 3.0), (latents.uniform, 1 / 3, 1 / 5)])
def test_moments_are_those_of_the_distribution(draw, variance, fourth, key):
  z = np.asarray(draw(jax.random.split(key, 1000), latent_size=100), np.float64)
  assert_allclose((z.mean(), z.var(), (z**4).mean()), (0.0, variance, fourth), atol=0.02 * (1 + 5 * (fourth > 1)))


def test_uniform_latents_fill_minus_one_to_one(key):
  z = latents.uniform(jax.random.split(key, 1000), latent_size=100)
  assert -1.0 <= z.min() < -0.999
  assert 0.999 < z.max() < 1.0
