"""The Inception network against torch-fidelity's, and against numbers recorded from it where PyTorch is missing."""

import functools
import importlib.util
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics import inception, inception_weights

DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
REAL_WEIGHTS = DATA / 'inception' / 'inception_2015_12_05_to_mixed_7.npz'
DEPTHS = list(inception.LAYERS)
SHAPES = {'colour, odd size': (2, 53, 37, 3), 'grey': (1, 28, 28, 1)}


@functools.cache
def compiled(depth):
  return jax.jit(inception.InceptionV3(depth).apply)


def features(params, images, depth):
  return compiled(depth)({'params': params}, images)


def random_images(shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope='module')
def params():
  """Random folded parameters, the same whatever the version of JAX."""
  draw = np.random.default_rng(0)
  layers = {}
  for group in inception.LAYERS.values():
    for name, shape in group.items():
      scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
      layers[name] = {'kernel': draw.standard_normal(shape, np.float32) * scale}
      if name != 'logits':
        layers[name]['bias'] = draw.standard_normal(shape[-1:], np.float32) * np.float32(0.1)
  return layers


@pytest.fixture(scope='module')
def torch_fidelity():
  """torch-fidelity's extractor and torch; the module alone, for the package imports torchvision."""
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  spec = importlib.util.find_spec('torch_fidelity')
  if spec is None:
    pytest.skip('torch-fidelity is not installed')
  package = types.ModuleType('torch_fidelity')
  package.__path__ = list(spec.submodule_search_locations)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, 'torch_fidelity', package)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
  return torch, FeatureExtractorInceptionV3


def extractor(torch_fidelity, directory, names, change):
  """torch-fidelity's network, `change`d after creation, and the file of its weights."""
  torch, network = torch_fidelity

  class Untrained(network):
    def load_state_dict(self, state):
      pass

  torch.save({}, directory / 'weights.pth')
  theirs = Untrained('any', names, feature_extractor_weights_path=str(directory / 'weights.pth'))
  with torch.no_grad():
    for name, module in theirs.named_modules():
      if hasattr(module, 'bn'):
        change(name, module)
  torch.save(theirs.state_dict(), directory / 'weights.pth')
  return theirs, directory / 'weights.pth'


def describe(torch_fidelity, network, images):
  """Their features of uint8 images [B, H, W, C]."""
  torch, _ = torch_fidelity
  colour = np.broadcast_to(images, (*images.shape[:3], 3)).transpose(0, 3, 1, 2)
  with torch.no_grad():
    return [output.numpy() for output in network(torch.tensor(colour.copy()))]


@pytest.fixture(scope='module')
def random_extractor(torch_fidelity, tmp_path_factory):
  torch, _ = torch_fidelity
  torch.manual_seed(0)

  def randomise(_, module):
    torch.nn.init.kaiming_normal_(module.conv.weight)
    module.bn.weight.uniform_(0.5, 1.5)
    module.bn.bias.normal_(0, 0.3)
    module.bn.running_mean.normal_(0, 0.3)
    module.bn.running_var.uniform_(0.5, 2)

  names = [*DEPTHS[:-1], 'logits_unbiased']
  return extractor(torch_fidelity, tmp_path_factory.mktemp('random'), names, randomise)


@pytest.mark.slow
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_every_depth_equals_torch_fidelity_with_its_weights_file(torch_fidelity, random_extractor, shape):
  network, file = random_extractor
  images = random_images(shape)
  ours = features(inception_weights.load_weights(file).params, images, 'logits')
  for depth, theirs in zip(DEPTHS, describe(torch_fidelity, network, images), strict=True):
    assert_allclose(ours[depth], theirs, rtol=1e-4, atol=3e-6 * np.abs(theirs).max(), err_msg=depth)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_WEIGHTS.exists(), reason='no Inception weights in ../shared/data')
def test_real_weights_describe_cifar10_as_torch_fidelity_does(torch_fidelity, tmp_path):
  torch, _ = torch_fidelity
  params = inception_weights.load_weights(REAL_WEIGHTS).params

  def load(torch_name, module):
    layer = params.get(inception_weights._layer_name(torch_name))
    if layer:
      module.conv.weight.copy_(torch.tensor(layer['kernel'].transpose(3, 2, 0, 1).copy()))
      module.bn.bias.copy_(torch.tensor(layer['bias']))
      module.bn.running_var.fill_(1 - module.bn.eps)

  network, _ = extractor(torch_fidelity, tmp_path, DEPTHS[:3], load)
  images = cifar10_images(3)
  ours = features(params, images, '768')
  for depth, theirs in zip(DEPTHS, describe(torch_fidelity, network, images), strict=False):
    assert_allclose(ours[depth], theirs, rtol=1e-4, atol=3e-6 * np.abs(theirs).max(), err_msg=depth)


def cifar10_images(count):
  """The first test images; a sheet has 40 in a row."""
  with Image.open(DATA / 'cifar10' / 'test-00.webp') as sheet:
    return np.stack(np.split(np.asarray(sheet.convert('RGB'))[:32, : 32 * count], count, axis=1))


