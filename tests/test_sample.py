"""Samples are functions of (seed, index), and are written as their path says."""

import functools
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from program import TINY, launch

from dcgan_jax import cli
from dcgan_jax.drawing import latents, sample
from dcgan_jax.errors import ConfigError
from dcgan_jax.kinds import image as images

LATENTS = functools.partial(latents.normal, latent_size=5)


@pytest.fixture(scope='module')
def draw(tiny_generator, create_tiny_state, key):
  generate = sample.compile_generate(tiny_generator)
  # An untrained generator draws grey; larger weights give it contrast.
  variables = jax.tree.map(lambda leaf: 5 * leaf, create_tiny_state(key).ema['generator'])
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


def test_the_last_index_of_32_bits_has_a_latent_of_its_own():
  z = sample.draw_latents(LATENTS, num=2, seed=0, first=2**32 - 2)
  np.testing.assert_array_equal(z[1:], sample.draw_latents(LATENTS, num=1, seed=0, first=2**32 - 1))
  assert (z != sample.draw_latents(LATENTS, num=2, seed=0)).all()


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


def test_a_folder_takes_one_draw_and_is_refused_to_a_smaller_one(tmp_path):
  examples = np.zeros((5, 4, 4, 3), np.uint8)
  (tmp_path / 'notes.txt').write_text('not an image')
  for value in (0, 9):  # The same command again replaces its own images.
    sample.save(tmp_path, examples + np.uint8(value))
  with pytest.raises(ConfigError, match=r'holds 3 other images, such as 000002.png; expected .* give another --out'):
    sample.save(tmp_path, examples[:2])
  assert images.read(tmp_path / '000000.png').max() == 9


def test_a_folder_of_photographs_takes_no_samples(tmp_path):
  (tmp_path / 'me.JPG').write_bytes(b'')
  with pytest.raises(ConfigError, match='holds 1 other image, such as me.JPG'):
    sample.save(tmp_path, np.zeros((2, 4, 4, 3), np.uint8))
  assert [path.name for path in tmp_path.iterdir()] == ['me.JPG']


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A run of four steps, and the same after two more with the key off."""
  marked, unmarked = (tmp_path_factory.mktemp('private') / name for name in ('my run', 'unmarked'))
  often = ['--config.logging.samples_every=2', '--config.seed=5']
  launch('--workdir', marked, '--config.steps=4', *TINY, *often)
  shutil.copytree(marked, unmarked)
  launch('--workdir', unmarked, '--config.steps=6', *TINY, *often, '--config.logging.mark_synthetic=False')
  return marked, unmarked


def _said(path):
  with Image.open(path) as picture:
    return picture.info.get('comment', b'').decode() if path.suffix == '.gif' else picture.text


@pytest.mark.slow
def test_pictures_of_training_say_that_they_are_synthetic_and_from_where(runs):
  samples = runs[0] / 'samples'
  said = _said(samples / '00000004.png')
  assert said == images.origin(run='my run', step=4, seed=5)
  assert 'digitalsourcetype/trainedAlgorithmicMedia<' in said['XML:com.adobe.xmp']
  assert 'private' not in str(said)
  assert _said(samples / 'training.gif') == images.origin(run='my run', step='2 to 4', seed=5)['Description']


@pytest.mark.slow
def test_drawn_samples_say_it_too_each_with_its_index_and_again_with_the_same_bytes(runs, tmp_path):
  for name in ('a.png', 'b.png', 'folder'):
    arguments = ['sample', '--workdir', str(runs[0]), '--num', '3', '--seed', '9', '--out', str(tmp_path / name)]
    assert cli.main(arguments) == 0
  expected = images.origin(run='my run', step=4, seed=9)
  assert _said(tmp_path / 'a.png') == expected
  assert _said(tmp_path / 'folder' / '000002.png') == {**expected, 'sample': '2'}
  assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


@pytest.mark.slow
def test_a_key_turns_it_off_in_training_and_for_what_is_drawn_later(runs, tmp_path):
  assert _said(runs[1] / 'samples' / '00000004.png') != {}
  assert _said(runs[1] / 'samples' / '00000006.png') == {}
  assert _said(runs[1] / 'samples' / 'training.gif') == ''
  assert cli.main(['sample', '--workdir', str(runs[1]), '--num', '2', '--out', str(tmp_path / 'a.png')]) == 0
  assert _said(tmp_path / 'a.png') == {}
