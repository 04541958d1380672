"""Examples that are already arrays: from memory, or from a .npz file."""

import pathlib
import re
import zlib

import numpy as np

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

# A last axis longer than this may be the width of images whose channels are elsewhere.
_MOST_CHANNELS = 4


class ArraySource:
  """A source over arrays in memory; they are used as they are, not copied.

  Attributes:
    examples: uint8 [N, *spatial, channels].
    labels: int32 [N], or None.
    shape: the shape of one example.
    classes: number of classes, or None when unlabelled.
  """

  def __init__(self, examples: np.ndarray, labels: np.ndarray | None = None, classes: int | None = None):
    """Wraps arrays.

    Args:
      examples: uint8 [N, *spatial, channels] with N at least 1; the channel axis is there even for grey images.
      labels: integers in [0, classes), [N] or [N, 1]; None for unlabelled examples.
      classes: number of classes; None takes the largest label plus one.

    Raises:
      DataError: another dtype or shape, no examples, or labels that do not fit them.
    """
    examples = np.asarray(examples)
    if examples.dtype != np.uint8:
      raise DataError(f'The examples are {examples.dtype}, but must be uint8 in 0..255; {_conversion(examples.dtype)}.')
    if examples.ndim < 3:
      raise DataError(
        f'The examples have shape {examples.shape}, but must have [N, ..., channels], '
        'for example (N, 32, 32, 3) for images or (N, 16384, 1) for sound.'
      )
    if not examples.size:
      raise DataError(f'There are no examples: the array has shape {examples.shape}.')
    self.examples = examples
    self.shape = examples.shape[1:]
    self.labels, self.classes = _checked_labels(labels, classes, len(examples))

  def __len__(self) -> int:
    return len(self.examples)

  def __getitem__(self, i: int) -> tuple[np.ndarray, int | None]:
    return self.examples[i], None if self.labels is None else int(self.labels[i])

  def fingerprint(self) -> str:
    """A checksum of all examples and labels."""
    # A fourth of the time of a cryptographic hash, and nobody forges this.
    pixels = zlib.crc32(np.ascontiguousarray(self.examples).data)
    return f'{zlib.crc32(b"" if self.labels is None else self.labels.tobytes(), pixels):08x}'

  def part(self, rows: slice) -> 'ArraySource':
    """Some of the examples, in their order; the classes are still those of all."""
    return ArraySource(self.examples[rows], None if self.labels is None else self.labels[rows], self.classes)


