"""Runs out of directories and archives; nothing is written outside of where it should be."""

import io
import pathlib
import stat
import tarfile
import zipfile

import pytest

from dcgan_jax.errors import CheckpointError
from dcgan_jax.exporting import archives

FILES = {'deep/run/config.json': b'{}', 'deep/run/run.json': b'{}', 'deep/run/checkpoints/1/x': b'weights'}


def _zip(path, files):
  with zipfile.ZipFile(path, 'w') as file:
    for name, content in files.items():
      file.writestr(name, content)
  return path


def _tar(path, files, kind='w:gz'):
  with tarfile.open(path, kind) as file:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      file.addfile(member, io.BytesIO(content))
  return path


def _folder(path, files):
  for name, content in files.items():
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(content)
  return path


@pytest.mark.parametrize('make', [_zip, _tar, _folder])
def test_the_run_is_found_in_what_was_fetched(make, tmp_path):
  # Without a suffix, as a download may be called.
  run = archives.fetch(make(tmp_path / 'source', FILES), tmp_path / 'here')
  assert run == tmp_path / 'here' / 'deep' / 'run'
  assert (run / 'checkpoints' / '1' / 'x').read_bytes() == b'weights'


def _linked_tar(path):
  with tarfile.open(path, 'w') as file:
    member = tarfile.TarInfo('run')
    member.type, member.linkname = tarfile.SYMTYPE, '/etc'
    file.addfile(member)
  return path


def _linked_zip(path):
  with zipfile.ZipFile(path, 'w') as file:
    member = zipfile.ZipInfo('run')
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(member, '/etc')
  return path


@pytest.mark.parametrize(
  'make',
  [
    lambda path: _zip(path, {'../out': b'x'}),
    lambda path: _zip(path, {'a/../../out': b'x'}),
    lambda path: _zip(path, {'..\\out': b'x'}),
    lambda path: _zip(path, {'/tmp/out': b'x'}),
    _linked_zip,
    lambda path: _tar(path, {'../out': b'x'}),
    lambda path: _tar(path, {'a/../../out': b'x'}),
    _linked_tar,
  ],
)
def test_an_archive_that_reaches_outside_is_refused(make, tmp_path):
  archive = make(tmp_path / 'archive')
  with pytest.raises(CheckpointError, match='Cannot unpack'):
    archives.fetch(archive, tmp_path / 'here')
  assert {path.name for path in tmp_path.iterdir()} == {'archive', 'here'}
  assert not list((tmp_path / 'here').iterdir())


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_tar_holds_only_files_and_directories_or_nothing_is_written(kind, tmp_path):
  archive = _tar(tmp_path / 'archive', FILES, 'w')
  with tarfile.open(archive, 'a') as file:
    member = tarfile.TarInfo('deep/other')
    # A link to a file inside, which the library's own filter takes.
    member.type, member.linkname = kind, 'run/config.json' if kind == tarfile.SYMTYPE else 'deep/run/config.json'
    file.addfile(member)
  with pytest.raises(CheckpointError, match="'deep/other' is neither a file nor a directory"):
    archives.fetch(archive, tmp_path / 'here')
  assert not list((tmp_path / 'here').iterdir())


def test_an_absolute_name_of_a_tar_stays_inside(tmp_path):
  with pytest.raises(CheckpointError):
    archives.fetch(_tar(tmp_path / 'archive', {f'{tmp_path}/out': b'x'}), tmp_path / 'here')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'Cannot unpack'),
    (b'<html>404</html>', r'expected a \.zip or \.tar\.gz of a run'),
    (None, 'Cannot unpack .*No such file'),
  ],
)
def test_no_archive_is_one_line(content, message, tmp_path):
  if content is not None:
    (tmp_path / 'archive').write_bytes(content)
  with pytest.raises(CheckpointError, match=message) as error:
    archives.fetch(tmp_path / 'archive', tmp_path / 'here')
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('make', [_zip, _tar])
def test_a_truncated_archive_is_one_line_or_whole(make, tmp_path):
  archive = make(tmp_path / 'archive', FILES)
  content, refused = archive.read_bytes(), 0
  for end in range(0, len(content), 7):
    archive.write_bytes(content[:end])
    try:
      run = archives.fetch(archive, tmp_path / str(end))
      # What closes a tar may be missing.
      assert (run / 'checkpoints' / '1' / 'x').read_bytes() == b'weights'
    except CheckpointError as error:
      refused += 1
      assert '\n' not in str(error)
  assert refused >= len(content) // 7 - 2


@pytest.mark.parametrize('make', [_zip, _tar])
def test_an_archive_that_would_fill_the_disk_is_refused(make, tmp_path, monkeypatch):
  monkeypatch.setattr(archives, 'MOST_BYTES', 10)
  with pytest.raises(CheckpointError, match='more than the 0 GB that are taken'):
    archives.fetch(make(tmp_path / 'archive', FILES), tmp_path / 'here')


@pytest.mark.parametrize('files', [{'notes.txt': b'x'}, FILES | {'other/config.json': b'{}', 'other/run.json': b'{}'}])
def test_it_holds_one_run(files, tmp_path):
  with pytest.raises(CheckpointError, match=r'holds [02] runs \(config.json beside run.json\)'):
    archives.fetch(_folder(tmp_path / 'source', files), pathlib.Path(tmp_path / 'here'))
