"""Images of more than 8 bits are scaled by the range of the data set; pixels that show nothing are said."""

import io
import struct
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.building import model as build_model
from dcgan_jax.data import arrays, contents, folder
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images
from dcgan_jax.run import Run


def open_folder(path, **options):
  return folder.open_folder(path, **{'image_size': 2, 'crop': None, 'channels': 1, **options})


def write(path, values, dtype):
  Image.fromarray(np.asarray(values, dtype)).save(path)


@pytest.mark.parametrize(
  ('suffix', 'dtype', 'offset'),
  [('png', np.uint16, 0), ('tif', np.uint16, 640), ('tif', np.int32, 0), ('tif', np.int32, -1024)],
)
def test_values_are_scaled_from_the_lowest_to_the_highest_of_all_files(tmp_path, capsys, suffix, dtype, offset):
  write(tmp_path / f'a.{suffix}', offset + np.array([[0, 100], [150, 255]]), dtype)
  write(tmp_path / f'b.{suffix}', offset + np.array([[510, 300], [20, 10]]), dtype)
  source = open_folder(tmp_path)
  assert source.value_range == (offset, offset + 510)
  np.testing.assert_array_equal(source[0][0][..., 0], [[0, 50], [75, 128]])
  np.testing.assert_array_equal(source[1][0][..., 0], [[255, 150], [10, 5]])
  assert capsys.readouterr().err == (
    f'2 images in {tmp_path} have more than 8 bits; their values from {offset} to {offset + 510} become 0 to 255 '
    '(config.data.range sets other ends)\n'
  )


def test_images_of_8_bits_stay_as_they_are_beside_deeper_ones(tmp_path):
  write(tmp_path / 'a.png', [[0, 1], [2, 3]], np.uint8)
  write(tmp_path / 'b.png', [[0, 4095], [0, 4095]], np.uint16)
  source = open_folder(tmp_path)
  np.testing.assert_array_equal(source[0][0][..., 0], [[0, 1], [2, 3]])
  np.testing.assert_array_equal(source[1][0][..., 0], [[0, 255], [0, 255]])


def test_a_range_that_is_given_is_taken_and_what_is_outside_is_clipped(tmp_path, capsys):
  write(tmp_path / 'a.tif', [[-1024, -100], [100, 300]], np.int32)
  source = open_folder(tmp_path, value_range=(-100, 155))
  np.testing.assert_array_equal(source[0][0][..., 0], [[0, 0], [200, 255]])
  assert capsys.readouterr().err == ''


def test_floats_are_refused_at_the_first_and_read_by_a_range(tmp_path, capsys):
  for i in range(20):
    write(tmp_path / f'{i:02d}.tif', [[0, 0.2], [0.4, 1]], np.float32)
  with pytest.raises(DataError, match=r'The pixels of .*/00.tif are floats; save it with 8 bits, or train with config'):
    open_folder(tmp_path)
  assert capsys.readouterr().err == ''
  np.testing.assert_array_equal(open_folder(tmp_path, value_range=(0, 1))[0][0][..., 0], [[0, 51], [102, 255]])


def test_keys_without_an_effect_are_refused(tmp_path):
  write(tmp_path / 'a.png', [[7, 8], [9, 7]], np.uint8)
  config = cifar10.get_config()
  config.update(data={'source': 'folder:a', 'range': (0, 4095)})
  with pytest.raises(
    ConfigError, match=r'config.data.range is \(0, 4095\), which is for image files of more than 8 bit'
  ):
    build_data.check_file_options(config, open_folder(tmp_path, value_range=(0, 4095)))
  write(tmp_path / 'b.png', [[7, 8], [9, 7]], np.uint16)
  build_data.check_file_options(config, open_folder(tmp_path, value_range=(0, 4095)))
  config.update(data={'range': None, 'ground': 'black'})
  with pytest.raises(ConfigError, match="config.data.ground is 'black', which is for transparent image files"):
    build_data.check_file_options(config, arrays.ArraySource(GOOD))


def test_color_images_of_16_bits_are_said_to_be_read_by_their_high_bytes(tmp_path, capsys):
  chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
  pixels = np.array([[[4095, 256, 0]]], '>u2')
  header = struct.pack('>IIBBBBB', 1, 1, 16, 2, 0, 0, 0)
  content = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' + pixels.tobytes())) + chunk(b'IEND', b'')
  (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + content)
  source = open_folder(tmp_path, image_size=1, channels=3)
  assert source[0][0].tolist() == [[[15, 1, 0]]]
  assert capsys.readouterr().err.startswith(
    'WARNING: color images of 16 bits, such as a.png, are read by their high by'
  )


