"""Data of a config: its source, the feeder of its batches, other splits of it."""

import collections
import concurrent.futures
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dcgan_jax.building import unknown_names
from dcgan_jax.data import arrays, classes, contents, digits, folder, resident, streamed, tfds
from dcgan_jax.data.order import permutation, read_many
from dcgan_jax.drawing import sample
from dcgan_jax.errors import ConfigError, DataError, counted, printable, say
from dcgan_jax.metrics import evaluate
from dcgan_jax.metrics.features import with_bar

# Examples that are looked at before training: files take a while, what is in memory is there.
_LOOKED_AT = {True: 1000, False: 16}
_THREADS = 16  # Threads that read examples: waiting on files takes no core.
_READ_BATCH, _READ_PART = 512, 32  # Examples read together, and by one thread.


def _part(data: ConfigDict, open_split: Any, *arguments: Any, **options: Any) -> Any:
  """The part of a split that data.split names, such as 'train[:80%]', of a source that knows whole splits alone."""
  name, bracket, _ = data.split.partition('[')
  source = open_split(*arguments, split=name, image_size=data.image_size, crop=data.crop, **options)
  return source.part(tfds.rows(data.split, len(source))) if bracket else source


SOURCES = {
  'digits': lambda path, data: _part(data, digits.open_digits),
  'folder': lambda path, data: _part(
    data, folder.open_folder, path, channels=data.channels, ground=data.ground, value_range=data.range
  ),
  'npz': lambda path, data: _part(data, arrays.open_npz, path, channels=data.channels),
  'tfds': lambda path, data: tfds.open_tfds(
    path,
    split=data.split,
    image_size=data.image_size,
    crop=data.crop,
    data_dir=data.dir,
    channels=data.channels,
    ground=data.ground,
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
  options = {'seed': config.seed, 'batch_size': images_per_step(config), 'share': share}
  if resident_bytes(config, source):
    return resident.ResidentFeeder(source, **options)
  return streamed.StreamedFeeder(source, **options)


def resident_bytes(config: ConfigDict, source: Any) -> int:
  """Bytes of a data set that is kept on the device; 0 of one that is streamed."""
  number = len(source) * math.prod(source.shape)
  return number if number <= config.data.resident_megabytes * 1e6 else 0


def file_options(config: ConfigDict) -> dict[str, Any]:
  """How image files are read, as `images.read` takes it: what is cut out, and what is black, white and behind."""
  return {'crop': config.data.crop, 'ground': config.data.ground, 'value_range': config.data.range}


def with_range(config: ConfigDict, value_range: tuple[float, float] | None) -> ConfigDict:
  """A copy of a config that reads images of more than 8 bits by a measured range, unless it sets one itself."""
  config = config.copy_and_resolve_references()
  if value_range is not None and config.data.range is None:
    config.data.range = tuple(value_range)
  return config


def check_file_options(config: ConfigDict, source: Any) -> None:
  """Refuses keys that are without effect on the data of a run.

  Raises:
    ConfigError: a range where nothing has more than 8 bits, or a ground where nothing is transparent.
  """
  if config.data.range is not None and not getattr(source, 'is_deep', False):
    raise ConfigError(
      f'config.data.range is {tuple(config.data.range)}, which is for image files of more than 8 bits, and '
      f'{config.data.source} seems to hold none; set it to None'
    )
  if config.data.ground != 'white' and isinstance(source, arrays.ArraySource):
    raise ConfigError(
      f"config.data.ground is '{config.data.ground}', which is for transparent image files, and {config.data.source} "
      "holds arrays; set it to 'white'"
    )


def check_labels(config: ConfigDict, source: Any, labels: Any = None) -> None:
  """Refuses data from which the networks of a conditional run could not learn every class.

  Args:
    config: of the run.
    source: its data.
    labels: of all examples; None takes those that the source knows without reading examples, if it does.

  Raises:
    DataError: no labels, one class alone, or classes without an example.
  """
  if config.tricks.generator_labels == 'none':
    return
  if source.classes is None and getattr(source, 'unlabelled', ''):
    raise DataError(f'{config.data.source} has no labels: {source.unlabelled}')
  if source.classes == 1:
    (name,) = getattr(source, 'class_names', None) or ('0',)
    raise DataError(
      f"{config.data.source} has one class alone, '{printable(name)}', so labels say nothing; take data of several, "
      "or set config.tricks.generator_labels and config.tricks.discriminator_labels to 'none'"
    )
  labels = getattr(source, 'labels', None) if labels is None else labels
  if source.classes is not None and labels is not None:
    classes.check_used(labels, source.classes, getattr(source, 'class_names', None))


def warn_of_contents(config: ConfigDict, source: Any, feeder: Any) -> None:
  """Says on stderr what makes a sample of the examples look as if they were read wrongly."""
  number = min(_LOOKED_AT[isinstance(feeder, resident.ResidentFeeder)], len(source))
  rows = np.linspace(0, len(source) - 1, number).astype(int)
  examples = feeder.data['images'][rows] if feeder.data else _read(source, rows.tolist())[0]
  fault = contents.fault(examples, robust=getattr(source, 'value_range', None) is not None)
  if fault:
    say(f'WARNING: {config.data.source}: {fault}', sys.stderr)


def with_data_dir(config: ConfigDict, data_dir: str | None) -> ConfigDict:
  """The config with another directory of TensorFlow Datasets, or path of its folder or .npz, if one is given."""
  if data_dir is not None:
    config.data.dir = data_dir
    kind, _, _ = config.data.source.partition(':')
    if kind in ('folder', 'npz'):
      config.data.source = f'{kind}:{data_dir}'
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
  part = _Examples(source, None if len(source) <= most else np.sort(permutation(0, 0, len(source))[:most]))
  images, first = np.empty((len(part.rows), *source.shape), np.uint8), 0
  for batch in with_bar(part.batches(), num=len(images), title='Reading the data'):
    images[first : first + len(batch)] = batch
    first += len(batch)
  return images, part.labels()


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
  return functools.partial(_read, source, _rows(source, num, seed))


def read_examples(
  config: ConfigDict, name: str | None, *, split: str | None, shape: tuple[int, ...], num: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
  """Examples for the networks of a config, uint8 [N, *shape], and their labels, int32 [N], if they have any; `num` of
  them, or all where there are fewer."""
  source, _ = _open_for(config, name, split, shape)
  examples, labels = _read(source, _rows(source, None if num is None else min(num, len(source)), seed))
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


def _rows(source: Any, num: int | None, seed: int) -> Iterable[int]:
  """All examples in order, or `num` of them, drawn without repetition."""
  return range(len(source)) if num is None else np.random.default_rng(seed).permutation(len(source))[:num].tolist()


def _read(source: Any, rows: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    pairs = list(pool.map(source.__getitem__, rows))
  return np.stack([example for example, _ in pairs]), np.array([label or 0 for _, label in pairs], np.int32)


def _of_split(config: ConfigDict, split: str) -> ConfigDict:
  """An unlocked copy for another split, which has no batches to fill and so may be small."""
  config = config.copy_and_resolve_references().unlock()
  config.update(data={'split': split}, batch_size=1, tricks={'discriminator_turns': 1})
  return config
