"""The files of a run that describe it, config.json and run.json, and who holds it. Needs no JAX."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import filelock

from dcgan_jax.building.rules import complete, flatten, validate
from dcgan_jax.errors import CheckpointError, ConfigError, printable, remedy, say
from dcgan_jax.training import nearby_runs

# A resumed run may change these; any other change would make its result neither the old run's nor the new one's.
MAY_CHANGE = ('steps', 'steps_per_call', 'data.dir', 'data.resident_megabytes', 'logging', 'evaluation')
# What a run may have left before its config.json was there.
_FILES = ('.lock', '.process.json', '..process.json.part', '.config.json.part', '.run.json.part', 'checkpoints')
_SHOWN = 6  # Keys of a config that differ.
EXPORT = 'model.safetensors'  # What an export has in place of checkpoints.
LOADED = (EXPORT, 'config.json', 'run.json')  # What loading an export needs.
_LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'dcgan-jax')


def read(workdir: pathlib.Path, name: str) -> dict[str, Any]:
  """config.json or run.json of a run; lists come back as tuples.

  Raises:
    CheckpointError: the file is missing or is not the JSON it should be.
  """
  path = workdir / name
  if not path.is_file():
    if (workdir / 'config.json').exists():
      raise CheckpointError(
        f'{workdir} is incomplete ({name} is missing); copy it again, or resume the run, which writes it: '
        f'launch.py --workdir {shlex.quote(str(workdir))}'
      )
    missing = f'{name} is missing' if workdir.exists() else 'there is no such directory'
    raise CheckpointError(f'No run in {workdir} ({missing}); {nearby_runs.advice(workdir)}')
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except (RecursionError, ValueError) as error:
    raise CheckpointError(f'{path} is not JSON ({error}); copy it from another run with the same config') from error
  if not isinstance(content, dict):
    raise CheckpointError(f'{path} holds no keys; copy it from another run with the same config')
  return _with_tuples(content)


def write(workdir: pathlib.Path, name: str, content: Mapping[str, Any]) -> None:
  """Writes config.json or run.json atomically, also where the power is cut."""
  write_whole(workdir / name, json.dumps(content, indent=2) + '\n')


def write_whole(path: pathlib.Path, text: str) -> None:
  """Replaces a file atomically: after a kill or a power cut it has the old content or the new one."""
  part = path.with_name(f'.{path.name}.part')
  try:
    with part.open('w', encoding='utf-8') as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    part.replace(path)
  except OSError:
    with contextlib.suppress(OSError):
      part.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """Creates a run's directory and holds it for this process, until it leaves or ends, however it ends.

  Raises:
    CheckpointError: another process holds it, or it cannot be written.
  """
  holder = workdir / '.process.json'
  lock = filelock.FileLock(workdir / '.lock')
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    try:
      lock.acquire(timeout=0)
    except NotImplementedError:
      say(f'{workdir} is on a file system without locks; see that one process alone trains there', sys.stderr)
    if holder.exists():
      say(f'{workdir} was left by {_who(holder)} without a word; taking it over', sys.stderr)
    write(workdir, holder.name, {'process': os.getpid(), 'host': platform.node(), 'since': _now()})
  except filelock.Timeout as error:
    raise CheckpointError(
      f'{workdir} is in use by {_who(holder)}; wait for it, stop it, or give another --workdir'
    ) from error
  except OSError as error:
    raise CheckpointError(f'Cannot write in {workdir} ({error.strerror}); {remedy(error)}') from error
  try:
    yield
  finally:
    with contextlib.suppress(OSError):
      holder.unlink()
    lock.release()


def is_held(workdir: pathlib.Path) -> bool:
  """Whether the files of `held` are still there, as they are unless someone removed the directory."""
  return (workdir / '.process.json').exists()


def _who(holder: pathlib.Path) -> str:
  try:
    said = json.loads(holder.read_text(encoding='utf-8'))
    return printable(f'process {said["process"]} on {said["host"]} (since {said["since"]})')
  except (OSError, RecursionError, ValueError, KeyError, TypeError):
    return 'another process'


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
  """The config of a run, with the keys that came after its version.

  Raises:
    CheckpointError: as `read` does, or a key has a value that cannot work.
  """
  config = complete(read(workdir, 'config.json'))
  try:
    validate(config)
  except ConfigError as error:
    raise CheckpointError(f'{workdir / "config.json"} is no config of a run: {error}') from error
  return config


def read_description(workdir: pathlib.Path) -> tuple[tuple[int, ...], int | None]:
  """The shape of a run's examples, and how many classes they have, or None; of its run.json.

  Raises:
    CheckpointError: as `read` does, or the file says something else.
  """
  described = {'classes': None, 'shape': None} | read(workdir, 'run.json')
  shape, classes = described['shape'], described['classes']
  is_size = lambda n: isinstance(n, int) and not isinstance(n, bool) and n > 0
  is_shape = isinstance(shape, tuple) and 2 <= len(shape) <= 4 and all(map(is_size, shape))
  if not is_shape or not (classes is None or is_size(classes)):
    raise CheckpointError(f'{workdir / "run.json"} describes no examples (shape {shape}, classes {classes})')
  return shape, classes


def read_data(workdir: pathlib.Path) -> dict[str, Any]:
  """What run.json says of the data, as data_record.describe gave it; {} where it says nothing.

  Raises:
    CheckpointError: as `read` does, or values of wrong types.
  """
  path = workdir / 'run.json'
  said = read(workdir, path.name).get('data', {}) if path.exists() else {}
  is_number = lambda n: isinstance(n, (int, float)) and not isinstance(n, bool)
  are_good = {
    'examples': lambda v: isinstance(v, int),
    'classes': lambda v: isinstance(v, tuple) and all(isinstance(name, str) for name in v),
    'range': lambda v: isinstance(v, tuple) and len(v) == 2 and all(map(is_number, v)) and v[0] < v[1],
    'fingerprint': lambda v: isinstance(v, str),
  }
  if not isinstance(said, dict):
    raise CheckpointError(f'{path} describes no data (data {said!r}); remove that key or copy the file again')
  for key, is_good in are_good.items():
    if said.get(key) is not None and not is_good(said[key]):
      raise CheckpointError(f'{path} describes no data ({key} {said[key]!r}); remove that key or copy the file again')
  return said


def describe_run(shape: tuple[int, ...], classes: int | None, rescues: list[dict[str, Any]]) -> dict[str, Any]:
  """Content of run.json: what loading needs of the data and the config does not know, the rescues, the versions."""
  versions = {'python': platform.python_version()}
  for library in _LIBRARIES:
    try:
      versions[library] = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
      versions[library] = None
  return {'shape': list(shape), 'classes': classes, 'rescues': rescues, 'versions': versions}


def starts(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """The starts of a run, of which run.json keeps one for each time that it began or was resumed; see `start`."""
  path = workdir / 'run.json'
  said = read(workdir, path.name).get('starts', ()) if path.exists() else ()
  if not isinstance(said, tuple) or not all(isinstance(one, dict) for one in said):
    raise CheckpointError(f'{path} has no list of starts (starts {said!r}); set it to [] or copy the file again')
  return list(said)


def start(step: int, devices: str, versions: Mapping[str, Any]) -> dict[str, Any]:
  """An entry of the starts in run.json: where, when and with what a run begins or is resumed."""
  return {'step': step, 'time': _now(), 'devices': devices, 'versions': dict(versions)}


def _now() -> str:
  return datetime.datetime.now().astimezone().isoformat(timespec='seconds')


def rescues(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Where a run diverged and went back: {'step': of the checkpoint, 'reason': in words}, one for each time."""
  path = workdir / 'run.json'
  said = read(workdir, path.name).get('rescues', ()) if path.exists() else ()
  if not isinstance(said, tuple) or not all(isinstance(rescue, dict) and 'step' in rescue for rescue in said):
    raise CheckpointError(f'{path} has no list of rescues (rescues {said!r}); set it to [] or copy the file again')
  return list(said)


