"""Sources: digits, arrays and .npz files, folders of images."""

import io
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.data import arrays, digits, folder
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

REAL_DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'


def message(error, function, *args, **kwargs) -> str:
  """The text of the error that a call raises."""
  with pytest.raises(error) as caught:
    function(*args, **kwargs)
  return str(caught.value)


def noise(*shape) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def open_npz(path, channels=3, **contents):
  """Writes a .npz file and opens its training split as stored."""
  np.savez(path / 'a.npz', **contents)
  return arrays.open_npz(path / 'a.npz', split='train', image_size=None, channels=channels)


def write_images(root, *names, size=(6, 4)):
  for i, name in enumerate(names):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (10 * i, 0, 0)).save(root / name)


def open_folder(root, *, split='train', image_size=4, crop=None, channels=3):
  return folder.open_folder(root, split=split, image_size=image_size, crop=crop, channels=channels)


def build_source(source, split):
  """The source of a config with this data.source and data.split."""
  config = cifar10.get_config()
  config.update(data={'source': str(source), 'split': split, 'image_size': 4}, batch_size=1)
  return build_data.build_source(config)


# Splits.


def test_parts_of_splits_are_those_of_tfds_whatever_the_source(tmp_path):
  np.savez(tmp_path / 'a.npz', images=noise(10, 4, 4, 3))
  write_images(tmp_path / 'folder', *(f'{i}.png' for i in range(10)))
  for source, number in ((f'npz:{tmp_path}/a.npz', 10), (f'folder:{tmp_path}/folder', 10), ('digits', 1797)):
    assert len(build_source(source, 'train[2:5]')) == 3
    parts = [build_source(source, split) for split in ('train[:80%]', 'train[80%:]')]
    assert [len(part) for part in parts] == [round(0.8 * number), number - round(0.8 * number)]
    everything = sorted(image.tobytes() for image, _ in map(build_source(source, 'train').__getitem__, range(number)))
    assert sorted(part[i][0].tobytes() for part in parts for i in range(len(part))) == everything


def test_a_part_of_an_array_is_its_rows_and_of_all_its_classes():
  part = build_source('digits', 'train[4:6]')
  assert ([part[i][1] for i in range(2)], part.classes) == ([4, 5], 10)


@pytest.mark.parametrize(
  ('split', 'expected'),
  [
    ('train[:x]', "'train[:x]' is no part of a split of 1,797 examples; expected such as 'train[:80%]' or"),
    ('train[5:5]', "'train[5:5]' holds none of the 1,797 examples of its split; take a larger part"),
    ('train[:150%]', "'train[:150%]' is no part of a split of 1,797 examples"),
    ('train[1:3]+train[5:9]', "'train[1:3]+train[5:9]' is no part of a split"),
  ],
)
def test_a_part_that_is_none_is_refused(split, expected):
  assert message(ConfigError, build_source, 'digits', split).startswith(expected)


def test_sub_folders_named_as_splits_are_splits(tmp_path):
  write_images(tmp_path, 'Train/cat/0.png', 'Train/dog/1.png', 'test/dog/2.png', 'extra/3.png', 'cover.png')
  train, test = open_folder(tmp_path), open_folder(tmp_path, split='test')
  assert ([path.name for path in train.paths], train.class_names) == (['0.png', '1.png'], ['cat', 'dog'])
  assert ([path.name for path in test.paths], test.class_names, test[0][1]) == (['2.png'], ['cat', 'dog'], 1)


def test_what_lies_beside_the_splits_is_said(tmp_path, capsys):
  write_images(tmp_path, 'train/0.png', 'test/1.png', 'extra/2.png', 'cover.png')
  open_folder(tmp_path)
  assert capsys.readouterr().err == (
    f'WARNING: beside train, test in {tmp_path} 2 files and folders are left out (cover.png, extra)\n'
  )


