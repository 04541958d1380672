"""Configs and files that nobody thought of: each works, or is refused in one line. FUZZ=5000 draws more than CI."""

import functools
import io
import os

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.building import game as build_game
from dcgan_jax.building import model as build_model
from dcgan_jax.building.rules import flatten, validate
from dcgan_jax.data import arrays
from dcgan_jax.errors import CheckpointError, ConfigError, DataError
from dcgan_jax.exporting import export, tensors
from dcgan_jax.games import parallel, step
from dcgan_jax.kinds import image as images
from dcgan_jax.metrics.inception_weights import load_weights

NUMBER = int(os.environ.get('FUZZ', 300))
SETTINGS = settings(
  max_examples=NUMBER, deadline=None, derandomize=NUMBER == 300, suppress_health_check=list(HealthCheck), database=None
)
SMALL = {'data.source': 'digits', 'data.image_size': 8, 'batch_size': 4, 'steps': 20}
SMALL |= {'generator.widths': (4, 2), 'discriminator.widths': (2, 4), 'generator.latent_size': 3}
WIDTHS = [(4,), (2, 4), (3, 2, 2), (), (0,), 'x']
NORMALIZATIONS = [*build_model.NORMALIZATIONS, 'nope']
OPTIMIZERS = [*build_model.OPTIMIZERS, 'nope']
NUMBERS = [0, 0.0, 0.1, 0.5, 1, 1.0, 2, 10.0, -1, float('nan'), None]
# What a key may be given; a key that is not here takes one of NUMBERS.
VALUES = {
  'precision': ['float32', 'bfloat16', 'float16'],
  'data.source': ['digits', 'digits:x', 'npz:nothing.npz', 'folder:nothing', 'tfds:nothing', 'x'],
  'data.split': ['train', 'test'],
  'data.dir': [None, '/nowhere'],
  'data.image_size': [None, 8, 16, 7, 4, 0],
  'data.crop': [None, 8, 6],
  'data.channels': [1, 3, 2],
  'data.flip': [False, True],
  'generator.name': [*build_model.GENERATORS, 'nope'],
  'generator.latents': [*build_model.LATENTS, 'nope'],
  'generator.widths': WIDTHS,
  'discriminator.widths': WIDTHS,
  'generator.strides': [None, (2, 2), (1, 2), (2, 1), (4,), (3, 3)],
  'discriminator.strides': [None, (2, 2), (1, 2), (2, 1), (4,), (3, 3)],
  'generator.kernel_size': [1, 2, 3, 4, 5, (4, 3), (3, 5, 2), 'x'],
  'discriminator.kernel_size': [1, 2, 3, 4, 5, (4, 3), (3, 5, 2), 'x'],
  'generator.normalization': NORMALIZATIONS,
  'discriminator.normalization': NORMALIZATIONS,
  'generator.norm_before_reshape': [False, True],
  'generator.bias': [False, True],
  'discriminator.bias': [False, True],
  'discriminator.name': [*build_model.DISCRIMINATORS, 'nope'],
  'generator.optimizer.name': OPTIMIZERS,
  'discriminator.optimizer.name': OPTIMIZERS,
  'initialization': [*build_model.INITIALIZATIONS, 'nope'],
  'loss': [*build_game.LOSSES, 'nope'],
  'reuse_fakes': [False, True],
  'tricks.spectral_norm': [(), ('discriminator',), ('generator', 'discriminator'), ('x',)],
  'tricks.minibatch': [*build_model.MINIBATCHES, 'nope'],
  'tricks.augment': [(), *[(name,) for name in build_game.AUGMENTATIONS], ('color', 'cutout'), ('x',)],
  'tricks.decay': [*build_model.DECAYS, 'nope'],
  'tricks.upsampling': [*build_model.UPSAMPLINGS, 'nope'],
  'tricks.generator_labels': [*build_model.GENERATOR_LABELS, 'nope'],
  'tricks.discriminator_labels': [*build_model.DISCRIMINATOR_LABELS, 'nope'],
  'evaluation.features': ['self', '768'],
  'evaluation.weights': [None, 'nothing.npz'],
  'evaluation.reference': ['train', 'test'],
  'evaluation.stop_on_collapse': [False, True],
}
KEYS = sorted(dict(flatten(cifar10.reference().to_dict())))
# Keys that switch parts of the program on are drawn as often as all others together.
SWITCHES = sorted(key for key in VALUES if not key.startswith(('data.', 'evaluation.')))
CHANGES = st.dictionaries(
  st.one_of(st.sampled_from(SWITCHES), st.sampled_from(KEYS)), st.integers(0, 10**6), min_size=1, max_size=5
)


def _config(changes):
  config = cifar10.reference()
  values = {key: VALUES.get(key, NUMBERS) for key in changes}
  values = {key: options[changes[key] % len(options)] for key, options in values.items()}
  for key, value in (SMALL | values).items():
    *groups, name = key.split('.')
    group = functools.reduce(lambda tree, part: tree[part], groups, config)
    with group.ignore_type():
      group[name] = value
  return config.lock()


