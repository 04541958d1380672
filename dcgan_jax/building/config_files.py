"""What the package brings: configs, loaded as Python modules, and exports, both found by path or by name."""

import contextlib
import difflib
import importlib.util
import inspect
import os
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Iterator

from dcgan_jax.errors import ConfigError, look_up

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# A wheel has configs/ and exports/ in a folder of their own; a checkout has them beside the package.
SHIPPED = _PACKAGE / 'shipped' if (_PACKAGE / 'shipped').is_dir() else _PACKAGE.parent
CONFIGS = SHIPPED / 'configs'
DEFAULT = 'digits'


def split(text: str) -> tuple[str, str]:
  """'configs/cifar10.py:paper' -> ('configs/cifar10.py', 'paper'); the colon of a Windows drive separates nothing."""
  drive = re.match(r'[A-Za-z]:[\\/]', text)
  start = drive.end() if drive else 0
  file, _, variant = text[start:].partition(':')
  return text[:start] + file, variant


def find(name: str) -> pathlib.Path:
  """The config file at a path, or the one that the package brings under this name.

  Raises:
    ConfigError: there is neither.
  """
  file = pathlib.Path(name)
  run = file.parent if file.name == 'config.json' else file
  if (run / 'config.json').is_file():
    raise ConfigError(f'{run} is a run, not a config; to go on with it: launch.py --workdir {run}')
  if file.is_file() and file.suffix != '.py':
    raise ConfigError(f'{name} is no Python file; expected one with a function get_config, such as configs/cifar10.py')
  if file.is_file():
    return file
  shipped = names()
  if name in shipped:
    return shipped[name]
  if file.stem in shipped and file.suffix == '.py':
    raise ConfigError(f'No config file {name}; for the one that the package brings give --config {file.stem}')
  near = difflib.get_close_matches(name, shipped, n=1)
  hint = f'did you mean {near[0]}' if near else f'known names: {", ".join(shipped)}'
  raise ConfigError(f'No config file {name}; expected a Python file such as configs/cifar10.py, or a name; {hint}')


def names() -> dict[str, pathlib.Path]:
  """The configs that the package brings."""
  return {path.stem: path for path in sorted(CONFIGS.glob('*.py'))}


def find_export(name: str | os.PathLike) -> pathlib.Path | None:
  """The directory of the export that the package brings under this name; None where there is none, or a path of it."""
  directory = SHIPPED / 'exports' / pathlib.Path(name).name
  is_name = pathlib.Path(name) == pathlib.Path(directory.name) and not pathlib.Path(name).exists()
  return directory if is_name and directory.is_dir() else None


def load(text: str):
  """The ConfigDict that `get_config` of a file returns; the file is a program, and it runs.

  Args:
    text: path or name of the file, then, after a colon, the variant that `get_config` takes: 'cifar10:paper'.

  Raises:
    ConfigError: no such file or variant, or what the file's own code raises, with the line that raised it.
  """
  from ml_collections import ConfigDict

  name, variant = split(text)
  file = find(name).absolute()  # As Python names it in tracebacks.
  with _importable(file):
    try:
      module = _load_module(file)
      if variant:
        _check_variant(module, name, variant)
      config = module.get_config(*[variant] * bool(variant))
    except ConfigError:
      raise
    except Exception as error:
      raise ConfigError(f'Cannot read {name}{_place(error, file)}: {_words(error, module_name=file.stem)}') from error
  if not isinstance(config, ConfigDict):
    raise ConfigError(f'Cannot read {name}: get_config returns {type(config).__name__}; expected a ConfigDict')
  return config


def _check_variant(module: types.ModuleType, name: str, variant: str) -> None:
  if not inspect.signature(module.get_config).parameters:
    raise ConfigError(f"{name} has no variant '{variant}', nor any other; give --config {name}")
  variants = [known for known in getattr(module, 'VARIANTS', (variant,)) if known]
  look_up(dict.fromkeys(variants), variant, f'variant of {name}')


def _load_module(file: pathlib.Path) -> types.ModuleType:
  spec = importlib.util.spec_from_file_location(f'configs.{file.stem}', file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@contextlib.contextmanager
def _importable(file: pathlib.Path) -> Iterator[None]:
  """Lets a config import its neighbors and those of the package as `configs.NAME`, and nothing stay imported."""
  package = types.ModuleType('configs')
  package.__path__ = [str(file.resolve().parent), str(CONFIGS)]
  is_config = lambda name: name.partition('.')[0] == 'configs'
  before = {name: sys.modules.pop(name) for name in list(sys.modules) if is_config(name)}
  sys.modules['configs'] = package
  try:
    yield
  finally:
    for name in filter(is_config, list(sys.modules)):
      del sys.modules[name]
    sys.modules.update(before)


def _place(error: Exception, file: pathlib.Path) -> str:
  """', line 12' where that line of the file raised the error, or led to it."""
  if isinstance(error, SyntaxError):
    return f', line {error.lineno}'
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
  return f', line {lines[-1]}' if lines else ''


def _words(error: Exception, *, module_name: str) -> str:
  if isinstance(error, AttributeError) and error.name == 'get_config':
    return f'it has no function get_config; {module_name}.get_config() returns a ConfigDict'
  return ' '.join(f'{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}'.split())