def test_one_sub_folder_named_as_a_split_among_others_is_a_class(tmp_path):
  write_images(tmp_path, 'car/0.png', 'train/1.png')
  assert open_folder(tmp_path).class_names == ['car', 'train']


def test_a_split_that_a_folder_lacks_is_refused(tmp_path):
  write_images(tmp_path, 'flat/a.png', 'parted/train/a.png', 'parted/val/b.png')
  assert message(DataError, open_folder, tmp_path / 'flat', split='nonsense') == (
    f"{tmp_path}/flat has no split 'nonsense'; without sub-folders train/ and test/ it is all 'train', and parts of "
    "them such as 'train[:80%]'."
  )
  assert message(DataError, open_folder, tmp_path / 'parted', split='test') == (
    f"{tmp_path}/parted has no split 'test'; its splits are train, val, and parts of them such as 'train[:80%]'."
  )


def test_a_class_that_the_training_split_lacks_is_refused(tmp_path):
  write_images(tmp_path, 'train/cat/0.png', 'test/dog/1.png')
  assert message(DataError, open_folder, tmp_path, split='test') == (
    f'{tmp_path}/test holds classes that {tmp_path}/train does not: dog.'
  )


def test_every_class_is_in_every_part_of_a_folder(tmp_path):
  write_images(tmp_path, *(f'{name}/{i}.png' for name in 'ab' for i in range(20)))
  part = build_source(f'folder:{tmp_path}', 'train[:50%]')
  assert {part[i][1] for i in range(len(part))} == {0, 1}
  assert list(part.paths) == sorted(part.paths)


# Digits.


def test_digits_are_1797_images_of_10_classes_over_the_whole_range():
  source = digits.open_digits(split='train', image_size=None)
  assert (len(source), source.shape, source.classes) == (1797, (8, 8, 1), 10)
  assert (source.examples.dtype, source.examples.min(), source.examples.max()) == (np.uint8, 0, 255)


def test_digits_keep_the_grey_levels_of_scikit_learn():
  from sklearn.datasets import load_digits

  image, label = digits.open_digits(split='train', image_size=None)[5]
  np.testing.assert_array_equal(np.round(image[..., 0] * (16 / 255)), load_digits().images[5])
  assert label == load_digits().target[5]


def test_digits_are_resized_as_images_fit_does():
  small = digits.open_digits(split='train', image_size=None)
  large = digits.open_digits(split='train', image_size=16)
  assert large.shape == (16, 16, 1)
  np.testing.assert_array_equal(large[3][0], images.fit(small[3][0], 16))


def test_digits_are_cut_before_they_are_resized():
  stored = digits.open_digits(split='train', image_size=None)[0][0]
  cut = digits.open_digits(split='train', image_size=4, crop=4)[0][0]
  np.testing.assert_array_equal(cut, stored[2:6, 2:6])


def test_digits_have_no_test_split():
  text = message(DataError, digits.open_digits, split='test', image_size=None)
  assert text == "The digits have no split 'test'; their only split is 'train', all 1797 images."


# Arrays.


@pytest.mark.parametrize('shape', [(28, 28, 1), (16384, 1), (4, 8, 8, 3)])
def test_an_array_source_gives_back_its_examples(shape):
  examples = noise(3, *shape)
  source = arrays.ArraySource(examples)
  assert (len(source), source.shape, source.classes) == (3, shape, None)
  image, label = source[2]
  np.testing.assert_array_equal(image, examples[2])
  assert label is None


def test_classes_are_the_largest_label_plus_one():
  source = arrays.ArraySource(noise(3, 4, 4, 3), [[0], [6], [2]])
  assert (source.classes, source[1][1], source.labels.dtype) == (7, 6, np.int32)


