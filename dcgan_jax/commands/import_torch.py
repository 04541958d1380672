import pathlib

from dcgan_jax import flags
from dcgan_jax.commands.train import read_config
from dcgan_jax.errors import CheckpointError, say
from dcgan_jax.exporting.model_card import UNKNOWN


def import_torch(argv: list[str]) -> None:
  """Turns networks of the PyTorch DCGAN example into an export, which is a --workdir of other commands."""
  parser = flags.Parser('import', import_torch.__doc__)
  parser.add_argument(
    '--from', type=pathlib.Path, required=True, metavar='PATH', dest='source',
    help='a generator.safetensors, or a folder with it and, if there is one, discriminator.safetensors',
  )  # fmt: skip
  parser.add_argument('--to', type=pathlib.Path, required=True, metavar='DIR', help='where to')
  parser.add_argument('--data', default=UNKNOWN, metavar='SOURCE', help='what it was trained on, as config.data.source')
  args = parser.parse_args(argv)
  flags.check_folder(args.to, flag=f'--to {args.to}')
  from dcgan_jax.exporting import tensors, torch_layout

  names = ('generator', 'discriminator')
  files = {name: args.source / f'{name}.safetensors' for name in names} if args.source.is_dir() else {}
  files = {name: file for name, file in files.items() if file.exists() or name == 'generator'}
  read = {
    name: torch_layout.from_torch(tensors.read(file)[0], player=name)
    for name, file in (files or {'generator': args.source}).items()
  }
  config = read_config('cifar10:pytorch', None, _overrides(read, args.data))

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.building import model as build_model
  from dcgan_jax.exporting import export
  from dcgan_jax.games.state import ExportedState

  export.check_directory(args.to)
  size, channels = 4 * 2 ** len(read['generator'].widths), read['generator'].outputs
  shape = (size, size, channels)
  state = ExportedState(read['generator'].step, {name: network.variables for name, network in read.items()})
  export.write(
    run.Run(config, build_model.build_model(config, shape), state, shape, args.to), args.to, imported=args.source.name
  )
  say(f'A {" and a ".join(read)} of {size} x {size} x {channels}: {args.to}; launch.py sample --workdir {args.to}')


def _overrides(networks: dict, data: str) -> list[str]:
  """The keys of a config that say what the networks are."""
  generator, discriminator = networks['generator'], networks.get('discriminator')
  if generator.outputs not in (1, 3):
    raise CheckpointError(f'This generator makes images of {generator.outputs} channels; expected 1 or 3')
  widths = generator.widths[::-1]
  if discriminator is not None:
    sees = (discriminator.inputs, len(discriminator.widths))
    if sees != (generator.outputs, len(widths)):
      raise CheckpointError(
        f'The discriminator judges {sees[0]} channels and {4 * 2 ** sees[1]} pixels a side, and the generator makes '
        f'{generator.outputs} channels and {4 * 2 ** len(widths)} pixels; give the two of one run'
      )
    widths = discriminator.widths
  values = {
    'data.source': data,
    'data.image_size': 4 * 2 ** len(widths),
    'data.channels': generator.outputs,
    'generator.latent_size': generator.inputs,
    'generator.widths': generator.widths,
    'generator.bias': generator.bias,
    'discriminator.widths': widths,
    'discriminator.bias': discriminator is not None and discriminator.bias,
    'steps': max(1, generator.step),
  }
  return [f'--config.{key}={value}' for key, value in values.items()]
