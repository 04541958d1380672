"""Networks in the layout of the PyTorch DCGAN example compute what PyTorch computes, both ways."""

import functools

import jax
import numpy as np
import pytest

from configs import cifar10
from dcgan_jax import cli
from dcgan_jax.building import model as build_model
from dcgan_jax.commands.import_torch import import_torch
from dcgan_jax.errors import CheckpointError, ConfigError
from dcgan_jax.exporting import export, tensors, torch_layout
from dcgan_jax.games.state import ExportedState
from dcgan_jax.run import Run, load

SHAPE = (64, 64, 3)
WIDTHS = (16, 8, 12, 4)
LATENT_SIZE = 7


def _config(**changes):
  config = cifar10.get_config('pytorch')
  config.generator.update(widths=WIDTHS, latent_size=LATENT_SIZE)
  config.discriminator.update(widths=WIDTHS[::-1])
  for key, value in changes.items():
    group, name = key.split('__')
    with config[group].ignore_type():
      config[group][name] = value
  return config


def _random(tree, seed=0):
  """Values of the size of trained ones; variances stay positive."""
  rng = np.random.default_rng(seed)
  leaves, structure = jax.tree.flatten(tree)
  values = [(0.3 * rng.normal(size=leaf.shape)).astype(np.float32) for leaf in leaves]
  tree = jax.tree.unflatten(structure, values)
  return jax.tree.map_with_path(lambda path, x: np.abs(x) + 0.5 if path[-1].key in ('var', 'scale') else x, tree)


def _run(**changes):
  config = _config(**changes)
  model = build_model.build_model(config, SHAPE)
  variables = _random(jax.eval_shape(model.create, jax.random.key(0)).variables)
  return Run(config, model, ExportedState(123, variables), SHAPE)


@pytest.fixture(scope='module')
def run():
  return _run()


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch')


def _example(nn, *, bias=False):
  """The two networks of pytorch/examples/dcgan/main.py at other widths, each in a module as `main`."""
  up = functools.partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
  down = functools.partial(nn.Conv2d, kernel_size=4, stride=2, padding=1)
  a, b, c, d = WIDTHS
  generator = nn.Sequential(
    nn.ConvTranspose2d(LATENT_SIZE, a, 4, 1, 0, bias=False), nn.BatchNorm2d(a), nn.ReLU(True),
    up(a, b, bias=False), nn.BatchNorm2d(b), nn.ReLU(True),
    up(b, c, bias=False), nn.BatchNorm2d(c), nn.ReLU(True),
    up(c, d, bias=False), nn.BatchNorm2d(d), nn.ReLU(True),
    up(d, 3, bias=bias), nn.Tanh(),
  )  # fmt: skip
  discriminator = nn.Sequential(
    down(3, d, bias=bias), nn.LeakyReLU(0.2, inplace=True),
    down(d, c, bias=False), nn.BatchNorm2d(c), nn.LeakyReLU(0.2, inplace=True),
    down(c, b, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True),
    down(b, a, bias=False), nn.BatchNorm2d(a), nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(a, 1, 4, 1, 0, bias=bias), nn.Sigmoid(),
  )  # fmt: skip
  return [nn.ModuleDict({'main': network}) for network in (generator, discriminator)]


