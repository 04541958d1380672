"""Progress bars in a terminal, plain lines elsewhere. The only module that imports tqdm."""

import sys
from typing import Any, TextIO

import tqdm

_PLAIN = '{desc}{percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]'
_SECONDS_BETWEEN_LINES = 10.0


def bar(**options: Any) -> tqdm.tqdm:
  """A tqdm bar on stderr; where that is a file or a pipe, a line every ten seconds in its place.

  Args:
    **options: as tqdm's.
  """
  if sys.stderr.isatty():
    return tqdm.tqdm(**options, dynamic_ncols=True)
  title = f'{options["desc"]}: ' if 'desc' in options else ''
  plain = {'desc': title, 'mininterval': _SECONDS_BETWEEN_LINES, 'bar_format': _PLAIN, 'ascii': True}
  return tqdm.tqdm(**{**options, **plain}, file=_PlainLines(sys.stderr))


class _PlainLines:
  """A file in which every update of a bar is a line of its own."""

  def __init__(self, file: TextIO):
    self._file = file

  def write(self, text: str) -> None:
    text = text.strip()
    if text:
      self._file.write(f'{text}\n')

  def flush(self) -> None:
    self._file.flush()
