"""Data of a config: its source, the feeder of its batches, other splits of it."""

import collections
import concurrent.futures
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dcgan_jax import sample, unknown_names
from dcgan_jax.data import arrays, digits, folder, resident, streamed, tfds
from dcgan_jax.data.order import permutation, read_many
from dcgan_jax.errors import ConfigError, DataError, counted
from dcgan_jax.metrics import evaluate

_THREADS = 16  # Threads that read examples: waiting on files takes no core.
_READ_BATCH, _READ_PART = 512, 32  # Examples read together, and by one thread.


def _part(data: ConfigDict, open_split: Any, *arguments: Any, **options: Any) -> Any:
  """The part of a split that data.split names, such as 'train[:80%]', of a source that knows whole splits alone."""
  name, bracket, _ = data.split.partition('[')
  source = open_split(*arguments, split=name, image_size=data.image_size, crop=data.crop, **options)
  return source.part(tfds.rows(data.split, len(source))) if bracket else source


SOURCES = {
  'digits': lambda path, data: _part(data, digits.open_digits),
  'folder': lambda path, data: _part(data, folder.open_folder, path, channels=data.channels),
  'npz': lambda path, data: _part(data, arrays.open_npz, path, channels=data.channels),
  'tfds': lambda path, data: tfds.open_tfds(
    path, split=data.split, image_size=data.image_size, crop=data.crop, data_dir=data.dir, channels=data.channels
  ),
}


def build_source(config: ConfigDict) -> Any:
  """Opens the data set: `len`, `shape`, `classes`, and (uint8 example, label) by index."""
  kind, _, path = config.data.source.partition(':')
  if kind not in SOURCES:
    raise ConfigError(unknown_names.for_source(config.data.source, SOURCES))
  if (kind == 'digits') == bool(path):
    raise ConfigError(
      f"config.data.source is '{config.data.source}'; expected digits, tfds:NAME, folder:PATH or npz:PATH"
    )
  source = SOURCES[kind](path, config.data)
  tricks = config.tricks
  of_images = {'config.data.flip': config.data.flip, 'config.tricks.augment': tricks.augment}
  of_images |= {f'config.tricks.{key}': tricks[key] for key in ('consistency_real', 'consistency_fake')}
  for key in [key for key, value in of_images.items() if value and len(source.shape) != 3]:
    raise ConfigError(f'{key} is for images, and {config.data.source} holds examples of shape {source.shape}')
  if len(source) < images_per_step(config):
    turns = f' in {tricks.discriminator_turns} config.tricks.discriminator_turns' * (tricks.discriminator_turns > 1)
    raise DataError(
      f'{config.data.source} holds {counted(len(source), "example")}, fewer than config.batch_size {config.batch_size}'
      f'{turns}; use a smaller batch'
    )
  return source


def images_per_step(config: ConfigDict) -> int:
  """Real images of one step: a batch for each turn of the discriminator."""
  return config.batch_size * config.tricks.discriminator_turns


def build_feeder(config: ConfigDict, source: Any, *, share: slice = slice(None)) -> Any:
  """Keeps a small data set on the device and streams a large one; the batches are the same, of each only `share`."""
  megabytes = len(source) * math.prod(source.shape) / 1e6
  options = {'seed': config.seed, 'batch_size': images_per_step(config), 'share': share}
  if megabytes <= config.data.resident_megabytes:
    return resident.ResidentFeeder(source, **options)
  return streamed.StreamedFeeder(source, **options)


def crop_of(config: ConfigDict) -> int | None:
  """Side in pixels of the central square that is cut out of images before they are resized; None: the largest."""
  return config.data.crop


def with_data_dir(config: ConfigDict, data_dir: str | None) -> ConfigDict:
  """The config with another directory of TensorFlow Datasets, if one is given."""
  if data_dir is not None:
    config.data.dir = data_dir
  return config


def build_reference(
  config: ConfigDict, split: str, label: int | None = None, *, shape: tuple[int, ...] | None = None,
  num_classes: int | None = None,
) -> evaluate.Reference:  # fmt: skip
  """Opens the real images of a split, all of them or those of one class, for an evaluation.

  Args:
    config: of the run.
    split: the split.
    label: class of the images; None takes all.
    shape: of the samples, which the images must have; None takes any.
    num_classes: classes that the generator knows, beyond which the images must have none; None takes any.

  Raises:
    ConfigError: the examples are no images.
    DataError: no such split or class, another shape, or more classes.
  """
  source = build_source(_of_split(config, split))
  if not sample.is_image(source.shape):
    raise ConfigError(f'Metrics are of images, and {config.data.source} holds examples of shape {source.shape}')
  title = f'{config.data.source}, split {split!r},'
  if shape is not None and tuple(source.shape) != tuple(shape):
    raise DataError(f'{title} holds examples of shape {tuple(source.shape)}, but the run is of {tuple(shape)}')
  if num_classes is not None and (source.classes or 0) > num_classes:
    raise DataError(f'{title} has images of {source.classes} classes, but the generator knows {num_classes}')
  real = _Examples(source)
  if label is not None:
    labels = real.labels()
    if labels is None:
      raise DataError(f'{title} has no labels, so none of its images is of class {label}')
    real = _Examples(source, np.flatnonzero(labels == label))
  return evaluate.Reference(
    split=split if label is None else f'{split}_class{label}',
    num=len(real.rows),
    batches=real.batches,
    at=lambda i: source[real.rows[i]][0],
    identity={'source': config.data.source},
    labels=real.labels,
  )