@pytest.mark.parametrize(
  ('examples', 'labels', 'expected'),
  [
    (
      np.zeros((2, 4, 4, 3), np.float32),
      None,
      'The examples are float32, but must be uint8 in 0..255; convert them with np.round(x * 255).astype(np.uint8) if '
      'they are in [0, 1], or with np.round((x + 1) * 127.5).astype(np.uint8) if in [-1, 1].',
    ),
    (
      np.zeros((2, 4, 4, 3), np.int64),
      None,
      'The examples are int64, but must be uint8 in 0..255; if their values already are in 0..255, convert them with '
      'x.astype(np.uint8).',
    ),
    (
      np.zeros((2, 4, 4, 3), bool),
      None,
      'The examples are bool, but must be uint8 in 0..255; convert them with x.astype(np.uint8) * 255.',
    ),
    (noise(0, 4, 4, 3), None, 'There are no examples: the array has shape (0, 4, 4, 3).'),
    (
      noise(2, 16),
      None,
      'The examples have shape (2, 16), but must have [N, ..., channels], for example (N, 32, 32, 3) for images or '
      '(N, 16384, 1) for sound.',
    ),
    (noise(2, 4, 4, 3), [1, 2, 3], 'There are 2 examples but 3 labels; each example needs one.'),
    (
      noise(2, 4, 4, 3),
      [0, 2**32 + 1],
      'The labels run up to 4294967297, beyond what int32 holds; number the classes from 0 with np.unique(labels, '
      'return_inverse=True)[1].',
    ),
    (noise(2, 4, 4, 3), [1, -1], 'The labels run from -1 to 1, but must be in 0..1.'),
    (
      noise(2, 4, 4, 3),
      np.eye(2),
      'The labels are float64 of shape (2, 2), but must be integers [N]; turn one-hot rows into integers with '
      'labels.argmax(-1).',
    ),
  ],
)
def test_arrays_of_the_wrong_form_are_refused(examples, labels, expected):
  assert message(DataError, arrays.ArraySource, examples, labels) == expected


# .npz files.


@pytest.mark.parametrize('prefix', ['train_', ''])
def test_npz_arrays_are_found_with_and_without_the_name_of_the_split(tmp_path, prefix):
  examples = noise(3, 5, 5, 3)
  source = open_npz(tmp_path, **{f'{prefix}images': examples, f'{prefix}labels': [0, 1, 1]})
  np.testing.assert_array_equal(source.examples, examples)
  assert [source[i][1] for i in range(3)] == [0, 1, 1]


def test_npz_grey_images_get_a_channel_axis(tmp_path):
  assert open_npz(tmp_path, images=noise(3, 9, 9)).shape == (9, 9, 1)


def test_npz_signals_keep_their_channels(tmp_path):
  assert open_npz(tmp_path, images=noise(3, 64, 2)).shape == (64, 2)


@pytest.mark.parametrize(
  ('shape', 'channels', 'advice'),
  [
    ((3, 8, 8), 8, 'store np.moveaxis(images, 1, -1)'),
    ((1, 8, 9), 9, 'store np.moveaxis(images, 1, -1)'),
    ((2, 64), 64, 'store np.moveaxis(images, 1, -1)'),
    ((6, 3, 8, 8), 8, 'store np.moveaxis(images, 2, -1)'),
    ((32, 27), 27, 'store images[..., np.newaxis] if they are grey images'),
    (
      (8, 16, 16),
      16,
      'store np.moveaxis(images, 1, -1) if axis 1 holds 8 channels, or images[..., np.newaxis] if they are volumes or '
      'films of one channel',
    ),
    (
      (8, 16, 24),
      24,
      'store np.moveaxis(images, 1, -1) if axis 1 holds 8 channels, or images[..., np.newaxis] if they are volumes or '
      'films of one channel',
    ),
    (
      (5, 8, 16, 24),
      24,
      'store np.moveaxis(images, 1, -1) if axis 1 holds 5 channels, or images[..., np.newaxis] if they are volumes or '
      'films of one channel',
    ),
  ],
)
def test_npz_whose_channels_may_not_be_last_is_refused_until_they_are_named(tmp_path, shape, channels, advice):
  examples = noise(2, *shape)
  assert message(DataError, open_npz, tmp_path, images=examples) == (
    f"{tmp_path}/a.npz, split 'train': The examples have shape {examples.shape}, whose last axis may not be that of "
    f'the channels; {advice}; if it is, set config.data.channels to {channels}.'
  )
  assert open_npz(tmp_path, channels, images=examples).shape == shape


