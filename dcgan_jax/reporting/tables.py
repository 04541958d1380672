"""Tables on the terminal. The only module that imports rich."""

import sys
from collections.abc import Sequence

import rich.box
import rich.console
import rich.table
import rich.text

from dcgan_jax.errors import printable

# Where nobody looks, lines are as long as the table.
_UNLIMITED = 10_000


def show(head: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
  """Prints a table: in a pipe or a file as plain text, whole; on a terminal no wider than it.

  Args:
    head: titles of the columns.
    rows: cells as text, the first of each on the left and the others on the right.
    title: of the table, on a line of its own before it.
  """
  if title is not None:
    print(printable(title))
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
  for i, name in enumerate(head):
    table.add_column(_text(name), justify='right' if i else 'left', overflow='fold')
  for row in rows:
    table.add_row(*map(_text, row))
  terminal = sys.stdout.isatty()
  rich.console.Console(force_terminal=terminal, width=None if terminal else _UNLIMITED).print(table)


def _text(cell: str) -> rich.text.Text:
  """A cell without rich's own markup, and without escapes, which rich would pass on to the terminal."""
  return rich.text.Text(printable(cell))
