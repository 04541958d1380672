"""Weights files: what is read, that nothing in them runs, and the download."""

import collections
import hashlib
import http.server
import io
import os
import pathlib
import pickle
import socket
import sys
import threading
import time
import types
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import DataError
from dcgan_jax.metrics import inception, inception_weights
from dcgan_jax.metrics.inception_weights import download_weights, load_weights

REAL = pathlib.Path(__file__).resolve().parents[2] / 'shared/data/inception/inception_2015_12_05_to_mixed_7.npz'
STEM = {'Conv2d_1a_3x3': (32, 3, 3, 3), 'Conv2d_2a_3x3': (32, 32, 3, 3), 'Conv2d_2b_3x3': (64, 32, 3, 3)}


class Storage:
  """What a pickle of PyTorch refers to by number."""

  def __init__(self, key, array):
    self.key, self.array = key, array


class Tensor:
  """Pickles as a tensor does: a call of torch._utils._rebuild_tensor_v2."""

  def __init__(self, key, array):
    self.storage, self.array = Storage(key, array), array

  def __reduce__(self):
    strides = tuple(step // self.array.itemsize for step in self.array.strides)
    arguments = (self.storage, 0, self.array.shape, strides, False, collections.OrderedDict())
    return sys.modules['torch._utils']._rebuild_tensor_v2, arguments


@pytest.fixture
def write_torch(tmp_path, monkeypatch):
  """Writes a state dict as PyTorch does, without PyTorch: (state, legacy) -> path."""
  torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
  storages = {'<f4': 'FloatStorage', '<i8': 'LongStorage'}
  for name in storages.values():
    setattr(torch, name, type(name, (), {'__module__': 'torch'}))
  utils._rebuild_tensor_v2 = lambda: None
  utils._rebuild_tensor_v2.__module__ = 'torch._utils'
  utils._rebuild_tensor_v2.__qualname__ = utils._rebuild_tensor_v2.__name__ = '_rebuild_tensor_v2'
  torch._utils = utils

  class Pickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, value):
      if not isinstance(value, Storage):
        return None
      kind = getattr(torch, storages[value.array.dtype.str])
      return ('storage', kind, value.key, 'cpu', value.array.size, *([None] if self.legacy else []))

  def dump(value, legacy):
    stream = io.BytesIO()
    pickler = Pickler(stream, protocol=2)
    pickler.legacy = legacy
    pickler.dump(value)
    return stream.getvalue()

  def write(state, legacy=False):
    path = tmp_path / 'weights.pth'
    tensors = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    keys = {name: str(i) for i, name in enumerate(tensors)}
    wrapped = {name: Tensor(keys[name], value) if name in keys else value for name, value in state.items()}
    with monkeypatch.context() as patch:
      patch.setitem(sys.modules, 'torch', torch)
      patch.setitem(sys.modules, 'torch._utils', utils)
      pickled = dump(collections.OrderedDict(wrapped), legacy)
    if legacy:
      parts = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True})]
      parts += [pickled, pickle.dumps(list(keys.values()), protocol=2)]
      parts += [value.size.to_bytes(8, 'little') + value.tobytes() for value in tensors.values()]
      path.write_bytes(b''.join(parts))
    else:
      with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('weights/data.pkl', pickled)
        for name, value in tensors.items():
          archive.writestr(f'weights/data/{keys[name]}', value.tobytes())
    return path

  return write


def stem_state():
  """The tensors that 64 features need, named as PyTorch's network names them."""
  draw = np.random.default_rng(0)
  state = {}
  for name, shape in STEM.items():
    state[f'{name}.conv.weight'] = draw.standard_normal(shape, np.float32)
    for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
      state[f'{name}.bn.{leaf}'] = draw.uniform(0.5, 2, shape[0]).astype(np.float32)
    state[f'{name}.bn.num_batches_tracked'] = np.array(7)
  return state


