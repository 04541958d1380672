"""Every config and variant is complete, small, valid and builds; presets have the sizes of their originals."""

import ast
import pathlib
import re

import jax
import pytest
import tensorflow_datasets as tfds

from dcgan_jax.building import data as build_data
from dcgan_jax.building import game as build_game
from dcgan_jax.building import model as build_model
from dcgan_jax.building.rules import flatten, validate
from dcgan_jax.errors import ConfigError

CONFIGS = pathlib.Path(__file__).parent.parent / 'configs'
SHAPES = {'digits': (16, 16, 1), 'mnist': (28, 28, 1), 'fashion_mnist': (28, 28, 1), 'cifar10': (32, 32, 3)}
SHAPES |= {'npz': (32, 32, 3), 'folder': (64, 64, 3), 'celeb_a': (64, 64, 3)}
SHAPES |= {'lsun_bedroom': (64, 64, 3), 'imagenet64': (64, 64, 3)}
# Trainable parameters of generator and discriminator.
SIZES = {
  # 3.58 M and 5.86 M, as counted in the PyTorch original.
  ('cifar10', 'sngan_cnn'): (3_575_363, 5_860_865),
  # Counted by PyTorch for examples/dcgan/main.py with its default arguments.
  ('cifar10', 'pytorch'): (3_576_704, 2_765_568),
  ('celeb_a', ''): (3_576_704, 2_765_568),
  # Keras' model.summary() of the TensorFlow tutorial: 2,330,944 and 212,865, less 25,472 moving statistics.
  ('mnist', 'tensorflow'): (2_305_472, 212_865),
}


def _load(name, variant):
  module = __import__(f'configs.{name}', fromlist=['get_config'])
  config = module.get_config(*[variant] * hasattr(module, 'VARIANTS'))
  return config.lock()


def _all():
  for path in sorted(CONFIGS.glob('*.py')):
    module = __import__(f'configs.{path.stem}', fromlist=['get_config'])
    yield from ((path.stem, variant) for variant in getattr(module, 'VARIANTS', ['']))


@pytest.mark.parametrize(('name', 'variant'), list(_all()))
def test_config_is_valid_and_its_networks_fit_its_examples(name, variant):
  config = _load(name, variant)
  validate(config.to_dict())
  shape = SHAPES[name]
  if config.data.image_size:
    shape = (config.data.image_size, config.data.image_size, shape[-1])
  model = build_model.build_model(config, shape, classes=10)
  state = jax.eval_shape(model.create, jax.random.key(0))
  build_game.build_game(config, model)
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  expected = SIZES.get((name, variant))
  assert expected in (None, (count(state.players['generator'].params), count(state.players['discriminator'].params)))


def test_the_best_generator_sees_no_labels_and_has_at_most_four_million_parameters():
  model = build_model.build_model(_load('cifar10', 'best'), (32, 32, 3), classes=10)
  state = jax.eval_shape(model.create, jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(state.players['generator'].params)) <= 4_000_000
  assert model.num_classes is None


def test_there_is_a_config_for_each_data_set_and_each_has_a_shape_here():
  assert {path.stem for path in CONFIGS.glob('*.py')} == SHAPES.keys()


def test_the_reference_has_at_most_62_keys_besides_the_tricks():
  assert len([key for key in dict(flatten(_load('cifar10', '').to_dict())) if not key.startswith('tricks.')]) <= 62


@pytest.mark.parametrize('name', sorted(SHAPES.keys() - {'cifar10'}))
def test_a_config_changes_at_most_fifteen_lines_in_a_function(name):
  tree = ast.parse((CONFIGS / f'{name}.py').read_text())
  for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
    assert len(function.body) <= 15, function.name


def test_configs_import_ml_collections_and_one_another_only():
  for path in CONFIGS.glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        assert [alias.name for alias in node.names] == ['ml_collections'], path
      if isinstance(node, ast.ImportFrom):
        assert node.module in ('configs', 'ml_collections'), path


@pytest.mark.parametrize(('name', 'variant'), [(n, v) for n, v in _all() if n not in ('digits', 'folder', 'npz')])
def test_config_reads_its_tensorflow_data_set(name, variant):
  config = _load(name, variant)
  config.batch_size = 4
  with tfds.testing.mock_data(num_examples=6):
    source = build_data.build_source(config)
    feeder = build_data.build_feeder(config, source)
    batch = feeder.gather(feeder.data, {key: rows[0] for key, rows in feeder.block(0, 1, 1).items()})
  size = config.data.image_size
  assert source.shape == (size, size, SHAPES[name][-1])
  assert batch['images'].shape == (4, *source.shape)
  assert batch['images'].dtype == 'uint8'


def test_the_discriminator_that_the_paper_probed_has_28672_pooled_features():
  model = build_model.build_model(_load('cifar10', 'feature_learning'), (32, 32, 3))
  state = jax.eval_shape(model.create, jax.random.key(0))
  x, keys = (
    jax.ShapeDtypeStruct((1, 32, 32, 3), 'float32'),
    jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1)),
  )
  judge = lambda variables, x, keys: model.discriminator.apply(variables, x, train=False, keys=keys)
  _, activations = jax.eval_shape(judge, state.players['discriminator'].variables, x, keys)
  assert all(layer.shape[1] >= 4 for layer in activations)
  assert sum(4 * 4 * layer.shape[-1] for layer in activations) == 28_672  # Radford et al. 2016, section 5.1


def test_networks_and_batches_that_cannot_fit_are_refused_with_what_can():
  config = _load('cifar10', 'plain')
  model = build_model.build_model(config, (32, 32, 3))
  # 64 x 16 x 16 + 128 x 8 x 8 + 256 x 4 x 4 activations of 4 bytes, of a real and of a fake image.
  of_image = 2 * 4 * (64 * 16**2 + 128 * 8**2 + 256 * 4**2)
  check = lambda batch_size, memory: build_model.check_memory(
    model, (32, 32, 3), batch_size=batch_size, memory=int(memory)
  )
  check(100_000, 1e12)
  with pytest.raises(ConfigError, match='batch_size is 100,000 on each device, which needs more than 23.') as error:
    check(100_000, 8e9)
  most = int(re.search(r'no batch above ([\d,]+) fits', str(error.value))[1].replace(',', ''))
  assert most * of_image < 8e9 < (most + 1000) * of_image
  with pytest.raises(ConfigError, match='give the networks smaller widths'):
    check(1, 1e6)


def test_data_that_do_not_fit_beside_the_networks_are_to_be_streamed():
  config = _load('cifar10', 'plain')
  config.data.resident_megabytes = 20_000
  model = build_model.build_model(config, (32, 32, 3))
  sized = type('Sized', (), {'shape': (32, 32, 3), '__len__': lambda self: 3_000_000})()
  needed = build_data.resident_bytes(config, sized)
  assert needed == 3_000_000 * 32 * 32 * 3
  build_model.check_memory(model, (32, 32, 3), batch_size=64, memory=int(10e9), data=needed)
  with pytest.raises(ConfigError, match=r'The data take 9.2 GB and .* 8.0 GB; set config.data.resident_megabytes to 0'):
    build_model.check_memory(model, (32, 32, 3), batch_size=64, memory=int(8e9), data=needed)
  config.data.resident_megabytes = 0
  assert build_data.resident_bytes(config, sized) == 0
