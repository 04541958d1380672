"""Exports on the Hugging Face Hub. The only module that imports huggingface_hub, which is optional."""

import importlib.util
import os
import pathlib
import re

from dcgan_jax.building.rules import LOCAL, is_address
from dcgan_jax.errors import CheckpointError, ConfigError
from dcgan_jax.training import nearby_runs

INSTALL = "pip install 'dcgan-jax[hub]' (or huggingface_hub)"


def is_name(text: str) -> bool:
  """Whether a text can be a model's name on the Hub, user/model; the Hugging Face library decides, if installed."""
  if text.count('/') != 1 or not is_installed():
    return re.fullmatch(r'[\w-][\w.-]*/[\w-][\w.-]*', text) is not None
  from huggingface_hub import utils

  try:
    utils.validate_repo_id(text)
  except ValueError:
    return False
  return True


def is_installed() -> bool:
  """Whether huggingface_hub can be imported."""
  return importlib.util.find_spec('huggingface_hub') is not None


def find(name: str | os.PathLike, files: tuple[str, ...], *, revision: str | None = None) -> pathlib.Path:
  """The directory of that name, or else where files of a model of the Hub now are.

  Args:
    name: a path, or user/model, or user/model@revision.
    files: of the model, their names; no others are fetched.
    revision: branch, tag or commit of a model of the Hub (default: what the name says, else its main branch).

  Raises:
    CheckpointError: there is neither, or only the Hub could tell.
    ConfigError: a revision of a directory, or an address such as gs://bucket/run.
  """
  text = os.fspath(name)
  # pathlib makes gs:/bucket of gs://bucket.
  lost = isinstance(name, pathlib.PurePath) and is_address(text.replace(':/', '://', 1))
  if (is_address(text) or lost) and not pathlib.Path(text).exists():
    raise ConfigError(f"Cannot use the address '{text}'; expected {LOCAL}, or user/model of the Hugging Face Hub")
  directory = pathlib.Path(name).expanduser()
  model, _, tag = pathlib.PurePath(name).as_posix().partition('@')
  # runs/typo is no model of a user 'runs' where there is a directory runs/.
  if directory.exists() or directory.parent.is_dir() or not is_name(model):
    if revision is not None:
      raise ConfigError(f"revision is '{revision}', but {name} is no model on the Hugging Face Hub; give user/model")
    return directory
  if is_installed():
    return _download(model, files, revision or tag or None)
  raise CheckpointError(
    f'No run in {directory} (there is no such directory); {nearby_runs.advice(directory)}; '
    f'or, for a model of that name on the Hugging Face Hub: {INSTALL}'
  )


def _download(name: str, files: tuple[str, ...], revision: str | None) -> pathlib.Path:
  import huggingface_hub

  try:
    return pathlib.Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(files)))
  except Exception as error:  # The library, its HTTP client and the disk each raise their own.
    version = f'{name}@{revision}' if revision else name
    raise CheckpointError(
      f'No directory {name}, and no model {version} came from the Hugging Face Hub ({_one_line(error)})'
    ) from error


def check(name: str) -> None:
  """Raises ConfigError where `upload` could not begin."""
  if not is_name(name):
    raise ConfigError(f"--push {name} is no name of the Hugging Face Hub; give user/model, such as 'ada/faces'")
  if not is_installed():
    raise ConfigError(f'--push needs the Hugging Face library: {INSTALL}')


def upload(directory: pathlib.Path, name: str, files: tuple[str, ...]) -> str:
  """Makes a model, if there is none of the name, and writes the files of a directory to it; returns its address.

  Raises:
    CheckpointError: not logged in, no network, or no right to it.
  """
  import huggingface_hub

  try:
    api = huggingface_hub.HfApi()
    api.create_repo(name, exist_ok=True)
    api.upload_folder(folder_path=str(directory), repo_id=name, allow_patterns=list(files))
  except Exception as error:  # As above.
    raise CheckpointError(
      f'{directory} is written, but could not be pushed to {name} ({_one_line(error)}); see `hf auth login`'
    ) from error
  return f'https://huggingface.co/{name}'


def _one_line(error: Exception) -> str:
  return ' '.join(str(error).split())[:300] or type(error).__name__
