"""Folders as they are found: damaged files are named once and skipped up to a limit, odd ones are read right."""

import os
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.data import folder
from dcgan_jax.data.resident import ResidentFeeder
from dcgan_jax.errors import DataError

pytestmark = pytest.mark.faults

GOOD = np.full((8, 8, 3), (200, 100, 50), np.uint8)


def _write(path, mode='RGB', kind='PNG', **options):
  Image.fromarray(GOOD).convert(mode).save(path, kind, **options)


def _truncated(path):
  _write(path, kind='BMP')
  os.truncate(path, 60)


def _bomb(path):
  _write(path)
  content = bytearray(path.read_bytes())
  content[16:24] = (50_000).to_bytes(4, 'big') * 2  # width and height in a PNG's header
  path.write_bytes(content)


def _unreadable(path):
  path.symlink_to(path)  # a loop, which no rights of root can open


DAMAGES = {
  'truncated': _truncated,
  'zero bytes': lambda path: path.write_bytes(b''),
  'html': lambda path: path.write_text('<!doctype html><title>404</title>'),
  'bomb': _bomb,
  'unreadable': _unreadable,
  'pipe': lambda path: os.mkfifo(path),
  'missing': lambda path: path.symlink_to('/nowhere'),
  'pickle': lambda path: path.write_bytes(b"cos\nsystem\n(S'false'\ntR."),
  'postscript': lambda path: path.write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n'),
}
ODD = {
  'cmyk.jpg': lambda path: _write(path, 'CMYK', 'JPEG'),
  'palette.png': lambda path: _write(path, 'P'),
  'rgba.png': lambda path: _write(path, 'RGBA'),
  'really a png.jpg': _write,
  'animated.gif': lambda path: _write(path, 'P', 'GIF', save_all=True, append_images=[Image.new('RGB', (8, 8))]),
  'one pixel.png': lambda path: Image.fromarray(GOOD[:1, :1]).save(path),
  'UPPER.PNG': lambda path: _write(path, kind='PNG'),
}


def _open(path, number=30):
  for i in range(number):
    _write(path / f'good {i:05d}.png')
  return folder.open_folder(path, image_size=4, crop=None, channels=3)


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_bad_file_is_named_once_and_the_next_takes_its_place(tmp_path, capsys, damage):
  DAMAGES[damage](tmp_path / 'a bad one.png')
  source = _open(tmp_path)
  assert len(source) == 31
  for _ in range(2):
    np.testing.assert_array_equal(source[0][0], source[1][0])
  error = capsys.readouterr().err
  assert error.count('\n') == error.count('WARNING: Cannot read') == 1
  assert f'{tmp_path}/a bad one.png' in error
  assert 'The next file takes its place (1 so far, at most 10)' in error


def test_all_bad_files_together_are_still_few(tmp_path, capsys):
  for name, damage in DAMAGES.items():
    damage(tmp_path / f'{name}.png')
  feeder = ResidentFeeder(_open(tmp_path), seed=0, batch_size=4)
  np.testing.assert_array_equal(feeder.data['images'], np.broadcast_to(GOOD[:4, :4], (30 + len(DAMAGES), 4, 4, 3)))
  assert capsys.readouterr().err.count('WARNING: ') == len(DAMAGES)


@pytest.mark.parametrize('name', ODD)
def test_odd_files_are_read_right(tmp_path, capsys, name):
  ODD[name](tmp_path / name)
  source = folder.open_folder(tmp_path, image_size=4, crop=None, channels=3)
  np.testing.assert_allclose(source[0][0].astype(int), GOOD[:4, :4], atol=6)  # palettes and JPEG are lossy
  assert capsys.readouterr().err == ''


def test_too_many_bad_files_stop(tmp_path):
  for i in range(11):
    DAMAGES['html'](tmp_path / f'bad {i:02d}.jpg')
  with pytest.raises(DataError, match='11 of 41 files cannot be read, more than 10; mend or remove them'):
    ResidentFeeder(_open(tmp_path), seed=0, batch_size=4)


def test_where_every_file_is_bad_it_ends(tmp_path):
  for i in range(3):
    DAMAGES['html'](tmp_path / f'{i}.jpg')
  with pytest.raises(DataError, match='3 of 3 files cannot be read'):
    _open(tmp_path, number=0)[0]


def test_a_bad_file_keeps_the_class_of_the_image_in_its_place(tmp_path, capsys):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    _write(tmp_path / name / 'x.png')
  DAMAGES['html'](tmp_path / 'a' / 'z.png')
  source = folder.open_folder(tmp_path, image_size=4, crop=None, channels=3)
  assert [source[i][1] for i in range(3)] == [0, 1, 1]


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_in_seconds_and_little_memory(tmp_path):
  for i in range(100_000):
    (tmp_path / f'{i}.png').touch()
  tracemalloc.start()
  start = time.process_time()
  source = folder.open_folder(tmp_path, image_size=4, crop=None, channels=3)
  seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert len(source) == 100_000
  assert seconds < 60
  assert peak < 200e6