def _both(torch, run, networks):
  """Images and probabilities by PyTorch and by us, of the same z and images."""
  z = np.random.default_rng(1).normal(size=(3, LATENT_SIZE)).astype(np.float32)
  x = np.random.default_rng(2).uniform(-1, 1, (3, *SHAPE)).astype(np.float32)
  with torch.no_grad():
    generator, discriminator = (network['main'].eval() for network in networks)
    drawn = generator(torch.tensor(z)[:, :, None, None]).numpy().transpose(0, 2, 3, 1)
    judged = discriminator(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().reshape(-1)
  logits = run.discriminator(run.variables['discriminator'], x)[0]
  return (drawn, run.generate(z)), (judged, np.asarray(jax.nn.sigmoid(logits)))


def _check_equal(torch, run, networks):
  for theirs, ours in _both(torch, run, networks):
    assert theirs.std() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize('bias', [False, True])
def test_pytorch_draws_and_judges_as_the_run_that_was_exported(torch, tmp_path, bias):
  safetensors_torch = pytest.importorskip('safetensors.torch')
  run = _run(generator__bias=bias, discriminator__bias=bias)
  networks = _example(torch.nn, bias=bias)
  for network, player in zip(networks, ('generator', 'discriminator'), strict=True):
    state = torch_layout.to_torch(run.variables[player], player=player, step=run.step)
    # Strictly: every name of the example's, no other, each of its shape.
    tensors.write(tmp_path / 'state.safetensors', state, {})
    network.load_state_dict(safetensors_torch.load_file(tmp_path / 'state.safetensors'))
    counts = [tensor for name, tensor in network.state_dict().items() if name.endswith('num_batches_tracked')]
    assert all(torch.equal(count, torch.tensor(123)) for count in counts)
  _check_equal(torch, run, networks)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_an_import_draws_and_judges_as_pytorch(torch, tmp_path, prefix):
  torch.manual_seed(0)
  networks = _example(torch.nn, bias=True)
  for network in networks:
    for module in network.modules():
      if hasattr(module, 'stride'):
        torch.nn.init.normal_(module.weight, std=0.2)
      elif isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.normal_(module.running_mean, std=0.3)
        torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        torch.nn.init.normal_(module.bias, std=0.3)
  for network, name in zip(networks, ('generator', 'discriminator'), strict=True):
    state = {prefix + key: value.numpy() for key, value in network.state_dict().items()}
    tensors.write(tmp_path / f'{name}.safetensors', state, {'format': 'pt'})
  import_torch(['--from', str(tmp_path), '--to', str(tmp_path / 'export')])
  run = load(tmp_path / 'export')
  assert (run.shape, run.latent_size) == (SHAPE, LATENT_SIZE)
  _check_equal(torch, run, networks)


def test_the_layout_and_back_is_the_same(run):
  for player, widths in (('generator', WIDTHS), ('discriminator', WIDTHS[::-1])):
    state = torch_layout.to_torch(run.variables[player], player=player, step=123)
    network = torch_layout.from_torch(state, player=player)
    assert (network.step, network.widths, network.bias) == (123, widths, False)
    jax.tree.map(np.testing.assert_array_equal, network.variables, run.variables[player])


def test_an_export_whose_headers_begin_like_a_pickle_is_imported(run, tmp_path):
  export.write(run, tmp_path / 'run')
  cli.main(['export', '--workdir', str(tmp_path / 'run'), '--format', 'torch', '--to', str(tmp_path / 'torch')])
  for player in ('generator', 'discriminator'):
    path = tmp_path / 'torch' / f'{player}.safetensors'
    content, length = path.read_bytes(), int.from_bytes(path.read_bytes()[:8], 'little')
    # Spaces after the header belong to the format; 0x80 is the first byte of a pickle.
    spaces = (0x80 - length) % 256
    header = content[8 : 8 + length] + b' ' * spaces
    path.write_bytes((length + spaces).to_bytes(8, 'little') + header + content[8 + length :])
    assert path.read_bytes()[0] == 0x80
  assert cli.main(['import', '--from', str(tmp_path / 'torch'), '--to', str(tmp_path / 'back')]) in (None, 0)
  imported = load(tmp_path / 'back')
  jax.tree.map(np.testing.assert_array_equal, imported.variables, run.variables)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_weights_of_half_precision_are_imported_as_float32(run, tmp_path, dtype):
  state = torch_layout.to_torch(run.variables['generator'], player='generator', step=5)
  state = {name: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf for name, leaf in state.items()}
  tensors.write(tmp_path / 'netG.safetensors', state, {})
  import_torch(['--from', str(tmp_path / 'netG.safetensors'), '--to', str(tmp_path / 'export')])
  found = load(tmp_path / 'export').variables['generator']
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
  rounded = jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), run.variables['generator'])
  jax.tree.map(np.testing.assert_array_equal, found, rounded)


