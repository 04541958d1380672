"""One adversarial update, against the same written plainly: one device, jax.grad and optax."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.games import adversarial, players, step
from dcgan_jax.games.parallel import AXIS

USES = ('prepare', *adversarial.USES)
NETWORK = ('params', 'opt_state', 'batch_stats')


def on_devices(function, devices):
  """vmap stands in for pmap: the same axis in a tenth of the compilation."""
  return jax.vmap(function, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, axis_size=devices)


def split(batch, devices):
  return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)


@pytest.fixture(scope='module')
def state(tiny_state):
  """In the midst of a run: at step 3 the average keeps something, and is not the generator."""
  ema = jax.tree.map(lambda leaf: leaf + 0.1, tiny_state.ema)
  return tiny_state.replace(step=jnp.int32(3), ema=ema)


@pytest.fixture(scope='module')
def update(state, tiny_batch, tiny_game, key):
  """reuse_fakes -> (next state, scalars), computed once each."""

  @functools.cache
  def run(reuse_fakes):
    game = dataclasses.replace(tiny_game, play=dataclasses.replace(tiny_game.play, reuse_fakes=reuse_fakes))
    return jax.jit(on_devices(functools.partial(step.train_step, game=game), 1))(state, split(tiny_batch, 1), key)

  return run


@pytest.fixture(scope='module')
def plain(state, tiny_batch, tiny_generator, tiny_discriminator, key):
  return jax.jit(functools.partial(plain_update, tiny_generator, tiny_discriminator))(state, tiny_batch['images'], key)


def plain_update(generator, discriminator, state, examples, key):
  """The update of the tiny game with reused and with redrawn fakes, and what mistakes would make of it."""
  old_generator, old_discriminator = state.players['generator'], state.players['discriminator']
  generator = generator.clone(norm=functools.partial(generator.norm, axis_name=None))
  discriminator = discriminator.clone(norm=functools.partial(discriminator.norm, axis_name=None))

  def keys_of(use):
    step_key = jax.random.fold_in(key, state.step)
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(step_key, i), USES.index(use)))(jnp.arange(8))

  def flip(use, x):
    flips = jax.vmap(jax.random.bernoulli)(keys_of(use))
    return jnp.where(flips.reshape(-1, 1, 1, 1), jnp.flip(x, 2), x)

  def generate(params, use):
    z = jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys_of(use))
    variables = {'params': params, 'batch_stats': old_generator.batch_stats}
    x, updated = generator.apply(variables, z, train=True, mutable=['batch_stats'])
    return x, updated['batch_stats']

  def judge(params, batch_stats, x, use):
    variables, options = {'params': params, 'batch_stats': batch_stats}, {'mutable': ['batch_stats']}
    (logits, _), updated = discriminator.apply(variables, x, train=True, keys=keys_of(use), **options)
    return logits, updated['batch_stats']

  def descend(network, gradients):
    updates, opt_state = network.tx.update(gradients, network.opt_state, network.params)
    return optax.apply_updates(network.params, updates), opt_state

  real = flip('prepare', examples / 127.5 - 1)
  fakes, _ = generate(old_generator.params, 'latents')

  def discriminator_loss(params):
    batch_stats = old_discriminator.batch_stats
    real_logits, batch_stats = judge(params, batch_stats, flip('augment_real', real), 'real')
    fake_logits, batch_stats = judge(params, batch_stats, flip('augment_fake', fakes), 'fake')
    loss = -jnp.mean(jnp.log(jax.nn.sigmoid(real_logits)) + jnp.log(1 - jax.nn.sigmoid(fake_logits)))
    return loss, (
      batch_stats,
      {'loss': loss, 'real_logits': real_logits.mean(), 'fake_logits': fake_logits.mean(), 'penalty': 0.0},
    )

  gradients, (batch_stats, scalars) = jax.grad(discriminator_loss, has_aux=True)(old_discriminator.params)
  params, opt_state = descend(old_discriminator, gradients)

  def generator_update(use, opponent):
    def loss(params):
      x, batch_stats = generate(params, use)
      logits, judged = judge(opponent, old_discriminator.batch_stats, flip('augment_generator', x), 'generator')
      return -jnp.log(jax.nn.sigmoid(logits)).mean(), (batch_stats, judged)

    (loss, (batch_stats, judged)), gradients = jax.value_and_grad(loss, has_aux=True)(old_generator.params)
    return dict(zip(NETWORK, (*descend(old_generator, gradients), batch_stats), strict=True)), loss, judged

  reused, _, judged = generator_update('latents', params)
  redrawn, redrawn_loss, _ = generator_update('new_latents', params)
  against_old, _, _ = generator_update('new_latents', old_discriminator.params)
  return {
    'discriminator': {'params': params, 'opt_state': opt_state, 'batch_stats': batch_stats},
    'discriminator_scalars': scalars,
    'reused': reused,
    'redrawn': redrawn,
    'redrawn_loss': redrawn_loss,
    'against_old_discriminator': against_old,
    'statistics_of_generator_update': judged,
  }


def parts(network):
  return {name: getattr(network, name) for name in NETWORK}


def assert_close(actual, expected):
  """To a ten-thousandth of each leaf's largest entry: a hundred times rounding, a hundredth of what one update does."""
  for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert_allclose(ours, theirs, rtol=0.0, atol=1e-4 * np.abs(theirs).max())


def test_no_device_dependent_value_leaves_the_step(tiny_game, tiny_state, tiny_batch, key):
  """vmap refuses `out_axes=None` for any output that differs along the mapped axis."""
  update = on_devices(functools.partial(step.train_step, game=tiny_game), 4)
  jax.eval_shape(update, tiny_state, split(tiny_batch, 4), key)


