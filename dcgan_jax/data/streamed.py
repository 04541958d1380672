"""Batches read while training, for data that does not fit the device. The only module that imports Grain."""

import numpy as np

from dcgan_jax.data.order import example_indices, read_many

_END_OF_TIME = 2**62


class StreamedFeeder:
  """Feeds batches that Grain's threads read, decode and stack ahead of the training loop.

  Which examples a step shows depends on the seed and the step alone, as with ResidentFeeder. Asking for the steps in
  sequence continues the running threads; asking for any other step starts them anew there.

  Attributes:
    data: {}; nothing stays on the device.
  """

  def __init__(
    self, source, *, seed: int, batch_size: int, share: slice = slice(None), threads: int = 16, prefetch: int = 16
  ):
    """Prepares the feeder; reading begins with the first block.

    Args:
      source: any source of this package.
      seed: decides the order of the examples.
      batch_size: examples in a batch over all devices.
      share: the part of every batch that this process feeds; all of it by default.
      threads: how many batches are being read at the same time, each by one thread of this process.
      prefetch: how many batches are kept ready or in the making, at least `threads`; each takes
        batch_size * prod(source.shape) bytes of memory.
    """
    self.data = {}
    self._source = source
    self._seed = seed
    self._batch_size = batch_size
    self._share = share
    self._threads = threads
    self._prefetch = prefetch
    self._iterator = None
    self._next_step = 0

  def block(self, step: int, steps: int, capacity: int) -> dict[str, np.ndarray]:
    """Batches of steps step, step + 1, ..., step + steps - 1.

    Args:
      step: the first step.
      steps: how many, at most capacity.
      capacity: rows of the result; those after the first `steps` are zeros.

    Returns:
      {'images': uint8 [capacity, b, *shape], 'labels': int32 [capacity, b]}, b examples of each batch being this
      process's, without 'labels' for an unlabelled source.

    Raises:
      DataError: an example cannot be read.
    """
    if self._iterator is None or step != self._next_step:
      self._restart(step)
    batches = self._empty(capacity)
    for row in range(steps):
      for name, array in self._next().items():
        batches[name][row] = array
    self._next_step = step + steps
    return batches

  @staticmethod
  def gather(data, row):
    """The batch that one row of a block stands for: the row itself. `data` is {}."""
    return row

  def close(self) -> None:
    """Stops the reading threads; a later block starts them again."""
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None

  def _restart(self, step: int) -> None:
    # Grain takes 0.6 s to import, which runs with resident data need not spend.
    import grain

    self.close()
    # One element of Grain's pipeline is a whole batch: its bookkeeping takes 60 us per element.
    batches = grain.MapDataset.range(step, _END_OF_TIME).map(self._batch)
    options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=self._prefetch)
    self._iterator = iter(batches.to_iter_dataset(options))

  def _next(self) -> dict[str, np.ndarray]:
    try:
      return next(self._iterator)
    except BaseException:
      # Grain has already counted the failed batch as delivered, so that going on would skip it.
      self.close()
      raise

  def _batch(self, step: int) -> dict[str, np.ndarray]:
    """The batch of a step, read in the calling thread."""
    indices = example_indices(self._seed, int(step), self._batch_size, len(self._source))[self._share]
    batch = {name: array[0] for name, array in self._empty(1).items()}
    for place, (example, label) in enumerate(read_many(self._source, indices.tolist())):
      batch['images'][place] = example
      if label is not None:
        batch['labels'][place] = label
    return batch

  def _empty(self, capacity: int) -> dict[str, np.ndarray]:
    """Zeros for this process's part of `capacity` batches."""
    size = len(range(self._batch_size)[self._share])
    batches = {'images': np.zeros((capacity, size, *self._source.shape), np.uint8)}
    if self._source.classes is not None:
      batches['labels'] = np.zeros((capacity, size), np.int32)
    return batches
