"""Classes have names, all are trained, and grids show as many as fit."""

import os

import jax
import numpy as np
import pytest
from PIL import Image

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.building import model as build_model
from dcgan_jax.data import arrays, classes, folder, listing
from dcgan_jax.drawing import sample
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images
from dcgan_jax.run import Run


def write_images(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4)).save(root / name)


def open_folder(root):
  return folder.open_folder(root, image_size=4, crop=None, channels=3)


def conditional(**data):
  config = cifar10.get_config('conditional')
  config.update(batch_size=1, data={'image_size': 4, **data})
  return config


def refusal(source, title='folder:a'):
  """What a conditional run says of a source."""
  with pytest.raises(DataError) as caught:
    build_data.check_labels(conditional(source=title), source)
  return str(caught.value)


# Folders.


def test_class_folders_are_in_natural_order(tmp_path):
  write_images(tmp_path, '10/0.png', '2/0.png', '1/0.png', 'b10/0.png', 'b9/0.png', '1a/0.png')
  assert open_folder(tmp_path).class_names == ['1', '1a', '2', '10', 'b9', 'b10']


@pytest.mark.parametrize('wrapping', ['dataset', 'a/b/c'])
def test_a_folder_that_wraps_another_is_that_folder(tmp_path, wrapping):
  write_images(tmp_path / wrapping, 'cat/0.png', 'dog/1.png')
  (tmp_path / '__MACOSX').mkdir()
  (tmp_path / 'README.txt').touch()
  assert open_folder(tmp_path).class_names == ['cat', 'dog']


def test_wrapped_splits_are_splits(tmp_path):
  write_images(tmp_path / 'dataset', 'train/cat/0.png', 'train/dog/1.png', 'test/dog/2.png')
  source = folder.open_folder(tmp_path, split='test', image_size=4, crop=None, channels=3)
  assert (len(source), source[0][1], source.class_names) == (1, 1, ['cat', 'dog'])


def test_images_in_one_folder_have_no_labels(tmp_path):
  write_images(tmp_path, 'cat/0.png', 'cat/1.png')
  assert open_folder(tmp_path).classes is None
  assert refusal(open_folder(tmp_path)) == (
    f'folder:a has no labels: all images lie in one folder, {tmp_path}/cat; put those of each class into a sub-folder '
    'of its own'
  )


def test_what_lies_beside_class_folders_is_named(tmp_path):
  write_images(tmp_path, 'cat/0.png', 'dog/1.png', 'cover.png')
  assert refusal(open_folder(tmp_path)) == (
    f'folder:a has no labels: cover.png lies beside the class folders in {tmp_path}; move or remove what does'
  )


def test_listing_asks_the_system_once_for_each_folder_and_not_for_files(tmp_path, monkeypatch):
  names = [f'{i % 300}/{i}.png' for i in range(3000)]
  for i in range(300):
    (tmp_path / str(i)).mkdir()
  for name in names:
    (tmp_path / name).touch()
  calls = []
  for name in ('scandir', 'stat'):
    call = getattr(os, name)
    monkeypatch.setattr(os, name, lambda *args, call=call, **kwargs: calls.append(args) or call(*args, **kwargs))
  assert listing.file_names(tmp_path) == sorted(names)
  assert len(calls) == 2 * 301
  assert listing.classes(names) == [str(i) for i in range(300)]


# Labels.


def test_one_class_alone_is_refused():
  source = arrays.ArraySource(np.zeros((4, 4, 4, 3), np.uint8), np.zeros(4, int))
  assert refusal(source, 'npz:a').startswith("npz:a has one class alone, '0', so labels say nothing; take data of sev")


def test_classes_without_examples_are_refused_with_their_numbers():
  source = arrays.ArraySource(np.zeros((4, 4, 4, 3), np.uint8), np.array([1, 2, 3, 4]))
  assert refusal(source).startswith('No example is of 1 of the 5 classes (0), so nothing would train them; number thos')
  source = arrays.ArraySource(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 6999]))
  assert 'No example is of 6,998 of the 7,000 classes (1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 6,988 more)' in refusal(source)


def test_classes_without_examples_are_refused_with_their_names():
  with pytest.raises(DataError, match=r'No example is of 2 of the 4 classes \(cat \(0\), emu \(3\)\), so nothing'):
    classes.check_used(np.array([1, 2, 2]), 4, ['cat', 'ant', 'dog', 'emu'])