def _play(config, *, compiled):
  """Two steps as launch.py takes them; traced alone unless compiled."""
  validate(config.to_dict())
  devices = jax.devices()[:1]
  source = build_data.build_source(config)
  model = build_model.build_model(config, source.shape, source.classes)
  game = build_game.build_game(config, model)
  feeder = build_data.build_feeder(config, source, share=slice(None))
  update = parallel.compile_update(
    functools.partial(step.train_step, game=game), feeder.gather, steps_per_call=2, devices=devices
  )
  block = feeder.block(0, 2, 2)
  feeder.close()
  if compiled:
    state, data, key = parallel.replicate(
      (jax.jit(model.create)(jax.random.key(0)), feeder.data, jax.random.key(1)), devices
    )
    state, _ = update(state, block, 2, data, key)
    assert int(state.step) == 2
  else:
    state = jax.eval_shape(model.create, jax.random.key(0))
    played, _ = jax.eval_shape(lambda state: update(state, block, 2, feeder.data, jax.random.key(1)), state)
    assert jax.tree.structure(played) == jax.tree.structure(state)


def _outcome(changes, *, compiled):
  try:
    _play(_config(changes), compiled=compiled)
    return 'plays'
  except (ConfigError, DataError) as error:
    assert '\n' not in str(error)
    assert len(str(error)) < 900
    return 'refused'


@pytest.mark.slow
def test_any_config_plays_or_is_refused_in_one_line():
  outcomes = {'plays': 0, 'refused': 0}

  @SETTINGS
  @given(CHANGES)
  def check(changes):
    outcomes[_outcome(changes, compiled=False)] += 1

  check()
  print(outcomes)
  # Neither is the rule that hides the other.
  assert min(outcomes.values()) > NUMBER / 10


@pytest.mark.slow
@settings(SETTINGS, max_examples=NUMBER // 30)
@given(CHANGES)
def test_configs_train_two_steps_or_are_refused(changes):
  _outcome(changes, compiled=True)


def _damaged(content, damage):
  """Bytes with some cut off, changed and put in between."""
  content = bytearray(content)
  for place, byte, kind in damage:
    i = place % (len(content) + 1)
    if kind == 'cut':
      del content[i:]
    elif kind == 'insert':
      content[i:i] = bytes([byte])
    elif i < len(content):
      content[i] = byte
  return bytes(content)


DAMAGE = st.lists(
  st.tuples(st.integers(0, 2**20), st.integers(0, 255), st.sampled_from(['change', 'change', 'insert', 'cut'])),
  min_size=1, max_size=6,
)  # fmt: skip


def _encoded(kind):
  stream = io.BytesIO()
  pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
  Image.fromarray(pixels).save(stream, kind)
  return stream.getvalue()


@pytest.mark.parametrize('kind', ['BMP', 'GIF', 'JPEG', 'PNG', 'TIFF', 'WEBP'])
@pytest.mark.filterwarnings('ignore')  # Pillow's opinion of what it reads
@SETTINGS
@given(damage=DAMAGE, noise=st.binary(max_size=200), use_noise=st.booleans())
def test_any_bytes_are_an_image_or_a_data_error(kind, damage, noise, use_noise):
  try:
    image = images.read(noise if use_noise else _damaged(_encoded(kind), damage))
    assert (image.dtype, image.shape[-1]) == (np.uint8, 3)
  except DataError as error:
    assert '\n' not in str(error)


def _npz():
  stream = io.BytesIO()
  np.savez_compressed(stream, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4))
  return stream.getvalue()


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  return tmp_path_factory.mktemp('fuzz') / 'file.npz'


@SETTINGS
@given(damage=DAMAGE, noise=st.binary(max_size=200), use_noise=st.booleans())
def test_any_bytes_are_an_npz_or_a_data_error(file, damage, noise, use_noise):
  file.write_bytes(noise if use_noise else _damaged(_npz(), damage))
  try:
    assert arrays.open_npz(file, split='train', image_size=None).examples.dtype == np.uint8
  except DataError as error:
    assert '\n' not in str(error)


@SETTINGS
@given(damage=DAMAGE, noise=st.binary(max_size=200), use_noise=st.booleans())
def test_any_bytes_as_inception_weights_are_a_data_error(file, damage, noise, use_noise):
  file.write_bytes(noise if use_noise else _damaged(_npz(), damage))
  with pytest.raises(DataError) as error:
    load_weights(file)
  assert '\n' not in str(error.value)


@SETTINGS
@given(damage=DAMAGE, noise=st.binary(max_size=200), use_noise=st.booleans())
def test_any_bytes_as_weights_of_an_export_are_that_or_a_checkpoint_error(file, damage, noise, use_noise):
  networks = {'generator': {'params': {'kernel': np.ones((3, 4), np.float32)}}}
  path = file.with_name(export.WEIGHTS)
  said = {'format': export.FORMAT, 'version': export.VERSION, 'step': '7', 'generator': 'averaged'}
  tensors.write(path, dict(zip(export.tensor_names(networks), jax.tree.leaves(networks), strict=True)), said)
  path.write_bytes(noise if use_noise else _damaged(path.read_bytes(), damage))
  try:
    read = export.read(path.parent, networks, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert jax.tree.map(np.shape, read.variables) == jax.tree.map(np.shape, networks)
  except CheckpointError as error:
    assert '\n' not in str(error)
    assert len(str(error)) < 900
