"""The order of examples, and the feeders that turn sources into batches."""

import itertools
import threading
import time

import jax
import numpy as np
import pytest

from dcgan_jax.data import arrays, order, resident, streamed
from dcgan_jax.errors import DataError


class Source:
  """A source that is not an ArraySource: 23 examples [2, 2, 1] whose pixels and label are their index."""

  shape = (2, 2, 1)
  classes = 23

  def __init__(self, broken=None):
    self.broken = broken

  def __len__(self):
    return 23

  def __getitem__(self, i):
    if i == self.broken:
      raise DataError(f'Example {i} is broken.')
    return np.full(self.shape, i, np.uint8), i


@pytest.fixture
def streamed_feeder():
  feeder = streamed.StreamedFeeder(Source(), seed=3, batch_size=4, threads=3, prefetch=5)
  yield feeder
  feeder.close()


# The order.


def test_the_order_never_changes():
  # Written down when this was first released: a run resumed under another version must see the same examples.
  assert order.example_indices(seed=7, step=3, batch_size=8, num_examples=10).tolist() == [0, 1, 5, 3, 9, 2, 2, 5]


def test_an_epoch_shows_every_example_once():
  shown = np.concatenate([order.example_indices(0, step, 5, 20) for step in range(4)])
  assert shown.dtype == np.int32
  assert sorted(shown) == list(range(20))


def test_the_batch_that_ends_an_epoch_begins_the_next():
  shown = np.concatenate([order.example_indices(0, step, 8, 20) for step in range(5)])
  assert sorted(shown[:20]) == sorted(shown[20:]) == list(range(20))
  assert list(shown[:20]) != list(shown[20:])


def test_a_batch_may_exceed_the_number_of_examples():
  batch = order.example_indices(0, step=1, batch_size=7, num_examples=3)
  ones = np.concatenate([order.example_indices(0, step, 1, 3) for step in range(7, 14)])
  np.testing.assert_array_equal(batch, ones)


def test_seeds_and_epochs_have_different_orders():
  orders = [tuple(order.permutation(seed, epoch, 50)) for seed in (-1, 0, 1) for epoch in (0, 1, 2)]
  assert len(set(orders)) == 9


def test_late_steps_of_long_runs_do_not_overflow():
  batch = order.example_indices(0, step=2**40, batch_size=64, num_examples=1000)
  assert batch.min() >= 0 and batch.max() < 1000


# Resident.


def test_resident_data_is_the_whole_source():
  data = resident.ResidentFeeder(Source(), seed=0, batch_size=4).data
  assert (data['images'].dtype, data['images'].shape, data['labels'].dtype) == (np.uint8, (23, 2, 2, 1), np.int32)
  np.testing.assert_array_equal(data['images'][:, 1, 1, 0], np.arange(23))
  np.testing.assert_array_equal(data['labels'], np.arange(23))


def test_resident_arrays_are_taken_without_a_copy():
  source = arrays.ArraySource(np.zeros((5, 2, 2, 1), np.uint8))
  data = resident.ResidentFeeder(source, seed=0, batch_size=4).data
  assert list(data) == ['images']
  assert data['images'] is source.examples


def test_resident_blocks_hold_the_indices_of_their_steps_and_zeros_after_them():
  block = resident.ResidentFeeder(Source(), seed=3, batch_size=4).block(step=10, steps=2, capacity=3)
  assert block['indices'].dtype == np.int32
  np.testing.assert_array_equal(block['indices'][0], order.example_indices(3, 10, 4, 23))
  np.testing.assert_array_equal(block['indices'][1], order.example_indices(3, 11, 4, 23))
  np.testing.assert_array_equal(block['indices'][2], 0)


def test_a_resident_batch_is_gathered_inside_a_compiled_function():
  feeder = resident.ResidentFeeder(Source(), seed=3, batch_size=4)
  row = {'indices': np.array([22, 0], np.int32)}
  batch = jax.jit(feeder.gather)(feeder.data, row)
  assert (batch['images'].dtype, batch['images'].shape) == (np.uint8, (2, 2, 2, 1))
  np.testing.assert_array_equal(batch['images'][:, 0, 0, 0], [22, 0])
  np.testing.assert_array_equal(batch['labels'], [22, 0])


def test_an_example_that_cannot_be_read_stops_the_resident_feeder():
  with pytest.raises(DataError, match=r'^Example 20 is broken\.$'):
    resident.ResidentFeeder(Source(broken=20), seed=0, batch_size=4)


