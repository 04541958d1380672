"""Options reach a network because it declares them: each acts on the traced program, or is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.interpreters import partial_eval

from configs import cifar10
from dcgan_jax.building import model as build_model
from dcgan_jax.errors import ConfigError
from dcgan_jax.games.parallel import AXIS

SHAPE, CLASSES = (8, 8, 3), 8
LABELS = {'tricks.generator_labels': 'one_hot', 'tricks.discriminator_labels': 'planes'}
OF_BOTH = {
  '{}.widths': (6, 4),
  '{}.strides': (2, 1),
  '{}.kernel_size': 3,
  '{}.negative_slope': 0.4,
  'layer normalization': {'{}.normalization': 'layer'},
  'no normalization': {'{}.normalization': 'none'},
  'instance normalization': {'{}.normalization': 'instance'},
  '{}.bias': False,
  'initialization': 'orthogonal',
  'precision': 'bfloat16',
  'tricks.spectral_norm': ('generator', 'discriminator'),
}
OF = {
  'generator': OF_BOTH
  | {
    'generator.norm_before_reshape': True,
    'tricks.upsampling': 'nearest',
    'virtual batches': {'generator.normalization': 'virtual_batch'},
    'labels at the input': LABELS,
    'embedded labels': LABELS | {'tricks.generator_labels': 'embedding'},
    'labels in batch normalization': LABELS | {'tricks.generator_labels': 'conditional_batch'},
  },
  'discriminator': OF_BOTH
  | {
    'discriminator.dropout': 0.5,
    'tricks.minibatch': 'standard_deviation',
    'minibatch discrimination': {'tricks.minibatch': 'discrimination'},
    'labels at the input': LABELS,
    'embedded labels': LABELS | {'tricks.discriminator_labels': 'embedding'},
    'projected labels': LABELS | {'tricks.discriminator_labels': 'projection'},
    'auxiliary labels': LABELS | {'tricks.discriminator_labels': 'auxiliary'},
  },
}
BUILT_IN = {'generator': tuple(build_model.GENERATORS), 'discriminator': tuple(build_model.DISCRIMINATORS)}
CASES = [
  (player, network, option) for player, options in OF.items() for network in BUILT_IN[player] for option in options
]
REFUSED = {
  *(('generator', 'fully_connected', option) for option in ('{}.strides', '{}.kernel_size', 'instance normalization')),
  *(('discriminator', 'fully_connected', option) for option in ('{}.strides', '{}.kernel_size')),
  ('discriminator', 'fully_connected', 'instance normalization'),
  *(('generator', name, 'generator.norm_before_reshape') for name in ('residual', 'fully_connected')),
  *(('generator', name, 'tricks.upsampling') for name in ('residual', 'fully_connected')),
  ('discriminator', 'residual', 'discriminator.dropout'),
}


class BareGenerator(nn.Module):
  takes = ('shape',)
  shape: tuple

  @nn.compact
  def __call__(self, z, labels=None, *, train):
    return jnp.tanh(nn.Dense(np.prod(self.shape))(z)).reshape(-1, *self.shape)


class BareDiscriminator(nn.Module):
  takes = ('bias',)
  bias: bool

  @nn.compact
  def __call__(self, x, labels=None, *, train, keys):
    return nn.Dense(1, use_bias=self.bias)(x.reshape(len(x), -1))[:, 0], ()


@pytest.fixture(autouse=True)
def bare_networks(monkeypatch):
  monkeypatch.setitem(build_model.GENERATORS, 'bare', BareGenerator)
  monkeypatch.setitem(build_model.DISCRIMINATORS, 'bare', BareDiscriminator)


def _build(player, network, option=None):
  config, named = cifar10.reference(), {f'{player}.name': network}
  if network != 'bare':
    config.generator.widths, config.discriminator.widths = (8, 4), (4, 8)
  changes = {} if option is None else OF[player][option]
  changes = changes if isinstance(changes, dict) else {option: changes}
  for key, value in (named | changes).items():
    *groups, name = key.format(player).split('.')
    group = functools.reduce(lambda tree, part: tree[part], groups, config)
    with group.ignore_type():
      group[name] = value
  return build_model.build_model(config, SHAPE, CLASSES)


def _program(model, player):
  """What a player computes from its creation on, without what no output depends on, as text."""
  network, keys = getattr(model, player), jax.random.split(jax.random.key(0), 2)
  inputs = (keys, jnp.zeros((2, 100)) if player == 'generator' else jnp.zeros((2, *SHAPE)), jnp.zeros(2, jnp.int32))

  def play(keys, x, labels):
    options = {'train': True} | ({'keys': keys} if player == 'discriminator' else {})
    variables = network.init(keys[0], x, labels, **options)
    return network.apply(variables, x, labels, **options, mutable=['batch_stats', 'auxiliary'])

  traced = jax.make_jaxpr(play, axis_env=[(AXIS, 1)])(*inputs).jaxpr
  needed, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
  return re.sub('0x[0-9a-f]+', '', str(needed))


@functools.cache
def _reference_program(player, network):
  return _program(_build(player, network), player)


@pytest.mark.parametrize('player, network, option', [case for case in CASES if case not in REFUSED])
def test_an_option_of_a_network_acts_on_its_program(player, network, option):
  assert _program(_build(player, network, option), player) != _reference_program(player, network)


@pytest.mark.parametrize('player, network, option', sorted(REFUSED))
def test_an_option_that_a_network_lacks_is_refused_before_anything_compiles(player, network, option):
  message = "cannot do; it takes .*Leave config.*set config.* to '(dcgan|fully)|averages over space, which activations"
  with pytest.raises(ConfigError, match=message):
    _program(_build(player, network, option), player)


@pytest.mark.parametrize('player, option', [(player, option) for player in OF for option in OF[player]])
def test_a_network_of_ones_own_is_refused_what_it_does_not_declare(player, option):
  if option == 'no normalization' or (player, option) == ('discriminator', '{}.bias'):
    assert type(getattr(_build(player, 'bare', option), player)) in (BareGenerator, BareDiscriminator)
  else:
    with pytest.raises(ConfigError, match=rf"config\.[\w.]+ is .*, which the {player} 'bare' cannot do; it takes"):
      _build(player, 'bare', option)


def test_a_network_that_declares_nothing_is_refused_with_what_it_could(monkeypatch):
  monkeypatch.delattr(BareGenerator, 'takes')
  with pytest.raises(ConfigError, match=r"'bare' does not declare what it takes; .*some of activation, bias, .*shape"):
    _build('generator', 'bare')


@pytest.mark.parametrize('labels', ['labels at the input', 'embedded labels', 'labels in batch normalization'])
@pytest.mark.parametrize('network', BUILT_IN['generator'])
def test_two_labels_give_two_images(network, labels):
  generator = _build('generator', network, labels).generator
  z, key = jnp.ones((1, 100)), jax.random.key(0)
  variables = generator.init(key, z, jnp.array([0]), train=False)
  # Biases start at 0, and so few units can all be off.
  variables = jax.tree.map(lambda leaf: leaf + jnp.abs(jax.random.normal(key, leaf.shape)) / 50, variables)
  first, other = (generator.apply(variables, z, jnp.array([label]), train=False) for label in (0, 7))
  assert np.abs(first - other).max() > 1e-6


@pytest.mark.parametrize(
  'player, table', [('generator', build_model.GENERATORS), ('discriminator', build_model.DISCRIMINATORS)]
)
def test_a_network_declares_every_option_that_it_has(player, table):
  for network in BUILT_IN[player]:
    fields = table[network].__dataclass_fields__.keys() - {'parent', 'name'}
    assert fields == set(table[network].takes), network


@pytest.mark.parametrize('player', OF)
def test_the_same_options_make_the_same_program(player):
  assert _program(_build(player, 'dcgan'), player) == _reference_program(player, 'dcgan')
