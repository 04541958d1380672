"""TensorFlow Datasets, read without TensorFlow. The only module that imports tensorflow_datasets."""

import contextlib
import difflib
import http.client
import importlib.util
import io
import logging
import os
import re
import sys
import textwrap
import threading
import types
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import numpy as np

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

_EXTRA = "pip install 'dcgan-jax[tfds]'"
_NETWORK_TIMEOUT_SECONDS = 5


class TfdsSource:
  """A split of a prepared data set; records are read and decoded when they are asked for.

  Attributes:
    shape: the shape of an example.
    class_names: names of the classes in the order of their labels, or None when the data set has no class labels.
    classes: number of classes, or None.
  """

  def __init__(
    self, records, title: str, *, shape, class_names: list[str] | None, fit_size: int | None, crop: int | None,
    ground: str, version: str,
  ):  # fmt: skip
    """Takes what as_data_source returns; `title` names it in errors, `fit_size` None leaves images as they are."""
    self.shape = shape
    self.class_names = class_names
    self.classes = None if class_names is None else len(class_names)
    self._ground = ground
    self._version = version
    self._records = records
    self._title = title
    self._fit_size = fit_size
    self._crop = crop

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, i: int) -> tuple[np.ndarray, int | None]:
    return self.__getitems__([i])[0]

  def fingerprint(self) -> str:
    """Name, version and the number of examples of the split."""
    return f'{self._version}, {len(self):,} examples'

  def __getitems__(self, indices: list[int]) -> list[tuple[np.ndarray, int | None]]:
    """Several examples at once: fifteen times faster to read than one by one."""
    return [self._example(i, record) for i, record in zip(indices, self._read(indices), strict=True)]

  def _read(self, indices: list[int]) -> list:
    records = self._records.data_source
    try:
      # The attribute of that name that tfds.testing.mock_data adds cannot be called.
      is_real = hasattr(type(records), '__getitems__')
      return records.__getitems__(indices) if is_real else [records[i] for i in indices]
    except RuntimeError as error:
      raise DataError(
        f'{_numbered(indices)} of {self._title} cannot be read ({error}); its files are damaged or not all there, '
        'so copy or prepare them again.'
      ) from error

  def _example(self, i: int, record) -> tuple[np.ndarray, int | None]:
    image, label = self._decoded(i, record)
    if image.shape != self.shape:
      raise DataError(f'Record {i} of {self._title} has shape {image.shape}, but the data set promises {self.shape}.')
    return image, None if self.classes is None else int(label)

  def _decoded(self, i: int, record) -> tuple[np.ndarray, int | None]:
    size = self._fit_size
    # TFDS' own decoding takes twice as long, spends it on features nobody wants, and fails on grey JPEGs among RGB.
    if isinstance(record, dict):  # as tfds.testing.mock_data hands them out
      image = record['image']
      image = images.to_grey(image) if image.shape[-1] > self.shape[-1] == 1 else image
      return image if size is None else images.fit(image, size, crop=self._crop), record.get('label')
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore[reportAttributeAccessIssue]
    try:
      image = images.read(
        feature['image'].bytes_list.value[0], channels=self.shape[-1], size=size, crop=self._crop, ground=self._ground
      )
    except (DataError, IndexError) as error:
      raise DataError(f'The image of record {i} of {self._title} cannot be decoded ({error}).') from error
    return image, None if self.classes is None else feature['label'].int64_list.value[0]


def _numbered(indices: list[int]) -> str:
  return f'Record {indices[0]}' if len(indices) == 1 else f'A record from {min(indices)} to {max(indices)}'


def open_tfds(
  name: str, *, split: str, image_size: int | None, crop: int | None, data_dir: str | os.PathLike | None = None,
  channels: int = 3, ground: str = 'white',
) -> TfdsSource:  # fmt: skip
  """Opens a split of a TensorFlow data set, preparing it first if need be.

  Reading needs no TensorFlow; preparing - downloading, converting to array_record files - does, once.

  Args:
    name: as in the TFDS catalogue: 'cifar10', 'lsun/bedroom', 'mnist:3.0.1'.
    split: 'train', 'test' and so on, or a part such as 'train[:80%]'.
    image_size: side in pixels to which images are cut and resized; None leaves them as stored, if all have one size.
    crop: side in pixels of the central square cut out before resizing; None takes the largest.
    data_dir: where prepared data sets are; None means the environment variable TFDS_DATA_DIR, else
      ~/tensorflow_datasets.
    channels: 1 turns RGB images grey.
    ground: color behind transparent pixels.

  Returns:
    A source with 1 channel where the data set or `channels` says so and 3 otherwise; `classes` from its feature
    'label', if any.

  Raises:
    DataError: no such data set or split, no images in it, or it is not prepared and cannot be.
    ConfigError: image_size is None but images differ in size, or crop is given without it.
  """
  images.ground_color(ground)
  builder = _builder(name, data_dir)
  features: dict[str, Any] = dict(builder.info.features or {})
  shape = _shape(name, features, image_size, crop, channels)
  label = features.get('label')
  source = TfdsSource(
    _records(builder, name, split),
    f'{name}, split {split!r}',
    shape=shape,
    class_names=label.names if getattr(label, 'num_classes', None) else None,
    fit_size=image_size if crop or tuple(features['image'].shape[:2]) != (image_size, image_size) else None,
    crop=crop,
    ground=ground,
    version=builder.info.full_name,
  )
  # Missing or damaged files show when they are read: better now than after the compilation.
  source[0]
  return source