def test_floats_that_are_no_numbers_are_refused():
  stream = io.BytesIO()
  Image.fromarray(np.array([[0, np.nan]], np.float32)).save(stream, 'TIFF')
  with pytest.raises(DataError, match='some of its pixels are no finite numbers'):
    images.read(stream.getvalue(), value_range=(0, 1))


def test_deep_images_of_one_value_are_refused(tmp_path):
  write(tmp_path / 'a.png', [[7, 7], [7, 7]], np.uint16)
  with pytest.raises(DataError, match='All pixels of the images of more than 8 bits in .* are 7; they show nothing'):
    open_folder(tmp_path)


def test_a_deep_image_without_a_range_is_refused():
  stream = io.BytesIO()
  Image.fromarray(np.array([[0, 4095]], np.uint16)).save(stream, 'PNG')
  with pytest.raises(DataError, match='its pixels are of more than 8 bits, 0 to 4095; save it with 8 bits, or train'):
    images.read(stream.getvalue())


def test_a_ground_that_is_no_color_is_refused(tmp_path):
  write(tmp_path / 'a.png', [[7, 8], [9, 7]], np.uint8)
  with pytest.raises(ConfigError, match=r"config.data.ground is 'blak'; expected a color such as white, black"):
    open_folder(tmp_path, ground='blak')


def test_references_and_given_files_are_read_as_the_training_data_are(tmp_path):
  config = cifar10.get_config()
  config.update(batch_size=1, data={'source': f'folder:{tmp_path}', 'image_size': 8, 'ground': 'black'})
  for player in (config.generator, config.discriminator):
    player.widths = (4,)
  pixels = np.arange(64).reshape(8, 8)
  write(tmp_path / 'a.png', pixels, np.uint16)
  Image.fromarray(np.zeros((8, 8, 4), np.uint8) + np.uint8([9, 9, 9, 128])).save(tmp_path / 'b.png')
  trained = build_data.build_source(config)
  write(tmp_path / 'c.png', pixels * 100, np.uint16)
  config = build_data.with_range(config, trained.value_range)
  model = build_model.build_model(config, (8, 8, 3))
  run = Run(config, model, jax.jit(model.create)(jax.random.key(0)), (8, 8, 3))
  reference = build_data.build_reference(run.config, 'train')
  given = run.read_images([tmp_path / 'a.png', tmp_path / 'b.png'])
  for i in range(2):
    np.testing.assert_array_equal(given[i], trained[i][0])
    np.testing.assert_array_equal(reference.at(i), trained[i][0])
  assert (given[0].max(), given[1].max()) == (255, 5)


# What the examples look like.

GOOD = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
  ('examples', 'words'),
  [
    (GOOD, ''),
    (GOOD // 8 + 100, ''),
    (GOOD // 9 + 100, 'the 16 examples that were looked at span 100 to 128 of 0 to 255; store them scaled'),
    (
      GOOD[:, :1, :1].repeat(4, 1).repeat(4, 2),
      'each of the 16 examples that were looked at is of one color; if it is',
    ),
    (GOOD[:1].repeat(16, 0), 'the 16 examples that were looked at are all the same'),
    (GOOD[:, 0], ''),
  ],
)
def test_constant_images_and_slivers_are_said(examples, words):
  found = contents.fault(examples, robust=False)
  assert found.startswith(words)
  assert bool(found) == bool(words)


def test_a_few_bright_pixels_do_not_hide_a_sliver_of_a_measured_range():
  examples = np.random.default_rng(0).integers(0, 16, (16, 16, 16, 1), np.uint8)
  examples[3, 4, 5] = 255
  assert contents.fault(examples, robust=False) == ''
  assert 'span 0 to 15 of 0 to 255' in contents.fault(examples, robust=True)


@pytest.mark.parametrize('megabytes', [0, 10])
def test_what_looks_wrong_is_said_of_resident_and_streamed_data(capsys, megabytes):
  config = cifar10.get_config()
  config.update(batch_size=4, data={'resident_megabytes': megabytes, 'source': 'npz:dark.npz'})
  source = arrays.ArraySource(GOOD // 64)
  with_feeder = build_data.build_feeder(config, source)
  build_data.warn_of_contents(config, source, with_feeder)
  assert capsys.readouterr().err.startswith('WARNING: npz:dark.npz: the 16 examples that were looked at span 0 to 3 of')
