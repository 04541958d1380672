"""Training on several devices, and several steps in one call."""

import functools
import re
import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from configs import cifar10
from dcgan_jax.building import game as build_game
from dcgan_jax.building import model as build_model
from dcgan_jax.errors import ConfigError
from dcgan_jax.games import parallel, players, step

STEPS = 7
STEPS_PER_CALL = 3
# Between them, every use of another device's values that a config can ask for.
COLLECTIVE = {
  'in losses and layers': {
    'loss': 'relativistic_average',
    'tricks.feature_matching': 1.0,
    'tricks.minibatch': 'discrimination',
    'tricks.discriminator_turns': 2,
    'generator.normalization': 'virtual_batch',
  },
  'in penalties and labels': {
    'tricks.dragan': 10.0,
    'tricks.penalty_every': 2,
    'tricks.spectral_norm': ('discriminator',),
    'tricks.generator_labels': 'conditional_batch',
    'tricks.discriminator_labels': 'projection',
    'tricks.generator_batches': 2,
    'discriminator.normalization': 'none',
  },
}


def row_itself(data, row):
  """Gathers batches from blocks that are the batches themselves."""
  del data
  return row


@pytest.fixture(scope='module')
def examples():
  return np.random.default_rng(0).integers(0, 256, (STEPS, 8, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module')
def compiled(tiny_game):
  """(number of devices, steps_per_call, transform) -> (update, devices), compiled once each."""

  @functools.cache
  def compile_once(number, steps_per_call, transform=None):
    devices = jax.devices()[:number]
    train_step = functools.partial(step.train_step, game=tiny_game)
    options = {'steps_per_call': steps_per_call, 'devices': devices, 'transform': transform}
    return parallel.compile_update(train_step, row_itself, **options), devices

  return compile_once


@pytest.fixture(scope='module')
def train(compiled, examples, tiny_state, key):
  """(number of devices, counts) -> (state, scalars) after calls of so many steps each."""

  def run(number, counts, steps_per_call=STEPS_PER_CALL, **transform):
    update, devices = compiled(number, steps_per_call, **transform)
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


@pytest.fixture(scope='module')
def on_one_device(train):
  return train(1, [3, 3])


# Networks this small agree to rounding. In larger ones some activation lies so near zero that rounding decides whether
# its ReLU is on, and the parameters of two runs then part by more than rounding, with nothing wrong.
@pytest.mark.parametrize('number', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 8))])
def test_any_number_of_devices_trains_the_same_networks(number, train, on_one_device):
  (one, one_scalars), (several, scalars) = on_one_device, train(number, [3, 3])
  for player in ('generator', 'discriminator'):
    ours, theirs = (state.players[player] for state in (several, one))
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


def test_shard_map_equals_pmap_bit_for_bit_on_one_device(train, on_one_device):
  jax.tree.map(assert_array_equal, train(1, [3, 3], transform='shard_map'), on_one_device)


@pytest.mark.slow
def test_shard_map_equals_pmap_to_rounding_on_four_devices(train):
  """Not bit for bit: it adds the gradients of batch statistics over devices at another place of the backward pass."""
  close = functools.partial(assert_allclose, rtol=0.0, atol=1e-6)
  jax.tree.map(close, train(4, [3, 1], transform='shard_map'), train(4, [3, 1]))


@pytest.fixture(scope='module')
def play():
  """(name in COLLECTIVE, transform) -> () -> (state, scalars) of two steps on four devices."""

  def prepare(name, transform):
    config, size = cifar10.reference(), 8
    small = {'generator.widths': (8, 4), 'discriminator.widths': (4, 8), 'generator.latent_size': 5}
    # Plain gradient descent: Adam's first step is a sign, which rounding turns where a gradient is nearly zero.
    small |= {f'{player}.optimizer.name': 'sgd' for player in ('generator', 'discriminator')}
    config.unlock().update_from_flattened_dict(small | {'initialization': 'keras'} | COLLECTIVE[name])
    model = build_model.build_model(config, (8, 8, 3), 3)
    train_step = functools.partial(step.train_step, game=build_game.build_game(config, model))
    options = {'steps_per_call': 2, 'devices': jax.devices()[:4], 'transform': transform}
    update, size = parallel.compile_update(train_step, row_itself, **options), size * config.tricks.discriminator_turns
    images = np.random.default_rng(0).integers(0, 256, (2, size, 8, 8, 3), np.uint8)
    rows = {'images': images, 'labels': np.arange(2 * size, dtype=np.int32).reshape(2, size) % 3}
    return lambda: update(jax.jit(model.create)(jax.random.key(0)), rows, 2, {}, jax.random.key(1))

  return prepare


