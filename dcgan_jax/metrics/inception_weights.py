"""The parameters of `inception.InceptionV3`: read from a file, or downloaded once and kept.

A .pth file is a pickle, and a pickle is a program. The reader here knows the five words that tensors are written in and
refuses every other, so that no file, whoever made it, runs anything.
"""

import collections
import dataclasses
import hashlib
import pathlib
import pickle
import queue
import sys
import tempfile
import threading
import urllib.parse
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pooch

from dcgan_jax import cache, progress
from dcgan_jax.errors import DataError, say
from dcgan_jax.metrics.inception import LAYERS

FILE_NAME = 'pt_inception-2015-12-05-6726825d.pth'
SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
# The same file twice; Apache-2.0, as the TensorFlow model it was converted from.
URLS = (
  f'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}',
  'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth',
)
_HOW = '`evaluate --weights FILE`, or config.evaluation.weights while training'
# Seconds a server may take to answer, look-up of names and redirects included, and seconds it may then pause.
_ANSWER_S = 6.0
_PAUSE_S = 10.0

_EPSILON = 0.001  # of the batch norms, as the TensorFlow graph has it
# PyTorch's blocks by those of the graph, and the name of each branch's convolutions by the graph's.
_BLOCKS = dict(
  zip(
    ['5b', '5c', '5d', '6a', '6b', '6c', '6d', '6e', '7a', '7b', '7c'],
    ['mixed', *(f'mixed_{i}' for i in range(1, 11))],
    strict=True,
  )
)
_STEM = {'1a_3x3': 'conv', '2a_3x3': 'conv_1', '2b_3x3': 'conv_2', '3b_1x1': 'conv_3', '4a_3x3': 'conv_4'}
_BRANCHES = {
  '5': {'1x1': 'conv', '5x5': 'tower_conv', '3x3dbl': 'tower_1_conv', '_pool': 'tower_2_conv'},
  '6a': {'3x3': 'conv', '3x3dbl': 'tower_conv'},
  '6': {'1x1': 'conv', '7x7': 'tower_conv', '7x7dbl': 'tower_1_conv', '_pool': 'tower_2_conv'},
  '7a': {'3x3': 'tower_conv', '7x7x3': 'tower_1_conv'},
  '7': {'1x1': 'conv', '3x3': 'tower_conv', '3x3dbl': 'tower_1_conv', '_pool': 'tower_2_conv'},
}


@dataclasses.dataclass(frozen=True)
class Weights:
  """What a weights file holds.

  params: for `InceptionV3.apply({'params': params}, ...)`, {layer: {'kernel', 'bias'}}, NumPy float32.
  sha256: of the file, in hex.
  depths: the outputs that it suffices for, from the shallowest on; all of `inception.LAYERS` for a whole file.
  path: where it was read.
  """

  params: dict[str, dict[str, np.ndarray]]
  sha256: str
  depths: tuple[str, ...]
  path: pathlib.Path

  def require(self, depth: str) -> None:
    """Raises DataError where the file does not reach this output."""
    if depth not in self.depths:
      raise DataError(
        f'{self.path} has the Inception layers up to {self.depths[-1]} only; for {depth} give {FILE_NAME} from '
        f'{URLS[0]} ({_HOW})'
      )


def load_weights(path: str | pathlib.Path) -> Weights:
  """Reads the Inception weights of a file; batch norms of a .pth are folded into the convolutions.

  Args:
    path: pytorch-fid's or torch-fidelity's .pth (PyTorch's zip format or the one before 1.6), or a folded .npz with
      '<layer>/kernel' HWIO and '<layer>/bias', complete or up to some output.

  Raises:
    DataError: no such file, neither of these formats, damaged, or layers missing or of other shapes.
  """
  path = pathlib.Path(path)
  try:
    with path.open('rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
      file.seek(0)
      layers = _read(file)
      params = {name: layers[name] for name in _names_of_whole_depths(layers)}
  except DataError as error:
    raise DataError(f'Cannot read Inception weights from {path}: {error}') from error
  except OSError as error:
    raise DataError(f'Cannot read Inception weights from {path} ({error.strerror or error})') from error
  except Exception as error:
    # Damaged zips and pickles raise whatever their bytes happen to mean.
    raise DataError(
      f'Cannot read Inception weights from {path}: damaged, or no .pth or .npz of them '
      f'({type(error).__name__}: {" ".join(str(error).split())[:200]})'
    ) from error
  depths = tuple(depth for depth in LAYERS if LAYERS[depth].keys() <= params.keys())
  return Weights(params, digest, depths, path)


def download_weights(cache_dir: str | pathlib.Path) -> pathlib.Path:
  """Downloads the whole weights file, unless it is in the cache already, and checks its SHA-256.

  Args:
    cache_dir: directory that keeps the file. If it cannot be written, the file is kept until the process ends.

  Returns:
    Path of the file, for `load_weights`.

  Raises:
    DataError: no network (within 15 s), no space, or another file than the expected one.
  """
  directory, failures = _writable(pathlib.Path(cache_dir)), []
  pooch.get_logger().setLevel('WARNING')  # The progress bar says what is downloaded.
  for url in URLS:
    try:
      return pathlib.Path(pooch.retrieve(url, f'sha256:{SHA256}', FILE_NAME, directory, downloader=_download))
    # A wrong SHA-256 is a ValueError of pooch; requests and the disk raise OSErrors.
    except (OSError, ValueError, DataError) as error:
      reason = getattr(next(iter(error.args), None), 'reason', error)  # Of urllib3, where requests only wraps it.
      words = ' '.join(str(reason).split()) or type(error).__name__
      failures.append(f'{urllib.parse.urlsplit(url).hostname}: {words}')
  reasons = '; '.join(dict.fromkeys(failures))
  raise DataError(
    f'Cannot download the Inception weights ({reasons}); fetch {URLS[0]} yourself and give the file ({_HOW})'
  )


def _writable(directory: pathlib.Path) -> pathlib.Path:
  """The directory if it can be written or has the file, else a temporary one that ends with the process."""
  if (directory / FILE_NAME).exists():
    return directory
  try:
    directory.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=directory).close()
    return directory
  except OSError as error:
    say(
      f'WARNING: Cannot keep the Inception weights in {directory} ({error.strerror or error}); they are downloaded for '
      'this process alone',
      sys.stderr,
    )
  return cache.temporary()


