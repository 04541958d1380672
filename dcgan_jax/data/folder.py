"""A folder of images, searched with all its sub-folders."""

import concurrent.futures
import copy
import difflib
import hashlib
import pathlib
import re
import sys
import threading

import numpy as np

from dcgan_jax.data import listing
from dcgan_jax.errors import ConfigError, DataError, printable, say
from dcgan_jax.kinds import image as images

# Of a folder's files, one in a hundred may be unreadable, and of a small folder this many.
_UNREADABLE = 10
# So many files are looked at for pixels of more than 8 bits; to measure the range of more than a few takes a while.
_LOOKED_AT, _FEW = 256, 1000
_THREADS = 16


class FolderSource:
  """Image files, each read when it is asked for.

  In the place of a file that cannot be read stands the next that can; the file is named on stderr, once.

  Attributes:
    names: of the files inside the root, sorted.
    labels: class of each file, or None when unlabelled.
    class_names: names of the classes in the order of their labels, or None when unlabelled.
    shape: (image_size, image_size, channels).
    classes: number of classes, or None.
    value_range: values of black and white in images of more than 8 bits; None where there are none.
    unlabelled: why there are no labels, in words.
    is_deep: whether images of more than 8 bits, or of floats, are among some that were looked at.
  """

  def __init__(
    self, root, names, labels, class_names, *, image_size: int, crop: int | None, channels: int, ground: str = 'white',
    value_range: tuple[float, float] | None = None, unlabelled: str = '', is_deep: bool = False,
  ):  # fmt: skip
    """Takes names [N] below a root with their labels [N], or with labels and class_names None."""
    self._root = root
    self.names = names
    self.labels = labels
    self.class_names = class_names
    self.shape = (image_size, image_size, channels)
    self.classes = None if class_names is None else len(class_names)
    self.value_range = value_range
    self.unlabelled = unlabelled
    self.is_deep = is_deep
    self._crop = crop
    self._ground = ground
    self._unreadable: set[int] = set()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self.names)

  @property
  def paths(self) -> list[pathlib.Path]:
    """The files, in the order of their names."""
    return [self._root / name for name in self.names]

  def __getitem__(self, i: int) -> tuple[np.ndarray, int | None]:
    size, _, channels = self.shape
    while True:
      try:
        image = images.read(
          self._root / self.names[i], channels=channels, size=size, crop=self._crop, ground=self._ground,
          value_range=self.value_range,
        )  # fmt: skip
        return image, None if self.labels is None else self.labels[i]
      except DataError as error:
        self._skip(i, error)
        i = (i + 1) % len(self)

  def part(self, rows: slice) -> 'FolderSource':
    """Some of the files, in the order of names; `rows` counts them in the order of their names' hashes.

    In the order of names the first rows would be the first classes; TFDS orders its records by a hash, too.
    """
    order = sorted(range(len(self)), key=lambda i: hashlib.sha256(self.names[i].encode('utf-8', 'replace')).digest())
    kept = sorted(order[rows])
    part = copy.copy(self)
    part.names = [self.names[i] for i in kept]
    part.labels = None if self.labels is None else [self.labels[i] for i in kept]
    part._unreadable, part._lock = set(), threading.Lock()
    return part

  def fingerprint(self) -> str:
    """A hash of the names and sizes of the files, wherever their root is."""
    return listing.fingerprint(self._root, self.names)

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
      say(f'WARNING: {error} The next file takes its place ({number} so far, at most {limit}).', sys.stderr)


