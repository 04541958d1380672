"""The README of an export: data, recipe, metrics with their protocol, intended use and misuse."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dcgan_jax.validate import ADDED, flatten

UNKNOWN = 'folder:unknown'  # config.data.source of networks that came without the name of their data
_HEAD = """---
library_name: dcgan_jax
tags: [dcgan, gan, jax, flax, image-generation]
---
"""
# Keys of the recipe that say what was trained; tricks are shown where they are on.
_RECIPE = (
  'seed', 'batch_size', 'precision', 'generator.name', 'generator.latents', 'generator.latent_size', 'generator.widths',
  'generator.strides', 'generator.kernel_size', 'generator.normalization', 'generator.optimizer.name',
  'generator.optimizer.learning_rate', 'generator.optimizer.b1', 'generator.averaging.half_life', 'discriminator.name',
  'discriminator.widths', 'discriminator.strides', 'discriminator.kernel_size', 'discriminator.normalization',
  'discriminator.optimizer.learning_rate', 'initialization', 'loss',
)  # fmt: skip
_USES = """## Intended use

Drawing examples like those of the data, teaching, and research on generative models: interpolation, inpainting and
anomaly detection by search for a z, the discriminator's features for other tasks.

## Misuse and limits

- Not for passing off samples as photographs or records of real people, places or events, nor for any decision about a
  person.
- Samples can be near copies of training examples, above all where these are few: do not publish samples of a model of
  private data without comparing them with the data (`launch.py evaluate` shows the nearest).
- It repeats what the data are: their gaps, their bias, their faults. Rights in the data are not granted here.
- A low Frechet distance says that samples resemble the data on average, and not that any one of them is right.
"""
_LOADING = """```python
import dcgan_jax

run = dcgan_jax.load('.')  # this folder, or its name on the Hugging Face Hub
run.sample(64, seed=0)  # uint8 [64, {shape}]
```
"""
_STABLEHLO = """`generator.stablehlo` is the generator as a program of its own, for CPUs, CUDA and ROCm GPUs and TPUs:

```python
import jax.export  # pip install jax flatbuffers
import numpy as np

generate = jax.export.deserialize(open('generator.stablehlo', 'rb').read())
generate.call({arguments})  # float32 [8, {shape}] in [-1, 1], for any 8
```
"""
_TORCH = """`generator.safetensors` and `discriminator.safetensors` are state dicts of the networks of the PyTorch DCGAN
example, with nz = {latent_size}, {layers} layers each{bias}:

```python
from safetensors.torch import load_file

netG.load_state_dict(load_file('generator.safetensors'))
netG.eval()
```
"""


_IMPORTED = """Imported from `{}`, in the layout of the PyTorch DCGAN example: how it was trained is not in it. Of
`config.json` what it says of the networks is true; of the training it has what that example does.
"""


def write(
  *, config: Mapping[str, Any], step: int, shape: tuple[int, ...], num_classes: int | None, players: Collection[str],
  imported: str | None, evaluations: Sequence[Mapping[str, Any]], has_picture: bool, files: Collection[str],
) -> str:  # fmt: skip
  """The text of a model card.

  Args:
    config: of the run, nested.
    step: of the state.
    shape: of an example.
    num_classes: of the generator's labels.
    imported: name of the file that the networks are of, where this package did not train them.
    players: of 'generator' and 'discriminator', those there are.
    evaluations: of the averaged generator at this step, with their 'protocol'.
    has_picture: whether samples.png lies beside it.
    files: that lie beside it.
  """
  flat = dict(flatten(config))
  sides = ' x '.join(map(str, shape))
  networks = 'averaged generator and the discriminator' if 'discriminator' in players else 'averaged generator'
  kind = 'unconditional' if num_classes is None else f'conditional on {num_classes} classes'
  parts = [
    _HEAD,
    f'# DCGAN, {sides}, {kind}\n',
    f'The {networks} of a deep convolutional GAN (Radford et al. 2016), for dcgan_jax.\n',
    '![Samples, none chosen](samples.png)\n' if has_picture else '',
    '## Use\n',
    _LOADING.format(shape=', '.join(map(str, shape))) if 'model.safetensors' in files else '',
    _stablehlo(flat, shape, num_classes) if 'generator.stablehlo' in files else '',
    _torch(flat) if 'generator.safetensors' in files else '',
    '## Data\n',
    _data(flat, sides),
    '## Recipe\n',
    _recipe(flat, step) if imported is None else _IMPORTED.format(imported),
    '## Metrics\n',
    _metrics(evaluations),
    _USES,
  ]
  return '\n'.join(filter(None, parts))


def _stablehlo(flat: Mapping[str, Any], shape: tuple[int, ...], num_classes: int | None) -> str:
  draw = 'normal(size=(8, {}))' if flat['generator.latents'] == 'normal' else 'uniform(-1, 1, (8, {}))'
  z = f"np.random.{draw.format(flat['generator.latent_size'])}.astype('float32')"
  labels = '' if num_classes is None else f", np.arange(8, dtype='int32') % {num_classes}"
  return _STABLEHLO.format(arguments=z + labels, shape=', '.join(map(str, shape)))


def _torch(flat: Mapping[str, Any]) -> str:
  layers = {'generator': 'the last layer of G', 'discriminator': 'the first and last of D'}
  biased = [where for player, where in layers.items() if flat[f'{player}.bias']]
  bias = f', with a bias in {" and in ".join(biased)}' * bool(biased)
  number, latent_size = len(flat['generator.widths']) + 1, flat['generator.latent_size']
  return _TORCH.format(latent_size=latent_size, layers=number, bias=bias)


def _data(flat: Mapping[str, Any], sides: str) -> str:
  if flat['data.source'] == UNKNOWN:
    return f'Not known, but for their size: {sides}.\n'
  source, split = flat['data.source'], flat['data.split']
  flips = ', flipped at random' if flat['data.flip'] else ''
  return f'`{source}`, split `{split}`, as examples of {sides}{flips}.\n'


def _recipe(flat: Mapping[str, Any], step: int) -> str:
  tricks = [key for key, off in ADDED.items() if key.startswith('tricks.') and flat[key] != off]
  seen = step * math.prod((flat['batch_size'], flat['tricks.discriminator_turns']))
  lines = [f'{step:,} updates, {seen:,} real images seen. Every key is in `config.json`; the main ones:\n']
  lines += ['| key | value |', '|---|---|']
  lines += [f'| `{key}` | {flat[key]} |' for key in (*_RECIPE, *tricks) if flat[key] is not None]
  return '\n'.join(lines) + '\n'


def _metrics(evaluations: Sequence[Mapping[str, Any]]) -> str:
  if not evaluations:
    return 'None were measured; `launch.py evaluate` does.\n'
  lines = []
  for report in evaluations:
    numbers = {key: value for key, value in report.items() if isinstance(value, (int, float))}
    lines += ['| metric | value |', '|---|---|', *(f'| `{key}` | {value:.4g} |' for key, value in numbers.items()), '']
    lines += ['Protocol: ' + '; '.join(f'{key} {value}' for key, value in report['protocol'].items()) + '.\n']
  return '\n'.join(lines)
