"""A folder of images, searched with all its sub-folders."""

import os
import pathlib
import sys
import threading

import numpy as np

from dcgan_jax import images
from dcgan_jax.errors import ConfigError, DataError, printable

# Of a folder's files, one in a hundred may be unreadable, and of a small folder this many.
_UNREADABLE = 10


class FolderSource:
  """Image files, each read when it is asked for.

  In the place of a file that cannot be read stands the next that can; the file is named on stderr, once.

  Attributes:
    paths: the files, sorted by their path inside the folder.
    class_names: names of the classes in the order of their labels, or None when unlabelled.
    shape: (image_size, image_size, channels).
    classes: number of classes, or None.
  """

  def __init__(self, paths, labels, class_names, *, image_size: int, crop: int | None, channels: int):
    """Takes paths [N] with their labels [N], or with labels and class_names None."""
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


def open_folder(path: str | pathlib.Path, *, image_size: int | None, crop: int | None, channels: int) -> FolderSource:
  """Opens all images under a folder.

  Sub-folders are searched to any depth, through symbolic links too, each once; files and folders whose name begins with
  a dot are left out. If every image lies in a sub-folder, the first-level sub-folders are the classes, in alphabetical
  order.

  Args:
    path: the folder.
    image_size: side in pixels to which images are cut and resized.
    crop: side in pixels of the central square cut out before resizing; None takes the largest.
    channels: 1 for grey, 3 for RGB; images are converted.

  Returns:
    A source of shape (image_size, image_size, channels). [i] raises a DataError once too many files are unreadable.

  Raises:
    ConfigError: image_size is None, or channels is not 1 or 3.
    DataError: no such folder, or no images in it.
  """
  if image_size is None:
    raise ConfigError('data.image_size is not set; files differ in size, so set the side in pixels, for example 64.')
  if channels not in (1, 3):
    raise ConfigError(f'data.channels is {channels}; use 1 for grey or 3 for RGB.')
  root = pathlib.Path(path).expanduser()
  if not root.is_dir():
    what = 'is a file' if root.exists() else 'does not exist'
    raise DataError(f'{root} {what}; the folder source needs a folder with images.')
  names = _image_names(root)
  if not names:
    suffixes = ' '.join(images.SUFFIXES)
    raise DataError(f'No images ({suffixes}) under {root}; the folder source searches sub-folders too.')
  paths = [root / name for name in names]
  labels = class_names = None
  if all('/' in name for name in names):
    folders = [name.split('/')[0] for name in names]
    class_names = sorted(set(folders))
    labels = [class_names.index(folder) for folder in folders]
  return FolderSource(paths, labels, class_names, image_size=image_size, crop=crop, channels=channels)


def _image_names(root: pathlib.Path) -> list[str]:
  """Names of the images under a folder, relative to it with '/' between folders, sorted."""

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
    names += [
      (inside / name).as_posix()
      for name in files
      if name.lower().endswith(images.SUFFIXES) and not name.startswith('.')
    ]
  return sorted(names)
