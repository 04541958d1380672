"""How labels enter a network."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.models import conditional, dcgan
from dcgan_jax.models.initializers import DCGAN

CLASSES = 4
LABELS = jnp.array([0, 3, 1, 1, 2], jnp.int32)
ON_LATENTS = {'one_hot': conditional.join_one_hot, 'multiplied': conditional.multiply_embedding}
ON_EXAMPLES = {'planes': conditional.join_planes, 'embedding': conditional.join_embedding}


class Network(nn.Module):
  """A network that is one call."""

  function: Callable

  @nn.compact
  def __call__(self, *args, **options):
    return self.function(*args, **options)


def values(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


def run(hook, x, labels=LABELS, **options):
  """(output, parameters)."""
  y, variables = Network(hook).init_with_output(jax.random.key(0), x, labels, **options)
  return y, variables.get('params', {})


def output_hook(make, spectral_norm=False):
  return make(CLASSES, initialization=DCGAN._replace(weights=nn.initializers.normal(1.0)), spectral_norm=spectral_norm)


def test_one_hot_labels_stand_beside_the_latents():
  z = values(5, 3)
  y, params = run(conditional.join_one_hot(CLASSES), z)
  assert_array_equal(y, np.concatenate([z, np.eye(CLASSES)[np.asarray(LABELS)]], axis=1))
  assert not params


def test_latents_are_multiplied_by_their_labels_row():
  z = values(5, 3)
  y, params = run(conditional.multiply_embedding(CLASSES), z)
  assert_allclose(y, z * np.asarray(params['label_embedding']['embedding'])[np.asarray(LABELS)], rtol=1e-6)


def test_multiplied_latents_keep_their_variance_at_the_start():
  table = np.asarray(run(conditional.multiply_embedding(100), values(5, 200))[1]['label_embedding']['embedding'])
  # 20,000 draws; their squares have a standard error of 0.01.
  assert abs((table**2).mean() - 1.0) < 0.04


@pytest.mark.parametrize('space', [(), (6,), (2, 3), (2, 3, 2)], ids=len)
def test_label_planes_follow_the_channels(space):
  x = values(5, *space, 2)
  y, params = run(conditional.join_planes(CLASSES), x)
  expected = np.zeros((5, *space, CLASSES), np.float32)
  for i, label in enumerate(LABELS):
    expected[i, ..., label] = 1.0
  assert_array_equal(y, np.concatenate([x, expected], axis=-1))
  assert not params


@pytest.mark.parametrize('space', [(6,), (2, 3), (2, 3, 2)], ids=len)
def test_learned_image_of_the_label_is_one_more_channel(space):
  x = values(5, *space, 2)
  y, params = run(conditional.join_embedding(CLASSES), x)
  table = np.asarray(params['label_embedding']['embedding'])
  assert table.shape == (CLASSES, np.prod(space))
  for i, label in enumerate(LABELS):
    assert_array_equal(y[i], np.concatenate([x[i], table[label].reshape(*space, 1)], axis=-1))


def test_projection_is_the_inner_product_with_the_labels_vector():
  h = values(5, 6)
  y, params = run(output_hook(conditional.project), h, train=False)
  table = np.asarray(params['label_projection']['embedding'])
  assert table.shape == (CLASSES, 6)
  assert_allclose(y, [h[i] @ table[label] for i, label in enumerate(LABELS)], rtol=1e-5)


def test_constrained_projection_is_divided_by_the_tables_largest_singular_value():
  h, network = values(5, 6), Network(output_hook(conditional.project, spectral_norm=True))
  variables = network.init(jax.random.key(0), h, LABELS, train=False)
  step = jax.jit(lambda variables: network.apply(variables, h, LABELS, train=True, mutable=['batch_stats']))
  for _ in range(200):
    y, moved = step(variables)
    variables = {**variables, **moved}
  table = np.asarray(variables['params']['label_projection']['embedding'])
  largest = np.linalg.svd(table, compute_uv=False)[0]
  assert_allclose(y, [h[i] @ table[label] / largest for i, label in enumerate(LABELS)], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('spectral_norm', [False, True])
def test_class_logits_leave_by_the_auxiliary_collection_and_add_nothing_to_the_logits(spectral_norm):
  h, network = values(5, 6), Network(output_hook(conditional.classify, spectral_norm))
  variables = network.init(jax.random.key(0), h, LABELS, train=False)
  y, updated = network.apply(variables, h, LABELS, train=False, mutable=['auxiliary', 'batch_stats'])
  head = variables['params']['classifier']['output']
  kernel = np.asarray(head['kernel'])
  if spectral_norm:
    # One iteration from the vector that initialisation drew.
    (u,) = (leaf for leaf in jax.tree.leaves(variables['batch_stats']) if leaf.ndim == 2)
    v = kernel @ np.ravel(u)
    v /= np.linalg.norm(v)
    kernel = kernel / np.linalg.norm(v @ kernel)
  assert_array_equal(y, np.zeros(5))
  assert_allclose(updated['auxiliary']['classifier']['class_logits'], h @ kernel + np.asarray(head['bias']), rtol=1e-5)


def test_class_logits_do_not_depend_on_the_labels_and_need_none():
  h, network = values(5, 6), Network(output_hook(conditional.classify))
  variables = network.init(jax.random.key(0), h, LABELS, train=False)
  logits = [
    network.apply(variables, h, labels, train=False, mutable=['auxiliary'])[1]
    for labels in (LABELS, LABELS[::-1], None)
  ]
  jax.tree.map(assert_array_equal, logits[0], logits[1])
  jax.tree.map(assert_array_equal, logits[0], logits[2])


def test_a_caller_who_does_not_ask_for_class_logits_gets_none():
  h, network = values(5, 6), Network(output_hook(conditional.classify))
  variables = network.init(jax.random.key(0), h, LABELS, train=False)
  params = {'params': variables['params']}
  assert_array_equal(network.apply(params, h, LABELS, train=False), np.zeros(5))


def only_change_of_label_2(outputs, others):
  changed = np.abs(np.asarray(outputs) - np.asarray(others)).reshape(len(LABELS), -1).max(1) > 0
  assert_array_equal(changed, np.arange(len(LABELS)) == 2)


@pytest.mark.parametrize('make', ON_LATENTS.values(), ids=ON_LATENTS)
def test_a_label_changes_the_generators_image_of_its_example_alone(make, key):
  conditioning = conditional.UNCONDITIONAL._replace(at_input=make(CLASSES))
  network = dcgan.Generator((4, 4, 1), (2,), (2,), 4, nn.tanh, None, False, True, DCGAN, conditioning=conditioning)
  z = values(5, 3)
  variables = jax.jit(functools.partial(network.init, train=False))(key, z, LABELS)
  generate = jax.jit(functools.partial(network.apply, train=True))
  images = [generate(variables, z, labels) for labels in (LABELS, LABELS.at[2].set(3))]
  only_change_of_label_2(*images)


@pytest.mark.parametrize(
  'hooks',
  [
    *({'at_input': make(CLASSES)} for make in ON_EXAMPLES.values()),
    *({'at_output': output_hook(conditional.project, spectral_norm)} for spectral_norm in (False, True)),
  ],
  ids=[*ON_EXAMPLES, 'projection', 'constrained_projection'],
)
def test_a_label_changes_the_discriminators_logit_of_its_example_alone(hooks, key):
  conditioning = conditional.UNCONDITIONAL._replace(**hooks)
  network = dcgan.Discriminator((2,), (2,), 4, nn.leaky_relu, None, 0.0, True, DCGAN, conditioning=conditioning)
  x, keys = values(5, 4, 4, 1), jax.random.split(key, 5)
  variables = jax.jit(functools.partial(network.init, train=False))(key, x, LABELS, keys=keys)
  judge = jax.jit(functools.partial(network.apply, train=True, mutable=['batch_stats']))
  both = [judge(variables, x, labels, keys=keys)[0][0] for labels in (LABELS, LABELS.at[2].set(3))]
  only_change_of_label_2(*both)


def test_unconditional_hooks_change_nothing():
  h = values(5, 6)
  assert conditional.UNCONDITIONAL.at_input(h, None) is h
  assert_array_equal(conditional.UNCONDITIONAL.at_output(h, None, train=True), np.zeros(5))