def test_quick_reading_shows_no_progress_bar(capfd):
  resident.ResidentFeeder(Source(), seed=0, batch_size=4)
  assert capfd.readouterr() == ('', '')


def test_slow_reading_shows_a_progress_bar_on_stderr(capfd, monkeypatch):
  monkeypatch.setattr('tqdm.std.time', itertools.count(0, 20).__next__)  # every look at the clock is 20 seconds later
  monkeypatch.setattr(resident, '_CHUNK', 4)
  resident.ResidentFeeder(Source(), seed=0, batch_size=4)
  output, progress = capfd.readouterr()
  assert output == ''
  assert 'Reading the data' in progress


# Streamed.


def test_streamed_batches_equal_resident_batches(streamed_feeder):
  feeder = resident.ResidentFeeder(Source(), seed=3, batch_size=4)
  rows = streamed_feeder.block(step=5, steps=9, capacity=9)
  for row in range(9):
    batch = feeder.gather(feeder.data, {'indices': feeder.block(5 + row, 1, 1)['indices'][0]})
    same = streamed_feeder.gather(streamed_feeder.data, {name: array[row] for name, array in rows.items()})
    assert {name: (array.dtype, array.shape) for name, array in same.items()} == {
      name: (array.dtype, array.shape) for name, array in batch.items()
    }
    jax.tree.map(np.testing.assert_array_equal, same, batch)


def test_streamed_batches_do_not_depend_on_what_was_asked_before(streamed_feeder):
  whole = streamed_feeder.block(step=0, steps=12, capacity=12)
  for step in (0, 6, 9, 3, 3):
    part = streamed_feeder.block(step, steps=3, capacity=3)
    np.testing.assert_array_equal(part['images'], whole['images'][step : step + 3])
    np.testing.assert_array_equal(part['labels'], whole['labels'][step : step + 3])


def test_sequential_blocks_continue_the_same_threads(streamed_feeder):
  streamed_feeder.block(step=0, steps=2, capacity=2)
  iterator = streamed_feeder._iterator
  streamed_feeder.block(step=2, steps=1, capacity=2)
  assert streamed_feeder._iterator is iterator
  streamed_feeder.block(step=2, steps=1, capacity=2)
  assert streamed_feeder._iterator is not iterator


def test_streamed_blocks_end_in_zeros(streamed_feeder):
  block = streamed_feeder.block(step=0, steps=1, capacity=3)
  assert {name: array.shape for name, array in block.items()} == {'images': (3, 4, 2, 2, 1), 'labels': (3, 4)}
  assert not block['images'][1:].any() and not block['labels'][1:].any()


def test_streamed_batches_of_an_unlabelled_source_have_no_labels():
  source = arrays.ArraySource(np.zeros((5, 2, 2, 1), np.uint8))
  feeder = streamed.StreamedFeeder(source, seed=0, batch_size=4, threads=1, prefetch=1)
  assert list(feeder.block(0, 1, 1)) == ['images']
  feeder.close()


@pytest.mark.parametrize('feeder', [resident.ResidentFeeder, streamed.StreamedFeeder])
def test_two_processes_feed_the_batch_of_one_between_them(feeder):
  options = {'seed': 3, 'batch_size': 6}
  feeders = [feeder(Source(), share=share, **options) for share in (slice(None), slice(0, 3), slice(3, 6))]
  whole, first, second = (f.block(step=5, steps=2, capacity=3) for f in feeders)
  for name, array in whole.items():
    assert first[name].shape[1] == 3
    np.testing.assert_array_equal(np.concatenate([first[name], second[name]], axis=1), array)
  for f in feeders:
    f.close()


def test_an_error_in_a_reading_thread_reaches_the_caller_every_time():
  broken = order.example_indices(seed=0, step=0, batch_size=4, num_examples=23)[0]
  feeder = streamed.StreamedFeeder(Source(broken), seed=0, batch_size=4, threads=2, prefetch=4)
  for _ in range(2):
    with pytest.raises(DataError) as caught:
      feeder.block(step=0, steps=1, capacity=1)
    assert str(caught.value) == f'Example {broken} is broken.'
  feeder.close()


def test_closing_ends_the_reading_threads():
  feeder = streamed.StreamedFeeder(Source(), seed=0, batch_size=4, threads=2, prefetch=4)
  feeder.block(step=0, steps=1, capacity=1)
  feeder.close()
  deadline = time.monotonic() + 300  # however busy the machine is
  while reading := [thread for thread in threading.enumerate() if thread.name.startswith('grain')]:
    assert time.monotonic() < deadline, reading
    reading[0].join(timeout=0.1)
