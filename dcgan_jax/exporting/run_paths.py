"""Finds the directory of a run or export, and where results about it are written. Needs no JAX."""

import numbers
import os
import pathlib

from dcgan_jax.building import config_files
from dcgan_jax.errors import ConfigError
from dcgan_jax.exporting import hub
from dcgan_jax.training import workdir


def find(name: str | os.PathLike, *, revision: str | None = None) -> pathlib.Path:
  """The directory of a run; where there is none of that name, that of a shipped export or of a model of the Hub.

  Args:
    name: a path, the name of an export that the package brings, or user/model[@revision] of the Hugging Face Hub.
    revision: branch, tag or commit of a model of the Hub (default: what the name says, else its main branch).

  Raises:
    CheckpointError: a name of the Hub that cannot be fetched.
    ConfigError: a revision of what is not on the Hub.
  """
  if '\0' in os.fspath(name):
    raise ConfigError(f'The name {os.fspath(name)!r} holds a zero byte, as no path may; give the directory of a run')
  shipped = config_files.find_export(name) if revision is None else None
  return shipped or hub.find(name, workdir.LOADED, revision=revision)


def check_step(step: object) -> None:
  """Raises ConfigError where a step is neither a whole number nor None."""
  if step is not None and (not isinstance(step, numbers.Integral) or isinstance(step, bool)):
    raise ConfigError(f'step is {step!r}, a {type(step).__name__}; expected an int such as 400, or None for the newest')


def results_directory(name: str | os.PathLike, found: pathlib.Path) -> pathlib.Path:
  """Where results about a run go unless the user says where: in its directory, if that is the user's own.

  Args:
    name: what the user called it.
    found: the directory that `find` found for it: of a name, a shipped export or the Hub's cache, neither to write to.
  """
  if pathlib.Path(name).expanduser() == found:
    return found
  return pathlib.Path(f'{pathlib.PurePath(name).as_posix().replace("/", "_")}_results')
