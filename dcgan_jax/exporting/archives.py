"""Runs that come from elsewhere: a directory to copy, or a .zip or .tar to unpack, whose names are not trusted."""

import os
import pathlib
import shutil
import stat
import tarfile
import zipfile

from dcgan_jax.errors import CheckpointError

MOST_BYTES = 20 * 10**9  # More than any run here; an archive of a few MB can hold as much.


def fetch(source: str | os.PathLike, directory: str | os.PathLike) -> pathlib.Path:
  """Copies or unpacks a run or an export.

  Args:
    source: a directory, or a .zip, .tar, .tar.gz, ... in which one run is, at any depth.
    directory: where to; made if it is not there.

  Returns:
    The directory of the run, in `directory`.

  Raises:
    CheckpointError: no such file, no archive, one that reaches outside or is too large, or not one run in it.
  """
  source, directory = pathlib.Path(source), pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  if source.is_dir():
    shutil.copytree(source, directory, dirs_exist_ok=True)
  else:
    _unpack(source, directory)
  runs = [path.parent for path in directory.rglob('config.json') if (path.parent / 'run.json').is_file()]
  if len(runs) != 1:
    raise CheckpointError(f'{source} holds {len(runs)} runs (config.json beside run.json); give a run or an export')
  return runs[0]


def _unpack(archive: pathlib.Path, directory: pathlib.Path) -> None:
  try:
    if zipfile.is_zipfile(archive):
      _unpack_zip(archive, directory)
    else:
      _unpack_tar(archive, directory)
  except Exception as error:  # Decompressors raise what they like at damaged bytes.
    reason = ' '.join(str(error).split())[:300]
    raise CheckpointError(f'Cannot unpack {archive} ({reason}); expected a .zip or .tar.gz of a run') from error


def _unpack_zip(archive: pathlib.Path, directory: pathlib.Path) -> None:
  with zipfile.ZipFile(archive) as file:
    members = file.infolist()
    _check_size(sum(member.file_size for member in members))
    for member in members:
      # The library would write such a file elsewhere, and without a word.
      path = pathlib.PurePosixPath(member.filename.replace('\\', '/'))
      is_link = stat.S_ISLNK(member.external_attr >> 16)
      if path.is_absolute() or '..' in path.parts or is_link:
        raise ValueError(f'{member.filename!r} would reach outside')
    file.extractall(directory)


def _unpack_tar(archive: pathlib.Path, directory: pathlib.Path) -> None:
  with tarfile.open(archive) as file:
    members = file.getmembers()
    _check_size(sum(member.size for member in members))
    for member in members:
      # The library's own filter can be led outside by links in Pythons of before June 2025 (CVE-2025-4517).
      if not (member.isfile() or member.isdir()):
        raise ValueError(f'{member.name!r} is neither a file nor a directory')
    file.extractall(directory, filter='data')


def _check_size(size: int) -> None:
  if size > MOST_BYTES:
    raise ValueError(f'{size / 1e9:,.0f} GB unpacked, more than the {MOST_BYTES / 1e9:.0f} GB that are taken')
