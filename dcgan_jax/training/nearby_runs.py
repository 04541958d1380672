"""What to do about a directory that is no run: the runs near it, or the command that starts one there. Needs no JAX."""

import difflib
import os
import pathlib
import shlex

_SHOWN = 5
# Where runs are looked for under a name like the one that was given.
_USUAL = 'runs'


def advice(directory: pathlib.Path) -> str:
  """What to do about a --workdir that holds no run: the run that was probably meant, and how to start one.

  Args:
    directory: without config.json, or not there.
  """
  inside = next((parent for parent in directory.parents if _is_run(parent)), None)
  if inside is not None:
    return f'it is a part of the run {shlex.quote(str(inside))}: give that'
  held = _runs_in(directory)
  if held:
    return f'it holds runs: give {_listed(held)}'
  near = _near(directory)
  meant = f'did you mean {shlex.quote(str(near))}? ' if near else ''
  if _holds_others(directory):
    return meant.rstrip() or 'it holds other files: give the directory of a run'
  start = f'launch.py --config digits --workdir {shlex.quote(str(directory))}'
  return f'{meant}{"To" if meant else "to"} start one there: {start} (or another config)'


def _is_run(directory: pathlib.Path) -> bool:
  # Many programs have a config.json.
  try:
    return (directory / 'config.json').is_file() and (directory / 'run.json').is_file()
  except OSError:  # No right to look, a name too long.
    return False


def _runs_in(directory: pathlib.Path) -> list[pathlib.Path]:
  try:
    return [path for path in sorted(directory.iterdir()) if _is_run(path)]
  except OSError:
    return []


def _near(directory: pathlib.Path) -> pathlib.Path | None:
  """The run with the most similar name, beside a directory or in runs/."""
  usual = directory.parent / _USUAL
  if directory.name == _USUAL:
    return None
  runs = {path.name: path for folder in (usual, directory.parent) for path in _runs_in(folder)}
  near = difflib.get_close_matches(directory.name, runs, n=1)
  return runs[near[0]] if near else None


def _holds_others(directory: pathlib.Path) -> bool:
  """Whether there is a file that training would not take for the rest of a start."""
  try:
    return any(not name.startswith('.') and name != 'checkpoints' for name in os.listdir(directory))
  except OSError:
    return False


def _listed(paths: list[pathlib.Path]) -> str:
  more = f' or one of {len(paths) - _SHOWN} others' if len(paths) > _SHOWN else ''
  return ', '.join(shlex.quote(str(path)) for path in paths[:_SHOWN]) + more
