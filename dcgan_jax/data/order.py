"""Which example every position of a run shows: a pure function of (seed, step, place in the batch)."""

import functools
import threading
from collections.abc import Iterable

import numpy as np

_lock = threading.Lock()


def example_indices(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
  """Indices of the examples in the global batch of a step.

  The run's examples are the positions 0, 1, 2, ...: step s shows positions s * batch_size and the following ones.
  Position p falls into epoch p // num_examples, and each epoch shows every example once, in its own order. No position
  is dropped: the batch that ends an epoch also begins the next.

  Args:
    seed: any integer.
    step: 0 or more.
    batch_size: examples in the batch over all devices; may exceed num_examples.
    num_examples: examples in the source, at least 1.

  Returns:
    int32 [batch_size], each in [0, num_examples).
  """
  positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
  epochs, places = np.divmod(positions, num_examples)
  indices = np.empty(batch_size, np.int32)
  for epoch in range(epochs[0], epochs[-1] + 1):
    shown = epochs == epoch
    indices[shown] = permutation(seed, epoch, num_examples)[places[shown]]
  return indices


def read_many(source, indices: Iterable[int]) -> Iterable[tuple[np.ndarray, int | None]]:
  """Examples of a source with their labels, all in one call of its `__getitems__` if it has that."""
  if hasattr(source, '__getitems__'):
    return source.__getitems__(list(indices))
  return (source[i] for i in indices)


def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """The order of an epoch: int32 [num_examples], read-only; the same on every platform."""
  # One thread sorts, the others wait for its result instead of sorting too.
  with _lock:
    return _permutation(int(seed), int(epoch), int(num_examples))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  # NumPy guarantees the raw stream of a bit generator for ever (NEP 19), but not what Generator makes of it.
  numbers = np.random.Philox(key=np.array([seed % 2**64, epoch], np.uint64)).random_raw(num_examples)
  order = np.argsort(numbers, kind='stable').astype(np.int32)
  order.flags.writeable = False
  return order