def check_unchanged(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Raises CheckpointError where `workdir` holds a run of another config, naming the keys, or what is no run."""
  if not (workdir / 'config.json').exists():
    others = sorted(path.name for path in workdir.iterdir() if path.name not in _FILES) if workdir.is_dir() else []
    if others:
      more = ', ...' if others[3:] else ''
      raise CheckpointError(
        f'{workdir} is no run and holds other files ({", ".join(others[:3])}{more}); give an empty or a new --workdir'
      )
    return
  if (workdir / EXPORT).exists():
    raise CheckpointError(
      f'{workdir} is an export, without the optimizer states that training goes on with; give another --workdir'
    )
  old, new = dict(flatten(read_config(workdir))), dict(flatten(_with_tuples(config)))
  changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
  changed = [key for key in changed if not any(key == may or key.startswith(f'{may}.') for may in MAY_CHANGE)]
  # Files may have moved; whether they are the same ones is seen when they are opened.
  kinds = [values.get('data.source', '').partition(':')[0] for values in (old, new)]
  if kinds in (['folder', 'folder'], ['npz', 'npz']):
    changed = [key for key in changed if key != 'data.source']
  if changed:
    differences = ', '.join(f'config.{key} {old.get(key)!r} -> {new.get(key)!r}' for key in changed[:_SHOWN])
    differences += f' and {len(changed) - _SHOWN} more' * (len(changed) > _SHOWN)
    raise CheckpointError(
      f'{workdir} holds a run with another config ({differences}); take the old values to go on with it, '
      'or another --workdir to start anew'
    )


def _with_tuples(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _with_tuples(item) for key, item in value.items()}
  return tuple(value) if isinstance(value, list) else value
