"""What can go wrong in a way that a message explains. The command line prints these as one line."""

import difflib
import unicodedata
from collections.abc import Mapping
from typing import Any


class UserError(Exception):
  """A mistake that its message explains: what was seen, what was expected, what to do next. Exit code 2."""


class ConfigError(UserError):
  """A flag or config key has a value that cannot work."""


class DataError(UserError):
  """A data set is missing, unreadable or of the wrong form."""


class CheckpointError(UserError):
  """A run or checkpoint is missing, damaged or does not fit what is asked of it."""


class DivergenceError(Exception):
  """Training produced NaN or infinity. Nobody's mistake, so exit code 1."""


class StoppedError(Exception):
  """A signal stopped training after everything was saved.

  code: the exit code, 128 + the signal's number.
  """

  def __init__(self, message: str, code: int):
    super().__init__(message)
    self.code = code


def look_up(table: Mapping[str, Any], name: str, what: str) -> Any:
  """The entry of a literal table, or a ConfigError that lists its names."""
  if name in table:
    return table[name]
  near = difflib.get_close_matches(name, table, n=1)
  hint = f" Did you mean '{near[0]}'?" if near else ''
  raise ConfigError(f"Unknown {what} '{name}'; known: {', '.join(sorted(table))}.{hint}")


def printable(text: str) -> str:
  """The text on one line, without the control characters that a terminal would obey."""
  return ''.join(character for character in ' '.join(text.split()) if unicodedata.category(character) != 'Cc')
