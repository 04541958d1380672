"""Every trick by its config key: it acts, it is finite, and it is the same game on one device and on several."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from configs import cifar10
from dcgan_jax.building import game as build_game
from dcgan_jax.building import model as build_model
from dcgan_jax.building.rules import ADDED, complete, validate
from dcgan_jax.errors import ConfigError
from dcgan_jax.games import adversarial, step
from dcgan_jax.games.parallel import AXIS

SHAPE, CLASSES, BATCH_SIZE = (8, 8, 3), 3, 8
BOUNDED = {'discriminator.normalization': 'none'}
LABELS = {'tricks.generator_labels': 'one_hot', 'tricks.discriminator_labels': 'planes'}
TRICKS = {
  'saturating': {'loss': 'saturating'},
  'least squares': {'loss': 'least_squares'},
  'hinge': {'loss': 'hinge'},
  'Wasserstein with clipped weights': {'loss': 'wasserstein', 'tricks.weight_clip': 0.01},
  'relativistic average': {'loss': 'relativistic_average'},
  'one-sided label smoothing': {'tricks.real_target': 0.9},
  'two-sided label smoothing': {'tricks.real_target': 0.9, 'tricks.fake_target': 0.1},
  'noisy labels': {'tricks.flipped_labels': 0.5},
  'R1': BOUNDED | {'tricks.r1': 10.0},
  'R2': BOUNDED | {'tricks.r2': 10.0},
  'WGAN-GP': BOUNDED | {'loss': 'wasserstein', 'tricks.gradient_penalty': 10.0},
  'DRAGAN': BOUNDED | {'tricks.dragan': 10.0},
  'lazy R1': BOUNDED | {'tricks.r1': 10.0, 'tricks.penalty_every': 2},
  'gradients clipped by value': {'tricks.gradient_clip_value': 1e-3},
  'gradients clipped by norm': {'tricks.gradient_clip_norm': 1e-2},
  'virtual batch normalisation': {'generator.normalization': 'virtual_batch'},
  'instance normalisation': {'generator.normalization': 'instance', 'discriminator.normalization': 'instance'},
  'layer normalisation': {'generator.normalization': 'layer', 'discriminator.normalization': 'layer'},
  'no normalisation': {'generator.normalization': 'none', 'discriminator.normalization': 'none'},
  'spectral normalisation of the discriminator': BOUNDED | {'tricks.spectral_norm': ('discriminator',)},
  'spectral normalisation of both': BOUNDED | {'tricks.spectral_norm': ('generator', 'discriminator')},
  'minibatch discrimination': {'tricks.minibatch': 'discrimination'},
  'minibatch standard deviation': {'tricks.minibatch': 'standard_deviation'},
  'feature matching': {'tricks.feature_matching': 1.0},
  'instance noise': {'tricks.instance_noise': 0.5},
  'dropout': {'discriminator.dropout': 0.5},
  'DiffAugment': {'tricks.augment': ('color', 'translation', 'cutout')},
  'flips': {'data.flip': True},
  'CR': {'tricks.consistency_real': 10.0},
  'bCR': {'tricks.consistency_real': 10.0, 'tricks.consistency_fake': 10.0},
  'two turns of the discriminator': {'tricks.discriminator_turns': 2},
  'a larger batch of fakes': {'tricks.generator_batches': 2},
  'linear decay': {'tricks.decay': 'linear'},
  'cosine decay': {'tricks.decay': 'cosine'},
  'warm-up': {'tricks.warm_up': 3},
  'AdamW': {'generator.optimizer.name': 'adamw', 'tricks.weight_decay': 0.1},
  'RMSProp': {'generator.optimizer.name': 'rmsprop', 'discriminator.optimizer.name': 'rmsprop'},
  'nearest upsampling': {'tricks.upsampling': 'nearest', 'generator.kernel_size': 3},
  'bilinear upsampling': {'tricks.upsampling': 'bilinear', 'generator.kernel_size': 5},
  'LeakyReLU in the generator': {'generator.negative_slope': 0.2},
  'kernels by layer': {'generator.kernel_size': (4, 3), 'discriminator.kernel_size': (3, 4)},
  'residual networks': {'generator.name': 'residual', 'discriminator.name': 'residual', **BOUNDED}
  | {'generator.kernel_size': 3, 'discriminator.kernel_size': 3},
  'fully connected networks': {'generator.name': 'fully_connected', 'discriminator.name': 'fully_connected'},
  'label planes': LABELS,
  'label embeddings': {'tricks.generator_labels': 'embedding', 'tricks.discriminator_labels': 'embedding'},
  'conditional batch normalisation and projection': {
    'tricks.generator_labels': 'conditional_batch',
    'tricks.discriminator_labels': 'projection',
    'tricks.spectral_norm': ('discriminator',),
  },
  'auxiliary classifier': LABELS | {'tricks.discriminator_labels': 'auxiliary'},
  'virtual batch normalisation with labels': LABELS | {'generator.normalization': 'virtual_batch'},
}


def make_config(overrides, **others):
  config = cifar10.reference()
  small = {'batch_size': BATCH_SIZE, 'steps': 10, 'generator.widths': (8, 4), 'discriminator.widths': (4, 8)}
  # Plain gradient descent: Adam's first step is a sign, which rounding turns where a gradient is nearly zero.
  small |= {f'{player}.optimizer.name': 'sgd' for player in ('generator', 'discriminator')}
  small |= {f'{player}.optimizer.learning_rate': 0.01 for player in ('generator', 'discriminator')}
  # Weights of N(0, 0.02) in so few channels: everything would be rounding.
  small |= {'initialization': 'keras', 'generator.latent_size': 5}
  for key, value in (small | overrides | others).items():
    *groups, name = key.split('.')
    group = functools.reduce(lambda tree, part: tree[part], groups, config)
    with group.ignore_type():
      group[name] = value
  return config.lock()


# The tricks that ask other devices or draw with keys: there alone one device and four could play different games.
DEVICES_MATTER = (
  'relativistic average', 'noisy labels', 'WGAN-GP', 'DRAGAN', 'virtual batch normalisation',
  'spectral normalisation of both', 'minibatch discrimination', 'minibatch standard deviation', 'feature matching',
  'instance noise', 'dropout', 'DiffAugment', 'flips', 'bCR', 'two turns of the discriminator',
  'a larger batch of fakes', 'conditional batch normalisation and projection',
  'virtual batch normalisation with labels',
)  # fmt: skip
# Those that are played out of the slow lane: one that asks other devices, one that draws, a penalty, and labels.
QUICKLY_PLAYED = ('minibatch standard deviation', 'dropout', 'R1', 'label embeddings')
# Networks, an optimizer and a schedule that keep more than plain ones do.
RESTARTED = ('spectral normalisation of both', 'AdamW', 'warm-up')


def in_slow_lane(names, *, but):
  return [pytest.param(name, marks=[pytest.mark.slow] * (name not in but)) for name in names]


@pytest.fixture(scope='module')
def plain():
  return play(None)[1]


@functools.cache
def start(name):
  """The state before the first step."""
  model = build_model.build_model(make_config(TRICKS[name] if name else {}), SHAPE, CLASSES)
  return jax.jit(model.create)(jax.random.key(0))


def update_of(name, devices):
  """(state -> (state, scalars), examples it sees a step): a step of the small game with a trick, or without (None)."""
  config = make_config(TRICKS[name] if name else {})
  validate(config.to_dict())
  model = build_model.build_model(config, SHAPE, CLASSES)
  update = functools.partial(step.train_step, game=build_game.build_game(config, model))
  # An output that differs between devices has no place in out_axes=None and is refused while tracing.
  update = jax.vmap(update, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, axis_size=devices)
  images = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE * config.tricks.discriminator_turns, *SHAPE), np.uint8)
  batch = {'images': images, 'labels': np.arange(len(images), dtype=np.int32) % CLASSES}
  batch = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)
  return model, lambda state: update(state, batch, jax.random.key(1))


@functools.cache
def play(name, *, devices=1):
  """States after one and two steps of the small game with a trick, or without (None); the update; its last scalars."""
  update = jax.jit(update_of(name, devices)[1])
  first, _ = update(start(name))
  second, scalars = update(first)
  return first, second, update, scalars


def weights(state):
  return jax.tree.leaves((state.players['generator'].params, state.players['discriminator'].params))


@pytest.mark.parametrize('name', in_slow_lane(TRICKS, but=QUICKLY_PLAYED))
def test_a_trick_changes_the_game_and_stays_finite(name, plain):
  _, state, _, scalars = play(name)
  assert all(np.isfinite(leaf).all() for leaf in [*weights(state), *jax.tree.leaves(scalars)])
  ours, theirs = weights(state), weights(plain)
  same_networks = [leaf.shape for leaf in ours] == [leaf.shape for leaf in theirs]
  assert not same_networks or max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) > 1e-6


@pytest.mark.parametrize('name', in_slow_lane(TRICKS, but=DEVICES_MATTER))
def test_nothing_leaves_the_step_of_a_trick_that_differs_between_four_devices(name):
  model, update = update_of(name, devices=4)
  state = jax.eval_shape(model.create, jax.random.key(0))
  after, _ = jax.eval_shape(update, state)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert [leaf.shape for leaf in jax.tree.leaves(after)] == [leaf.shape for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize('name', in_slow_lane(DEVICES_MATTER, but=QUICKLY_PLAYED))
def test_a_trick_is_the_same_game_on_four_devices(name):
  (_, one, _, one_scalars), (_, four, _, four_scalars) = play(name), play(name, devices=4)
  # The states before: what an update changes must agree to a thousandth of it, and some.
  for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
    assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
  for scalar, value in one_scalars.items():
    assert_allclose(value, four_scalars[scalar], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', RESTARTED)
def test_a_trick_goes_on_from_a_state_that_left_the_device_bit_for_bit(name):
  first, second, update, _ = play(name)
  leaves, structure = jax.tree.flatten(first)
  restored = structure.unflatten([jnp.asarray(np.array(leaf)) for leaf in leaves])
  for ours, theirs in zip(jax.tree.leaves(update(restored)[0]), jax.tree.leaves(second), strict=True):
    assert_array_equal(ours, theirs)


def test_each_trick_of_the_reference_is_tried_here_and_off_in_the_reference_and_the_paper():
  tried = {key for overrides in TRICKS.values() for key in overrides if key.startswith('tricks.')}
  off = {key: value for key, value in ADDED.items() if key.startswith('tricks.')}
  assert tried >= off.keys() - {'tricks.instance_noise_steps', 'tricks.auxiliary_weight'}
  for config in (cifar10.reference(), cifar10.get_config('paper'), cifar10.get_config('pytorch')):
    assert {f'tricks.{name}': value for name, value in config.tricks.to_dict().items()} == off


def test_a_config_of_before_the_tricks_is_completed_with_what_changes_nothing():
  config = cifar10.reference().to_dict()
  old = {key: value for key, value in config.items() if key != 'tricks'}
  old['generator'] = {key: value for key, value in config['generator'].items() if key != 'normalization'}
  # A key that went is dropped.
  old['data'] = config['data'] | {'threads': 8}
  assert complete(old) == config
  assert 'tricks' not in old


REFUSED = {
  'Wasserstein without a bound': ({'loss': 'wasserstein'}, 'without bound'),
  'R1 through batch normalisation': ({'tricks.r1': 1.0}, 'judges an example by its batch'),
  'a gradient penalty through minibatch discrimination': (
    BOUNDED | {'tricks.gradient_penalty': 1.0, 'tricks.minibatch': 'discrimination'},
    'judges an example by its batch',
  ),
  'smoothed labels of the hinge loss': ({'loss': 'hinge', 'tricks.real_target': 0.9}, 'losses that have targets'),
  'targets the wrong way round': ({'tricks.real_target': 0.1, 'tricks.fake_target': 0.9}, 'nothing tells real from'),
  'weight decay of Adam': ({'tricks.weight_decay': 0.1}, 'adamw alone'),
  'reused fakes in two turns': ({'reuse_fakes': True, 'tricks.discriminator_turns': 2}, 'as many fakes'),
  'reused fakes in a larger batch': ({'reuse_fakes': True, 'tricks.generator_batches': 2}, 'as many fakes'),
  'labels of one player': ({'tricks.generator_labels': 'one_hot'}, 'both players'),
  'conditional batch normalisation beside layer normalisation': (
    {'tricks.generator_labels': 'conditional_batch', 'tricks.discriminator_labels': 'projection'}
    | {'generator.normalization': 'layer'},
    'is a batch normalisation',
  ),
  'a discriminator with virtual batches': ({'discriminator.normalization': 'virtual_batch'}, 'is for generators'),
  'instance normalisation of no space': (
    {'generator.normalization': 'instance', 'generator.norm_before_reshape': True},
    'no space to average over',
  ),
  'a place to normalise without normalisation': (
    {'generator.normalization': 'none', 'generator.norm_before_reshape': True},
    'says where to normalise',
  ),
  'a normalisation of no layer': (
    {'discriminator.normalization': 'layer', 'discriminator.widths': (4,)},
    'is of all layers but the first',
  ),
  'a warm-up that never ends': ({'tricks.warm_up': 10}, 'takes all of config.steps'),
  'kernel sizes of other layers': ({'generator.kernel_size': (4, 4, 4)}, 'has 3 entries'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_a_combination_that_makes_no_sense_is_refused_with_its_reason(name):
  overrides, reason = REFUSED[name]
  with pytest.raises(ConfigError, match=reason):
    validate(make_config(overrides).to_dict())


def test_labels_of_unlabelled_data_are_refused():
  with pytest.raises(ConfigError, match='tfds:cifar10 has no labels; take a labelled data set'):
    build_model.build_model(make_config(LABELS), SHAPE, None)


def test_unknown_tricks_are_refused_with_the_known_ones():
  config = make_config({'tricks.augment': ('colour',)})
  with pytest.raises(ConfigError, match="Unknown config.tricks.augment 'colour'; known: color, cutout, flip"):
    build_game.build_game(config, build_model.build_model(config, SHAPE))
  with pytest.raises(ConfigError, match="Unknown config.tricks.upsampling 'nearset'.*Did you mean 'nearest'"):
    build_model.build_model(make_config({'tricks.upsampling': 'nearset'}), SHAPE)


def test_steps_of_the_discriminator_have_the_same_examples_on_any_number_of_devices(key):
  shard = adversarial.Shard(np.arange(12), None, {'use': jax.random.split(key, 12)})
  halves = [jax.tree.map(lambda leaf, part=part: leaf[part], shard) for part in (slice(0, 6), slice(6, 12))]
  one, *two = (adversarial.split(part, 3).real for part in (shard, *halves))
  assert [set(step.tolist()) for step in one] == [set(a.tolist()) | set(b.tolist()) for a, b in zip(*two, strict=True)]
  assert set(one.flatten().tolist()) == set(range(12))


def test_a_larger_batch_of_the_generator_has_a_key_of_its_own_for_each_fake(key):
  shard = adversarial.Shard(jnp.zeros(4), jnp.arange(4), {'use': jax.random.split(key, 4)})
  larger = adversarial.repeat(shard, 3)
  assert len(np.unique(jax.random.key_data(larger.keys['use']), axis=0)) == 12
  assert larger.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
  assert larger.real.shape == (4,)