def test_a_step_that_averages_nothing_breaks_that_law(tiny_game, tiny_state, tiny_batch, key, monkeypatch):
  monkeypatch.setattr(players, 'average_over_devices', lambda tree: tree)
  update = on_devices(functools.partial(step.train_step, game=tiny_game), 4)
  with pytest.raises(ValueError, match='out_axes'):
    jax.eval_shape(update, tiny_state, split(tiny_batch, 4), key)


def test_discriminator_update_is_the_plain_one(update, plain):
  assert_close(parts(update(reuse_fakes=False)[0].players['discriminator']), plain['discriminator'])


def test_generator_update_with_new_fakes_is_the_plain_one(update, plain):
  assert_close(parts(update(reuse_fakes=False)[0].players['generator']), plain['redrawn'])


def test_generator_update_with_reused_fakes_is_the_plain_one(update, plain):
  assert_close(parts(update(reuse_fakes=True)[0].players['generator']), plain['reused'])


def test_scalars_are_those_of_the_plain_update(update, plain):
  state, scalars = update(reuse_fakes=False)
  expected = {f'discriminator/{name}': value for name, value in plain['discriminator_scalars'].items()}
  expected['generator/loss'] = plain['redrawn_loss']
  for name, network in (('generator', state.players['generator']), ('discriminator', state.players['discriminator'])):
    squares = [np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(network.params)]
    expected[f'{name}/parameter_norm'] = np.sqrt(sum(squares))
  assert scalars.keys() == expected.keys()
  assert_close(scalars, expected)
  assert {(value.shape, value.dtype) for value in scalars.values()} == {((), jnp.dtype(jnp.float32))}


def test_generator_update_leaves_the_discriminators_statistics_alone(update, plain):
  statistics = update(reuse_fakes=True)[0].players['discriminator'].batch_stats['norm_1']
  touched = plain['statistics_of_generator_update']['norm_1']
  assert_close(statistics, plain['discriminator']['batch_stats']['norm_1'])
  assert np.abs(statistics['var'] - touched['var']).max() > 1e-4


def test_generator_update_plays_against_the_updated_discriminator(update, plain):
  """Adam's first moment is half the gradient."""
  moments, right, wrong = (
    opt_state[0].mu['output']['kernel']
    for opt_state in (
      update(reuse_fakes=False)[0].players['generator'].opt_state,
      plain['redrawn']['opt_state'],
      plain['against_old_discriminator']['opt_state'],
    )
  )
  assert np.abs(moments - right).max() < 0.01 * np.abs(moments - wrong).max()


def test_redrawn_fakes_are_others_than_reused_ones(update):
  redrawn, reused = update(reuse_fakes=False), update(reuse_fakes=True)
  params = (result[0].players['discriminator'].params for result in (redrawn, reused))
  jax.tree.map(assert_array_equal, *params)
  assert np.abs(redrawn[1]['generator/loss'] - reused[1]['generator/loss']) > 1e-4


def test_all_step_counters_advance_by_one(state, update):
  after, _ = update(reuse_fakes=False)
  assert (after.step, after.players['generator'].step, after.players['discriminator'].step) == (4, 1, 1)
  assert after.step.dtype == state.step.dtype


def test_generator_is_averaged_in_parameters_and_statistics(state, update, tiny_game):
  """At step 3, after 24 images, the half-life is 12 images: one and a half steps of 8."""
  after, _ = update(reuse_fakes=False)
  kept = 0.5 ** (8 / 12)
  expected = jax.tree.map(
    lambda old, new: kept * old + (1 - kept) * new, state.ema['generator'], after.players['generator'].variables
  )
  assert after.ema['generator'].keys() == {'params', 'batch_stats'}
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-6), after.ema['generator'], expected)


@pytest.fixture(scope='module')
def keys_on(key):
  """(devices, step) -> key data of 8 examples for each use."""

  def keys(devices, number):
    def on_one(_):
      return jax.tree.map(jax.random.key_data, step.step_keys(key, jnp.int32(number), 8 // devices, uses=USES))

    stacked = jax.vmap(on_one, axis_name=AXIS)(jnp.arange(devices))
    return {use: np.asarray(leaf).reshape(8, -1) for use, leaf in stacked.items()}

  return keys


@pytest.mark.parametrize('devices', [2, 4])
def test_keys_of_an_example_do_not_depend_on_the_number_of_devices(devices, keys_on):
  jax.tree.map(assert_array_equal, keys_on(devices, 5), keys_on(1, 5))


def test_keys_differ_between_uses_examples_and_steps(keys_on):
  keys = [leaf for number in (5, 6) for leaf in keys_on(1, number).values()]
  assert len(np.unique(np.concatenate(keys), axis=0)) == 2 * 8 * len(USES)


@pytest.mark.parametrize('auxiliary', [{}, {'classifier': {'class_logits': jnp.full((2, 3), 7.0)}}])
def test_class_logits_are_taken_by_name_whatever_else_is_stored(tiny_state, auxiliary):
  def apply(variables, images, labels, **_):
    return (images, ()), {'auxiliary': {'a_map': np.zeros(5), **auxiliary}}

  discriminator = tiny_state.players['discriminator'].replace(apply_fn=apply)
  output, _ = players.discriminate(discriminator, jnp.ones(2), None, jax.random.split(jax.random.key(0), 2))
  expected = auxiliary['classifier']['class_logits'] if auxiliary else None
  assert output.class_logits is expected