def _download(url: str, path: str, _: object) -> None:
  """A downloader for pooch that limits the time to the answer, redirects and the look-up of names included.

  It works in a thread because the system's look-up of a name has no limit of its own.
  """
  answered, outcome = threading.Event(), queue.SimpleQueue()

  def answer(response, **_):
    if not response.is_redirect:
      answered.set()
      # pooch sets the total.
      download.progressbar = response.ok and progress.bar(total=1, unit='B', unit_scale=True, desc='Inception weights')

  def work(file):
    try:
      outcome.put(download(url, file, None))
    except Exception as error:
      outcome.put(error)
    answered.set()

  download = pooch.HTTPDownloader(timeout=_PAUSE_S, hooks={'response': answer})
  with open(path, 'wb') as file:  # A thread that was given up finds it closed when its answer comes.
    threading.Thread(target=work, args=(file,), daemon=True).start()
    if not answered.wait(_ANSWER_S):
      raise DataError(f'no answer within {_ANSWER_S:.0f} s')
    error = outcome.get()
  if error is not None:
    raise error


def _names_of_whole_depths(layers):
  """Names of the layers of all outputs that the file suffices for; checks their shapes."""
  names = []
  for depth, group in LAYERS.items():
    missing = [name for name in group if name not in layers]
    if missing and depth == '64':
      raise DataError(f"it has no layer '{missing[0]}'")
    if missing:
      break
    for name, shape in group.items():
      expected = {'kernel': shape} if depth == 'logits' else {'kernel': shape, 'bias': shape[-1:]}
      for key, leaf_shape in expected.items():
        leaf = layers[name].get(key)
        if leaf is None:
          raise DataError(f"it has no '{name}/{key}'")
        if leaf.shape != leaf_shape or leaf.dtype != np.float32:
          raise DataError(f'{name}/{key} is {leaf.dtype} {list(leaf.shape)}, expected float32 {list(leaf_shape)}')
        if not np.isfinite(leaf).all():
          raise DataError(f'{name}/{key} holds values that are not finite')
    names += group
  return names


def _read(file: BinaryIO) -> dict[str, dict[str, np.ndarray]]:
  """Layers of a file in any known format; the format is told by the content, not by the name."""
  start = file.peek(2)[:2]
  if start != b'PK':
    return _fold(_read_legacy(file))
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    if any(name.endswith('/data.pkl') for name in names):
      return _fold(_read_zip(archive))
  file.seek(0)
  with np.load(file, allow_pickle=False) as arrays:
    layers = collections.defaultdict(dict)
    for name, key in (entry.rsplit('/', 1) for entry in arrays.files if entry.count('/') == 1):
      if any(name in group for group in LAYERS.values()):
        layers[name][key] = arrays[f'{name}/{key}']
    return dict(layers)


