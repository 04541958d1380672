"""How many pixels threads may hold decoded at the same time."""

import contextlib
import threading
from collections.abc import Iterator


class PixelBudget:
  """Bounds the sum of the pixels that threads hold decoded at once; a single image passes whatever its size."""

  def __init__(self, most: int):
    self.most = most
    self._held = 0
    self._released = threading.Condition()

  @contextlib.contextmanager
  def holding(self, pixels: int) -> Iterator[None]:
    """Waits until so many pixels fit, and holds them while entered."""
    with self._released:
      self._released.wait_for(lambda: self._held == 0 or self._held + pixels <= self.most)
      self._held += pixels
    try:
      yield
    finally:
      with self._released:
        self._held -= pixels
        self._released.notify_all()
