"""Signals that ask a run to stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

# Of a terminal, of a user or a system, of a lost terminal, and of schedulers that announce the end of a job.
_NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2')


class StopSignals:
  """While entered, notes SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2, so that the run can end after its block.

  A second signal ends the process at once.

  received: the signal's number, or None.
  """

  def __init__(self):
    self.received: int | None = None
    self._handlers: dict[int, Any] = {}
    self._gives_up = False

  def __enter__(self) -> 'StopSignals':
    # Python lets only the main thread handle signals.
    if threading.current_thread() is threading.main_thread():
      # Windows lacks some. What nohup has the system ignore stays so; shells ignore SIGINT for a job in the background.
      numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
      numbers = [number for number in numbers if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
      self._handlers = {number: signal.signal(number, self._note) for number in numbers}
    return self

  def __exit__(self, *_: Any) -> None:
    for number, handler in self._handlers.items():
      signal.signal(number, handler)

  def _note(self, number: int, _: Any) -> None:
    if self.received is not None:
      os._exit(128 + number)
    self.received = number
    print('\nStopping after this block of steps; once more stops at once', file=sys.stderr)
    if self._gives_up:
      raise _GivenUp

  @contextlib.contextmanager
  def giving_up(self) -> Iterator[None]:
    """Leaves the block where a signal comes: for long work that a resumed run repeats, and that writes nothing."""
    self._gives_up = True
    with contextlib.suppress(_GivenUp):
      try:
        yield
      finally:
        self._gives_up = False


class _GivenUp(BaseException):
  """Raised by the handler of a signal."""