def open_folder(
  path: str | pathlib.Path, *, split: str = 'train', image_size: int | None, crop: int | None, channels: int,
  ground: str = 'white', value_range: tuple[float, float] | None = None,
) -> FolderSource:  # fmt: skip
  """Opens all images of a split of a folder.

  A folder that holds nothing but one folder, as archives wrap them, is that folder. Sub-folders train/, val/, valid/,
  validation/ and test/ are splits if there are two of them, or nothing but one; otherwise the whole folder is the split
  'train'. A split is searched to any depth, through symbolic links too, each folder once; files and folders whose name
  begins with a dot are left out. If every image lies in a sub-folder, the first-level sub-folders are the classes, in
  natural order, 2 before 10; of a split, those of train/.

  Args:
    path: the folder.
    split: the name of one.
    image_size: side in pixels to which images are cut and resized.
    crop: side in pixels of the central square cut out before resizing; None takes the largest.
    channels: 1 for grey, 3 for RGB; images are converted.
    ground: color behind transparent pixels.
    value_range: values of black and white in images of more than 8 bits; None measures them over the split.

  Returns:
    A source of shape (image_size, image_size, channels). [i] raises a DataError once too many files are unreadable.

  Raises:
    ConfigError: image_size is None, channels is not 1 or 3, or the ground is no color.
    DataError: no such folder or split, no images in it, images of floats without a value_range, or classes that train/
      lacks.
  """
  if image_size is None:
    raise ConfigError(
      'config.data.image_size is not set; files differ in size, so set the side in pixels, for example 64.'
    )
  if channels not in (1, 3):
    raise ConfigError(f'config.data.channels is {channels}; use 1 for grey or 3 for RGB.')
  images.ground_color(ground)
  given = pathlib.Path(path).expanduser()
  if not given.is_dir():
    raise DataError(_no_folder(given))
  root = listing.innermost(given)
  folder, train = _split(root, split)
  everything = listing.file_names(folder)
  names = listing.images_of(everything)
  images.warn_of_others(folder, (name.rsplit('/')[-1] for name in everything))
  if not names:
    suffixes = ' '.join(images.SUFFIXES)
    raise DataError(f'No images ({suffixes}) under {folder}; the folder source searches sub-folders too.')
  labels, class_names = None, listing.classes(names)
  if class_names and folder != train:
    own, class_names = class_names, listing.classes(listing.images_of(listing.file_names(train)))
    unknown = sorted(set(own).difference(class_names)) if class_names else []
    if unknown:
      raise DataError(f'{folder} holds classes that {train} does not: {", ".join(unknown)}.')
  if class_names:
    numbers = {name: label for label, name in enumerate(class_names)}
    labels = [numbers[name.partition('/')[0]] for name in names]
  depths = _depths(folder, names)
  if 'colors' in depths:
    images.warn_once(
      f'WARNING: color images of 16 bits, such as {printable(depths["colors"])}, are read by their high bytes; where '
      'their values do not span 0 to 65,535, store them with 8 bits'
    )
  if value_range is None and 'floats' in depths:
    raise DataError(f'The pixels of {folder / depths["floats"]} are floats; {images.SET_RANGE}')
  if value_range is None and 'levels' in depths:
    value_range = _measured_range(folder, names)
  return FolderSource(
    folder, names, labels, class_names, image_size=image_size, crop=crop, channels=channels, ground=ground,
    value_range=value_range, unlabelled=_why_unlabelled(folder, names), is_deep='levels' in depths or 'floats' in depths
  )  # fmt: skip


def _split(root: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
  """The folder of a split, and the one whose sub-folders are the classes: that of the split train, if there is one."""
  splits, others = listing.splits(root)
  if splits and others:
    shown = ', '.join(printable(name) for name in others[:3]) + ', ...' * (len(others) > 3)
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
  return folder, splits.get('train', folder)


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
  hint = (
    f', did you mean {root.with_name(near[0])}?'
    if near
    else '; give the folder of your images, --config.data.source=folder:PATH.'
  )
  return f'{root} does not exist{hint}'


def _why_unlabelled(folder: pathlib.Path, names: list[str]) -> str:
  """Why the images of a folder have no labels, and what to do about it."""
  beside = [name for name in names if '/' not in name]
  if len(beside) < len(names):
    shown = ', '.join(printable(name) for name in beside[:3]) + ', ...' * (len(beside) > 3)
    return f'{shown} {"lie" if beside[1:] else "lies"} beside the class folders in {folder}; move or remove what does'
  return f'all images lie in one folder, {folder}; put those of each class into a sub-folder of its own'


def _depths(folder: pathlib.Path, names: list[str]) -> dict[str, str]:
  """What `images.depth` says of some files, by their names; an example of each."""
  may_be_deep = [name for name in names if name.lower().endswith(images.DEEP_SUFFIXES)]
  chosen = np.unique(np.linspace(0, len(may_be_deep) - 1, _LOOKED_AT).astype(int)) if may_be_deep else []
  return {images.depth(folder / may_be_deep[i]): may_be_deep[i] for i in reversed(chosen)}


def _measured_range(folder: pathlib.Path, names: list[str]) -> tuple[float, float] | None:
  """The lowest and the highest value of all images of more than 8 bits; None where none can be read."""
  may_be_deep = [name for name in names if name.lower().endswith(images.DEEP_SUFFIXES)]
  if len(may_be_deep) > _FEW:
    say(
      f'Reading {len(may_be_deep):,} files for the range of their values; config.data.range=(LOW, HIGH) saves that',
      sys.stderr,
    )
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    found = pool.map(lambda name: images.range_of(folder / name), may_be_deep)
    ranges = [value_range for value_range in found if value_range is not None]
  if not ranges:
    return None
  low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
  if low == high:
    raise DataError(f'All pixels of the images of more than 8 bits in {folder} are {low:g}; they show nothing.')
  say(
    f'{len(ranges):,} images in {folder} have more than 8 bits; their values from {low:g} to {high:g} become 0 to 255 '
    '(config.data.range sets other ends)',
    sys.stderr,
  )
  return low, high
