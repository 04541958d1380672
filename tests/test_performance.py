"""Guards of speed that are no clock: what the compiled update of each preset consists of."""

import importlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcgan_jax.building import game as build_game
from dcgan_jax.building import model as build_model
from dcgan_jax.games import parallel, step

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
# Preset -> variant, shape of an example.
PRESETS = {
  'cifar10': ('', (32, 32, 3)),
  'cifar10:paper': ('paper', (32, 32, 3)),
  'cifar10:pytorch': ('pytorch', (64, 64, 3)),
  'digits': (None, (16, 16, 1)),
  'mnist': ('', (28, 28, 1)),
  'celeb_a': ('', (64, 64, 3)),
  'folder': (None, (64, 64, 3)),
}


def _config(name, **changes):
  sys.path.insert(0, str(ROOT))
  variant = PRESETS[name][0]
  get_config = importlib.import_module(f'configs.{name.partition(":")[0]}').get_config
  config = get_config(variant) if variant else get_config()
  config.update(changes)
  return config


def _gather(data, row):
  return {'images': jnp.take(data['images'], row['indices'], axis=0, mode='clip')}


def _update(config, shape, *, count=lambda: None):
  model = build_model.build_model(config, shape)
  game = build_game.build_game(config, model)

  def train_step(*args):
    count()
    return step.train_step(*args, game=game)

  devices = jax.local_devices()[:1]
  return model, parallel.compile_update(train_step, _gather, steps_per_call=2, devices=devices)


def _lower(config, shape):
  model, update = _update(config, shape)
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(model.create, key)
  rows = {'indices': jax.ShapeDtypeStruct((1, 2, config.batch_size), jnp.int32)}
  data = {'images': jax.ShapeDtypeStruct((256, *shape), jnp.uint8)}
  shared = {'data': data, 'key': key, 'steps': jax.ShapeDtypeStruct((), jnp.int32)}
  return model, update.lower(state, rows, shared)


@pytest.mark.parametrize('name', PRESETS)
def test_no_preset_lowers_to_a_convolution_on_a_cpu(name):
  """XLA's dilated convolutions are about twenty times slower there than the same multiplications as a product."""
  _, lowered = _lower(_config(name), PRESETS[name][1])
  text = lowered.as_text()
  assert 'stablehlo.dot_general' in text
  assert 'stablehlo.convolution' not in text


@pytest.mark.parametrize('name', PRESETS)
def test_no_preset_does_more_than_the_mathematics_needs(name):
  """G forward once or twice and back, D's three passes forward and back, by XLA's own count of operations."""
  config, shape = _config(name), PRESETS[name][1]
  model, lowered = _lower(config, shape)
  state = jax.eval_shape(model.create, jax.eval_shape(lambda: jax.random.key(0)))
  z = jax.ShapeDtypeStruct((1, config.batch_size, model.latent_size), jnp.float32)
  x = jax.ShapeDtypeStruct((1, config.batch_size, *shape), jnp.float32)

  def generate(variables, z):
    return model.generator.apply(variables, z, train=True, mutable=['batch_stats'])[0]

  def judge(variables, x):
    keys = jax.random.split(jax.random.key(0), len(x))
    return model.discriminator.apply(variables, x, train=True, keys=keys, mutable=['batch_stats'])[0][0]

  def flops(function, variables, batch):
    devices = jax.local_devices()[:1]
    mapped = jax.pmap(function, axis_name=parallel.AXIS, in_axes=(None, 0), devices=devices)
    return _flops(mapped.lower(variables, batch))

  passes_of_generator = 3 if config.reuse_fakes else 4
  needed = passes_of_generator * flops(generate, state.players['generator'].variables, z)
  needed += 8 * flops(judge, state.players['discriminator'].variables, x)
  assert 0.8 * needed < _flops(lowered) < 1.2 * needed


def _flops(lowered):
  analysis = lowered.cost_analysis()
  if analysis is None:
    pytest.skip('this JAX (0.7 does so) does not count the operations of a pmap')
  return (analysis[0] if isinstance(analysis, list) else analysis)['flops']


def test_the_update_is_traced_once_and_donates_its_state():
  config = _config('digits', batch_size=4)
  config.generator.update(widths=(4, 2), latent_size=2)
  config.discriminator.widths = (2, 4)
  traces = []
  model, update = _update(config, (16, 16, 1), count=lambda: traces.append(1))
  devices = jax.local_devices()[:1]
  state = parallel.replicate(model.create(jax.random.key(0)), devices)
  data = parallel.replicate({'images': np.zeros((8, 16, 16, 1), np.uint8)}, devices)
  key = parallel.replicate(jax.random.key(1), devices)
  rows = {'indices': np.zeros((2, 4), np.int32)}
  first, _ = update(state, rows, 2, data, key)
  traced = len(traces)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.players['generator'].params, state.ema['generator'])))
  for count in (1, 2):
    first, _ = update(first, rows, count, data, key)
  assert len(traces) == traced