def _fold(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
  """Layers of PyTorch's tensors: batch norms become part of the convolutions, OIHW becomes HWIO."""
  layers = {}
  for key, weight in tensors.items():
    if not key.endswith('.conv.weight'):
      continue
    torch_name = key.removesuffix('.conv.weight')
    gamma, beta, mean, variance = (
      tensors[f'{torch_name}.bn.{leaf}'].astype(np.float64)
      for leaf in ('weight', 'bias', 'running_mean', 'running_var')
    )
    scale = gamma / np.sqrt(variance + _EPSILON)
    kernel = weight.transpose(2, 3, 1, 0) * scale
    layers[_layer_name(torch_name)] = {
      'kernel': np.ascontiguousarray(kernel, np.float32),
      'bias': (beta - mean * scale).astype(np.float32),
    }
  if 'fc.weight' in tensors:
    layers['logits'] = {'kernel': np.ascontiguousarray(tensors['fc.weight'].T, np.float32)}
  return layers


def _layer_name(torch_name):
  """'Mixed_6b.branch7x7dbl_3' -> 'mixed_4_tower_1_conv_2'; a name of no layer comes back as it is."""
  block, _, branch = torch_name.partition('.')
  if not branch:
    return _STEM.get(block.removeprefix('Conv2d_'), torch_name)
  block = block.removeprefix('Mixed_')
  if block not in _BLOCKS:
    return torch_name
  branches = _BRANCHES.get(block) or _BRANCHES[block[0]]
  branch = branch.removeprefix('branch')
  if branch in branches:
    return f'{_BLOCKS[block]}_{branches[branch]}'
  branch, _, place = branch.rpartition('_')
  if branch not in branches:
    return torch_name
  tower = branches[branch]
  if place[1:]:  # The last layers of the 8x8 blocks fork: '2a' and '2b', or '3a' and '3b'.
    tower, place = f'{tower.removesuffix("conv")}mixed_conv', {'a': '1', 'b': '2'}[place[1:]]
  return f'{_BLOCKS[block]}_{tower}' + (f'_{int(place) - 1}' if place != '1' else '')


# PyTorch's names of what a storage holds, by NumPy's.
_STORAGES = {
  'ByteStorage': '<u1', 'CharStorage': '<i1', 'ShortStorage': '<i2', 'IntStorage': '<i4', 'LongStorage': '<i8',
  'BoolStorage': '?', 'HalfStorage': '<f2', 'FloatStorage': '<f4', 'DoubleStorage': '<f8',
}  # fmt: skip
# A magic number and the version of the format.
_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)


class _Storage(NamedTuple):
  """A run of numbers that tensors are views of."""

  key: str
  dtype: str
  length: int


class _Tensor(NamedTuple):
  """A view of a storage, in elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, data: bytes) -> np.ndarray:
    """Cuts the tensor out of its storage's bytes; strides outside of them raise ValueError."""
    numbers = np.frombuffer(data, self.storage.dtype)
    item = numbers.itemsize
    # NumPy checks that the last element lies inside the buffer.
    return np.ndarray(self.shape, numbers.dtype, numbers, self.offset * item, [step * item for step in self.strides])


class _Rebuild:
  """Stands for the functions that make tensors; has no attribute that a pickle could change."""

  __slots__ = ()

  def __call__(self, storage: Any, offset: Any = 0, shape: Any = (), strides: Any = (), *_: Any) -> _Tensor:
    if isinstance(storage, _Tensor):  # a parameter, which wraps a tensor
      return storage
    if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
      raise pickle.UnpicklingError('a tensor of no known form')
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
  """Reads a pickle of tensors; any name but those of tensors raises before anything is called."""

  def __init__(self, file: BinaryIO):
    super().__init__(file)
    self.storages = {}

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if module == 'torch._utils' and name in ('_rebuild_tensor_v2', '_rebuild_parameter'):
      return _Rebuild()
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is no part of a tensor; nothing was run')

  def persistent_load(self, pid: Any) -> _Storage:
    kind, dtype, key, _, length, *view = pid
    if kind != 'storage' or dtype not in _STORAGES.values() or type(key) is not str or any(view):
      raise pickle.UnpicklingError('a storage of no known form')
    self.storages[key] = _Storage(key, dtype, length)
    return self.storages[key]


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  """Tensors of PyTorch's format since 1.6: a zip of a pickle and one entry per storage."""
  (pickled,) = (name for name in archive.namelist() if name.endswith('/data.pkl'))
  root = pickled.removesuffix('data.pkl')
  if f'{root}byteorder' in archive.namelist() and archive.read(f'{root}byteorder') != b'little':
    raise DataError('its numbers are big-endian')
  with archive.open(pickled) as file:
    tensors = _tensors(_Unpickler(file).load())
  return {name: tensor.array(archive.read(f'{root}data/{tensor.storage.key}')) for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
  """Tensors of PyTorch's format before 1.6: magic, version, system, pickle, keys of the storages, then the storages."""
  if file.read(len(_LEGACY_START)) != _LEGACY_START:
    raise DataError('it is neither a .pth nor an .npz')
  if not _Unpickler(file).load()['little_endian']:
    raise DataError('its numbers are big-endian')
  unpickler = _Unpickler(file)
  tensors = _tensors(unpickler.load())
  data = {}
  for key in _Unpickler(file).load():
    length = int.from_bytes(file.read(8), 'little')
    data[key] = file.read(length * np.dtype(unpickler.storages[key].dtype).itemsize)
  return {name: tensor.array(data[tensor.storage.key]) for name, tensor in tensors.items()}


def _tensors(state: Any) -> dict[str, _Tensor]:
  """The tensors of a state dict; what else it holds is left out."""
  if not isinstance(state, dict):
    raise DataError(f'it holds a {type(state).__name__}, not a state dict')
  return {name: value for name, value in dict.items(state) if isinstance(value, _Tensor) and isinstance(name, str)}
