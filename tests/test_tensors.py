"""Tensors in safetensors files: what is read, and what is refused."""

import json
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from dcgan_jax.errors import CheckpointError
from dcgan_jax.exporting import tensors

ROOT = pathlib.Path(__file__).parents[1]


def _pad_header(path, *, modulo):
  """Rewrites a file with spaces after its header, as the format allows, so that its length is `modulo` modulo 256."""
  content = path.read_bytes()
  length = int.from_bytes(content[:8], 'little')
  spaces = (modulo - length) % 256
  header = content[8 : 8 + length] + b' ' * spaces
  path.write_bytes(len(header).to_bytes(8, 'little') + header + content[8 + length :])


@pytest.mark.parametrize('modulo', [0, 0x50, 0x80])
def test_a_file_is_read_whatever_the_length_of_its_header(tmp_path, modulo):
  path = tmp_path / 'a.safetensors'
  tensors.write(path, {'kernel': np.arange(6.0).reshape(2, 3)}, {'note': 'x'})
  _pad_header(path, modulo=modulo)
  found, said = tensors.read(path)
  assert path.read_bytes()[0] == modulo
  np.testing.assert_array_equal(found['kernel'], np.arange(6.0).reshape(2, 3))
  assert said == {'note': 'x'}


@pytest.mark.parametrize(
  'start', [b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.', b'\x80\x04\x95', b'PK\x03\x04' + bytes(20)]
)
def test_a_pickle_is_refused(tmp_path, start):
  (tmp_path / 'a.pth').write_bytes(start)
  with pytest.raises(CheckpointError, match='is a pickle, which can run code as it is read'):
    tensors.read(tmp_path / 'a.pth')


@pytest.mark.parametrize('dtype', [ml_dtypes.bfloat16, np.float16])
def test_half_precision_is_read_by_a_program_that_imports_nothing_else(tmp_path, dtype):
  tensors.write(tmp_path / 'a.safetensors', {'kernel': np.array([1, -2.5, 0.125], dtype)}, {})
  program = (
    'import json, pathlib, sys; from dcgan_jax.exporting import tensors; before = "jax" in sys.modules; '
    'found = tensors.read(pathlib.Path(sys.argv[1]))[0]["kernel"]; '
    'print(json.dumps([before, str(found.dtype), found.astype("float32").tolist()]))'
  )
  command = [sys.executable, '-c', program, str(tmp_path / 'a.safetensors')]
  ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert json.loads(ended.stdout) == [False, np.dtype(dtype).name, [1, -2.5, 0.125]]
