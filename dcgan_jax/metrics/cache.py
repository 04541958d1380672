"""Arrays that take long to compute, kept in files that several processes may share."""

import contextlib
import hashlib
import json
import pathlib
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dcgan_jax.errors import say

_IDENTITY = 'identity'


def cached(
  directory: pathlib.Path,
  identity: Mapping[str, Any],
  make: Callable[[], Mapping[str, np.ndarray]],
  fits: Callable[[Mapping[str, np.ndarray]], bool] = lambda arrays: True,
) -> dict[str, np.ndarray]:
  """Returns the arrays that `make` computes, from a file of `directory` if an earlier call wrote it.

  The file is written atomically under a name of its own, so that processes may share the directory. A file that is
  damaged or describes other arrays is computed again, and a directory that cannot be written costs only the time; both
  are reported in one line on stderr.

  Args:
    directory: folder of the files.
    identity: everything that determines the arrays, as JSON; it is stored with them.
    make: computes the arrays, by name.
    fits: whether arrays that were read have the expected form.
  """
  said = json.dumps(identity, sort_keys=True)
  path = directory / f'{hashlib.sha256(said.encode()).hexdigest()[:20]}.npz'
  try:
    return _read(path, said, fits)
  except (FileNotFoundError, NotADirectoryError):
    pass
  # NumPy and zipfile raise whatever damaged bytes happen to mean.
  except Exception as error:
    reason = error.strerror if isinstance(error, OSError) else None
    _say(f'WARNING: {path} cannot be used ({reason or "damaged, or something else"}); computing it again')
  arrays = dict(make())
  try:
    _write(path, {**arrays, _IDENTITY: np.array(said)})
  except OSError as error:
    _say(f'WARNING: Cannot keep {path} ({error.strerror or error}); it will be computed again next time')
  return arrays


def _read(path: pathlib.Path, said: str, fits: Callable) -> dict[str, np.ndarray]:
  if path.exists() and not path.is_file():
    raise ValueError  # Reading a pipe would wait without end.
  with path.open('rb') as file, np.load(file, allow_pickle=False) as archive:
    arrays = {name: archive[name] for name in archive.files}
  if str(arrays.pop(_IDENTITY, '')) != said or not fits(arrays):
    raise ValueError
  return arrays


def _write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.part')
  try:
    with part.open('xb') as file:
      np.savez(file, **arrays)
    part.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink()
    raise


def _say(line: str) -> None:
  say(line, sys.stderr)
