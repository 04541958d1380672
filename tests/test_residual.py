"""The residual networks of SNGAN."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.errors import ConfigError
from dcgan_jax.models import conditional, minibatch, normalization, residual
from dcgan_jax.models.initializers import DCGAN, Initialization

LATENT_SIZE = 4
BATCH_NORM = functools.partial(
  normalization.batch, decay=0.9, epsilon=1e-5, axis_name=None, gains=DCGAN.gains, dtype=jnp.float32
)
# Large enough that no difference hides.
LARGE = Initialization(weights=nn.initializers.variance_scaling(1.0, 'fan_in', 'normal'), gains=DCGAN.gains)
OPTIONS = {'kernel_size': 3, 'activation': nn.relu, 'norm': BATCH_NORM, 'bias': True, 'initialization': LARGE}


def generator(shape=(8, 8, 3), widths=(4, 3), strides=(2, 2), **options):
  return residual.Generator(shape, widths, strides, **OPTIONS | options)


def discriminator(widths=(3, 4, 4), strides=(2, 2, 1), **options):
  return residual.Discriminator(widths, strides, **OPTIONS | {'norm': None} | options)


def values(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


def shaken(variables):
  """Biases and gains away from zeros and ones."""
  random = np.random.default_rng(1)
  noisy = jax.tree.map(lambda leaf: leaf + np.float32(0.3 * random.normal(size=leaf.shape)), variables['params'])
  return {**variables, 'params': noisy}


def initialize(network, x, **options):
  return jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), x, **options)


def trained(network):
  """(variables, inputs) -> (outputs, updated statistics) in training mode."""
  return jax.jit(functools.partial(network.apply, train=True, mutable=['batch_stats']))


def keys(x):
  return jax.random.split(jax.random.key(1), len(x))


def parameters(network, *inputs, **options):
  return jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), *inputs, **options)['params']


def count(params):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def test_cifar_generator_has_the_parameters_of_table_4():
  """By hand: 4,276,739 with a bias in every layer, of which the normalisations would undo those of the blocks.

  A block with biases: 2 (9 * 256^2 + 256) + 256^2 + 256 and 4 * 256 of the normalisations, 1,246,976. Three of them,
  128 * 4096 + 4096 of the projection, 512 of the last normalisation and 9 * 256 * 3 + 3 of the last layer.
  """
  everything = 3 * 1_246_976 + 528_384 + 512 + 6_915
  assert everything == 4_276_739
  network = functools.partial(generator, (32, 32, 3), (256,) * 3, (2,) * 3)
  z = jnp.zeros((1, 128))
  undone_biases, gains_and_biases = 3 * 3 * 256, 7 * 512
  assert count(parameters(network(), z)) == everything - undone_biases
  assert count(parameters(network(norm=None), z)) == everything - gains_and_biases


def test_cifar_discriminator_has_the_parameters_of_table_4():
  """By hand: a 3x3 convolution of 128 to 128 channels has 147,584, a 1x1 one 16,512."""
  first = (9 * 3 * 128 + 128) + 147_584 + (3 * 128 + 128)
  expected = first + (2 * 147_584 + 16_512) + 2 * (2 * 147_584) + (128 + 1)
  assert expected == 1_053_825
  x = jnp.zeros((1, 32, 32, 3))
  assert count(parameters(discriminator((128,) * 4, (2, 2, 1, 1)), x, keys=keys(x))) == expected


@pytest.mark.parametrize(
  'shape, strides', [((16, 1), (4, 2)), ((8, 12, 3), (2, 2)), ((6, 6, 3), (1, 3)), ((4, 8, 8, 2), (2, 2))]
)
def test_both_networks_reach_every_size_in_one_two_or_three_dimensions(shape, strides, key):
  make, judge = generator(shape, (4, 3), strides), discriminator((3, 4), strides)
  x, _ = jax.eval_shape(functools.partial(make.init_with_output, train=False), key, jnp.zeros((2, LATENT_SIZE)))
  (logits, features), _ = jax.eval_shape(
    functools.partial(judge.init_with_output, train=False), key, jnp.zeros((2, *shape)), keys=keys(range(2))
  )
  assert (x.shape, x.dtype) == ((2, *shape), jnp.float32)
  assert (logits.shape, logits.dtype) == ((2,), jnp.float32)
  sizes = [[size // math.prod(strides[: i + 1]) for size in shape[:-1]] for i in range(2)]
  assert [layer.shape for layer in features] == [(2, *sizes[0], 3), (2, *sizes[1], 4)]


def test_sizes_that_the_strides_do_not_reach_are_refused():
  with pytest.raises(ConfigError, match='reach multiples of 4'):
    parameters(generator((10, 10, 3)), jnp.zeros((1, LATENT_SIZE)))
  with pytest.raises(ConfigError, match='reach multiples of 4'):
    x = jnp.zeros((1, 10, 10, 3))
    parameters(discriminator(), x, keys=keys(x))


def convolution(params, x):
  kernel = params['kernel']
  y = lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return y + params.get('bias', np.zeros(kernel.shape[-1])).reshape(1, 1, 1, -1)


def doubled(x):
  return x.repeat(2, axis=1).repeat(2, axis=2)


def halved(x):
  return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def relu(x):
  return np.maximum(x, 0)


def test_generator_without_normalization_equals_the_paper_written_out():
  z, network = values(3, LATENT_SIZE), generator(norm=None)
  variables = shaken(initialize(network, z))
  params = variables['params']
  x = (z @ params['projection']['kernel'] + params['projection']['bias'].reshape(1, -1)).reshape(-1, 2, 2, 4)
  for i in range(2):
    block = params[f'block_{i}']
    h = convolution(block['conv_1'], relu(convolution(block['conv_0'], doubled(relu(x)))))
    x = h + convolution(block['shortcut'], doubled(x))
  expected = np.tanh(convolution(params['output'], relu(x)))
  assert_allclose(jax.jit(functools.partial(network.apply, train=True))(variables, z), expected, rtol=1e-4, atol=1e-5)


def test_discriminator_equals_the_paper_written_out():
  x, network = values(3, 8, 8, 2), discriminator()
  variables = shaken(initialize(network, x, keys=keys(x)))
  (logits, features), _ = trained(network)(variables, x, keys=keys(x))
  params = variables['params']
  first, second, third = (params[f'block_{i}'] for i in range(3))
  h = halved(convolution(first['conv_1'], relu(convolution(first['conv_0'], x))))
  one = h + convolution(first['shortcut'], halved(x))
  h = halved(convolution(second['conv_1'], relu(convolution(second['conv_0'], relu(one)))))
  two = h + halved(convolution(second['shortcut'], one))
  three = convolution(third['conv_1'], relu(convolution(third['conv_0'], relu(two)))) + two
  expected = relu(three).sum((1, 2)) @ params['output']['kernel'] + params['output']['bias'].reshape(1, -1)
  assert 'shortcut' not in third
  assert_allclose(logits, expected[:, 0], rtol=1e-4, atol=1e-5)
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-4, atol=1e-5), features, (one, two, three))


def block(width, enlarge, shrink):
  shared = {'activation': nn.relu, 'initialization': LARGE, 'spectral_norm': False, 'dtype': jnp.float32}
  return residual.Block(
    width, 3, enlarge, shrink, norm=None, starts_with_activation=True, inner_bias=True, outer_bias=True, **shared
  )


def silenced(network, x):
  """The output and the parameters of a block whose convolutions are zero."""
  params = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), x, None)['params']
  for name in ('conv_0', 'conv_1'):
    params[name]['kernel'] *= 0.0
  return jax.jit(functools.partial(network.apply, train=True))({'params': params}, x, None), params


def test_block_of_zero_convolutions_is_its_shortcut():
  x = values(2, 4, 4, 3)
  y, _ = silenced(block(3, 1, 1), x)
  assert_array_equal(y, x)
  for resampled, sizes in ((doubled(x), (2, 1)), (halved(x), (1, 2)), (x, (1, 1))):
    y, params = silenced(block(5, *sizes), x)
    assert_allclose(y, convolution(params['shortcut'], resampled), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('norm', [BATCH_NORM, None], ids=['batch', 'none'])
def test_every_parameter_of_the_generator_gets_a_finite_gradient(norm):
  z, network = values(8, LATENT_SIZE), generator(norm=norm)
  variables, target = initialize(network, z), values(8, 8, 8, 3)

  def loss(params):
    return (network.apply({**variables, 'params': params}, z, train=True, mutable=['batch_stats'])[0] * target).mean()

  for path, gradient in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables['params'])):
    # A bias that a normalisation undoes would be left with rounding errors, around 1e-9.
    assert jnp.isfinite(gradient).all(), path
    assert jnp.abs(gradient).max() > 1e-5, path


@pytest.mark.parametrize('norm', [BATCH_NORM, None], ids=['batch', 'none'])
def test_every_parameter_of_the_discriminator_gets_a_finite_gradient(norm):
  x, network = values(8, 8, 8, 3), discriminator(norm=norm)
  variables = initialize(network, x, keys=keys(x))

  def loss(params):
    variables_ = {**variables, 'params': params}
    return (network.apply(variables_, x, train=True, keys=keys(x), mutable=['batch_stats'])[0][0] * values(8)).mean()

  for path, gradient in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables['params'])):
    assert jnp.isfinite(gradient).all(), path
    assert jnp.abs(gradient).max() > 1e-5, path


def test_discriminator_normalizes_every_block_but_its_first():
  x = values(2, 8, 8, 3)
  params = parameters(discriminator(norm=BATCH_NORM), x, keys=keys(x))
  norms = {name: {inner for inner in leaves if inner.startswith('norm')} for name, leaves in params.items()}
  both = {'norm_0', 'norm_1'}
  assert norms == {'block_0': set(), 'block_1': both, 'block_2': both, 'output': set()}


def test_training_normalizes_by_the_batch_and_sampling_by_what_training_moved():
  z, network = values(3, LATENT_SIZE), generator()
  variables = initialize(network, z)
  generate = jax.jit(functools.partial(network.apply, train=False))
  train = trained(network)
  images, moved = train(variables, z)
  changes = jax.tree.map(lambda old, new: jnp.abs(old - new).max(), variables['batch_stats'], moved['batch_stats'])
  assert min(jax.tree.leaves(changes)) > 1e-3
  for _ in range(200):
    _, moved = train({**variables, **moved}, z)
  assert jnp.abs(generate(variables, z) - images).max() > 0.05
  assert_allclose(generate({**variables, **moved}, z), images, rtol=1e-2, atol=1e-3)


def test_every_kernel_of_both_networks_has_its_spectral_norm():
  z, x = values(2, LATENT_SIZE), values(2, 8, 8, 3)
  for network, inputs, options in (
    (generator(spectral_norm=True), z, {}),
    (discriminator(spectral_norm=True), x, {'keys': keys(x)}),
  ):
    variables = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), inputs, **options)
    names = [path[-1].key for path, _ in jax.tree.leaves_with_path(variables)]
    kernels, norms = (sum(name.endswith(end) for name in names) for end in ('kernel', 'kernel/sigma'))
    assert kernels == norms > 7


def test_constrained_discriminator_ignores_the_size_of_its_kernels():
  x, network = values(3, 8, 8, 3), discriminator(spectral_norm=True)
  variables = initialize(network, x, keys=keys(x))
  larger = jax.tree.map(lambda leaf: leaf * 3.0 if leaf.ndim > 1 else leaf, variables['params'])
  judge = trained(network)
  one, other = (
    judge({**variables, 'params': params}, x, keys=keys(x))[0][0] for params in (variables['params'], larger)
  )
  assert_allclose(one, other, rtol=1e-4)


def test_labels_reach_the_sums_over_space_and_every_conditional_normalization():
  x, labels = values(3, 8, 8, 3), jnp.array([0, 1, 1])
  seen = []

  def at_output(h, labels, *, train):
    seen.append((h, labels, train))
    return jnp.full(len(h), 10.0)

  free = discriminator()
  network = free.clone(conditioning=conditional.UNCONDITIONAL._replace(at_output=at_output))
  variables = initialize(free, x, keys=keys(x))
  (logits, features), _ = trained(free)(variables, x, keys=keys(x))
  raised, _ = network.apply(variables, x, labels, train=True, keys=keys(x))
  ((h, given, train),) = seen
  assert_allclose(raised, logits + 10.0, rtol=1e-5)
  assert_allclose(h, relu(features[-1]).sum((1, 2)), rtol=1e-5)
  assert (given is labels, train) == (True, True)


def test_every_conditional_normalization_of_the_generator_uses_the_labels_gain_and_no_others():
  norm = functools.partial(normalization.conditional_batch, num_classes=3, **BATCH_NORM.keywords)
  z, labels, network = values(3, LATENT_SIZE), jnp.array([1, 1, 2]), generator(norm=norm)
  variables = initialize(network, z, labels=labels)

  def first_image(params):
    images, _ = network.apply({**variables, 'params': params}, z, labels, train=False, mutable=['batch_stats'])
    return (images[0] * values(8, 8, 3)).sum()

  gradients = jax.jit(jax.grad(first_image))(variables['params'])
  tables = [leaf for path, leaf in jax.tree.leaves_with_path(gradients) if path[-2].key.endswith('_gain')]
  assert len(tables) == 5
  for table in tables:
    assert_array_equal(jnp.abs(table).max(1) > 0, [False, True, False])


@pytest.mark.parametrize(
  'layer',
  [
    functools.partial(minibatch.standard_deviation, mean=lambda value: value),
    functools.partial(minibatch.discrimination, gather=lambda x: x, num_kernels=2, kernel_dim=2),
  ],
)
def test_minibatch_layer_lets_a_logit_depend_on_the_other_examples(layer):
  x, network = values(3, 8, 8, 3), discriminator(minibatch=layer)
  variables = initialize(network, x, keys=keys(x))
  company, judge = np.concatenate([x[:1], 2.0 * x[1:]]), trained(network)
  one, other = (judge(variables, batch, keys=keys(x))[0][0] for batch in (x, company))
  variables['params']['output']['kernel'] *= (jnp.arange(len(variables['params']['output']['kernel'])) < 4)[:, None]
  alone, same = (judge(variables, batch, keys=keys(x))[0][0] for batch in (x, company))
  assert abs(one[0] - other[0]) > 1e-4
  # Without what the layer appended to the four sums over space.
  assert_allclose(alone[0], same[0], rtol=1e-5)


def test_half_precision_is_for_activations_alone(key):
  z, x = values(2, LATENT_SIZE), values(2, 8, 8, 3)
  make, judge = generator(dtype=jnp.bfloat16), discriminator(dtype=jnp.bfloat16)
  images, made = jax.eval_shape(functools.partial(make.init_with_output, train=False), key, z)
  (logits, features), judged = jax.eval_shape(
    functools.partial(judge.init_with_output, train=False), key, x, keys=keys(x)
  )
  assert (images.dtype, logits.dtype, features[0].dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves((made, judged))} == {jnp.dtype('float32')}