def test_a_generator_alone_is_imported_and_says_so_where_a_discriminator_is_asked_for(run, tmp_path, capsys):
  state = torch_layout.to_torch(run.variables['generator'], player='generator', step=5)
  tensors.write(tmp_path / 'netG.safetensors', state, {})
  import_torch(['--from', str(tmp_path / 'netG.safetensors'), '--to', str(tmp_path / 'export')])
  assert 'A generator of 64 x 64 x 3' in capsys.readouterr().out
  alone = load(tmp_path / 'export')
  z = np.ones((2, LATENT_SIZE))
  np.testing.assert_array_equal(alone.generate(z), run.generate(z))
  with pytest.raises(CheckpointError, match='This is a generator alone, which was imported without its discriminator'):
    alone.features(alone.generate(z))
  export.write(alone, tmp_path / 'again')
  export.write(alone, tmp_path / 'again', format='torch')
  assert load(tmp_path / 'again').variables['discriminator'] is None
  card = (tmp_path / 'again' / 'README.md').read_text()
  assert 'Imported from `netG.safetensors`' in card
  assert 'Not known' in card
  assert 'learning_rate' not in card


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'generator__name': 'residual'}, "config.generator.name is 'residual', and there it is 'dcgan'"),
    ({'generator__kernel_size': 5}, 'config.generator.kernel_size is 5, and there it is 4'),
    ({'generator__norm_before_reshape': True}, 'norm_before_reshape is True'),
    ({'discriminator__normalization': 'layer'}, "config.discriminator.normalization is 'layer'"),
    ({'discriminator__strides': (2, 2, 2, 1)}, 'config.discriminator.strides is not 2 everywhere'),
    (
      {'generator__widths': (8, 8, 8)},
      r'3 layers can reach 32 x 32 from 4 x 4, and examples have the shape \(64, 64, 3\)',
    ),
    ({'tricks__generator_labels': 'one_hot'}, "tricks.generator_labels is 'one_hot'"),
    ({'tricks__spectral_norm': ('discriminator',)}, 'tricks.spectral_norm'),
    ({'tricks__upsampling': 'nearest'}, 'tricks.upsampling'),
    ({'tricks__minibatch': 'discrimination'}, 'tricks.minibatch'),
  ],
)
def test_networks_that_the_layout_cannot_express_are_refused(change, message):
  with pytest.raises(ConfigError, match=message):
    torch_layout.check(_config(**change).to_dict(), SHAPE)


def _without(name):
  return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda state: {}, 'it has no tensors'),
    (_without('main.4.running_var'), 'main.4.running_var is missing'),
    (_without('main.12.weight'), 'it has main.0.weight'),
    (lambda state: state | {'main.3.bias': np.ones(8)}, 'it has main.3.bias'),
    (lambda state: state | {'main.3.weight': np.ones((16, 8, 5, 5))}, r'main.3.weight has the shape \(16, 8, 5, 5\)'),
    (lambda state: state | {'main.3.weight': np.ones((15, 8, 4, 4))}, r'main.3.weight has the shape \(15, 8, 4, 4\)'),
    (lambda state: state | {'main.4.bias': np.ones(9)}, r'main.4.bias has the shape \(9,\)'),
    (lambda state: state | {'main.4.bias': np.full(8, np.nan)}, 'main.4.bias of the generator has values that are not'),
    (lambda state: {f'model.{key}': value for key, value in state.items()}, 'it has model.main.0.weight'),
  ],
)
def test_another_state_dict_is_refused_by_the_name_of_a_tensor(run, damage, message):
  state = damage(torch_layout.to_torch(run.variables['generator'], player='generator', step=1))
  with pytest.raises(CheckpointError, match=message) as error:
    torch_layout.from_torch(state, player='generator')
  assert '\n' not in str(error.value)