# torch-fidelity 0.4.0 with torch 2.13.0 on the parameters above and the grey image: the first three features of every
# depth and the sum of the absolute values of all.
RECORDED = {
  '64': ((0.00852767564356327, 0.29631057381629944, 0.18679188191890717), 26.686010155361146),
  '192': ((0.0015190498670563102, 0.0006108807283453643, 0.09436275064945221), 112.6299699689007),
  '768': ((0.4595082998275757, 1.7034070491790771, 0.1188124418258667), 302.83528657181887),
  '2048': ((0.9839112758636475, 1.8680347204208374, 0.1586894541978836), 894.0420258667873),
  'logits': ((-0.29994022846221924, -0.9581774473190308, 0.3782784938812256), 864.8807406760752),
}


@pytest.mark.slow
def test_every_depth_equals_what_torch_fidelity_gave(params):
  ours = features(params, random_images(SHAPES['grey']), 'logits')
  for depth, (first, total) in RECORDED.items():
    assert_allclose(ours[depth][0, :3], first, rtol=1e-4, err_msg=depth)
    assert_allclose(np.abs(ours[depth]).sum(dtype=np.float64), total, rtol=1e-5, err_msg=depth)


def test_grey_images_count_as_colour_without_colour(params):
  grey = random_images((1, 9, 9, 1))
  expected = features(params, np.repeat(grey, 3, axis=-1), '64')['64']
  assert_allclose(features(params, grey, '64')['64'], expected, rtol=1e-6, atol=1e-7)


def test_features_do_not_depend_on_the_batch(params):
  images = random_images((3, 9, 9, 3))
  one_by_one = [features(params, image[None], '64')['64'][0] for image in images]
  assert_allclose(features(params, images, '64')['64'], one_by_one, rtol=1e-5, atol=1e-6)


def test_passes_of_several_images_change_nothing(params, monkeypatch):
  monkeypatch.setattr('os.cpu_count', lambda: 9)  # Passes of up to 4 images, 3 of a batch of 6.
  images = random_images((6, 9, 9, 3))
  ours = jax.jit(lambda params, images: inception.InceptionV3('64').apply({'params': params}, images))(params, images)
  assert_allclose(ours['64'], features(params, images, '64')['64'], rtol=1e-5, atol=1e-6)


def test_floats_holding_0_to_255_are_taken_like_uint8(params):
  images = random_images((1, 9, 9, 3))
  expected = features(params, images, '64')['64']
  assert_allclose(features(params, images.astype(np.float32), '64')['64'], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('depth', DEPTHS)
def test_an_output_needs_no_parameters_behind_it(depth):
  shapes = jax.eval_shape(inception.InceptionV3(depth).init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.uint8))
  needed = [name for group in DEPTHS[: DEPTHS.index(depth) + 1] for name in inception.LAYERS[group]]
  assert sorted(shapes['params']) == sorted(needed)
  outputs = jax.eval_shape(inception.InceptionV3(depth).apply, shapes, np.zeros((5, 8, 8, 1), np.uint8))
  widths = {'64': 64, '192': 192, '768': 768, '2048': 2048, 'logits': 1008}
  assert {name: output.shape for name, output in outputs.items()} == {
    name: (5, widths[name]) for name in DEPTHS[: DEPTHS.index(depth) + 1]
  }


def test_the_network_has_the_convolutions_of_inception_v3():
  shapes = [shape for group in inception.LAYERS.values() for shape in group.values()]
  kernels = [shape for shape in shapes if len(shape) == 4]
  # Keras' InceptionV3 without its top has 94 of them and 21,802,784 numbers; its batch norms have three per channel.
  assert len(kernels) == 94
  assert sum(int(np.prod(shape)) + 3 * shape[-1] for shape in kernels) == 21_802_784


@pytest.mark.parametrize('height,width', [(32, 32), (28, 37), (1, 5), (299, 299), (300, 640)])
def test_resize_is_that_of_tensorflow_1(height, width):
  images = random_images((2, height, width, 3)).astype(np.float32)
  expected = resized_rows(resized_rows(images.swapaxes(1, 2), 299).swapaxes(1, 2), 299)
  assert_allclose(inception.resize(images, 299), expected, rtol=0, atol=1e-4)


def resized_rows(images, size):
  """Row i of the result is at i * H / size, in float32 as in TensorFlow; below the last row lies the last row."""
  position = np.arange(size, dtype=np.float32) * np.float32(images.shape[1] / size)
  rows = np.concatenate([images, images[:, -1:]], axis=1).astype(np.float64)
  low = np.floor(position).astype(int)
  share = (position - low).astype(np.float64)[None, :, None, None]
  return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def test_resize_keeps_an_image_of_that_size():
  images = random_images((1, 299, 299, 1)).astype(np.float32)
  assert_allclose(inception.resize(images, 299), images, rtol=0, atol=0)


def test_average_pools_leave_the_padding_out():
  ones = np.ones((1, 4, 5, 2), np.float32)
  layer = {'kernel': np.eye(2, dtype=np.float32)[None, None], 'bias': np.zeros(2, np.float32)}
  assert_allclose(inception._average_then_project(ones, layer), ones, rtol=1e-6)


def test_an_unknown_depth_names_the_known():
  with pytest.raises(ConfigError, match="Unknown depth of Inception '2084'; known: .*Did you mean '2048'?"):
    inception.InceptionV3('2084').init(jax.random.key(0), np.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize('shape', [(8, 8, 3), (1, 8, 8, 4), (1, 8, 8, 8, 1)])
def test_what_is_no_image_is_refused(shape):
  with pytest.raises(DataError, match=r'Inception takes images \[B, H, W, 1\] or \[B, H, W, 3\], not \['):
    inception.InceptionV3('64').init(jax.random.key(0), np.zeros(shape))
