"""The whole data set in one array, for the device's memory; a batch is only its indices until it is gathered there."""

import concurrent.futures
import os

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax import progress
from dcgan_jax.data import arrays
from dcgan_jax.data.order import example_indices, read_many

# For waiting on files; where records come many at once only decoding is left, and threads hinder each other.
_THREADS = 16
_CHUNK = 256
_SECONDS_WITHOUT_BAR = 2


class ResidentFeeder:
  """Feeds batches from memory as indices into `data`.

  Attributes:
    data: {'images': uint8 [N, *shape], 'labels': int32 [N]}, NumPy; 'labels' is missing for an unlabelled source. To
      be put on the device once and given to `gather`.
  """

  def __init__(self, source, *, seed: int, batch_size: int, share: slice = slice(None)):
    """Reads the whole source, with a progress bar on stderr once that takes more than two seconds.

    Args:
      source: any source of this package.
      seed: decides the order of the examples.
      batch_size: examples in a batch over all devices.
      share: the part of every batch that this process feeds; all of it by default.

    Raises:
      DataError: an example cannot be read.
    """
    self._seed = seed
    self._batch_size = batch_size
    self._share = share
    self._num_examples = len(source)
    examples, labels = (source.examples, source.labels) if isinstance(source, arrays.ArraySource) else _read(source)
    self.data = {'images': examples} if labels is None else {'images': examples, 'labels': labels}

  def block(self, step: int, steps: int, capacity: int) -> dict[str, np.ndarray]:
    """Batches of steps step, step + 1, ..., step + steps - 1.

    Args:
      step: the first step.
      steps: how many, at most capacity.
      capacity: rows of the result; those after the first `steps` are zeros.

    Returns:
      {'indices': int32 [capacity, b]}, b examples of each batch being this process's.
    """
    indices = np.zeros((capacity, self._batch_size), np.int32)
    for row in range(steps):
      indices[row] = example_indices(self._seed, step + row, self._batch_size, self._num_examples)
    return {'indices': indices[:, self._share]}

  @staticmethod
  def gather(data: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch, or this device's part of it, that one row of a block stands for; to be called in a compiled step.

    Args:
      data: `self.data` on the device.
      row: {'indices': int32 [b]}.

    Returns:
      {'images': uint8 [b, *shape], 'labels': int32 [b]}, without 'labels' where data has none.
    """
    return {name: jnp.take(array, row['indices'], axis=0, mode='clip') for name, array in data.items()}

  def close(self) -> None:
    """Nothing to stop here; every feeder has it."""


def _read(source) -> tuple[np.ndarray, np.ndarray | None]:
  """All examples [N, *shape] and labels [N] of a source, read by a pool of threads."""
  examples = np.empty((len(source), *source.shape), np.uint8)
  labels = None if source.classes is None else np.empty(len(source), np.int32)

  threads = max(1, (os.cpu_count() or 1) // 2) if hasattr(source, '__getitems__') else _THREADS

  def read_chunk(start: int) -> int:
    stop = min(start + _CHUNK, len(source))
    for i, (example, label) in zip(range(start, stop), read_many(source, range(start, stop)), strict=True):
      examples[i] = example
      if labels is not None:
        labels[i] = label
    return stop - start

  with (
    concurrent.futures.ThreadPoolExecutor(threads) as executor,
    progress.bar(
      desc='Reading the data',
      total=len(source),
      unit=' examples',
      delay=_SECONDS_WITHOUT_BAR,
      mininterval=0.5,
      leave=False,
    ) as bar,
  ):
    for number in executor.map(read_chunk, range(0, len(source), _CHUNK)):
      bar.update(number)
  return examples, labels