def open_npz(
  path: str | pathlib.Path, *, split: str, image_size: int | None, crop: int | None = None, channels: int = 3
) -> ArraySource:
  """Reads a .npz file written by np.savez.

  The file holds uint8 examples [N, *spatial, channels] under '{split}_images' and, if there are labels, integers [N]
  under '{split}_labels'; a file with one split may call them 'images' and 'labels', and that split is 'train'. Square
  [N, H, H] are grey images and get a channel axis; with up to 4 on the last axis, three axes are signals of one spatial
  dimension, [N, length, channels].

  Args:
    path: the file.
    split: 'train', 'test' or whatever the file calls it.
    image_size: side in pixels to which images are cut and resized; None leaves examples as stored.
    crop: side in pixels of the central square cut out before resizing; None takes the largest.
    channels: 1 turns RGB images grey; more than 3 says that the last axis is that of the channels, where it could be
      another.

  Returns:
    A source; `classes` is the largest label plus one.

  Raises:
    DataError: no such file, not such a file, or arrays of the wrong form, or whose channels may not be the last axis.
    ConfigError: image_size or crop for examples that are not images, crop without image_size, or other channels.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise DataError(f'There is no file {path}; give one written by np.savez, --config.data.source=npz:FILE.')
  examples, labels = _arrays_of(path, split)
  if examples.ndim == 3 and examples.shape[1] == examples.shape[2] > _MOST_CHANNELS and channels != examples.shape[2]:
    examples = examples[..., np.newaxis]
  try:
    _check_axes(examples.shape, channels)
    source = ArraySource(examples, labels)
    source.examples = _of_channels(source.examples, channels)
  except DataError as error:
    raise DataError(f'{path}, split {split!r}: {error}') from None
  source.examples = fit_all(source.examples, image_size, crop)
  source.shape = source.examples.shape[1:]
  return source


def _check_axes(shape: tuple[int, ...], channels: int) -> None:
  """Raises a DataError where the last axis of examples may not be that of the channels, with the line that mends it."""
  if len(shape) < 3 or shape[-1] <= _MOST_CHANNELS or shape[-1] == channels:
    return
  short = [axis for axis in range(1, len(shape) - 1) if shape[axis] <= _MOST_CHANNELS]
  if short:
    advice = f'store np.moveaxis(images, {short[0]}, -1)'
  elif len(shape) == 3:
    advice = 'store images[..., np.newaxis] if they are grey images'
  elif shape[-1] == shape[-2] or (shape[-2] != shape[-3] and shape[-1] >= min(shape[1:-1])):
    # The last two are a square, or neither are the two before the last, nor is the last the shortest.
    advice = (
      f'store np.moveaxis(images, 1, -1) if axis 1 holds {shape[1]} channels, '
      'or images[..., np.newaxis] if they are volumes or films of one channel'
    )
  else:
    return
  raise DataError(
    f'The examples have shape {shape}, whose last axis may not be that of the channels; {advice}; '
    f'if it is, set config.data.channels to {shape[-1]}.'
  )


def _of_channels(examples: np.ndarray, channels: int) -> np.ndarray:
  """The examples with so many channels, RGB images turned grey for 1; 3 leaves them as they are."""
  if channels in (3, examples.shape[-1]):
    return examples
  if channels == 1 and examples.ndim == 4 and examples.shape[-1] == 3:
    return images.to_grey(examples)
  raise ConfigError(
    f'config.data.channels is {channels}, but the examples have {examples.shape[-1]} channels, shape '
    f'{examples.shape[1:]}; set config.data.channels to {examples.shape[-1]}. RGB images alone can be turned grey.'
  )


def fit_all(examples: np.ndarray, image_size: int | None, crop: int | None = None) -> np.ndarray:
  """Cuts and resizes images, uint8 [N, H, W, C], to [N, image_size, image_size, C]; None leaves them as they are.

  Raises:
    ConfigError: the examples are not images of 1 or 3 channels, or crop is given without image_size.
  """
  if image_size is None and crop is None:
    return examples
  if examples.ndim != 4 or examples.shape[-1] not in (1, 3):
    key, value = ('config.data.image_size', image_size) if image_size is not None else ('config.data.crop', crop)
    raise ConfigError(
      f'{key} is {value}, but examples of shape {examples.shape[1:]} are not images of 1 or 3 channels, '
      f'which alone can be resized; set {key} to None.'
    )
  if image_size is None:
    raise ConfigError(
      f'config.data.crop is {crop}, but config.data.image_size is not set; set it to {crop} to keep the cut pixels.'
    )
  if crop is None and examples.shape[1:3] == (image_size, image_size):
    return examples
  fitted = np.empty((len(examples), image_size, image_size, examples.shape[-1]), np.uint8)
  for i, image in enumerate(examples):
    fitted[i] = images.fit(image, image_size, crop=crop)
  return fitted


def _arrays_of(path: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
  """The arrays of a split, unchecked: (examples, labels or None)."""
  try:
    archive = np.load(path, allow_pickle=False)
  except Exception as error:  # zipfile and its decompressors raise what they like at damaged bytes.
    raise DataError(f'{path} is not a .npz file; write one with np.savez(path, train_images=..., ...).') from error
  if not isinstance(archive, np.lib.npyio.NpzFile):
    raise DataError(f'{path} holds a single array; the npz source needs np.savez(path, train_images=array).')
  with archive:
    prefixes = [f'{split}_'] + ([''] if split == 'train' else [])
    prefix = next((prefix for prefix in prefixes if f'{prefix}images' in archive.files), None)
    if prefix is None:
      wanted = [f'{prefix}images' for prefix in prefixes]
      raise DataError(
        f'{path} has no array {" or ".join(map(repr, wanted))}; it has: '
        f'{", ".join(sorted(archive.files)) or "none"}{_renaming(archive.files, wanted)}.'
      )
    return _load(archive, path, f'{prefix}images'), (
      _load(archive, path, f'{prefix}labels') if f'{prefix}labels' in archive.files else None
    )


def _renaming(keys: list[str], wanted: list[str]) -> str:
  """The line that stores arrays of other names under those that are read, as far as the names tell; else ''."""
  pairs = {}
  for split in ('train', 'test') if any(map(_split_of, keys)) else ('',):
    of_split = sorted(key for key in keys if _split_of(key) == split)
    for name, is_label in (('images', False), ('labels', True)):
      pairs |= {f'{split}_{name}'.lstrip('_'): key for key in of_split[::-1] if _is_label(key) == is_label}
  if not any(pairs.get(name, name) != name for name in wanted):
    return ''
  return f'; rename: old = np.load(path); np.savez(new_path, {", ".join(f"{n}=old[{k!r}]" for n, k in pairs.items())})'


def _split_of(key: str) -> str:
  return next((split for split in ('train', 'test') if split in key.lower()), '')


def _is_label(key: str) -> bool:
  return re.search(r'label|target|class|(^|_)y(_|$)|^arr_1$', key.lower()) is not None


def _load(archive, path: pathlib.Path, key: str) -> np.ndarray:
  try:
    return archive[key]
  except ValueError as error:
    if 'allow_pickle' not in str(error):
      raise DataError(f'Array {key!r} of {path} cannot be read ({error}).') from error
    raise DataError(
      f'Array {key!r} of {path} holds Python objects, which are not read because loading them could run any code; '
      'store one uint8 array, for example np.stack(list_of_images).'
    ) from None
  except Exception as error:
    raise DataError(f'Array {key!r} of {path} is damaged ({error}); write or copy the file again.') from error


def _checked_labels(labels, classes: int | None, number: int) -> tuple[np.ndarray | None, int | None]:
  """Labels as int32 [N] and the number of classes; both None when unlabelled."""
  if labels is None:
    return None, None
  labels = np.asarray(labels)
  if labels.shape == (number, 1):
    labels = labels[:, 0]
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise DataError(
      f'The labels are {labels.dtype} of shape {labels.shape}, but must be integers [N]; {_to_integers(labels)}.'
    )
  if len(labels) != number:
    raise DataError(f'There are {number} examples but {len(labels)} labels; each example needs one.')
  if int(labels.max()) >= np.iinfo(np.int32).max:
    raise DataError(
      f'The labels run up to {labels.max()}, beyond what int32 holds; number the classes from 0 with '
      'np.unique(labels, return_inverse=True)[1].'
    )
  classes = int(labels.max()) + 1 if classes is None else classes
  if labels.min() < 0 or labels.max() >= classes:
    raise DataError(f'The labels run from {labels.min()} to {labels.max()}, but must be in 0..{classes - 1}.')
  return labels.astype(np.int32), classes


def _to_integers(labels: np.ndarray) -> str:
  """What makes integers [N] of labels."""
  if labels.ndim == 2:
    return 'turn one-hot rows into integers with labels.argmax(-1)'
  if labels.ndim == 1 and labels.dtype.kind in 'US':
    return 'turn names into integers with np.unique(labels, return_inverse=True)[1]'
  if labels.ndim == 1:
    return 'convert class numbers with labels.astype(int)'
  return 'give one class number for each example'


def _conversion(dtype: np.dtype) -> str:
  """What turns an array of this dtype into uint8."""
  if np.issubdtype(dtype, np.floating):
    return (
      'convert them with np.round(x * 255).astype(np.uint8) if they are in [0, 1], '
      'or with np.round((x + 1) * 127.5).astype(np.uint8) if in [-1, 1]'
    )
  if np.issubdtype(dtype, np.integer):
    return 'if their values already are in 0..255, convert them with x.astype(np.uint8)'
  if np.issubdtype(dtype, np.bool_):
    return 'convert them with x.astype(np.uint8) * 255'
  return 'store one array of that dtype'
