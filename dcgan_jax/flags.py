"""What all commands share: how flags are read, and how libraries are told to behave before JAX is imported."""

import argparse
import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import NoReturn

from dcgan_jax.building import unknown_names
from dcgan_jax.building.rules import LOCAL, is_address
from dcgan_jax.errors import ConfigError

_NO_PATHS = ('--license', '--push')  # Their values may be addresses, or have checks of their own.


class Parser(argparse.ArgumentParser):
  """An argument parser whose errors are UserErrors."""

  def __init__(self, command: str, description: str):
    super().__init__(prog=f'launch.py {command}', description=description, allow_abbrev=False)
    self._given: list[str] = []

  def add_run(self) -> None:
    """Adds the flags that say which run, and which of its checkpoints."""
    self.add_argument('--workdir', type=pathlib.Path, required=True, help='the run')
    self.add_argument('--step', type=whole_number(0), help='of the checkpoint; default: the newest')

  def add_class(self, help: str) -> None:
    """Adds the flag that says which class of a run with labels, by name or number; `Run.label` finds it."""
    self.add_argument('--class', dest='label', metavar='CLASS', help=f'{help}, by name or number')

  def parse_known_args(self, args: Sequence[str] | None = None, namespace=None):  # pyright: ignore
    """As argparse does; refuses addresses such as gs://bucket/run, which pathlib would turn into a local folder."""
    flag, self._given = '', list(args or ())
    for argument in self._given:
      value = argument
      if argument.startswith('--'):
        flag, _, value = argument.partition('=')
      if not value and ('=' in argument or not argument):
        raise ConfigError(f'{flag or "An argument"} is empty; expected a value (a variable of the shell may have none)')
      if flag not in _NO_PATHS and is_address(value):
        raise ConfigError(f"Cannot use the address '{value}'; expected {LOCAL}")
    return super().parse_known_args(args, namespace)

  def parse_args(self, args: Sequence[str] | None = None, namespace=None):  # pyright: ignore
    """As argparse does; expands ~ in paths."""
    parsed = super().parse_args(args, namespace)
    for name, value in vars(parsed).items():
      if isinstance(value, pathlib.Path):
        setattr(parsed, name, value.expanduser())
      elif isinstance(value, list):
        setattr(parsed, name, [item.expanduser() if isinstance(item, pathlib.Path) else item for item in value])
    return parsed

  def error(self, message: str) -> NoReturn:
    known = [flag for action in self._actions for flag in action.option_strings]
    given = {token.partition('=')[0] for token in self._given}
    free = [flag for flag in known if flag not in given]
    what, _, arguments = message.partition(': ')
    if 'required' in what:  # What was given in its place says more.
      others = [token for token in self._given if token.startswith('-') and token.partition('=')[0] not in known]
      others += [token for token in self._given[:1] if '/' in token or os.path.exists(token)]
      what, arguments = ('unrecognized arguments', others[0]) if others else (what, arguments)
      message = f'{what}: {arguments}'
    if what == 'unrecognized arguments':
      message += unknown_names.for_flags(arguments, free)
    raise ConfigError(f'{message[0].upper()}{message[1:]}; see {self.prog} --help')


def whole_number(lowest: int) -> Callable[[str], int]:
  """The type of a flag: a whole number from `lowest`."""

  def parse(text: str) -> int:
    if not text.isdecimal() or not lowest <= int(text) < 2**32:
      raise argparse.ArgumentTypeError(f'{text!r} is no whole number from {lowest} to 2**32 - 1')
    return int(text)

  return parse


def check_output(path: pathlib.Path, *suffixes: str, what: str = 'the result', flag: str = '--out') -> None:
  """Refuses a file that a command could not write once its work is done.

  Args:
    path: the file.
    suffixes: those it may have; none allows any.
    what: what the command writes, for the message.
    flag: the flag that the path is of, for the message.

  Raises:
    ConfigError: another suffix, a directory, or no right to write.
  """
  if suffixes and path.suffix not in suffixes:
    raise ConfigError(f"Cannot write {what} as '{path.suffix}'; {flag} is a {' or '.join(suffixes)}")
  if path.is_dir():
    raise ConfigError(f'{flag} {path} is a directory; give a file in it')
  check_folder(path.parent, flag=f'{flag} {path}')


def check_folder(folder: pathlib.Path, *, flag: str) -> None:
  """Raises ConfigError where a folder can be neither made nor written to; `flag` begins the message."""
  there = next(place for place in (folder, *folder.parents) if place.exists())
  if not there.is_dir():
    raise ConfigError(f'{flag} is inside of {there}, which is a file; give another path')
  try:
    tempfile.TemporaryFile(dir=there).close()
  except OSError as error:
    raise ConfigError(f'{flag} cannot be written: {there}: {error.strerror or error}; give another path') from error


def prepare_libraries() -> None:
  """Before JAX is imported: it keeps what it compiles, and libraries tell their developers' news to nobody."""
  import logging as standard_logging

  from absl import logging

  from dcgan_jax import cache

  compiled = cache.directory() / 'compiled'
  with contextlib.suppress(OSError):  # JAX would complain about every program that it cannot keep.
    compiled.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(compiled))
  # A program that took less than this to compile takes as long to find again.
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')
  # What Orbax logs of a failure is raised, too, and said in one line.
  logging.set_verbosity(logging.FATAL)
  standard_logging.getLogger('asyncio').setLevel(standard_logging.CRITICAL)