def stem_layers():
  """Folded layers of '64'."""
  return {
    f'{name}/{key}': np.full(leaf, 0.5, np.float32)
    for name, shape in inception.LAYERS['64'].items()
    for key, leaf in (('kernel', shape), ('bias', shape[-1:]))
  }


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_batch_norms_become_part_of_the_convolutions(write_torch, legacy):
  state = stem_state()
  path = write_torch(state, legacy)
  weights = load_weights(path)
  x = np.random.default_rng(1).standard_normal(288)  # what lies under the window, [I, H, W]
  mean, variance = (state[f'Conv2d_2b_3x3.bn.running_{leaf}'] for leaf in ('mean', 'var'))
  before = state['Conv2d_2b_3x3.conv.weight'].reshape(64, -1) @ x
  expected = (before - mean) / np.sqrt(variance + 0.001) * state['Conv2d_2b_3x3.bn.weight']
  layer = weights.params['conv_2']
  ours = layer['kernel'].transpose(3, 2, 0, 1).reshape(64, -1) @ x + layer['bias']
  assert_allclose(ours, expected + state['Conv2d_2b_3x3.bn.bias'], rtol=1e-4, atol=1e-4)
  assert weights.depths == ('64',)
  assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_tensor_is_any_view_of_its_storage():
  storage = inception_weights._Storage('0', '<f4', 6)
  numbers = np.arange(6, dtype=np.float32).tobytes()
  assert_array_equal(inception_weights._Tensor(storage, 1, (2, 2), (1, 3)).array(numbers), [[1, 4], [2, 5]])
  for offset, strides in ((2, (1, 3)), (0, (1, 5)), (7, (1, 1))):
    with pytest.raises((TypeError, ValueError), match='buffer'):
      inception_weights._Tensor(storage, offset, (2, 2), strides).array(numbers)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_files_that_pytorch_writes_are_read(tmp_path, legacy):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  state = {name: torch.tensor(value) for name, value in stem_state().items()}
  # Another order in memory, and two tensors that share one storage.
  name = 'Conv2d_1a_3x3.conv.weight'
  state[name] = state[name].contiguous(memory_format=torch.channels_last)
  both = torch.stack([state['Conv2d_2a_3x3.bn.weight'], state['Conv2d_2a_3x3.bn.bias']])
  state['Conv2d_2a_3x3.bn.weight'], state['Conv2d_2a_3x3.bn.bias'] = both
  torch.save(collections.OrderedDict(state), tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
  params = load_weights(tmp_path / 'a.pth').params
  for ours, expected in zip(params.values(), inception_weights._fold(stem_state()).values(), strict=True):
    assert_array_equal(ours['kernel'], expected['kernel'])
    assert_array_equal(ours['bias'], expected['bias'])


def test_a_folded_npz_gives_the_depths_it_is_complete_for(tmp_path):
  layers = stem_layers()
  layers['conv_3/kernel'], layers['conv_3/bias'] = np.zeros((1, 1, 64, 80), 'f4'), np.zeros(80, 'f4')
  np.savez(tmp_path / 'a.npz', **layers)
  weights = load_weights(str(tmp_path / 'a.npz'))
  assert weights.depths == ('64',)
  assert list(weights.params) == ['conv', 'conv_1', 'conv_2']
  weights.require('64')
  with pytest.raises(
    DataError,
    match=r'a.npz has the Inception layers up to 64 only; for 2048 give pt_inception.*evaluate --weights FILE',
  ):
    weights.require('2048')


@pytest.mark.skipif(not REAL.exists(), reason='no Inception weights in ../shared/data')
def test_the_real_npz_reaches_768():
  weights = load_weights(REAL)
  assert weights.depths == ('64', '192', '768')
  assert len(weights.params) == 70


def test_every_convolution_of_pytorchs_network_has_its_layer():
  branches = {
    'Mixed_5c': ['1x1', '5x5_1', '5x5_2', '3x3dbl_1', '3x3dbl_2', '3x3dbl_3', '_pool'],
    'Mixed_6a': ['3x3', '3x3dbl_1', '3x3dbl_2', '3x3dbl_3'],
    'Mixed_6b': ['1x1', *(f'7x7_{i}' for i in (1, 2, 3)), *(f'7x7dbl_{i}' for i in (1, 2, 3, 4, 5)), '_pool'],
    'Mixed_7a': ['3x3_1', '3x3_2', *(f'7x7x3_{i}' for i in (1, 2, 3, 4))],
    'Mixed_7c': ['1x1', '3x3_1', '3x3_2a', '3x3_2b', *(f'3x3dbl_{i}' for i in ('1', '2', '3a', '3b')), '_pool'],
  }
  ours = {
    inception_weights._layer_name(f'{block}.branch{branch}') for block, names in branches.items() for branch in names
  }
  blocks = ('mixed_1_', 'mixed_3_', 'mixed_4_', 'mixed_8_', 'mixed_10_')
  assert ours == {name for group in inception.LAYERS.values() for name in group if name.startswith(blocks)}


# Nothing in a file runs.


class Malicious:
  """Unpickling it creates a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_a_pickle_that_calls_something_is_refused_and_not_run(write_torch, tmp_path, legacy):
  path = write_torch(stem_state() | {'x': Malicious(tmp_path / 'owned')}, legacy)
  with pytest.raises(DataError, match='it asks for posix.mkdir, which is no part of a tensor') as error:
    load_weights(path)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('name', ['builtins eval', 'builtins getattr', 'torch load', 'numpy dtype'])
def test_no_name_but_those_of_tensors_is_known(tmp_path, name):
  module, attribute = name.split()
  with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
    archive.writestr('a/data.pkl', f'c{module}\n{attribute}\n.'.encode())
  with pytest.raises(DataError, match=f'it asks for {module}.{attribute}'):
    load_weights(tmp_path / 'a.pth')


def test_a_pickle_cannot_change_the_reader(tmp_path):
  # The function that makes tensors, then BUILD (b) with the state (None, {'__call__': None}).
  code = b"ctorch._utils\n_rebuild_tensor_v2\n(N(S'__call__'\nNdtb."
  with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
    archive.writestr('a/data.pkl', code)
  with pytest.raises(DataError, match='read-only'):
    load_weights(tmp_path / 'a.pth')


def test_an_npz_with_a_pickle_inside_is_refused(tmp_path):
  np.savez(tmp_path / 'a.npz', **{'conv/kernel': np.array([Malicious(tmp_path / 'owned')], object)})
  with pytest.raises(DataError, match='allow_pickle=False'):
    load_weights(tmp_path / 'a.npz')
  assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('start', [b'', b'PK\x03\x04', b'\x80\x02', inception_weights._LEGACY_START])
def test_random_bytes_give_one_line(tmp_path, start):
  for seed in range(20):
    (tmp_path / 'a.pth').write_bytes(start + np.random.default_rng(seed).bytes(1000))
    with pytest.raises(DataError, match='Cannot read Inception weights from .*a.pth') as error:
      load_weights(tmp_path / 'a.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_a_truncated_file_gives_one_line(write_torch, legacy):
  path = write_torch(stem_state(), legacy)
  whole = path.read_bytes()
  for share in (0, 0.1, 0.5, 0.99):
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match='Cannot read Inception weights from'):
      load_weights(path)


def test_what_is_wrong_with_a_file_is_named(tmp_path, write_torch):
  def message(layers):
    np.savez(tmp_path / 'a.npz', **layers)
    with pytest.raises(DataError) as error:
      load_weights(tmp_path / 'a.npz')
    return str(error.value).split('a.npz')[1]

  assert message({'x': np.zeros(2)}) == ": it has no layer 'conv'"
  assert message({k: v for k, v in stem_layers().items() if k != 'conv_1/bias'}) == ": it has no 'conv_1/bias'"
  wrong = stem_layers() | {'conv_2/bias': np.zeros(63, np.float32)}
  assert message(wrong) == ': conv_2/bias is float32 [63], expected float32 [64]'
  wrong = stem_layers() | {'conv_2/bias': np.full(64, np.nan, np.float32)}
  assert message(wrong) == ': conv_2/bias holds values that are not finite'
  with pytest.raises(DataError, match=r'nowhere.npz \(No such file or directory\)'):
    load_weights(tmp_path / 'nowhere.npz')
  with pytest.raises(DataError, match=r'\(Is a directory\)'):
    load_weights(tmp_path)
  with pytest.raises(DataError, match="it has no layer 'conv'"):
    load_weights(write_torch({'state': {}}))


# The download.


@pytest.fixture
def server(monkeypatch):
  """A web server that answers with `server.body`; the program takes it for GitHub."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      made.requests += 1
      body = made.body
      if body is None or (made.requests == 1 and made.first_fails):
        self.send_error(404)
        return
      self.send_response(200)
      self.send_header('Content-Length', str(len(body) + made.missing))
      self.end_headers()
      self.wfile.write(body)

    def log_message(self, *_):
      pass

  made = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  made.body, made.requests, made.missing, made.first_fails = b'weights' * 100_000, 0, 0, False
  monkeypatch.setenv('no_proxy', '127.0.0.1')
  monkeypatch.setattr(inception_weights, 'SHA256', hashlib.sha256(made.body).hexdigest())
  address = f'http://127.0.0.1:{made.server_port}'
  monkeypatch.setattr(inception_weights, 'URLS', (f'{address}/first', f'{address}/second'))
  threading.Thread(target=made.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
  yield made
  made.shutdown()
  made.server_close()


def test_weights_are_downloaded_once_and_progress_is_shown(server, tmp_path, capfd):
  path = download_weights(tmp_path / 'cache')
  assert download_weights(tmp_path / 'cache') == path
  assert path.read_bytes() == server.body
  assert server.requests == 1
  assert [file.name for file in path.parent.iterdir()] == [inception_weights.FILE_NAME]
  assert 'Inception weights: 100%' in capfd.readouterr().err


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
  (tmp_path / inception_weights.FILE_NAME).write_bytes(b'half')
  assert download_weights(tmp_path).read_bytes() == server.body


def test_the_second_source_is_tried(server, tmp_path):
  server.first_fails = True
  assert download_weights(tmp_path).read_bytes() == server.body


def test_another_file_than_expected_is_not_kept(server, tmp_path):
  server.body = b'something else'
  with pytest.raises(DataError, match=r'127.0.0.1: SHA256 hash of downloaded file .* does not match the known hash'):
    download_weights(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_broken_connection_leaves_nothing(server, tmp_path):
  server.missing = 5
  with pytest.raises(DataError, match=r'127.0.0.1: .*IncompleteRead\(700000 bytes read, 5 more expected\)'):
    download_weights(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_missing_file_on_the_server_is_named(server, tmp_path):
  server.body = None
  with pytest.raises(DataError, match=r'\(127.0.0.1: 404 Client Error: Not Found .*\); fetch http.* --weights FILE'):
    download_weights(tmp_path)


def test_without_a_network_there_is_one_line(server, tmp_path, capfd):
  server.server_close()
  with pytest.raises(DataError, match=r'Cannot download .*\(127.0.0.1: .*Connection refused\); fetch .*') as error:
    download_weights(tmp_path)
  assert '\n' not in str(error.value)
  assert 'Inception weights' not in capfd.readouterr().err


def test_a_name_that_never_resolves_is_given_up(tmp_path, monkeypatch):
  monkeypatch.setattr(inception_weights, '_ANSWER_S', 0.1)
  never = threading.Event()
  monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: never.wait(600))
  begin = time.monotonic()
  with pytest.raises(DataError, match=r'\(github.com: no answer within 0 s\)'):
    download_weights(tmp_path)
  assert time.monotonic() - begin < 300  # however busy the machine is
  never.set()
  assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_kept_are_downloaded_for_one_process(server, tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert download_weights(tmp_path / 'file' / 'cache').read_bytes() == server.body
  assert 'WARNING: Cannot keep the Inception weights in' in capsys.readouterr().err


def test_the_hash_is_that_of_the_file_names():
  assert inception_weights.SHA256.startswith('6726825d')
  assert all('6726825d' in url for url in inception_weights.URLS)