class _Examples:
  """Examples of a source, or the rows of it that are given, read in order by a pool of threads.

  Attributes: rows: indices of the source.
  """

  def __init__(self, source: Any, rows: Sequence[int] | np.ndarray | None = None):
    self.rows = range(len(source)) if rows is None else [int(row) for row in rows]
    self._source = source
    self._labels: np.ndarray | None = None

  def batches(self) -> Iterator[np.ndarray]:
    """Their images, uint8 [B, H, W, C]."""
    return (images for images, _ in self.pairs())

  def labels(self) -> np.ndarray | None:
    """Their labels, int32 [N], for which the images are read where no call did so before; None if there are none."""
    if self._source.classes is not None and self._labels is None:
      if isinstance(self._source, arrays.ArraySource):
        self._labels = self._source.labels[self.rows]
      else:
        collections.deque(self.pairs(), maxlen=0)
    return self._labels

  def pairs(self) -> Iterator[tuple[np.ndarray, list]]:
    """Batches of images, uint8 [B, H, W, C], with their labels, [B] integers or None."""
    labels = []
    read = lambda rows: list(read_many(self._source, rows))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      for first in range(0, len(self.rows), _READ_BATCH):
        rows = self.rows[first : first + _READ_BATCH]
        parts = pool.map(read, [rows[i : i + _READ_PART] for i in range(0, len(rows), _READ_PART)])
        pairs = [pair for part in parts for pair in part]
        labels += [label for _, label in pairs]
        yield np.stack([image for image, _ in pairs]), [label for _, label in pairs]
    if self._source.classes is not None:
      self._labels = np.array(labels, np.int32)


def read_part(source: Any, most: int) -> tuple[np.ndarray, np.ndarray]:
  """All examples of a labelled source with their labels, uint8 [N, *shape] and int32 [N], or `most`, drawn evenly."""
  if isinstance(source, arrays.ArraySource) and len(source) <= most:
    return source.examples, source.labels
  rows = None if len(source) <= most else np.sort(permutation(0, 0, len(source))[:most])
  batches = list(_Examples(source, rows).pairs())
  return np.concatenate([images for images, _ in batches]), np.concatenate([np.int32(labels) for _, labels in batches])


def open_labelled(
  config: ConfigDict, name: str | None, *, split: str | None, shape: tuple[int, ...], num: int | None, seed: int
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
  """Opens labelled examples for the networks of a config.

  Returns:
    A function that reads `num` of them, or all: uint8 [N, *shape] and int32 [N].
  """
  source, title = _open_for(config, name, split, shape)
  if source.classes is None:
    raise DataError(f'{title} has no labels; expected a labelled data set, such as tfds:cifar10')
  if num is not None and num > len(source):
    raise DataError(f'{title} holds {counted(len(source), "example")}, fewer than the {num:,} asked for')
  return functools.partial(_read, source, num, seed)


def read_examples(
  config: ConfigDict, name: str | None, *, split: str | None, shape: tuple[int, ...], num: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
  """Examples for the networks of a config, uint8 [N, *shape], and their labels, int32 [N], if they have any; `num` of
  them, or all where there are fewer."""
  source, _ = _open_for(config, name, split, shape)
  examples, labels = _read(source, None if num is None else min(num, len(source)), seed)
  return examples, None if source.classes is None else labels


def _open_for(config: ConfigDict, name: str | None, split: str | None, shape: tuple[int, ...]) -> tuple[Any, str]:
  """A source of examples of a shape, and what to call it."""
  config = _of_split(config, config.data.split if split is None else split)
  if name is not None and name != config.data.source:
    config.data.update(source=name, crop=None)
  source = build_source(config)
  title = f'{config.data.source}, split {config.data.split!r}'
  if tuple(source.shape) != tuple(shape):
    raise DataError(f'{title} holds examples of shape {tuple(source.shape)}, but the run is of {tuple(shape)}')
  return source, title


def _read(source: Any, num: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
  rows = range(len(source)) if num is None else np.random.default_rng(seed).permutation(len(source))[:num].tolist()
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    pairs = list(pool.map(source.__getitem__, rows))
  return np.stack([example for example, _ in pairs]), np.array([label or 0 for _, label in pairs], np.int32)


def _of_split(config: ConfigDict, split: str) -> ConfigDict:
  """An unlocked copy for another split, which has no batches to fill and so may be small."""
  config = config.copy_and_resolve_references().unlock()
  config.update(data={'split': split}, batch_size=1, tricks={'discriminator_turns': 1})
  return config
