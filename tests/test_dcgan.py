"""The generator and discriminator of Radford et al. 2016."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import ConfigError
from dcgan_jax.games.parallel import AXIS
from dcgan_jax.models import dcgan, initializers, normalization

LATENT_SIZE = 100
OPTIONS = {
  'kernel_size': 4,
  'activation': nn.leaky_relu,
  'norm': functools.partial(
    normalization.batch, decay=0.9, epsilon=1e-5, axis_name=None, gains=initializers.DCGAN.gains, dtype=jnp.float32
  ),
  'bias': True,
  'initialization': initializers.DCGAN,
}


def generator(shape, widths, strides=None, norm_before_reshape=False, **options):
  strides = strides or (2,) * len(widths)
  return dcgan.Generator(shape, widths, strides, norm_before_reshape=norm_before_reshape, **OPTIONS | options)


def discriminator(widths, strides=None, **options):
  return dcgan.Discriminator(widths, strides or (2,) * len(widths), **{'dropout': 0.0} | OPTIONS | options)


def initialize(network, key, *, shape=None):
  """(outputs, variables) of a generator, or of a discriminator of examples of `shape`, before training."""
  options = {} if shape is None else {'keys': jax.random.split(key, 2)}
  inputs = jnp.zeros((2, *(shape or (LATENT_SIZE,))))
  return jax.jit(functools.partial(network.init_with_output, train=False))(key, inputs, **options)


def abstract(network, key, **options):
  """The same as shapes and dtypes."""
  return jax.eval_shape(functools.partial(initialize, network, **options), key)


def train_pass(network, variables, *inputs, **options):
  """(outputs, updated statistics) in training mode, on one device."""
  apply = functools.partial(network.apply, train=True, mutable=['batch_stats'], **options)
  return jax.jit(jax.vmap(apply, axis_name=AXIS, axis_size=1, in_axes=None, out_axes=None))(variables, *inputs)


def count(variables):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize('kernel_size', [4, 5])
@pytest.mark.parametrize(
  'shape, widths, strides',
  [
    ((16, 16, 3), (8, 4), None),
    ((28, 28, 1), (8, 4), None),
    ((28, 28, 1), (256, 128, 64), (1, 2, 2)),
    ((32, 32, 3), (8, 6, 4), None),
    ((64, 64, 4), (8, 6, 4, 2), None),
    ((128, 128, 3), (8, 6, 4, 2, 2), None),
    ((96, 64, 3), (8, 6, 4), None),
    ((1024, 1), (8, 6, 4), (4, 4, 4)),
    ((8, 16, 16, 3), (8, 4), None),
  ],
)
def test_both_networks_reach_every_size_in_one_two_or_three_dimensions(shape, widths, strides, kernel_size, key):
  x, _ = abstract(generator(shape, widths, strides, kernel_size=kernel_size), key)
  (logits, features), _ = abstract(discriminator(widths[::-1], strides, kernel_size=kernel_size), key, shape=shape)
  assert (x.shape, x.dtype) == ((2, *shape), jnp.float32)
  assert (logits.shape, logits.dtype) == ((2,), jnp.float32)
  assert [layer.shape[-1] for layer in features] == list(widths[::-1])
  assert features[-1].shape[1:-1] == dcgan.base_shape(shape, strides or (2,) * len(widths))


def test_networks_at_64_pixels_have_the_parameters_of_the_pytorch_example(key):
  """Golden: pytorch/examples, dcgan/main.py, ngf = ndf = 64, nz = 100, nc = 3; it has no biases."""
  shape, widths = (64, 64, 3), (512, 256, 128, 64)
  assert count(abstract(generator(shape, widths, bias=False), key)[1]) == 3_576_704
  assert count(abstract(discriminator(widths[::-1], bias=False), key, shape=shape)[1]) == 2_765_568


def test_networks_at_28_pixels_have_the_parameters_of_the_tensorflow_tutorial(key):
  """Golden: tensorflow.org/tutorials/generative/dcgan, model.summary(): trainable parameters."""
  shape, options = (28, 28, 1), {'kernel_size': 5}
  tutorial_generator = generator(shape, (256, 128, 64), (1, 2, 2), norm_before_reshape=True, bias=False, **options)
  tutorial_discriminator = discriminator((64, 128), norm=None, dropout=0.3, **options)
  assert count(abstract(tutorial_generator, key)[1]) == 2_305_472
  assert count(abstract(tutorial_discriminator, key, shape=shape)[1]) == 212_865


def test_images_fill_the_range_from_minus_one_to_one_and_never_leave_it(key):
  network = generator((8, 8, 1), (4,))
  _, variables = initialize(network, key)
  variables['params']['output']['kernel'] *= 1000.0
  x = jax.jit(functools.partial(network.apply, train=False))(variables, jax.random.normal(key, (16, LATENT_SIZE)))
  assert (x.min(), x.max()) == (-1.0, 1.0)


def test_weights_start_with_deviation_0_02_gains_around_one_and_biases_at_zero(key):
  networks = [(generator((8, 8, 3), (256, 128)), None), (discriminator((128, 256)), (8, 8, 3))]
  leaves = {'kernel': [], 'scale': [], 'bias': []}
  for network, shape in networks:
    _, variables = initialize(network, key, shape=shape)
    for path, leaf in jax.tree.leaves_with_path(variables['params']):
      leaves[path[-1].key].append(np.ravel(leaf))
  weights, gains, biases = (np.concatenate(arrays) for arrays in leaves.values())
  # About a million weights and 640 gains: the tolerances are over four standard errors.
  assert_allclose((weights.mean(), weights.std()), (0.0, 0.02), atol=1e-4)
  assert_allclose((gains.mean(), gains.std()), (1.0, 0.02), atol=4e-3)
  assert not biases.any()


def test_discriminator_normalizes_every_layer_but_its_first(tiny_discriminator, key):
  _, variables = abstract(tiny_discriminator, key, shape=(16, 16, 3))
  norms = {name for name in variables['params'] if name.startswith('norm')}
  assert norms == set(variables['batch_stats']) == {'norm_1'}


def test_first_features_of_the_discriminator_ignore_batch_mates_and_second_ones_do_not(tiny_discriminator, key):
  network = tiny_discriminator.clone(dropout=0.0)
  _, variables = initialize(network, key, shape=(16, 16, 3))
  x = jax.random.normal(key, (3, 16, 16, 3))
  judge = functools.partial(train_pass, network, variables, keys=jax.random.split(key, 3))
  (_, features), _ = judge(x)
  (_, other_features), _ = judge(x.at[1:].multiply(2.0))
  assert_array_equal(features[0][0], other_features[0][0])
  assert jnp.abs(features[1][0] - other_features[1][0]).max() > 1e-2


def test_nothing_normalizes_the_generators_output(tiny_generator, key):
  """A normalised layer would not see its weights doubled."""
  _, variables = initialize(tiny_generator, key)
  z = jax.random.normal(key, (3, LATENT_SIZE))
  once, _ = train_pass(tiny_generator, variables, z)
  variables['params']['output']['kernel'] *= 2.0
  twice, _ = train_pass(tiny_generator, variables, z)
  assert_allclose(np.arctanh(twice), 2.0 * np.arctanh(once), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('norm_before_reshape, units', [(False, 8), (True, 4 * 4 * 8)])
def test_projection_is_normalized_per_channel_or_per_unit(tiny_generator, key, norm_before_reshape, units):
  _, variables = abstract(tiny_generator.clone(norm_before_reshape=norm_before_reshape), key)
  assert variables['batch_stats']['norm_0']['mean'].shape == (units,)


@pytest.mark.parametrize(
  'shape, strides, message',
  [
    (
      (28, 28, 1),
      (2, 2, 2),
      'With strides (2, 2, 2), 3 layers can reach multiples of 8, not examples of size 28 x 28; ',
    ),
    ((32, 30, 3), (2, 2), 'With strides (2, 2), 2 layers can reach multiples of 4, not examples of size 32 x 30; '),
  ],
)
def test_sizes_that_no_strides_reach_are_refused_by_both_networks(shape, strides, message, key):
  message += 'change config.data.image_size or the number of widths of both networks'
  widths = (4,) * len(strides)
  with pytest.raises(ConfigError, match=f'^{re.escape(message)}'):
    abstract(generator(shape, widths, strides), key)
  with pytest.raises(ConfigError, match=f'^{re.escape(message)}'):
    abstract(discriminator(widths, strides), key, shape=shape)


def test_images_ignore_their_batch_mates_out_of_training_only(tiny_generator, key):
  _, variables = initialize(tiny_generator, key)
  z = jax.random.normal(key, (3, LATENT_SIZE))
  others = z.at[1:].multiply(2.0)
  generate = functools.partial(tiny_generator.apply, variables, train=False)
  assert_array_equal(generate(z)[0], generate(others)[0])
  (x, _), (x_of_others, _) = (train_pass(tiny_generator, variables, latents) for latents in (z, others))
  assert jnp.abs(x[0] - x_of_others[0]).max() > 1e-2


def test_logits_ignore_batch_mates_and_keys_out_of_training(tiny_discriminator, key):
  _, variables = initialize(tiny_discriminator, key, shape=(16, 16, 3))
  x = jax.random.normal(key, (3, 16, 16, 3))
  judge = functools.partial(tiny_discriminator.apply, variables, train=False)
  logits, _ = judge(x, keys=jax.random.split(key, 3))
  logits_of_others, _ = judge(x.at[1:].multiply(2.0), keys=jax.random.split(jax.random.key(1), 3))
  assert logits[0] == logits_of_others[0]


def test_moving_statistics_keep_nine_tenths(tiny_generator, key):
  """Of the mean and variance of this batch, over examples and positions, one tenth enters."""
  _, variables = initialize(tiny_generator, key)
  z = jax.random.normal(key, (6, LATENT_SIZE))
  _, updated = train_pass(tiny_generator, variables, z)
  units = (z @ variables['params']['projection']['kernel']).reshape(-1, 8)
  before, after = variables['batch_stats']['norm_0'], updated['batch_stats']['norm_0']
  assert_allclose(after['mean'], 0.9 * before['mean'] + 0.1 * units.mean(0), rtol=1e-4, atol=1e-6)
  assert_allclose(after['var'], 0.9 * before['var'] + 0.1 * units.var(0), rtol=1e-4)


def test_dropout_mask_belongs_to_the_key_wherever_in_the_batch_it_stands(key):
  keys, x = jax.random.split(key, 6), jnp.ones((6, 50))
  masked = dcgan.drop(keys, x, 0.5)
  assert_array_equal(dcgan.drop(keys[3:][::-1], x[:3], 0.5), masked[3:][::-1])
  assert not jnp.array_equal(masked[0], masked[1])


def test_dropout_keeps_the_mean_and_drops_its_share(key):
  masked = dcgan.drop(jax.random.split(key, 10), jnp.ones((10, 100, 100)), 0.3)
  # The standard errors of 100,000 draws are 0.0021 and 0.0014.
  assert_allclose((masked.mean(), (masked == 0).mean()), (1.0, 0.3), atol=0.01)


def test_discriminator_drops_in_training_only(key):
  network = discriminator((4, 4), (1, 1), norm=None, dropout=0.5, kernel_size=3)
  _, variables = initialize(network, key, shape=(8, 8, 1))
  judge = functools.partial(network.apply, variables, jnp.ones((2, 8, 8, 1)), keys=jax.random.split(key, 2))
  (logits, _), (dropped_logits, _) = judge(train=False), judge(train=True)
  assert logits[0] == logits[1]
  assert dropped_logits[0] != dropped_logits[1]


def test_every_layer_and_example_has_its_own_dropout_key(key, monkeypatch):
  used = []
  monkeypatch.setattr(dcgan, 'drop', lambda keys, x, share: used.append(jax.random.key_data(keys)) or x)
  network = discriminator((4, 4, 4), (1, 1, 1), norm=None, dropout=0.5)
  variables = network.init(key, jnp.ones((1, 4, 4, 1)), train=False, keys=key[None])
  network.apply(variables, jnp.ones((2, 4, 4, 1)), train=True, keys=jax.random.split(key, 2))
  assert len(np.unique(np.concatenate(used), axis=0)) == 3 * 2


def test_bfloat16_is_the_dtype_of_activations_only(key):
  norm = functools.partial(OPTIONS['norm'], dtype=jnp.bfloat16)
  options = {'dtype': jnp.bfloat16, 'norm': norm}
  x, variables = abstract(generator((16, 16, 3), (8, 4), **options), key)
  (logits, features), others = abstract(discriminator((4, 8), **options), key, shape=(16, 16, 3))
  float32 = jnp.dtype(jnp.float32)
  assert {leaf.dtype for leaf in jax.tree.leaves((x, logits, variables, others))} == {float32}
  assert {layer.dtype for layer in features} == {jnp.dtype(jnp.bfloat16)}
