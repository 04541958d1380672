"""Arrays kept in a cache are those that were asked for, whatever happened to its files."""

import concurrent.futures
import os

import numpy as np
import pytest

from dcgan_jax.metrics import cache

ARRAY = np.arange(200, dtype=np.float32).reshape(50, 4)
IDENTITY = {'num': 50, 'sha256': 'abc'}


def ask(directory, identity=IDENTITY, array=ARRAY, fits=lambda arrays: arrays['x'].shape == (50, 4)):
  """The array, and how often it was computed."""
  calls = []
  result = cache.cached(directory, identity, lambda: calls.append(1) or {'x': array}, fits)['x']
  np.testing.assert_array_equal(result, array)
  return len(calls)


def test_arrays_are_computed_once_for_each_identity(tmp_path, capsys):
  assert [ask(tmp_path / 'a'), ask(tmp_path / 'a')] == [1, 0]
  assert [ask(tmp_path / 'a', {**IDENTITY, 'num': 3}), ask(tmp_path / 'a')] == [1, 0]
  assert [path.suffix for path in (tmp_path / 'a').iterdir()] == ['.npz', '.npz']
  assert capsys.readouterr().err == ''


def test_no_flipped_or_missing_byte_of_a_file_changes_what_is_returned(tmp_path, capsys):
  ask(tmp_path)
  (path,) = tmp_path.iterdir()
  whole, computed = path.read_bytes(), 0
  for place in range(0, len(whole), 7):
    path.write_bytes(whole[:place] if place % 2 else whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
    computed += ask(tmp_path)
  assert computed > 100
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == computed
  assert all(line.startswith(f'WARNING: {path} cannot be used (') for line in lines)


@pytest.mark.parametrize('kind', ['identity', 'shape', 'text', 'directory', 'pipe'])
def test_a_foreign_file_is_computed_again_in_one_line(kind, tmp_path, capsys):
  ask(tmp_path)
  (path,) = tmp_path.iterdir()
  path.unlink()
  if kind == 'identity':
    ask(tmp_path, {**IDENTITY, 'sha256': 'xyz'}, array=-ARRAY)
    next(tmp_path.iterdir()).rename(path)
  elif kind == 'shape':
    ask(tmp_path, array=ARRAY[:7], fits=lambda arrays: True)
  elif kind == 'text':
    path.write_text('no archive')
  elif kind == 'directory':
    path.mkdir()
  elif hasattr(os, 'mkfifo'):
    os.mkfifo(path)
  capsys.readouterr()
  assert ask(tmp_path) == (kind != 'pipe' or hasattr(os, 'mkfifo'))
  assert f'WARNING: {path} cannot be used (' in capsys.readouterr().err
  assert ask(tmp_path) == (kind == 'directory')


def test_a_directory_that_cannot_be_written_costs_time_alone(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert [ask(tmp_path / 'file' / 'cache'), ask(tmp_path / 'file' / 'cache')] == [1, 1]
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 2
  assert all(line.startswith('WARNING: Cannot keep ') for line in lines)


def test_a_full_disk_costs_time_alone_and_leaves_nothing(tmp_path, capsys, monkeypatch):
  def full(file, **arrays):
    file.write(b'half')
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(cache.np, 'savez', full)
  assert ask(tmp_path) == 1
  assert 'No space left on device); it will be computed again next time' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_many_that_share_a_directory_do_not_break_each_other(tmp_path, capsys):
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    computed = list(pool.map(lambda i: ask(tmp_path, {'n': i // 8}), range(160)))
  assert 20 <= sum(computed) < 160
  assert len(list(tmp_path.iterdir())) == 20
  assert capsys.readouterr().err == ''