def test_labels_of_an_unconditional_run_may_be_anything():
  source = arrays.ArraySource(np.zeros((4, 4, 4, 3), np.uint8), np.zeros(4, int))
  build_data.check_labels(cifar10.get_config(), source)


# Names.


@pytest.mark.parametrize(
  ('wanted', 'names', 'found'),
  [
    ('dog', ['cat', 'dog'], 1),
    ('1', ['cat', 'dog'], 1),
    (1, ['cat', 'dog'], 1),
    ('10', ['1', '2', '10'], 2),
    (2, ['1', '2', '10'], 2),
    (np.int64(1), ['cat', 'dog'], 1),
    ('1', None, 1),
  ],
)
def test_a_class_is_found_by_name_or_number(wanted, names, found):
  assert classes.find_class(wanted, len(names or 'ab'), names) == found


@pytest.mark.parametrize(
  ('wanted', 'names', 'words'),
  [
    ('cow', ['cat', 'dog'], 'No class cow; this run has cat (0), dog (1)'),
    ('0', ['1', '2', '10'], 'No class 0; this run has 1 (0), 2 (1), 10 (2)'),
    (3, ['cat', 'dog'], 'No class 3; this run has cat (0), dog (1)'),
    ('-1', None, 'No class -1; this run has the classes 0 to 1'),
    ('cat', None, 'No class cat; this run has the classes 0 to 1'),
  ],
)
def test_a_class_that_is_not_there_is_refused_with_those_that_are(wanted, names, words):
  with pytest.raises(ConfigError) as caught:
    classes.find_class(wanted, len(names or 'ab'), names)
  assert str(caught.value) == words


def test_a_run_draws_a_class_by_its_name():
  config = cifar10.get_config('conditional')
  config.update(data={'image_size': 8})
  for player in (config.generator, config.discriminator):
    player.widths = (4,)
  model = build_model.build_model(config, (8, 8, 3), 3)
  state = jax.eval_shape(model.create, jax.random.key(0))
  state = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), state)
  run = Run(config, model, state, (8, 8, 3), class_names=('1', '2', '10'))
  assert (run.label('10'), run.label(None)) == (2, None)
  np.testing.assert_array_equal(run.labels(3, '2'), [1, 1, 1])
  np.testing.assert_array_equal(run.sample(2, label='10'), run.sample(2, label=2))


# Grids.


@pytest.mark.parametrize(
  ('num_classes', 'num', 'shape', 'expected'),
  [
    (None, 64, (8, 8, 3), None),
    (10, 64, (8, 8, 3), 10),
    (64, 64, (8, 8, 3), 64),
    (65, 64, (8, 8, 3), None),
    (7000, 64, (8, 8, 3), None),
    (1000, 1000, (64, 64, 3), None),
    (2, 10_000, (64, 64, 3), None),
    (10, 64, (8, 3), None),
  ],
)
def test_a_grid_has_a_column_for_each_class_where_they_fit(num_classes, num, shape, expected):
  assert sample.columns(num_classes, num, shape) == expected


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize(('names', 'height'), [(['a', 'b'], 12), (['hippopotamus', 'cat'], None)])
def test_columns_have_the_names_of_their_classes(channels, names, height):
  examples = np.full((6, 28, 28, channels), 10, np.uint8)
  columns = sample.columns(2, 6, (28, 28, channels), names)
  plain, titled = images.grid(examples, columns=2), images.grid(examples, columns=columns)
  heading, grid = np.split(titled, [len(titled) - len(plain)])
  np.testing.assert_array_equal(grid, plain)
  assert len(heading) == height or (height is None and 60 < len(heading) < 100)
  # Something is written over each column, and what is above the gap is not.
  assert all((heading[:, 2 + 30 * i : 30 + 30 * i, 0] > 200).any() for i in range(2))
  assert heading[..., 0].min() == 128
  assert channels < 4 or (heading[..., 3] == 255).all()


def test_rgb_with_opacity_is_drawn(tmp_path):
  examples = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 4), np.uint8)
  sample.save(tmp_path / 'a.png', examples)
  with Image.open(tmp_path / 'a.png') as image:
    assert image.mode == 'RGBA'
    np.testing.assert_array_equal(np.asarray(image)[2:10, 2:10], examples[0])
