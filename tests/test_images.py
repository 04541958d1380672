"""Pixels: conversion, reading, fitting, grids and files."""

import io
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

IPTC = 'http://cv.iptc.org/newscodes/digitalsourcetype/'


def noise(*shape) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def encoded(image: Image.Image, kind='PNG', **options) -> bytes:
  stream = io.BytesIO()
  image.save(stream, kind, **options)
  return stream.getvalue()


def test_every_pixel_value_survives_the_way_to_float_and_back():
  values = np.arange(256, dtype=np.uint8)
  scaled = images.to_float(values)
  assert (scaled.dtype, scaled[0], scaled[255]) == (np.float32, -1.0, 1.0)
  np.testing.assert_array_equal(images.to_uint8(scaled), values)


def test_values_out_of_range_are_clipped():
  np.testing.assert_array_equal(images.to_uint8(np.array([-3.0, -1.0, 0.0, 1.0, 9.0])), [0, 0, 128, 255, 255])


def test_a_saved_png_reads_back_the_same(tmp_path):
  for channels in (1, 3):
    image = noise(5, 7, channels)
    images.save_png(tmp_path / 'a.png', image)
    np.testing.assert_array_equal(images.read(tmp_path / 'a.png', channels=channels), image)
  assert [path.name for path in tmp_path.iterdir()] == ['a.png']


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'])
@pytest.mark.parametrize('channels', [1, 3])
def test_every_colour_mode_is_converted(mode, channels):
  kind = 'TIFF' if mode == 'CMYK' else 'PNG'
  read = images.read(encoded(Image.new(mode, (7, 5)), kind), channels=channels, value_range=(0, 65535))
  assert read.shape == (5, 7, channels)


def test_transparency_is_laid_on_white():
  pixels = np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)
  np.testing.assert_array_equal(images.read(encoded(Image.fromarray(pixels))), [[[255, 255, 255], [255, 0, 0]]])
  on_blue = images.read(encoded(Image.fromarray(pixels)), ground='#00f')
  np.testing.assert_array_equal(on_blue, [[[0, 0, 255], [255, 0, 0]]])


def test_images_are_turned_upright():
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees clockwise
  image = noise(2, 3, 3)
  np.testing.assert_array_equal(images.read(encoded(Image.fromarray(image), exif=exif)), np.rot90(image, -1))


def test_the_first_frame_of_an_animation_is_read(tmp_path):
  images.save_gif(tmp_path / 'a.gif', [np.full((4, 4, 3), v, np.uint8) for v in (0, 255)], milliseconds=100, rest=1000)
  np.testing.assert_array_equal(images.read(tmp_path / 'a.gif'), 0)


@pytest.mark.parametrize('length', [0, 10, 60])
def test_a_damaged_file_is_named(tmp_path, length):
  (tmp_path / 'a.png').write_bytes(encoded(Image.fromarray(noise(8, 8, 3)))[:length])
  with pytest.raises(DataError) as caught:
    images.read(tmp_path / 'a.png')
  assert str(caught.value).startswith(f'Cannot read {tmp_path}/a.png as an image (')
  assert '\n' not in str(caught.value)


def test_an_image_of_absurd_size_is_refused(monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
  with pytest.raises(DataError, match='decompression bomb'):
    images.read(encoded(Image.new('L', (10, 10))))


def test_fit_leaves_an_image_of_the_right_size_alone():
  image = noise(8, 8, 3)
  np.testing.assert_array_equal(images.fit(image, 8), image)


def test_fit_takes_the_central_square():
  image = noise(10, 6, 3)
  np.testing.assert_array_equal(images.fit(image, 6), image[2:8])
  np.testing.assert_array_equal(images.fit(image, 4, crop=4), image[3:7, 1:5])


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [3, 16])
def test_fit_keeps_a_plain_colour(channels, size):
  image = np.full((12, 9, channels), 77, np.uint8)
  np.testing.assert_array_equal(images.fit(image, size), np.full((size, size, channels), 77))


def test_fit_takes_the_central_part_of_the_proportions_of_a_size_that_is_no_square():
  image = noise(10, 9, 3)
  np.testing.assert_array_equal(images.fit(image, (10, 5)), image[:, 2:7])
  np.testing.assert_array_equal(images.fit(image, (3, 9)), image[3:6])
  assert images.fit(image, (16, 8)).shape == (16, 8, 3)


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path, capsys):
  paths = [tmp_path / f'{i}.png' for i in range(3)]
  for path in paths[1:]:
    images.save_png(path, noise(4, 4, 3))
  paths[0].write_bytes(b'')
  read, kept = images.read_readable(paths, images.read)
  assert (read.shape, kept) == ((2, 4, 4, 3), paths[1:])
  line = capsys.readouterr().err
  assert line.startswith(f'WARNING: Cannot read {paths[0]} as an image (')
  assert line.endswith('It is left out.\n')
  with pytest.raises(DataError, match='0.png as an image'):
    images.read_readable(paths[:1], images.read)