def rows(split: str, number: int) -> slice:
  """The rows that a part of a split of so many examples is, such as 'train[:80%]', as TFDS reads it.

  Raises:
    ConfigError: no such part, or there is nothing in it.
  """
  with _silence():
    import tensorflow_datasets as tfds

  sizes = {split.partition('[')[0]: types.SimpleNamespace(num_examples=number)}
  try:
    (part,) = tfds.core.ReadInstruction.from_spec(split).to_absolute(sizes)
    found = slice(*slice(part.from_, part.to).indices(number))
  except (ValueError, AssertionError, KeyError) as error:
    raise ConfigError(
      f"'{split}' is no part of a split of {number:,} examples; expected such as 'train[:80%]' or 'train[100:200]'"
    ) from error
  if found.start >= found.stop:
    raise ConfigError(f"'{split}' holds none of the {number:,} examples of its split; take a larger part")
  return found


def _builder(name: str, data_dir):
  """The TFDS builder of a name; no network is used for it, and no code but that of TFDS."""
  _, colon, version = name.partition(':')
  if colon and not re.fullmatch(r'[\d*]+(\.[\d*]+)*', version):
    raise DataError(
      f'Cannot take {name!r}: after a colon comes a version, such as mnist:3.0.1. Namespaces (huggingface:, kaggle:) '
      'run code of others; save those images as an .npz or in a folder instead.'
    )
  # Both are read at import: one try at each file, and no chatter of TensorFlow's where that is installed.
  os.environ.setdefault('TFDS_RETRY_TRIES', '1')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  try:
    with _silence():
      import tensorflow_datasets as tfds
  except ImportError as error:
    raise DataError(f'TensorFlow Datasets cannot be imported ({error}): pip install tensorflow-datasets.') from error
  try:
    with _silence(), _own_features_alone():
      return tfds.builder(name, data_dir=None if data_dir is None else os.path.expanduser(data_dir))
  except DataError:
    raise
  except ImportError as error:
    raise DataError(f'The TensorFlow data set {name!r} needs {_package(error)}.') from error
  except Exception as error:  # whatever the code of this data set raises
    raise DataError(_no_builder(name, error)) from error


@contextlib.contextmanager
def _own_features_alone():
  """Refuses classes of features that are not those of TFDS: it would import whichever module a features.json names."""
  from tensorflow_datasets.core.features import feature

  connector = feature.FeatureConnector
  original = connector.__dict__['cls_from_name']

  def find(cls, name):
    if not name.startswith('tensorflow_datasets.core.features.'):
      raise DataError(
        f'The data set is of features {name!r}, code of others that reading it would run; save its images as an .npz '
        'or in a folder instead.'
      )
    return original.__func__(cls, name)

  connector.cls_from_name = classmethod(find)  # pyright: ignore[reportAttributeAccessIssue]
  try:
    yield
  finally:
    connector.cls_from_name = original


def _no_builder(name: str, error: Exception) -> str:
  """Why TFDS has no builder for a name, with the names that come near."""
  import tensorflow_datasets as tfds

  known = tfds.list_builders(with_community_datasets=False)
  family = re.split('[/:]', name)[0]
  if family in known:
    reason = re.sub(r'^Failed to construct dataset .*?": ', '', str(error)).split('\n')[0].split(' Here are ')[0]
    message = f'TensorFlow Datasets cannot open {name!r}: {reason.rstrip(".")}.'
    known = [f'{family}/{config}' for config in tfds.builder_cls(family).builder_configs]
  else:
    message = f'TensorFlow Datasets knows no data set {name!r}.'
  near = difflib.get_close_matches(name, known, n=3)
  return f'{message} Did you mean {" or ".join(map(repr, near))}?' if near else message


def _package(error: ImportError) -> str:
  """The package whose import failed, and how to install it."""
  # TFDS raises some of these anew with a longer text and without the name.
  named = re.search("No module named '([^'.]+)", str(error))
  package = error.name or (named[1] if named else 'tensorflow')
  if package.startswith('array_record') and sys.platform == 'win32':
    return 'the package array_record, which there is none of for Windows: use WSL, or folder:PATH or npz:PATH'
  return f'the package {package}: {_EXTRA if package == "tensorflow" else f"pip install {package}"}'