@pytest.mark.parametrize(
  'shape', [(8, 8, 8, 1), (4, 8, 8, 3), (9, 9, 13), (64, 2), (12, 10, 3), (8, 8, 4), (12, 10, 8)]
)
def test_npz_with_its_channels_last_keeps_them(tmp_path, shape):
  assert open_npz(tmp_path, images=noise(2, *shape)).shape == shape


def test_npz_images_turn_grey_as_files_do(tmp_path):
  examples = noise(3, 6, 5, 3)
  source = open_npz(tmp_path, 1, images=examples)
  images.save_png(tmp_path / 'a.png', examples[2])
  np.testing.assert_array_equal(source[2][0], images.read(tmp_path / 'a.png', channels=1))
  assert source.shape == (6, 5, 1)


def test_npz_that_has_other_channels_than_asked_for_is_refused(tmp_path):
  assert message(ConfigError, open_npz, tmp_path, 1, images=noise(3, 64, 2)) == (
    'config.data.channels is 1, but the examples have 2 channels, shape (64, 2); set config.data.channels to 2. RGB '
    'images alone can be turned grey.'
  )


def test_npz_images_are_cut_and_resized_as_images_fit_does(tmp_path):
  examples = noise(3, 12, 10, 3)
  np.savez(tmp_path / 'a.npz', images=examples)
  source = arrays.open_npz(tmp_path / 'a.npz', split='train', image_size=6, crop=8)
  assert source.shape == (6, 6, 3)
  np.testing.assert_array_equal(source[1][0], images.fit(examples[1], 6, crop=8))


def test_npz_shapes_that_are_no_images_are_not_resized(tmp_path):
  np.savez(tmp_path / 'a.npz', images=noise(2, 64, 1))
  assert message(ConfigError, arrays.open_npz, tmp_path / 'a.npz', split='train', image_size=32) == (
    'config.data.image_size is 32, but examples of shape (64, 1) are not images of 1 or 3 channels, which alone can be '
    'resized; set config.data.image_size to None.'
  )


def test_npz_crop_asks_for_an_image_size(tmp_path):
  np.savez(tmp_path / 'a.npz', images=noise(2, 8, 8, 1))
  text = message(ConfigError, arrays.open_npz, tmp_path / 'a.npz', split='train', image_size=None, crop=6)
  assert text == 'config.data.crop is 6, but config.data.image_size is not set; set it to 6 to keep the cut pixels.'


def test_npz_without_the_split_lists_the_arrays_it_has(tmp_path):
  np.savez(tmp_path / 'a.npz', x_train=noise(2, 8, 8, 1), images=noise(2, 8, 8, 1))
  text = message(DataError, arrays.open_npz, tmp_path / 'a.npz', split='test', image_size=None)
  assert text == f"{tmp_path}/a.npz has no array 'test_images'; it has: images, x_train."


def test_npz_errors_of_arrays_name_file_and_split(tmp_path):
  text = message(DataError, open_npz, tmp_path, images=np.zeros((2, 4, 4, 3)))
  assert text.startswith(f"{tmp_path}/a.npz, split 'train': The examples are float64")


def test_npz_of_python_objects_is_not_unpickled(tmp_path):
  text = message(DataError, open_npz, tmp_path, images=np.array([{}, {}], object))
  assert text == (
    f"Array 'images' of {tmp_path}/a.npz holds Python objects, which are not read because loading them could run any "
    'code; store one uint8 array, for example np.stack(list_of_images).'
  )


def test_a_missing_npz_file_is_named(tmp_path):
  text = message(DataError, arrays.open_npz, tmp_path / 'b.npz', split='train', image_size=None)
  assert text == f'There is no file {tmp_path}/b.npz; give one written by np.savez, --config.data.source=npz:FILE.'


