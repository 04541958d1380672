"""Tensors by name in safetensors files, which hold numbers and nothing that runs. The only importer of safetensors."""

import pathlib
import shlex
from collections.abc import Mapping

import ml_dtypes  # noqa: F401 - it makes bfloat16 known to NumPy, by whose name safetensors asks for it.
import numpy as np
import safetensors
import safetensors.numpy

from dcgan_jax.errors import CheckpointError

# How PyTorch's own files begin: a zip archive of pickles, or a bare pickle.
_PICKLES = (b'PK\x03\x04', b'\x80')


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
  """Writes named tensors, and what there is to say about them; the file appears whole or not at all."""
  # The library takes the memory as it lies, and would write a file that its owner alone can read.
  contiguous = {name: np.asarray(tensor, order='C') for name, tensor in tensors.items()}
  part = path.with_name(f'.{path.name}.part')
  part.write_bytes(safetensors.numpy.save(contiguous, metadata=dict(metadata)))
  part.replace(path)


def read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """The named tensors of a file, and what was said about them.

  Raises:
    CheckpointError: no such file, a pickle, or no safetensors file or a damaged one.
  """
  try:
    with path.open('rb') as stream:
      start = stream.read(9)
    # A safetensors file begins with 8 bytes of length, which can look like a pickle's, then '{'.
    if start.startswith(_PICKLES) and start[8:] != b'{':
      raise CheckpointError(_conversion(path))
    with safetensors.safe_open(path, framework='numpy') as file:
      return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
  except OSError as error:
    raise CheckpointError(f'Cannot read {path} ({error.strerror or error})') from error
  except CheckpointError:
    raise
  except Exception as error:  # The library raises its own, and NumPy what it likes at unknown types.
    reason = ' '.join(str(error).split())[:300]
    raise CheckpointError(f'{path} is damaged or no safetensors file ({reason}); copy it again') from error


def _conversion(path: pathlib.Path) -> str:
  new = path.with_suffix('.safetensors').name
  program = (
    f'import torch, safetensors.torch; '
    f'safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), {new!r})'
  )
  return (
    f'{path} is a pickle, which can run code as it is read, and is not read here; convert it with PyTorch: '
    f'python -c {shlex.quote(program)}'
  )
