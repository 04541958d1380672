"""Names of classes: which number a name has, and how a list of them is shown."""

from collections.abc import Sequence

import numpy as np

from dcgan_jax.errors import ConfigError, DataError, printable

_SHOWN = 10


def find_class(wanted: int | str, number: int, names: Sequence[str] | None) -> int:
  """The number of a class that is given by its name, or by its number where no name is a number.

  Args:
    wanted: a name or, also as text, a number.
    number: of classes.
    names: of the classes in the order of their numbers; None where they have none.

  Raises:
    ConfigError: no such class.
  """
  if names and isinstance(wanted, str) and wanted in names:
    return names.index(wanted)
  # Of the folders 1, 2 and 10 the class '1' is the first, so that a number there could only be mistaken for a name.
  by_number = not any(name.isdecimal() for name in names or ())
  is_number = (wanted.isdecimal() and by_number) if isinstance(wanted, str) else True
  if is_number and 0 <= int(wanted) < number:
    return int(wanted)
  known = show(names) if names else f'the classes 0 to {number - 1}'
  raise ConfigError(f'No class {printable(str(wanted))}; this run has {known}')


def show(names: Sequence[str], numbers: Sequence[int] | None = None) -> str:
  """The first of some classes as 'cat (0), dog (1)'."""
  numbers = range(len(names)) if numbers is None else numbers
  pairs = zip(names[:_SHOWN], numbers, strict=False)
  shown = ', '.join(printable(name) if name == str(i) else f'{printable(name)} ({i})' for name, i in pairs)
  return shown + (f' and {len(names) - _SHOWN:,} more' if len(names) > _SHOWN else '')


def check_used(labels: np.ndarray, number: int, names: Sequence[str] | None) -> None:
  """Refuses labels of which some class has no example: nothing would train it, and yet it could be drawn.

  Args:
    labels: of all examples, integers in [0, number).
    number: of classes.
    names: of the classes, or None.

  Raises:
    DataError: with the classes that are empty.
  """
  empty = np.flatnonzero(np.bincount(np.asarray(labels), minlength=number) == 0).tolist()
  if not empty:
    return
  named = show([names[i] for i in empty], empty) if names else ', '.join(map(str, empty[:_SHOWN]))
  named += f' and {len(empty) - _SHOWN:,} more' * (names is None and len(empty) > _SHOWN)
  raise DataError(
    f'No example is of {len(empty):,} of the {number:,} classes ({named}), so nothing would train them; number those '
    'that there are from 0 with np.unique(labels, return_inverse=True)[1], or take more of the data'
  )


def difference(before: Sequence[str], now: Sequence[str]) -> str:
  """What became of the names of classes, in words; '' where they are the same."""
  if list(before) == list(now):
    return ''
  old, new = set(before), set(now)
  changes = {'lacks': [name for name in before if name not in new], 'adds': [name for name in now if name not in old]}
  parts = [f'{word} {", ".join(map(printable, names[:_SHOWN]))}' for word, names in changes.items() if names]
  return ' and '.join(parts) or 'has them in another order'
