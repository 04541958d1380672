"""Parameters in the layout of the PyTorch DCGAN example (pytorch/examples/dcgan/main.py), both ways.

Its networks are one `nn.Sequential` called `main` each: a generator of ConvTranspose2d, BatchNorm2d and ReLU whose
first layer makes 4 x 4 of z [B, Z, 1, 1], and a discriminator of Conv2d, BatchNorm2d and LeakyReLU(0.2) whose last
makes one number of 4 x 4. The example draws 64 x 64; with fewer or more such layers the layout is that of other sizes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.building.rules import flatten, strides_of
from dcgan_jax.errors import CheckpointError, ConfigError, counted

# Keys of a config that the layout fixes.
_FIXED = {
  'generator.name': 'dcgan',
  'generator.kernel_size': 4,
  'generator.negative_slope': 0.0,
  'generator.normalization': 'batch',
  'generator.norm_before_reshape': False,
  'discriminator.name': 'dcgan',
  'discriminator.kernel_size': 4,
  'discriminator.negative_slope': 0.2,
  'discriminator.normalization': 'batch',
  'batch_norm.epsilon': 1e-5,
  'tricks.spectral_norm': (),
  'tricks.minibatch': 'none',
  'tricks.upsampling': 'transposed',
  'tricks.generator_labels': 'none',
  'tricks.discriminator_labels': 'none',
}
_BASE = 4  # Pixels along a side where the generator starts and the discriminator ends.


class Layer(NamedTuple):
  """One convolution, the normalisation after it, and where both are.

  name: of our convolution.
  norm: of our normalisation; None: there is none.
  place: of the convolution in `main`; the normalisation is the next.
  """

  name: str
  norm: str | None
  place: int


def generator_layers(number: int) -> Iterator[Layer]:
  """The layers of a generator of `number` widths, from z to the image."""
  yield Layer('projection', 'norm_0', 0)
  for i in range(1, number):
    yield Layer(f'conv_{i}', f'norm_{i}', 3 * i)
  yield Layer('output', None, 3 * number)


def discriminator_layers(number: int) -> Iterator[Layer]:
  """The layers of a discriminator of `number` widths, from the image to the logit."""
  yield Layer('conv_0', None, 0)
  for i in range(1, number):
    yield Layer(f'conv_{i}', f'norm_{i}', 3 * i - 1)
  yield Layer('output', None, 3 * number - 1)


def check(config: Mapping[str, Any], shape: tuple[int, ...]) -> None:
  """Raises ConfigError where the layout has no such networks, naming the first key that it lacks.

  Args:
    config: of the run, nested.
    shape: of an example.
  """
  flat = dict(flatten(config))
  refuse = "The PyTorch DCGAN example's layout cannot express these networks: {}; export them as safetensors"
  for key, value in _FIXED.items():
    if flat[key] != value:
      raise ConfigError(refuse.format(f'config.{key} is {flat[key]!r}, and there it is {value!r}'))
  for player in ('generator', 'discriminator'):
    widths = flat[f'{player}.widths']
    if set(strides_of(widths, flat[f'{player}.strides'])) != {2}:
      raise ConfigError(refuse.format(f'config.{player}.strides is not 2 everywhere'))
    size = _BASE * 2 ** len(widths)
    if shape[:-1] != (size, size):
      raise ConfigError(
        refuse.format(
          f'{counted(len(widths), "layer")} can reach {size} x {size} from 4 x 4, and examples have the shape {shape}'
        )
      )


def to_torch(variables: Mapping[str, Any], *, player: str, step: int) -> dict[str, np.ndarray]:
  """The state dict of a network as the example names and lays it out.

  Args:
    variables: {'params', 'batch_stats'} of the network.
    player: 'generator' or 'discriminator'.
    step: becomes num_batches_tracked.

  Returns:
    By name, as `load_state_dict` wants it; with `main.<i>.bias` of convolutions that have a bias, which the example's
    have not.
  """
  params, statistics = variables['params'], variables.get('batch_stats', {})
  state = {}
  for layer in _LAYERS[player](sum(name.startswith('conv_') for name in params) + (player == 'generator')):
    state[f'main.{layer.place}.weight'] = _to_torch_kernel(np.asarray(params[layer.name]['kernel']), player, layer.name)
    if 'bias' in params[layer.name]:
      state[f'main.{layer.place}.bias'] = np.asarray(params[layer.name]['bias'])
    if layer.norm is not None:
      prefix = f'main.{layer.place + 1}'
      state[f'{prefix}.weight'] = np.asarray(params[layer.norm]['scale'])
      state[f'{prefix}.bias'] = np.asarray(params[layer.norm]['bias'])
      state[f'{prefix}.running_mean'] = np.asarray(statistics[layer.norm]['mean'])
      state[f'{prefix}.running_var'] = np.asarray(statistics[layer.norm]['var'])
      state[f'{prefix}.num_batches_tracked'] = np.asarray(step, np.int64)
  return state


class Network(NamedTuple):
  """A network read from the example's layout.

  variables: {'params', 'batch_stats'}, float32.
  inputs: Z of a generator, channels of a discriminator's images.
  widths: as a config has them.
  outputs: channels of a generator's images, 1 of a discriminator.
  bias: whether convolutions without normalisation have a bias.
  step: num_batches_tracked.
  """

  variables: dict[str, Any]
  inputs: int
  widths: tuple[int, ...]
  outputs: int
  bias: bool
  step: int


def from_torch(state: Mapping[str, np.ndarray], *, player: str) -> Network:
  """Reads a state dict of the example's networks.

  Args:
    state: tensors by name; a leading `module.` of nn.DataParallel is taken away.
    player: 'generator' or 'discriminator'.

  Raises:
    CheckpointError: another network, naming what is missing, too much or of another shape.
  """
  state = {name.removeprefix('module.'): tensor for name, tensor in state.items()}
  places = [int(found[1]) for name in state if (found := re.fullmatch(r'main\.(\d{1,3})\.weight', name))]
  # The last convolution of a generator of n widths is at 3n, that of a discriminator at 3n - 1.
  number, rest = divmod(max(places, default=0) + (player == 'discriminator'), 3)
  if rest or not number:
    raise CheckpointError(_no_example(player, f'it has {", ".join(sorted(state)[:3]) or "no tensors"}, ...'))
  layers = list(_LAYERS[player](number))
  bias = any(f'main.{layer.place}.bias' in state for layer in layers if layer.norm is None)
  reader = _Reader(state, player)
  params, statistics, sizes = {}, {}, []
  for layer in layers:
    kernel = reader.take(f'main.{layer.place}.weight', (None,) * 4)
    inputs, outputs = kernel.shape[:2] if player == 'generator' else kernel.shape[1::-1]
    if kernel.shape[2:] != (4, 4) or (sizes and sizes[-1] != inputs):
      raise CheckpointError(_no_example(player, f'main.{layer.place}.weight has the shape {kernel.shape}'))
    sizes += [outputs] if sizes else [inputs, outputs]
    params[layer.name] = {'kernel': _from_torch_kernel(kernel, player, layer.name)}
    if layer.norm is None and bias:
      params[layer.name]['bias'] = reader.take(f'main.{layer.place}.bias', (outputs,), default=0.0)
    if layer.norm is not None:
      take = lambda name, place=layer.place + 1, size=outputs: reader.take(f'main.{place}.{name}', (size,))
      params[layer.norm] = {'scale': take('weight'), 'bias': take('bias')}
      statistics[layer.norm] = {'mean': take('running_mean'), 'var': take('running_var')}
  step = reader.finish()
  if player == 'discriminator' and sizes[-1] != 1:
    raise CheckpointError(_no_example(player, f'its last layer has {sizes[-1]} outputs'))
  variables = {'params': params, 'batch_stats': statistics}
  return Network(variables, inputs=sizes[0], widths=tuple(sizes[1:-1]), outputs=sizes[-1], bias=bias, step=step)


class _Reader:
  """Takes tensors out of a state dict, each once, as float32."""

  def __init__(self, state: Mapping[str, np.ndarray], player: str):
    self._state = dict(state)
    self._player = player

  def take(self, name: str, shape: tuple[int | None, ...], default: float | None = None) -> np.ndarray:
    tensor = self._state.pop(name, None)
    if tensor is None and default is not None:
      return np.full(shape, default, np.float32)
    if tensor is None:
      raise CheckpointError(_no_example(self._player, f'{name} is missing'))
    tensor = np.asarray(tensor).astype(np.float32)
    fits = tensor.ndim == len(shape) and all(a in (None, b) for a, b in zip(shape, tensor.shape, strict=True))
    if not fits or 0 in tensor.shape:
      raise CheckpointError(_no_example(self._player, f'{name} has the shape {tensor.shape}'))
    if not np.isfinite(tensor).all():
      raise CheckpointError(f'{name} of the {self._player} has values that are not finite; take an earlier file')
    return tensor

  def finish(self) -> int:
    """num_batches_tracked, 0 where it is missing; raises CheckpointError where anything else is left."""
    counts = [self._state.pop(name) for name in list(self._state) if name.endswith('.num_batches_tracked')]
    if self._state:
      raise CheckpointError(_no_example(self._player, f'it has {", ".join(sorted(self._state)[:3])}'))
    return max((int(count) for count in counts if count.shape == () and 0 <= count < 2**31), default=0)


def _no_example(player: str, why: str) -> str:
  return f'This is no {player} of the PyTorch DCGAN example ({why}); docs/export.md shows its layout'


def _to_torch_kernel(kernel: np.ndarray, player: str, name: str) -> np.ndarray:
  """Ours [Z, 16 C], [k, k, C, F] or [16 C, 1] -> [Z, C, 4, 4], [C, F, k, k] transposed, [F, C, k, k]."""
  if name == 'projection':
    return kernel.reshape(len(kernel), _BASE, _BASE, -1).transpose(0, 3, 1, 2)
  if player == 'generator':
    # PyTorch's is the adjoint of a convolution, so that its kernel is applied flipped; Flax's is not.
    return kernel[::-1, ::-1].transpose(2, 3, 0, 1)
  if name == 'output':
    kernel = kernel.reshape(_BASE, _BASE, -1, 1)
  return kernel.transpose(3, 2, 0, 1)


def _from_torch_kernel(kernel: np.ndarray, player: str, name: str) -> np.ndarray:
  """The inverse of `_to_torch_kernel`."""
  if name == 'projection':
    return kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
  if player == 'generator':
    return kernel.transpose(2, 3, 0, 1)[::-1, ::-1]
  kernel = kernel.transpose(2, 3, 1, 0)
  return kernel.reshape(-1, 1) if name == 'output' else kernel


_LAYERS = {'generator': generator_layers, 'discriminator': discriminator_layers}