def _shape(name: str, features, image_size: int | None, crop: int | None, wanted: int) -> tuple[int, int, int]:
  """Shape of the source's examples."""
  import tensorflow_datasets as tfds

  image = features.get('image')
  if not isinstance(image, tfds.features.Image) or len(image.shape) != 3 or image.np_dtype != np.uint8:
    raise DataError(
      f"The TensorFlow data set {name!r} has no feature 'image' with uint8 images; it has: {', '.join(features)}."
    )
  height, width, channels = image.shape
  channels = 1 if 1 in (channels, wanted) else 3
  if wanted not in (1, 3):
    raise ConfigError(f'config.data.channels is {wanted}; use 1 for grey, or 3 for what the images of {name!r} are.')
  if image_size is not None:
    return image_size, image_size, channels
  if crop is not None:
    raise ConfigError(
      f'config.data.crop is {crop}, but config.data.image_size is not set; set it to {crop} to keep the cut pixels.'
    )
  if height is None or width is None:
    raise ConfigError(
      f'The images of {name!r} differ in size; set config.data.image_size to the side in pixels to train at, '
      'for example 64.'
    )
  return height, width, channels


def _records(builder, name: str, split: str):
  """The split as TFDS' random-access source, prepared if it was not."""
  import tensorflow_datasets as tfds

  # Ask for the data before asking whether it is prepared: under tfds.testing.mock_data it is there, yet not prepared.
  try:
    with _silence():
      return builder.as_data_source(split)
  except ImportError as error:
    raise DataError(f'Reading TensorFlow data sets needs {_package(error)}.') from error
  except (NotImplementedError, ValueError) as error:
    with _silence():
      prepared = builder.is_prepared()
    if not prepared:
      if os.path.isdir(builder.data_dir):
        raise DataError(
          f'{builder.data_dir} is no complete data set: it has no dataset_info.json; copy it again, or delete it.'
        ) from error
      _prepare(builder, name)
      return _records(builder, name, split)
    if isinstance(error, NotImplementedError):
      raise DataError(
        f'{builder.data_dir} was prepared as {builder.info.file_format.value}, which cannot be read in random order; '
        'move it away to have it prepared anew as array_record, or set config.data.dir to another directory.'
      ) from error
    raise DataError(
      f'Split {split!r} of {name} cannot be read; its splits are {", ".join(builder.info.splits)}, '
      "and parts of them such as 'train[:80%]'."
    ) from error
  except tfds.core.utils.DatasetVariantBlockedError as error:  # pyright: ignore[reportAttributeAccessIssue]
    raise DataError(f'TFDS blocks the data set {name!r} ({error}).') from error


def _prepare(builder, name: str) -> None:
  """Downloads a data set and writes it as array_record, or says in one line why that cannot be."""
  missing = f'The TensorFlow data set {name!r} is not prepared in {builder.data_dir}'
  address = _address(builder)
  if not _is_reachable(address):
    raise DataError(
      f'{missing}, and {urllib.parse.urlsplit(address).netloc} cannot be reached to download it. On a connected '
      f'machine run {_EXTRA} and the same command, then copy that directory here; if the data is elsewhere, '
      'set config.data.dir or TFDS_DATA_DIR to it.'
    )
  if importlib.util.find_spec('tensorflow') is None:
    raise DataError(f'{missing}. Preparing it needs TensorFlow, once: {_EXTRA}.')
  try:
    with _silence(stdout=sys.stderr), _few_retries():
      _load_tensorflow()
      builder.download_and_prepare(file_format='array_record')
  except Exception as error:  # whatever the code of this data set raises
    reason = textwrap.shorten(f'{type(error).__name__}: {error}', 500, placeholder=' ...')
    raise DataError(f'{missing}, and preparing it failed: {reason}') from error


def _load_tensorflow() -> None:
  import tensorflow as tf

  # Else TensorFlow would reserve the memory of the accelerator that JAX is to use.
  tf.config.set_visible_devices([], 'GPU')


def _address(builder) -> str:
  """An address that preparing the data set would download from."""
  addresses = builder.url_infos or {}
  return next((address for address in addresses if address.startswith('http')), 'https://storage.googleapis.com')


def _is_reachable(address: str) -> bool:
  """Whether any answer, even a refusal, comes from an http(s) address, directly or through the environment's proxy."""
  answers = []

  def ask():
    try:
      urllib.request.urlopen(urllib.request.Request(address, method='HEAD'), timeout=_NETWORK_TIMEOUT_SECONDS).close()
      answers.append(True)
    except urllib.error.HTTPError:
      answers.append(True)
    except (OSError, ValueError, http.client.HTTPException):
      answers.append(False)

  # In a thread, because looking a name up obeys no time limit.
  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(2 * _NETWORK_TIMEOUT_SECONDS)
  return any(answers)


@contextlib.contextmanager
def _silence(*, stdout=None):
  """Keeps warnings off the screen and sends what TFDS prints elsewhere than to stdout, by default nowhere."""
  loggers = [logging.getLogger(name) for name in ('absl', 'urllib3')]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  try:
    with contextlib.redirect_stdout(stdout or io.StringIO()):
      yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)


@contextlib.contextmanager
def _few_retries():
  """Lets a download fail after seconds; TFDS' ten tries with growing pauses take minutes."""
  from tensorflow_datasets.core.download import downloader

  tries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 3
  try:
    yield
  finally:
    downloader.MAX_RETRIES = tries
