"""Normalisations against NumPy, and one batch on one device against the same on four."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import ConfigError
from dcgan_jax.games.parallel import AXIS
from dcgan_jax.models import dcgan, normalization
from dcgan_jax.models.convolution import Conv
from dcgan_jax.models.initializers import DCGAN, normal_around_one

EPSILON, DECAY, CLASSES, REFERENCE = 0.1, 0.9, 3, 3
OPTIONS = {'epsilon': EPSILON, 'gains': nn.initializers.ones, 'dtype': jnp.float32}
MOVING = {'decay': DECAY, 'axis_name': None}
NORMS = {
  'batch': functools.partial(normalization.batch, **OPTIONS, **MOVING),
  'conditional_batch': functools.partial(
    normalization.conditional_batch, num_classes=CLASSES, **OPTIONS, **MOVING
  ),
  'virtual_batch': functools.partial(normalization.virtual_batch, reference_size=REFERENCE, **OPTIONS),
  'instance': functools.partial(normalization.instance, **OPTIONS),
  'layer': functools.partial(normalization.layer, **OPTIONS),
}  # fmt: skip
SYNCHRONISED = pytest.mark.parametrize('name', ['batch', 'conditional_batch'])
EVERY = pytest.mark.parametrize('name', NORMS)
SHAPES = pytest.mark.parametrize('shape', [(8, 5), (8, 6, 5), (8, 2, 3, 5), (8, 2, 3, 2, 5)], ids=len)
LABELS = jnp.array([0, 1, 2, 2, 1, 1, 0, 2], jnp.int32)


class Network(nn.Module):
  """A network that is one call."""

  function: Callable

  @nn.compact
  def __call__(self, *args, **options):
    return self.function(*args, **options)


def activations(*shape):
  """Of different means, deviations and examples."""
  random = np.random.default_rng(0)
  return np.float32(random.normal(random.normal(size=shape[-1:]), 1 + random.uniform(size=shape[-1:]), shape))


def called(name, **changed):
  return Network(functools.partial(NORMS[name], name='norm', **changed))


def start(network, x):
  return network.init(jax.random.key(0), x, train=False, labels=LABELS)


def shaken(variables):
  """Parameters away from ones and zeros."""
  random = np.random.default_rng(1)
  noisy = jax.tree.map(lambda leaf: leaf + np.float32(random.normal(size=leaf.shape)), variables['params'])
  return {**variables, 'params': noisy}


def normalized(x, axes, epsilon=EPSILON):
  x = np.float64(x)
  return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@SHAPES
def test_batch_norm_equals_numpy(shape):
  x, network = activations(*shape), called('batch')
  variables = shaken(start(network, x))
  y, _ = network.apply(variables, x, train=True, labels=None, mutable=['batch_stats'])
  norm = variables['params']['norm']
  expected = normalized(x, tuple(range(x.ndim - 1))) * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@SHAPES
def test_conditional_batch_norm_has_common_statistics_and_each_classs_gain_and_bias(shape):
  x, network = activations(*shape), called('conditional_batch')
  variables = shaken(start(network, x))
  y, _ = network.apply(variables, x, train=True, labels=LABELS, mutable=['batch_stats'])
  gains, biases = (np.asarray(variables['params'][f'norm_{what}']['embedding']) for what in ('gain', 'bias'))
  rows = normalized(x, tuple(range(x.ndim - 1)))
  expected = np.stack([row * gains[label] + biases[label] for row, label in zip(rows, LABELS, strict=True)])
  assert gains.shape == biases.shape == (CLASSES, x.shape[-1])
  assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@SYNCHRONISED
def test_sampling_uses_statistics_that_training_moved_by_a_tenth(name):
  x, network = activations(8, 2, 3, 5), called(name)
  variables = start(network, x)
  _, moved = network.apply(variables, x, train=True, labels=LABELS, mutable=['batch_stats'])
  y = network.apply({**variables, **moved}, x, train=False, labels=LABELS)
  mean, variance = 0.1 * x.mean((0, 1, 2)), 0.9 + 0.1 * x.var((0, 1, 2))
  assert_allclose(y, (x - mean) / np.sqrt(variance + EPSILON), rtol=1e-4, atol=1e-5)


@SYNCHRONISED
def test_four_devices_normalize_as_one_and_share_their_gradients(name):
  x = activations(8, 2, 5)
  target = np.float32(np.random.default_rng(2).normal(size=x.shape))
  alone, together = called(name), called(name, axis_name=AXIS)
  variables = shaken(start(alone, x))

  def results(network, params, x, labels, target):
    def loss(params, x):
      y, moved = network.apply({**variables, 'params': params}, x, train=True, labels=labels, mutable=['batch_stats'])
      return (y * target).mean(), (y, moved)

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  device = functools.partial(results, alone, variables['params'])
  (gradients, x_gradients), (y, moved) = jax.jit(device)(x, LABELS, target)
  split = [leaf.reshape(4, 2, *leaf.shape[1:]) for leaf in (x, LABELS, target)]
  device = functools.partial(results, together, variables['params'])
  (parts, x_parts), (y_parts, moved_parts) = jax.jit(jax.vmap(device, axis_name=AXIS))(*split)
  assert_allclose(y_parts.reshape(y.shape), y, rtol=1e-4, atol=1e-5)
  # A device's loss is the mean over a quarter of the batch.
  assert_allclose(x_parts.reshape(x.shape) / 4, x_gradients, rtol=1e-3, atol=1e-6)
  close = functools.partial(assert_allclose, rtol=1e-3, atol=1e-5)
  jax.tree.map(lambda part, whole: close(part.mean(0), whole), parts, gradients)
  jax.tree.map(lambda part, whole: close(part, np.broadcast_to(whole, part.shape)), moved_parts, moved)


@SHAPES
def test_virtual_batch_norm_uses_the_statistics_of_the_reference_batch_and_the_example(shape):
  x, network = activations(*shape), called('virtual_batch')
  variables = shaken(start(network, x))
  y = network.apply(variables, x, train=True, labels=None)
  axes, reference = tuple(range(x.ndim - 1)), x[:REFERENCE]
  rows = [normalized(np.concatenate([reference, row[None]]), axes)[-1] for row in x[REFERENCE:]]
  expected = np.concatenate([normalized(reference, axes), rows])
  norm = variables['params']['norm']
  assert_allclose(y, expected * np.asarray(norm['scale']) + np.asarray(norm['bias']), rtol=1e-4, atol=1e-5)


def generator(norm, **options):
  return dcgan.Generator((8, 8, 1), (4, 3), (2, 2), 4, nn.relu, norm, False, True, DCGAN, **options)


def test_generator_with_a_reference_batch_makes_an_image_alone_as_in_company_in_training_as_in_sampling(key):
  latents = jax.random.normal(key, (REFERENCE + 5, 6))
  network = normalization.WithReference(generator(NORMS['virtual_batch']), latents[:REFERENCE], None)
  z = latents[REFERENCE:]
  variables = jax.jit(functools.partial(network.init, train=False))(key, z[:1])
  variables['params']['output']['kernel'] *= 100.0
  trained, moved = jax.jit(functools.partial(network.apply, train=True, mutable=['batch_stats']))(variables, z)
  generate = jax.jit(functools.partial(network.apply, train=False))
  alone = jnp.concatenate([generate(variables, row[None]) for row in z])
  assert trained.shape == (5, 8, 8, 1)
  assert not moved
  assert_allclose(trained, alone, atol=1e-5)
  assert jnp.abs(trained[0] - trained[1]).max() > 0.01


def test_reference_batch_stays_the_same_and_adds_no_parameters(key):
  norm = NORMS['virtual_batch']
  network = normalization.WithReference(generator(norm), jnp.ones((REFERENCE, 6)), None)
  own, whole = (
    jax.eval_shape(lambda n=n: n.init(key, jnp.zeros((4, 6)), train=False)) for n in (generator(norm), network)
  )
  assert own == whole


def test_network_sees_reference_latents_with_the_classes_in_turn_and_then_the_batch():
  seen = []

  class Recorder(nn.Module):
    @nn.compact
    def __call__(self, z, labels, *, train):
      seen.append((z, labels, train))
      return 2.0 * z

  latents, z = np.float32([[1], [2], [3], [4]]), jnp.array([[5.0], [6.0]])
  y = normalization.WithReference(Recorder(), latents, CLASSES).apply({}, z, jnp.array([2, 2], jnp.int32), train=True)
  ((all_latents, labels, train),) = seen
  assert_array_equal(y, [[10], [12]])
  assert_array_equal(all_latents, [[1], [2], [3], [4], [5], [6]])
  assert_array_equal(labels, [0, 1, 2, 0, 2, 2])
  assert (labels.dtype, train) == (jnp.int32, True)


@pytest.mark.parametrize('name, first_axis_kept', [('instance', True), ('layer', False)])
@pytest.mark.parametrize('shape', [(8, 6, 5), (8, 2, 3, 5)], ids=len)
def test_instance_norm_averages_over_space_and_layer_norm_over_channels_too(name, first_axis_kept, shape):
  x, network = activations(*shape), called(name)
  variables = shaken(start(network, x))
  y = network.apply(variables, x, train=True, labels=None)
  norm = variables['params']['norm']
  axes = tuple(range(1, x.ndim - first_axis_kept))
  expected = normalized(x, axes) * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  assert norm['scale'].shape == (5,)
  assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_of_a_vector_averages_over_its_units():
  x, network = activations(8, 5), called('layer')
  y = network.apply(start(network, x), x, train=False, labels=None)
  assert_allclose(y, normalized(x, (1,)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('shape', [(8, 5), (8, 1, 1, 5)])
def test_instance_norm_without_space_is_refused_with_the_key_to_change(shape):
  with pytest.raises(ConfigError, match='averages over space.*config.generator.norm_before_reshape to False'):
    start(called('instance'), jnp.zeros(shape))


@EVERY
def test_gains_start_as_told_and_biases_at_zero(name):
  x = activations(8, 2, 3, 5)
  once, twice = (called(name, gains=nn.initializers.constant(gain)) for gain in (1.0, 2.0))
  y, doubled = (network.apply(start(network, x), x, train=False, labels=LABELS) for network in (once, twice))
  assert_allclose(doubled, 2.0 * y, rtol=1e-6)
  silent = called(name, gains=nn.initializers.zeros)
  assert not silent.apply(start(silent, x), x, train=False, labels=LABELS).any()


@EVERY
def test_every_channels_gain_is_drawn_for_itself(name):
  variables = start(called(name, gains=normal_around_one(0.5)), activations(8, 2, 200))
  gains = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables['params']) if np.any(leaf)])
  # Four standard errors of 200 draws.
  assert abs(gains.mean() - 1.0) < 0.15
  assert abs(gains.std() - 0.5) < 0.1


@EVERY
def test_half_precision_is_for_activations_alone(name):
  x, network = jnp.bfloat16(activations(8, 2, 3, 5)), called(name, dtype=jnp.bfloat16)
  variables = start(network, x)
  assert network.apply(variables, x, train=False, labels=LABELS).dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


def spectral(layer, spectral_norm=True):
  def apply(x, *, train):
    made = layer(use_bias=True, dtype=jnp.float32, kernel_init=nn.initializers.normal(1.0), name='layer')
    return normalization.constrained(made, x, spectral_norm=spectral_norm, train=train)

  return Network(apply)


LAYERS = pytest.mark.parametrize(
  'layer, shape',
  [
    (functools.partial(nn.Dense, 4), (2, 6)),
    (functools.partial(Conv, 4, 3, 2), (2, 5, 6, 3)),
  ],
  ids=['dense', 'conv'],
)


@LAYERS
def test_repeated_passes_divide_the_kernel_by_its_largest_singular_value_and_spare_the_bias(layer, shape, key):
  x, network, plain = activations(*shape), spectral(layer), spectral(layer, spectral_norm=False)
  variables = shaken(network.init(key, x, train=False))
  step = jax.jit(functools.partial(network.apply, train=True, mutable=['batch_stats']))
  for _ in range(100):
    y, moved = step(variables, x)
    variables = {**variables, **moved}
  params = variables['params']['layer']
  largest = np.linalg.svd(np.reshape(params['kernel'], (-1, 4)), compute_uv=False)[0]
  divided = {'params': {'layer': {**params, 'kernel': params['kernel'] / largest}}}
  assert_allclose(y, plain.apply(divided, x, train=True), rtol=1e-3, atol=1e-4)
  assert_allclose(network.apply(variables, x, train=False), y, rtol=1e-4, atol=1e-5)
  assert abs(largest - 1.0) > 0.5


@LAYERS
def test_sampling_leaves_the_power_iteration_where_it_is_and_training_moves_it(layer, shape, key):
  x, network = activations(*shape), spectral(layer)
  variables = network.init(key, x, train=False)
  _, sampled = network.apply(variables, x, train=False, mutable=['batch_stats'])
  _, trained = network.apply(variables, x, train=True, mutable=['batch_stats'])
  for before, same, other in zip(*map(jax.tree.leaves, (variables['batch_stats'], sampled, trained)), strict=True):
    assert_array_equal(before, same)
    assert jnp.abs(before - other).max() > 1e-3


@LAYERS
def test_constrained_layer_starts_with_the_very_parameters_of_a_free_one(layer, shape, key):
  """Flax's own wrapper would store the kernel divided by its norm."""
  x = activations(*shape)
  one, other = (spectral(layer, on).init(key, x, train=False)['params'] for on in (True, False))
  jax.tree.map(assert_array_equal, one, other)
  assert set(one) == {'layer'}