def test_fit_averages_fine_patterns_instead_of_picking_pixels():
  image = np.zeros((64, 64, 1), np.uint8)
  image[::2] = 255
  assert 120 <= images.fit(image, 8).mean() <= 135


def test_a_grid_is_filled_by_rows_on_grey():
  examples = np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 2, 3, 1), np.uint8)
  grid = images.grid(examples, gap=1)
  assert grid.shape == (7, 13, 1)
  np.testing.assert_array_equal(grid[1::3, 1::4, 0], [[1, 2, 3], [4, 5, 128]])
  np.testing.assert_array_equal(grid[::3], 128)
  np.testing.assert_array_equal(grid[:, ::4], 128)


def test_a_grid_may_have_any_number_of_columns_and_no_gaps():
  examples = noise(5, 2, 3, 3)
  np.testing.assert_array_equal(images.grid(examples, columns=5, gap=0), np.concatenate(examples, axis=1))


def test_a_gif_is_endless_and_rests_on_its_last_frame(tmp_path):
  frames = [np.full((4, 4, 1), value, np.uint8) for value in (0, 100, 200)]
  images.save_gif(tmp_path / 'a.gif', frames, milliseconds=50, rest=500)
  with Image.open(tmp_path / 'a.gif') as gif:
    durations = [gif.seek(i) or gif.info['duration'] for i in range(gif.n_frames)]
    assert (durations, gif.info['loop']) == ([50, 50, 500], 0)


def test_an_origin_survives_the_way_to_a_file_and_back(tmp_path):
  origin = images.origin(run='L\xe4ufe \u65e5 <a&b>', step=7, seed=3)
  images.save_png(tmp_path / 'a.png', noise(4, 4, 3), origin=origin)
  with Image.open(tmp_path / 'a.png') as picture:
    assert picture.text == origin
    packet = xml.etree.ElementTree.fromstring(picture.text['XML:com.adobe.xmp'])
    kind = packet.findtext('.//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType')
    assert kind == IPTC + 'trainedAlgorithmicMedia'
  images.save_gif(tmp_path / 'a.gif', [noise(4, 4, 3)] * 2, milliseconds=20, origin=origin)
  with Image.open(tmp_path / 'a.gif') as gif:
    assert gif.info['comment'].decode() == origin['Description']


def test_a_run_whose_name_is_no_text_has_an_origin(tmp_path):
  images.save_png(tmp_path / 'a.png', noise(4, 4, 3), origin=images.origin(run='run\udcff', step=7))
  with Image.open(tmp_path / 'a.png') as picture:
    assert picture.text['run'] == 'run?'


def test_what_is_real_in_a_picture_is_said():
  origin = images.origin(run='a', step=7, real='the left half')
  assert origin['Description'].startswith('In part synthetic, real is the left half: drawn by')
  assert IPTC + 'compositeWithTrainedAlgorithmicMedia<' in origin['XML:com.adobe.xmp']
  assert 'seed' not in origin


def test_no_origin_leaves_nothing_but_pixels(tmp_path):
  images.save_png(tmp_path / 'a.png', noise(4, 4, 3))
  images.save_gif(tmp_path / 'a.gif', [noise(4, 4, 3)] * 2, milliseconds=20)
  with Image.open(tmp_path / 'a.png') as picture, Image.open(tmp_path / 'a.gif') as gif:
    assert not picture.text
    assert 'comment' not in gif.info


def test_files_are_found_in_folders_by_their_suffixes_and_in_order(tmp_path):
  (tmp_path / 'folder' / 'deeper').mkdir(parents=True)
  for name in ('b.PNG', 'a.txt', 'deeper/a.jpg'):
    (tmp_path / 'folder' / name).touch()
  alone = tmp_path / 'named'
  alone.touch()
  assert images.find([alone, tmp_path / 'folder']) == [
    alone, tmp_path / 'folder' / 'b.PNG', tmp_path / 'folder' / 'deeper' / 'a.jpg'
  ]  # fmt: skip
  (tmp_path / 'empty').mkdir()
  with pytest.raises(DataError, match=r'No images in \S+empty; expected files named .bmp .gif'):
    images.find([tmp_path / 'empty'])
  with pytest.raises(DataError, match=r'There is no image file or folder \S+nowhere'):
    images.find([alone, tmp_path / 'nowhere'])