@pytest.mark.parametrize('name', COLLECTIVE)
def test_shard_map_finds_nothing_that_differs_between_devices(name, play):
  _, scalars = jax.eval_shape(play(name, 'shard_map'))
  assert scalars['generator/loss'].shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize('name', COLLECTIVE)
def test_every_collective_does_the_same_in_shard_map_as_in_pmap(name, play):
  pmapped, mapped = (jax.tree.leaves(play(name, transform)()) for transform in ('pmap', 'shard_map'))
  # The leaves alone: reference latents of virtual batch normalization are another array in each network.
  for ours, theirs in zip(mapped, pmapped, strict=True):
    assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_scalar_that_was_not_averaged_is_refused_by_shard_map_and_is_device_0s_in_pmap(tiny_game):
  def careless_step(state, batch, key):
    return state, {'mean': batch.mean()}

  arguments = jnp.zeros(()), np.arange(8.0, dtype=np.float32).reshape(1, 8), 1, {}, jnp.zeros(())
  options = {'steps_per_call': 1, 'devices': jax.devices()[:4]}
  _, scalars = parallel.compile_update(careless_step, row_itself, transform='pmap', **options)(*arguments)
  assert scalars['mean'] == 0.5
  with pytest.raises(TypeError, match='carry input and carry output must have equal types'):
    parallel.compile_update(careless_step, row_itself, transform='shard_map', **options)(*arguments)


def test_a_step_that_averages_nothing_is_refused_by_shard_map(play, monkeypatch):
  monkeypatch.setattr(players, 'average_over_devices', lambda tree: tree)
  with pytest.raises(TypeError, match='carry input and carry output must have equal types'):
    jax.eval_shape(play('in penalties and labels', 'shard_map'))


def test_the_transform_of_a_whole_run_is_an_environment_variable(monkeypatch):
  monkeypatch.setenv('DCGAN_JAX_TRANSFORM', 'shardmap')
  with pytest.raises(ConfigError, match=r"Unknown DCGAN_JAX_TRANSFORM 'shardmap'; known: pmap, shard_map"):
    parallel.compile_update(None, row_itself, steps_per_call=1, devices=jax.devices())


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


@pytest.mark.parametrize('first', [True, False])
def test_processes_that_cannot_meet_are_refused_before_jax_waits(first, monkeypatch, capsys):
  monkeypatch.setattr(parallel, 'JOIN_SECONDS', 0)
  monkeypatch.setattr(jax.distributed, 'initialize', lambda *_: pytest.fail('JAX waits'))
  with socket.socket() as taken:
    taken.bind(('', 0))
    address = f'127.0.0.1:{taken.getsockname()[1]}'  # Bound, and nobody listens.
    message = f'process 0 cannot listen at {address}' if first else f'no process 0 answers at {address} .*; start it'
    with pytest.raises(ConfigError, match=message):
      parallel.start_processes(address, 0 if first else 1, 2)
  assert capsys.readouterr().err == ''


def test_a_host_that_nobody_knows_is_refused_by_process_0():
  with pytest.raises(ConfigError, match='cannot listen at nosuchhost.invalid:9876'):
    parallel.start_processes('nosuchhost.invalid:9876', 0, 2)


def test_a_process_says_that_it_waits_for_the_first_one(monkeypatch, capsys):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  first = socket.socket()

  def start(seconds):
    first.bind(('127.0.0.1', port))
    first.listen()

  joined = []
  monkeypatch.setattr(parallel.time, 'sleep', start)
  monkeypatch.setattr(jax.distributed, 'initialize', lambda *arguments: joined.append(arguments))
  parallel.start_processes(f'127.0.0.1:{port}', 1, 2)
  first.close()
  assert joined == [(f'127.0.0.1:{port}', 2, 1)]
  error = capsys.readouterr().err
  assert error.startswith(f'Waiting for process 0 at 127.0.0.1:{port}, at most 60 s\nProcess 1 of 2: joining')
