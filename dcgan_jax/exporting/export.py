"""Exports: a trained pair of networks as files that need neither its optimisers, nor its data, nor all of this package.

A folder of safetensors is what `load` reads: the averaged generator and the discriminator, config.json and run.json as
in a work directory, and a model card. StableHLO is the generator as a program for any batch size. The PyTorch layout
is that of the PyTorch DCGAN example (torch_layout.py).
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from dcgan_jax.drawing import sample
from dcgan_jax.errors import CheckpointError, ConfigError, look_up
from dcgan_jax.exporting import model_card, tensors, torch_layout
from dcgan_jax.games.state import ExportedState
from dcgan_jax.kinds import image as images
from dcgan_jax.training import workdir

WEIGHTS = workdir.EXPORT
STABLEHLO = 'generator.stablehlo'
TORCH = {'generator': 'generator.safetensors', 'discriminator': 'discriminator.safetensors'}
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
# All that an export may hold.
FILES = (*workdir.LOADED, STABLEHLO, *TORCH.values(), 'README.md', 'samples.png', 'evaluations/*.json')
# Names that are of files, so that a directory is not what was meant.
_OF_FILES = ('.onnx', '.pt', '.pth', '.pkl', '.ckpt', '.h5', '.keras', '.tflite', '.pb', '.msgpack', '.bin', '.npz')
_OF_FILES += ('.safetensors', '.stablehlo', '.zip', '.tar', '.gz', '.png', '.json', '.md')
FORMAT, VERSION = 'dcgan_jax', '1'


def write(
  run: Any,
  directory: pathlib.Path,
  *,
  format: str = 'safetensors',
  imported: str | None = None,
  license: str | None = None,
) -> None:
  """Writes an export of a run, with its model card, a picture of samples and the evaluations of this step.

  Args:
    run: as `load` gives it.
    directory: where to; made if it is not there. Several formats may share one.
    format: safetensors, stablehlo or torch.
    imported: name of the file that the networks are of, where this package did not train them.
    license: identifier of the weights' license on the Hugging Face Hub (default: that of the export that `run` is of).

  Raises:
    ConfigError: no such format, networks that it cannot express, or a directory that holds other things.
  """
  write_format = look_up(_FORMATS, format, 'format')
  check_directory(directory)
  config, described = _public_config(run.config.to_dict()), workdir.describe_run(run.shape, run.num_classes, [])
  described |= {'step': run.step, 'data': {'classes': run.class_names}}
  if (run.directory / 'run.json').exists():
    said = workdir.read(run.directory, 'run.json')
    imported, license = public(imported or said.get('imported')), license or said.get('license')
  described |= {key: value for key, value in (('imported', imported), ('license', license)) if value is not None}
  _check_same(directory, config, run.step)
  files = write_format(run)
  evaluations = {name: public(report) for name, report in _evaluations(run.directory, run.step)}
  directory.mkdir(parents=True, exist_ok=True)
  workdir.write(directory, 'config.json', config)
  workdir.write(directory, 'run.json', described)
  for name, write_file in files.items():
    write_file(directory / name)
  for name, report in evaluations.items():
    (directory / 'evaluations').mkdir(exist_ok=True)
    workdir.write(directory / 'evaluations', name, report)
  is_image = sample.is_picture(run.shape)
  if is_image:
    grid = images.grid(run.sample(64, seed=0), columns=sample.columns(run.num_classes, 64, run.shape, run.class_names))
    images.save_png(directory / 'samples.png', grid, origin=run.origin(seed=0))
  players = [player for player, variables in run.variables.items() if variables is not None]
  card = model_card.write(
    config=config, step=run.step, shape=run.shape, num_classes=run.num_classes,
    players=players, imported=imported, license=license, evaluations=list(evaluations.values()),
    has_picture=is_image, files={path.name for path in directory.iterdir()},
  )  # fmt: skip
  # A name may hold bytes that are no text.
  (directory / 'README.md').write_bytes(card.encode('utf-8', 'backslashreplace'))


def check_directory(directory: pathlib.Path) -> None:
  """Raises ConfigError where a directory to export to holds anything that is not of an export."""
  if directory.is_file():
    raise ConfigError(f'--to {directory} is a file; give a directory')
  if directory.suffix.lower() in _OF_FILES and not directory.exists():
    other = '; there is no ONNX, --format stablehlo is a program' if directory.suffix.lower() == '.onnx' else ''
    raise ConfigError(
      f'--to {directory} ends like a file, and a directory is written; give --to {directory.with_suffix("")}{other}'
    )
  # A report is beside what it is of.
  known = {pathlib.PurePath(name).parts[0] for name in FILES} | {'report.html'}
  others = sorted({path.name for path in directory.iterdir()} - known) if directory.is_dir() else []
  if others:
    more = ', ...' * (len(others) > 3)
    raise ConfigError(f'--to {directory} holds other files ({", ".join(others[:3])}{more}); give a new directory')


def _check_same(directory: pathlib.Path, config: dict[str, Any], step: int) -> None:
  """Raises ConfigError where a directory holds an export of another state, which one card could not describe."""
  if (directory / 'run.json').exists():
    there = workdir.read(directory, 'run.json').get('step'), workdir.read_config(directory)
    if there != (step, config):
      raise ConfigError(
        f'--to {directory} holds an export of another step or run (step {there[0]}); give a new directory'
      )


def read(
  directory: pathlib.Path, abstract: Mapping[str, Any], *, sharding: jax.sharding.Sharding, step: int | None = None
) -> ExportedState:
  """Reads the networks of an export.

  Args:
    directory: that holds model.safetensors.
    abstract: 'generator' and 'discriminator', variables as shapes and dtypes.
    sharding: where the values shall live.
    step: which is asked for; None: that which there is.

  Raises:
    CheckpointError: damaged, of another step, other networks, or a later version's.
  """
  path = directory / WEIGHTS
  found, said = tensors.read(path)
  if said.get('format') != FORMAT or not said.get('step', '').isdecimal():
    raise CheckpointError(f"{path} is no export of this program; launch.py import reads the PyTorch example's layout")
  if said.get('version') != VERSION:
    raise CheckpointError(f'{path} has the version {said.get("version")}, and this program reads {VERSION}; update it')
  if step not in (None, int(said['step'])):
    raise CheckpointError(f'No step {step} in {directory}; it is an export of step {said["step"]} alone')
  players = [player for player in abstract if player == 'generator' or any(n.startswith(f'{player}/') for n in found)]
  asked = {player: abstract[player] for player in players}
  names = tensor_names(asked)
  leaves = dict(zip(names, jax.tree.leaves(asked), strict=True))
  wrong = sorted(found.keys() ^ leaves.keys())
  wrong += sorted(n for n in found.keys() & leaves.keys() if _form(found[n]) != _form(leaves[n]))
  if wrong:
    show = lambda tensor: 'absent' if tensor is None else '{} {}'.format(*_form(tensor))
    lines = [f'{name} {show(found.get(name))} -> {show(leaves.get(name))}' for name in wrong[:3]]
    raise CheckpointError(f'{path} is of other networks than its config.json ({", ".join(lines)}); export it again')
  tree = jax.tree.unflatten(jax.tree.structure(asked), [found[name] for name in names])
  return ExportedState(int(said['step']), jax.device_put(tree, sharding))


def tensor_names(variables: Mapping[str, Any]) -> list[str]:
  """'generator/params/output/kernel' for every leaf, in the order of jax.tree.leaves."""
  paths = [path for path, _ in jax.tree.leaves_with_path(dict(variables))]
  return [jax.tree_util.keystr(path, simple=True, separator='/') for path in paths]


def _form(tensor: Any) -> tuple[str, tuple[int, ...]]:
  return str(tensor.dtype), tuple(tensor.shape)


def _safetensors(run: Any) -> dict[str, Any]:
  leaves = map(np.asarray, jax.tree.leaves(dict(run.variables)))
  named = dict(zip(tensor_names(run.variables), leaves, strict=True))
  said = {'format': FORMAT, 'version': VERSION, 'step': str(run.step), 'generator': 'averaged'}
  return {WEIGHTS: lambda path: tensors.write(path, named, said)}


def _stablehlo(run: Any) -> dict[str, Any]:
  variables = jax.tree.map(np.asarray, run.variables['generator'])
  (batch,) = jax.export.symbolic_shape('b')
  inputs = [jax.ShapeDtypeStruct((batch, run.latent_size), jnp.float32)]
  if run.num_classes is not None:
    inputs.append(jax.ShapeDtypeStruct((batch,), jnp.int32))
  generate = jax.jit(lambda z, *labels: run.generator(variables, z, *labels))
  with _without_source_directories():
    program = bytes(jax.export.export(generate, platforms=PLATFORMS)(*inputs).serialize())
  return {STABLEHLO: lambda path: path.write_bytes(program)}


def _torch(run: Any) -> dict[str, Any]:
  torch_layout.check(run.config.to_dict(), run.shape)
  states = {
    player: torch_layout.to_torch(jax.tree.map(np.asarray, variables), player=player, step=run.step)
    for player, variables in run.variables.items()
    if variables is not None
  }
  # As the safetensors of PyTorch's own users say it.
  return {
    TORCH[player]: lambda path, state=state: tensors.write(path, state, {'format': 'pt'})
    for player, state in states.items()
  }


_FORMATS = {'safetensors': _safetensors, 'stablehlo': _stablehlo, 'torch': _torch}


@contextlib.contextmanager
def _without_source_directories() -> Iterator[None]:
  """Lets a program name the source files that it was traced from without the directories of this machine."""
  option = 'jax_hlo_source_file_canonicalization_regex'
  before = getattr(jax.config, option)
  jax.config.update(option, r'.*[/\\]')
  try:
    yield
  finally:
    jax.config.update(option, before)


def public(value: Any) -> Any:
  """A value of a config or protocol with the last names alone of absolute paths and of folder: and npz: sources."""
  if isinstance(value, Mapping):
    return {public(key): public(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return type(value)(map(public, value))
  found = isinstance(value, str) and re.fullmatch(r'((?:[a-z]\w+:)?)(.+)', value, re.DOTALL)
  if not found:
    return value
  kind, path = found.groups()
  is_path = kind in ('folder:', 'npz:') or re.match(r'[/\\~]|[A-Za-z]:[/\\]', path)
  return kind + (re.split(r'[/\\]', path.rstrip('/\\'))[-1] or 'unknown') if is_path else value


def _public_config(config: dict[str, Any]) -> dict[str, Any]:
  """The config without the directories of the machine it was trained on."""
  weights = config['evaluation']['weights']
  weights = public(weights and str(pathlib.Path(weights).expanduser().absolute()))
  changes = {'data': {'dir': None}, 'evaluation': {'weights': weights}}
  return public(config | {group: config[group] | values for group, values in changes.items()})


def _evaluations(directory: pathlib.Path, step: int) -> Iterator[tuple[str, dict[str, Any]]]:
  """The evaluations of the averaged generator at a step, by file name."""
  for path in sorted((directory / 'evaluations').glob('*.json')):
    report = workdir.read(path.parent, path.name)
    protocol = {'step': None, 'generator': None} | report.get('protocol', {})
    if (protocol['step'], protocol['generator']) == (step, 'averaged'):
      yield path.name, report
