"""Training on several devices, and several steps in one call."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax import parallel, step
from dcgan_jax.errors import ConfigError

STEPS = 7
STEPS_PER_CALL = 3


def row_itself(data, row):
  """Gathers batches from blocks that are the batches themselves."""
  del data
  return row


@pytest.fixture(scope='module')
def examples():
  return np.random.default_rng(0).integers(0, 256, (STEPS, 8, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module')
def compiled(tiny_game):
  """(number of devices, steps_per_call) -> (update, devices), compiled once each."""

  @functools.cache
  def compile_once(number, steps_per_call):
    devices = jax.devices()[:number]
    train_step = functools.partial(step.train_step, game=tiny_game)
    gather = lambda data, row: {'images': row['images']}
    return parallel.compile_update(train_step, gather, steps_per_call=steps_per_call, devices=devices), devices

  return compile_once


@pytest.fixture(scope='module')
def train(compiled, examples, tiny_state, key):
  """(number of devices, counts) -> (state, scalars) after calls of so many steps each."""

  def run(number, counts, steps_per_call=STEPS_PER_CALL):
    update, devices = compiled(number, steps_per_call)
    state = parallel.replicate(jax.tree.map(jnp.copy, tiny_state), devices)
    replicated_key, first, scalars = parallel.replicate(key, devices), 0, []
    for count in counts:
      block = np.zeros((steps_per_call, *examples.shape[1:]), np.uint8)
      block[:count] = examples[first : first + count]
      state, values = update(state, {'images': block}, count, {}, replicated_key)
      scalars.append(jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], values))
      first += count
    return state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *scalars)

  return run


# Networks this small agree to rounding. In larger ones some activation lies so near zero that rounding decides whether
# its ReLU is on, and the parameters of two runs then part by more than rounding, with nothing wrong.
@pytest.mark.parametrize('number', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 8))])
def test_any_number_of_devices_trains_the_same_networks(number, train):
  (one, one_scalars), (several, scalars) = (train(devices, [3, 3]) for devices in (1, number))
  for player in ('generator', 'discriminator'):
    ours, theirs = (getattr(state, player) for state in (several, one))
    # Six steps have moved parameters by about 0.01.
    close = functools.partial(assert_allclose, rtol=0.0, atol=1e-5)
    jax.tree.map(close, (ours.params, ours.batch_stats), (theirs.params, theirs.batch_stats))
  jax.tree.map(functools.partial(assert_allclose, atol=1e-5), scalars, one_scalars)


@pytest.mark.parametrize(
  'counts, steps_per_call',
  [([1] * STEPS, STEPS_PER_CALL), ([2, 3, 2], STEPS_PER_CALL), ([1] * STEPS, 1)],
)
def test_steps_in_one_call_equal_single_calls_bit_for_bit(counts, steps_per_call, train):
  actual, expected = train(2, counts, steps_per_call), train(2, [3, 3, 1])
  assert int(actual[0].step) == STEPS
  jax.tree.map(assert_array_equal, actual, expected)


def test_fewer_steps_than_a_call_can_hold_compile_nothing_new(caplog):
  def count_examples(state, batch, key):
    return state + parallel.average_over_devices(jnp.float32(len(batch))), {}

  devices = jax.devices()[:2]
  update = parallel.compile_update(count_examples, row_itself, steps_per_call=3, devices=devices)
  state, compilations = parallel.replicate(jnp.zeros(()), devices), []
  for steps in (3, 3, 1, 2):
    caplog.clear()
    with jax.log_compiles(), caplog.at_level('WARNING'):
      state, _ = update(state, np.zeros((3, 8)), steps, {}, np.zeros(()))
    compilations.append(sum(record.getMessage().startswith('Compiling') for record in caplog.records))
  assert (compilations, state) == ([1, 0, 0, 0], 4 * 9)


def test_update_donates_its_state_and_keeps_its_shapes(compiled, examples, tiny_state, key):
  update, devices = compiled(2, STEPS_PER_CALL)
  state = parallel.replicate(jax.tree.map(jnp.copy, tiny_state), devices)
  after, _ = update(state, {'images': examples[:3]}, 3, {}, parallel.replicate(key, devices))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  describe = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type))
  assert describe(after) == describe(tiny_state)


def test_each_device_gets_its_consecutive_part_of_the_batch():
  """Example i of the global batch is on device i // (B / D), where its index says it is."""

  def fake_step(state, batch, key):
    here = parallel.global_example_indices(2)
    return state, {'misplaced': parallel.average_over_devices(jnp.abs(batch - here).sum())}

  options = {'steps_per_call': 1, 'devices': jax.devices()[:4]}
  update = parallel.compile_update(fake_step, row_itself, **options)
  _, scalars = update(jnp.zeros(()), np.arange(8).reshape(1, 8), 1, {}, jnp.zeros(()))
  assert scalars['misplaced'] == 0


@pytest.mark.parametrize(
  'batch_size, devices, message',
  [
    (100, 8, 'config.batch_size is 100, which 8 devices cannot share equally; '
     'use a multiple of 8, for example 96 or 104'),
    (3, 4, 'config.batch_size is 3, which 4 devices cannot share equally; use a multiple of 4, for example 4'),
  ],
)  # fmt: skip
def test_batches_that_devices_cannot_share_are_refused(batch_size, devices, message):
  with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
    parallel.check_batch_size(batch_size, jax.devices()[:devices])


def test_batches_that_devices_can_share_are_accepted():
  for number in (1, 2, 4, 8):
    parallel.check_batch_size(8, jax.devices()[:number])


def test_average_over_devices_is_the_mean_of_every_leaf():
  average = jax.vmap(parallel.average_over_devices, axis_name=parallel.AXIS, out_axes=None)
  tree = {'a': jnp.arange(4.0), 'b': [jnp.arange(8.0).reshape(4, 2)]}
  jax.tree.map(assert_array_equal, average(tree), {'a': 1.5, 'b': [np.array([3.0, 4.0])]})
