"""Samples are functions of (seed, index), and are written as their path says."""

import functools

import jax
import numpy as np
import pytest

from dcgan_jax import images, latents, sample
from dcgan_jax.errors import ConfigError

LATENTS = functools.partial(latents.normal, latent_size=5)


@pytest.fixture(scope='module')
def draw(tiny_generator, create_tiny_state, key):
  generate = sample.compile_generate(tiny_generator)
  # An untrained generator draws grey; larger weights give it contrast.
  variables = jax.tree.map(lambda leaf: 5 * leaf, create_tiny_state(key).averaged)
  return functools.partial(sample.draw, generate, variables, LATENTS)


def test_samples_do_not_depend_on_the_batch_size(draw):
  expected = draw(num=13, seed=3, batch_size=64)
  assert expected.shape == (13, 16, 16, 3)
  assert expected.std() > 10
  for batch_size in (1, 5, 13):
    assert np.abs(draw(num=13, seed=3, batch_size=batch_size).astype(int) - expected.astype(int)).max() <= 1


def test_fewer_samples_are_the_first_of_more(draw):
  np.testing.assert_array_equal(draw(num=4, seed=3), draw(num=70, seed=3)[:4])


def test_another_seed_draws_other_samples(draw):
  assert (draw(num=2, seed=3) != draw(num=2, seed=4)).any()


def test_no_two_latents_are_the_same():
  z = sample.draw_latents(LATENTS, num=100, seed=0)
  assert z.shape == (100, 5)
  assert len(np.unique(z, axis=0)) == 100
  np.testing.assert_array_equal(z[40:50], sample.draw_latents(LATENTS, num=10, seed=0, first=40))


def test_samples_are_written_as_grid_folder_or_arrays(tmp_path, draw):
  examples = draw(num=5, seed=0)
  for name in ('grid.png', 'deep/folder', 'arrays.npz'):
    sample.save(tmp_path / name, examples)
  np.testing.assert_array_equal(images.read(tmp_path / 'grid.png'), images.grid(examples))
  assert len(list((tmp_path / 'deep' / 'folder').iterdir())) == 5
  np.testing.assert_array_equal(images.read(tmp_path / 'deep' / 'folder' / '000004.png'), examples[4])
  np.testing.assert_array_equal(np.load(tmp_path / 'arrays.npz')['images'], examples)


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('grid.jpeg', (2, 4, 4, 3), "Cannot write samples as '.jpeg'; --out is a .png"),
    ('grid.png', (2, 64, 1), r'Examples of shape \(64, 1\) are no images; write them to an .npz'),
  ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, shape, message):
  with pytest.raises(ConfigError, match=message):
    sample.save(tmp_path / name, np.zeros(shape, np.uint8))
