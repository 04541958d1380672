"""Networks without convolutions."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import ConfigError
from dcgan_jax.models import conditional, fully_connected, minibatch, normalization
from dcgan_jax.models.initializers import DCGAN, Initialization

LATENT_SIZE, SHAPE = 4, (3, 2, 2)
LARGE = Initialization(weights=nn.initializers.variance_scaling(1.0, 'fan_in', 'normal'), gains=DCGAN.gains)
NORM = {'epsilon': 1e-5, 'gains': DCGAN.gains, 'dtype': jnp.float32}
BATCH_NORM = functools.partial(normalization.batch, decay=0.9, axis_name=None, **NORM)
OPTIONS = {'activation': nn.relu, 'norm': None, 'bias': True, 'initialization': LARGE}


def generator(widths=(5, 6), shape=SHAPE, **options):
  return fully_connected.Generator(shape, widths, **OPTIONS | options)


def discriminator(widths=(6, 5), **options):
  return fully_connected.Discriminator(widths, **OPTIONS | {'dropout': 0.0} | options)


def values(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


def keys(x):
  return jax.random.split(jax.random.key(1), len(x))


def initialize(network, x, **options):
  """Variables with biases away from zero."""
  variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), x, **options)
  return {**variables, 'params': jax.tree.map(lambda leaf: leaf + 0.1, variables['params'])}


def run(network, variables, x, train=True, **options):
  return jax.jit(functools.partial(network.apply, train=train, mutable=['batch_stats']))(variables, x, **options)[0]


def linear(params, x):
  return x @ np.asarray(params['kernel']) + np.asarray(params.get('bias', np.zeros(params['kernel'].shape[1])))[None]


@pytest.mark.parametrize('shape', [(6, 1), SHAPE, (2, 2, 2, 1)], ids=len)
@pytest.mark.parametrize('widths', [(), (5, 6)])
def test_generator_equals_numpy(shape, widths):
  z, network = values(3, LATENT_SIZE), generator(widths, shape)
  variables = initialize(network, z)
  x = z
  for i in range(len(widths)):
    x = np.maximum(linear(variables['params'][f'dense_{i}'], x), 0)
  expected = np.tanh(linear(variables['params']['output'], x)).reshape(3, *shape)
  assert_allclose(run(network, variables, z), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('shape', [(6, 1), SHAPE, (2, 2, 2, 1)], ids=len)
def test_discriminator_and_its_features_equal_numpy(shape):
  x, network = values(3, *shape), discriminator()
  variables = initialize(network, x, keys=keys(x))
  logits, features = run(network, variables, x, keys=keys(x))
  h, expected = x.reshape(3, -1), []
  for i in range(2):
    h = np.maximum(linear(variables['params'][f'dense_{i}'], h), 0)
    expected.append(h)
  assert_allclose(logits, linear(variables['params']['output'], h)[:, 0], rtol=1e-4, atol=1e-6)
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-4, atol=1e-6), features, tuple(expected))


def test_mnist_networks_have_the_parameters_worked_out_by_hand():
  """Widths 256, 512 and 1024 after 100 latents, and the way back, for 28x28x1; every layer has a bias."""

  def layers(*units):
    return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(units))

  assert (layers(100, 256, 512, 1024, 784), layers(784, 1024, 512, 256, 1)) == (1_486_352, 1_460_225)
  x = jnp.zeros((1, 28, 28, 1))
  for network, inputs, options, expected in (
    (generator((256, 512, 1024), (28, 28, 1)), jnp.zeros((1, 100)), {}, 1_486_352),
    (discriminator((1024, 512, 256)), x, {'keys': keys(x)}, 1_460_225),
  ):
    variables = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), inputs, **options)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params'])) == expected


def test_layers_before_a_normalization_have_no_bias_and_the_discriminators_first_has_no_normalization():
  z, x = values(2, LATENT_SIZE), values(2, *SHAPE)
  made = initialize(generator(norm=BATCH_NORM), z)['params']
  judged = initialize(discriminator(norm=BATCH_NORM), x, keys=keys(x))['params']
  assert {name for name in made if 'bias' in made[name]} == {'norm_0', 'norm_1', 'output'}
  assert {name for name in judged if 'bias' in judged[name]} == {'dense_0', 'norm_1', 'output'}


def test_hidden_units_are_normalized_over_the_batch():
  x, network = values(8, *SHAPE), discriminator(norm=BATCH_NORM, activation=lambda x: x)
  variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), x, keys=keys(x))
  _, features = run(network, variables, x, keys=keys(x))
  assert_allclose(features[1].mean(0), np.zeros(5), atol=1e-5)
  assert_allclose(features[1].std(0), np.asarray(variables['params']['norm_1']['scale']), rtol=1e-2)


def test_instance_norm_is_refused_because_there_is_no_space():
  norm = functools.partial(normalization.instance, **NORM)
  with pytest.raises(ConfigError, match=r'shape \[B, 5\].*set config.generator.norm_before_reshape'):
    initialize(generator(norm=norm), values(2, LATENT_SIZE))


def test_dropout_belongs_to_the_example_and_to_training():
  x, network = np.ones((50, *SHAPE), np.float32), discriminator((20, 20), dropout=0.5)
  variables = initialize(network, x, keys=keys(x))
  logits, features = run(network, variables, x, keys=keys(x))
  turned, _ = run(network, variables, x[::-1], keys=keys(x)[::-1])
  assert_allclose(turned, logits[::-1], rtol=1e-5)
  assert len(np.unique(logits)) == 50
  assert len(np.unique(features[0][:, 0])) == 1
  sampled, _ = run(network, variables, x, train=False, keys=keys(x))
  assert_allclose(sampled, np.full(50, sampled[0]), rtol=1e-5)


def test_every_parameter_of_both_networks_gets_a_finite_gradient():
  z = values(8, LATENT_SIZE)
  make, judge = generator(norm=BATCH_NORM), discriminator(norm=BATCH_NORM)
  made, judged = initialize(make, z), initialize(judge, values(8, *SHAPE), keys=keys(z))

  def loss(make_params, judge_params):
    x, _ = make.apply({**made, 'params': make_params}, z, train=True, mutable=['batch_stats'])
    variables = {**judged, 'params': judge_params}
    (logits, _), _ = judge.apply(variables, x, train=True, keys=keys(x), mutable=['batch_stats'])
    return jnp.square(logits - 1.0).mean()

  gradients = jax.jit(jax.grad(loss, (0, 1)))(made['params'], judged['params'])
  for path, gradient in jax.tree.leaves_with_path(gradients):
    assert jnp.isfinite(gradient).all(), path
    assert jnp.abs(gradient).max() > 1e-5, path


@pytest.mark.parametrize(
  'make, hooks',
  [
    (generator, {'at_input': conditional.join_one_hot(2)}),
    (discriminator, {'at_input': conditional.join_planes(2)}),
    (discriminator, {'at_output': conditional.project(2, initialization=LARGE, spectral_norm=False)}),
  ],
  ids=['generator', 'planes', 'projection'],
)
def test_a_label_changes_the_output_of_its_example_alone(make, hooks):
  labels, options = jnp.array([0, 1, 1]), {} if make is generator else {'keys': jax.random.split(jax.random.key(1), 3)}
  x = values(3, LATENT_SIZE) if make is generator else values(3, *SHAPE)
  network = make(conditioning=conditional.UNCONDITIONAL._replace(**hooks))
  variables = initialize(network, x, labels=labels, **options)
  one, other = (
    jax.tree.leaves(run(network, variables, x, labels=given, **options))[0] for given in (labels, labels.at[1].set(0))
  )
  assert_array_equal(np.abs(one - other).reshape(3, -1).max(1) > 0, [False, True, False])


def test_minibatch_layer_and_spectral_norm_are_applied():
  layer = functools.partial(minibatch.standard_deviation, mean=lambda value: value)
  x, network = values(3, *SHAPE), discriminator(minibatch=layer, spectral_norm=True)
  variables = initialize(network, x, keys=keys(x))
  assert variables['params']['output']['kernel'].shape == (5 + 1, 1)
  larger = jax.tree.map(lambda leaf: leaf * 3.0 if leaf.ndim > 1 else leaf, variables['params'])
  one, other = (
    run(network, {**variables, 'params': params}, x, keys=keys(x))[0] for params in (variables['params'], larger)
  )
  assert set(variables['batch_stats']) == {'dense_0_spectral', 'dense_1_spectral', 'output_spectral'}
  assert_allclose(one, other, rtol=1e-4)


def test_half_precision_is_for_activations_alone(key):
  z, x = values(2, LATENT_SIZE), values(2, *SHAPE)
  make, judge = generator(dtype=jnp.bfloat16), discriminator(dtype=jnp.bfloat16)
  images, made = jax.eval_shape(functools.partial(make.init_with_output, train=False), key, z)
  (logits, features), judged = jax.eval_shape(
    functools.partial(judge.init_with_output, train=False), key, x, keys=keys(x)
  )
  assert (images.dtype, logits.dtype, features[0].dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves((made, judged))} == {jnp.dtype('float32')}
