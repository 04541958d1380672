"""Finds the directory of a run or export, and where results about it are written. Needs no JAX."""

import os
import pathlib

from dcgan_jax import config_files, hub, workdir


def find(name: str | os.PathLike, *, revision: str | None = None) -> pathlib.Path:
  """The directory of a run; where there is none of that name, that of a shipped export or of a model of the Hub.

  Args:
    name: a path, the name of an export that the package brings, or user/model[@revision] of the Hugging Face Hub.
    revision: branch, tag or commit of a model of the Hub (default: what the name says, else its main branch).

  Raises:
    CheckpointError: a name of the Hub that cannot be fetched.
    ConfigError: a revision of what is not on the Hub.
  """
  shipped = config_files.find_export(name) if revision is None else None
  return shipped or hub.find(name, workdir.LOADED, revision=revision)


def results_directory(name: str | os.PathLike, found: pathlib.Path) -> pathlib.Path:
  """Where results about a run go unless the user says where: in its directory, if that is the user's own.

  Args:
    name: what the user called it.
    found: the directory that `find` found for it: of a name, a shipped export or the Hub's cache, neither to write to.
  """
  if pathlib.Path(name).expanduser() == found:
    return found
  return pathlib.Path(f'{pathlib.PurePath(name).as_posix().replace("/", "_")}_results')
