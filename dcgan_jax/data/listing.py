"""The files under a folder, and what their folders say: splits, and classes."""

import hashlib
import os
import pathlib
import re
from collections.abc import Sequence

from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

_SPLITS = ('train', 'val', 'valid', 'validation', 'test')
_OF_ARCHIVES = '__MACOSX'  # What macOS puts into a zip beside the files.


def innermost(root: pathlib.Path) -> pathlib.Path:
  """The folder itself, or the one folder with all of its images, as archives wrap them; in turn, to any depth."""
  while True:
    entries = _entries(root)
    folders = [entry.name for entry in entries if _is_folder(entry)]
    files = [entry.name for entry in entries if not _is_folder(entry)]
    if len(folders) != 1 or folders[0].lower() in _SPLITS or images_of(files):
      return root
    images.warn_of_others(root, files)
    root = root / folders[0]


def splits(root: pathlib.Path) -> tuple[dict[str, pathlib.Path], list[str]]:
  """The sub-folders that are splits, by the name of the split, and what lies beside them.

  There are none where they are classes, one of which is trains.
  """
  entries = sorted(_entries(root), key=lambda entry: entry.name)
  folders = [entry.name for entry in entries if _is_folder(entry)]
  found = {split: root / name for split in _SPLITS for name in folders if name.lower() == split}
  names = {path.name for path in found.values()}
  others = [entry.name for entry in entries if entry.name not in names]
  return (found if len(found) >= 2 or len(found) == len(folders) else {}), others


def classes(names: Sequence[str]) -> list[str] | None:
  """The first-level folders in natural order, 2 before 10, if every name is in one."""
  firsts = {name.partition('/')[0] for name in names}
  # A name that is no folder's is one of these itself.
  return None if not firsts.isdisjoint(names) else sorted(firsts, key=_natural)


def images_of(names: Sequence[str]) -> list[str]:
  """Those that are named as images."""
  return [name for name in names if name.lower().endswith(images.SUFFIXES)]


def file_names(root: pathlib.Path) -> list[str]:
  """Names of the files under a folder, relative to it with '/' between folders, sorted; hidden ones are left out."""
  names, visited, waiting = [], set(), [('', str(root))]
  while waiting:
    prefix, folder = waiting.pop()
    try:
      status = os.stat(folder)
      # Search every folder once, or a link to a folder above would be followed without end.
      if (status.st_dev, status.st_ino) in visited:
        continue
      visited.add((status.st_dev, status.st_ino))
      entries = _entries(folder)
    except OSError as error:
      raise _not_listed(folder, error) from error
    names += [prefix + entry.name for entry in entries if not _is_folder(entry)]
    # Visit real folders before links to them, so that their own name counts.
    folders = sorted((entry.is_symlink(), entry.name, entry.path) for entry in entries if _is_folder(entry))
    waiting += [(f'{prefix}{name}/', path) for _, name, path in reversed(folders)]
  return sorted(names)


def fingerprint(root: pathlib.Path, names: Sequence[str]) -> str:
  """A hash of the names of files below a root and of their sizes; the same wherever the root is."""
  digest = hashlib.sha256()
  for name in names:
    try:
      size = os.stat(os.path.join(root, name)).st_size
    except OSError:
      size = -1
    digest.update(f'{name}\0{size}\0'.encode('utf-8', 'surrogateescape'))
  return digest.hexdigest()


def _entries(folder: str | os.PathLike) -> list[os.DirEntry]:
  try:
    with os.scandir(folder) as entries:
      return [entry for entry in entries if not entry.name.startswith('.') and entry.name != _OF_ARCHIVES]
  except OSError as error:
    raise _not_listed(folder, error) from error


def _is_folder(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError:  # A link to itself, for example.
    return False


def _not_listed(folder: str | os.PathLike, error: OSError) -> DataError:
  return DataError(f'Cannot list {folder} ({error.strerror}).')


def _natural(name: str) -> tuple[list[int | str], str]:
  """A key that sorts numbers inside names by their value: '2' before '10'."""
  parts = re.split('([0-9]+)', name)
  return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
