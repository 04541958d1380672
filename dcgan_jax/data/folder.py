"""A folder of images, searched with all its sub-folders."""

import difflib
import hashlib
import os
import pathlib
import re
import sys
import threading

import numpy as np

from dcgan_jax import images
from dcgan_jax.errors import ConfigError, DataError, printable

# Of a folder's files, one in a hundred may be unreadable, and of a small folder this many.
_UNREADABLE = 10
_SPLITS = ('train', 'val', 'valid', 'validation', 'test')


class FolderSource:
  """Image files, each read when it is asked for.

  In the place of a file that cannot be read stands the next that can; the file is named on stderr, once.

  Attributes:
    paths: the files, sorted by their path inside the folder.
    class_names: names of the classes in the order of their labels, or None when unlabelled.
    shape: (image_size, image_size, channels).
    classes: number of classes, or None.
  """

  def __init__(self, root, paths, labels, class_names, *, image_size: int, crop: int | None, channels: int):
    """Takes paths [N] below a root with their labels [N], or with labels and class_names None."""
    self._root = root
    self.paths = paths
    self.class_names = class_names
    self.shape = (image_size, image_size, channels)
    self.classes = None if class_names is None else len(class_names)
    self._labels = labels
    self._crop = crop
    self._unreadable: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, i: int) -> tuple[np.ndarray, int | None]:
    size, _, channels = self.shape
    while True:
      try:
        image = images.fit(images.read(self.paths[i], channels=channels), size, crop=self._crop)
        return image, None if self._labels is None else self._labels[i]
      except DataError as error:
        self._skip(i, error)
        i = (i + 1) % len(self)

  def part(self, rows: slice) -> 'FolderSource':
    """Some of the files, in the order of paths; `rows` counts them in the order of their paths' hashes.

    In the order of paths the first rows would be the first classes; TFDS orders its records by a hash, too.
    """
    order = sorted(range(len(self)), key=lambda i: hashlib.sha256(self._name(i).encode('utf-8', 'replace')).digest())
    kept = sorted(order[rows])
    labels = None if self._labels is None else [self._labels[i] for i in kept]
    size, _, channels = self.shape
    paths = [self.paths[i] for i in kept]
    return FolderSource(
      self._root, paths, labels, self.class_names, image_size=size, crop=self._crop, channels=channels
    )

  def _name(self, i: int) -> str:
    return self.paths[i].relative_to(self._root).as_posix()

  def _skip(self, i: int, error: DataError) -> None:
    """Names an unreadable file; raises the error where they are too many."""
    with self._lock:
      if i in self._unreadable:
        return
      self._unreadable.add(i)
      number, limit = len(self._unreadable), min(max(_UNREADABLE, len(self) // 100), len(self) - 1)
      if number > limit:
        raise DataError(
          f'{error} {number} of {len(self):,} files cannot be read, more than {limit}; mend or remove them'
        ) from error
      words = printable(str(error))
      print(f'WARNING: {words} The next file takes its place ({number} so far, at most {limit}).', file=sys.stderr)


def open_folder(
  path: str | pathlib.Path, *, split: str = 'train', image_size: int | None, crop: int | None, channels: int
) -> FolderSource:
  """Opens all images of a split of a folder.

  Sub-folders train/, val/, valid/, validation/ and test/ are splits if there are two of them, or nothing but one;
  otherwise the whole folder is the split 'train'. A split is searched to any depth, through symbolic links too, each
  folder once; files and folders whose name begins with a dot are left out. If every image lies in a sub-folder, the
  first-level sub-folders are the classes, in alphabetical order; of a split, those of train/.

  Args:
    path: the folder.
    split: the name of one.
    image_size: side in pixels to which images are cut and resized.
    crop: side in pixels of the central square cut out before resizing; None takes the largest.
    channels: 1 for grey, 3 for RGB; images are converted.

  Returns:
    A source of shape (image_size, image_size, channels). [i] raises a DataError once too many files are unreadable.

  Raises:
    ConfigError: image_size is None, or channels is not 1 or 3.
    DataError: no such folder or split, no images in it, or classes that train/ lacks.
  """
  if image_size is None:
    raise ConfigError(
      'config.data.image_size is not set; files differ in size, so set the side in pixels, for example 64.'
    )
  if channels not in (1, 3):
    raise ConfigError(f'config.data.channels is {channels}; use 1 for grey or 3 for RGB.')
  root = pathlib.Path(path).expanduser()
  if not root.is_dir():
    raise DataError(_no_folder(root))
  splits, others = _splits(root)
  if splits and others:
    shown = ', '.join(name if name.isprintable() else ascii(name) for name in others[:3]) + ', ...' * (len(others) > 3)
    images.warn_once(
      f'WARNING: beside {", ".join(splits)} in {root} {len(others):,} files and folders are left out ({shown})'
    )
  if split not in (splits or ('train',)):
    raise DataError(
      f'{root} has no split {split!r}; '
      + (f'its splits are {", ".join(splits)}' if splits else "without sub-folders train/ and test/ it is all 'train'")
      + ", and parts of them such as 'train[:80%]'."
    )
  folder = splits.get(split, root)
  everything = _file_names(folder)
  names = _images_of(everything)
  images.warn_of_others(folder, (name.rsplit('/')[-1] for name in everything))
  if not names:
    suffixes = ' '.join(images.SUFFIXES)
    raise DataError(f'No images ({suffixes}) under {folder}; the folder source searches sub-folders too.')
  labels, class_names = None, _classes(names)
  if class_names and split != 'train' and 'train' in splits:
    own, class_names = class_names, _classes(_images_of(_file_names(splits['train'])))
    unknown = sorted(set(own).difference(class_names)) if class_names else []
    if unknown:
      raise DataError(f'{folder} holds classes that {splits["train"]} does not: {", ".join(unknown)}.')
  if class_names:
    numbers = {name: label for label, name in enumerate(class_names)}
    labels = [numbers[name.split('/')[0]] for name in names]
  paths = [folder / name for name in names]
  return FolderSource(folder, paths, labels, class_names, image_size=image_size, crop=crop, channels=channels)


def _no_folder(root: pathlib.Path) -> str:
  several = [part for part in re.split('[,;:+ ]+', str(root)) if part]
  if root.is_file():
    return f'{root} is a file; the folder source needs a folder with images.'
  if len(several) > 1 and all(pathlib.Path(part).expanduser().is_dir() for part in several):
    return f'{root} is not one folder; to train on several, put links to them in one (ln -s) and give that.'
  if any(character in str(root) for character in '*?['):
    return f'{root} does not exist; give the folder without wildcards: its sub-folders are searched too.'
  near = [] if not root.parent.is_dir() else [path.name for path in root.parent.iterdir() if path.is_dir()]
  near = difflib.get_close_matches(root.name, near, n=1)
  hint = f', did you mean {root.with_name(near[0])}?' if near else '; the folder source needs a folder with images.'
  return f'{root} does not exist{hint}'


def _splits(root: pathlib.Path) -> tuple[dict[str, pathlib.Path], list[str]]:
  """The sub-folders that are splits, by the name of the split, and what lies beside them.

  There are none where they are classes, one of which is trains.
  """
  try:
    paths = sorted(path for path in root.iterdir() if not path.name.startswith('.'))
  except OSError as error:
    raise DataError(f'Cannot list {root} ({error.strerror}).') from error
  folders = [path for path in paths if path.is_dir()]
  splits = {name: path for name in _SPLITS for path in folders if path.name.lower() == name}
  others = [path.name for path in paths if path not in splits.values()]
  return (splits if len(splits) >= 2 or len(splits) == len(folders) else {}), others


def _classes(names: list[str]) -> list[str] | None:
  """The first-level folders, if every name is in one."""
  return sorted({name.split('/')[0] for name in names}) if all('/' in name for name in names) else None


def _images_of(names: list[str]) -> list[str]:
  return [name for name in names if name.lower().endswith(images.SUFFIXES)]


def _file_names(root: pathlib.Path) -> list[str]:
  """Names of the files under a folder, relative to it with '/' between folders, sorted."""

  def refuse(error: OSError):
    raise DataError(f'Cannot list {error.filename} ({error.strerror}).') from error

  names = []
  visited = set()
  for folder, subfolders, files in os.walk(root, onerror=refuse, followlinks=True):
    # Search every folder once, or a link to a folder above would be followed without end.
    if os.path.realpath(folder) in visited:
      subfolders.clear()
      continue
    visited.add(os.path.realpath(folder))
    # Visit real folders before links to them, so that their own name counts.
    subfolders[:] = [name for name in subfolders if not name.startswith('.')]
    subfolders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
    inside = pathlib.Path(folder).relative_to(root)
    names += [(inside / name).as_posix() for name in files if not name.startswith('.')]
  return sorted(names)