@pytest.mark.parametrize('contents', [b'', b'some text', b'PK\x03\x04 cut off'])
def test_a_file_that_is_not_npz_is_refused(tmp_path, contents):
  (tmp_path / 'a.npz').write_bytes(contents)
  text = message(DataError, arrays.open_npz, tmp_path / 'a.npz', split='train', image_size=None)
  assert text == f'{tmp_path}/a.npz is not a .npz file; write one with np.savez(path, train_images=..., ...).'


def test_a_single_array_file_is_refused(tmp_path):
  np.save(tmp_path / 'a.npy', noise(2, 4, 4, 3))
  text = message(DataError, arrays.open_npz, tmp_path / 'a.npy', split='train', image_size=None)
  assert text == f'{tmp_path}/a.npy holds a single array; the npz source needs np.savez(path, train_images=array).'


def test_a_damaged_npz_array_is_named(tmp_path):
  np.savez(tmp_path / 'a.npz', images=noise(64, 4, 4, 3))
  contents = bytearray((tmp_path / 'a.npz').read_bytes())
  contents[1000] ^= 255
  (tmp_path / 'a.npz').write_bytes(contents)
  text = message(DataError, arrays.open_npz, tmp_path / 'a.npz', split='train', image_size=None)
  assert text.startswith(f"Array 'images' of {tmp_path}/a.npz is damaged (Bad CRC-32")


@pytest.mark.skipif(not (REAL_DATA / 'prepare.py').exists(), reason='the real MNIST is not beside the checkout')
def test_real_mnist_has_its_known_mean(tmp_path):
  subprocess.run([sys.executable, REAL_DATA / 'prepare.py', 'npz', '--out', tmp_path, '--names', 'mnist'], check=True)
  source = arrays.open_npz(tmp_path / 'mnist.npz', split='train', image_size=None)
  assert (len(source), source.shape, source.classes) == (60000, (28, 28, 1), 10)
  # 0.1307 is the mean that PyTorch's MNIST example normalises with.
  assert source.examples.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


# Folders.


def test_a_folder_is_searched_to_any_depth_in_the_order_of_paths(tmp_path):
  write_images(tmp_path, 'b/z/1.png', 'a.JPG', 'b/2.webp', 'b/z/0.bmp')
  (tmp_path / 'b' / 'notes.txt').write_text('no image')
  source = open_folder(tmp_path)
  names = [path.relative_to(tmp_path).as_posix() for path in source.paths]
  assert names == ['a.JPG', 'b/2.webp', 'b/z/0.bmp', 'b/z/1.png']
  assert (len(source), source.shape, source.classes, source[0][1]) == (4, (4, 4, 3), None, None)


def test_folder_images_are_read_cut_and_resized(tmp_path):
  image = noise(9, 12, 3)
  images.save_png(tmp_path / 'a.png', image)
  np.testing.assert_array_equal(open_folder(tmp_path, crop=6)[0][0], images.fit(image, 4, crop=6))
  assert open_folder(tmp_path, channels=1)[0][0].shape == (4, 4, 1)


def test_first_level_folders_are_the_classes_if_every_image_is_in_one(tmp_path):
  write_images(tmp_path, 'dog/x/1.png', 'cat/2.png', 'dog/0.png')
  source = open_folder(tmp_path)
  assert (source.classes, source.class_names) == (2, ['cat', 'dog'])
  assert [source[i][1] for i in range(3)] == [0, 1, 1]


def test_hidden_files_and_folders_are_left_out(tmp_path):
  write_images(tmp_path, 'a.png', '._a.png', '.thumbnails/b.png')
  assert [path.name for path in open_folder(tmp_path).paths] == ['a.png']


def test_files_that_are_not_read_are_counted_by_suffix_once(tmp_path, capsys):
  write_images(tmp_path, 'a.png')
  for name in ('b.HEIC', 'x/c.heic', 'notes.txt', 'LICENSE', '.DS_Store'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  for _ in range(2):
    open_folder(tmp_path)
  line = f'WARNING: 4 other files in {tmp_path} are left out (.heic 2, no suffix 1, .txt 1)\n'
  assert capsys.readouterr().err == line
  images.warn_once.cache_clear()
  assert images.find([tmp_path]) == [tmp_path / 'a.png']
  assert sorted(capsys.readouterr().err) == sorted(line)


def test_jfif_ppm_and_pgm_files_are_read(tmp_path):
  colour, grey = Image.new('RGB', (4, 4), (9, 99, 199)), Image.new('L', (4, 4), 77)
  colour.save(tmp_path / 'a.jfif', 'JPEG', quality=100)
  grey.save(tmp_path / 'b.pgm')
  colour.save(tmp_path / 'c.PPM')
  source = open_folder(tmp_path)
  assert [source[i][0].mean(axis=(0, 1)).round(-1).tolist() for i in range(3)] == [
    [10, 100, 200],
    [80] * 3,
    [10, 100, 200],
  ]


def test_linked_folders_are_searched_once_and_loops_end(tmp_path):
  write_images(tmp_path / 'elsewhere', 'x.png')
  write_images(tmp_path / 'data', 'z/1.png')
  (tmp_path / 'data' / 'a').symlink_to(tmp_path / 'data' / 'z')
  (tmp_path / 'data' / 'z' / 'loop').symlink_to(tmp_path / 'data')
  (tmp_path / 'data' / 'other').symlink_to(tmp_path / 'elsewhere')
  source = open_folder(tmp_path / 'data')
  assert [str(path.relative_to(tmp_path / 'data')) for path in source.paths] == ['other/x.png', 'z/1.png']


def test_a_broken_image_is_named_when_it_is_read(tmp_path):
  (tmp_path / 'a.png').write_bytes(b'no image')
  source = open_folder(tmp_path)
  assert message(DataError, source.__getitem__, 0).startswith(f'Cannot read {tmp_path}/a.png as an image (')


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
  assert message(DataError, open_folder, tmp_path) == (
    f'No images (.bmp .gif .jfif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp) under {tmp_path}; '
    'the folder source searches sub-folders too.'
  )


def test_a_missing_folder_is_told_from_a_file(tmp_path):
  write_images(tmp_path, 'a.png')
  text = message(DataError, open_folder, tmp_path / 'b')
  assert text == f'{tmp_path}/b does not exist; give the folder of your images, --config.data.source=folder:PATH.'
  text = message(DataError, open_folder, tmp_path / 'a.png')
  assert text == f'{tmp_path}/a.png is a file; the folder source needs a folder with images.'


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
  def refuse(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr('os.scandir', refuse)
  assert message(DataError, open_folder, tmp_path) == f'Cannot list {tmp_path} (Permission denied).'


def test_a_folder_needs_an_image_size_and_one_or_three_channels(tmp_path):
  assert message(ConfigError, open_folder, tmp_path, image_size=None) == (
    'config.data.image_size is not set; files differ in size, so set the side in pixels, for example 64.'
  )
  assert message(ConfigError, open_folder, tmp_path, channels=4) == (
    'config.data.channels is 4; use 1 for grey or 3 for RGB.'
  )


def test_an_npz_of_a_later_zip_version_is_named(tmp_path):
  stream = io.BytesIO()
  np.savez(stream, images=np.zeros((2, 4, 4, 1), np.uint8))
  content = bytearray(stream.getvalue())
  content[content.index(b'PK\x01\x02') + 6] = 64  # the version needed to extract: 6.4
  (tmp_path / 'a.npz').write_bytes(content)
  with pytest.raises(DataError, match=r'a.npz is not a .npz file; write one with np.savez'):
    arrays.open_npz(tmp_path / 'a.npz', split='train', image_size=None)
