import pathlib

from dcgan_jax import flags
from dcgan_jax.errors import ConfigError, look_up, say

_FORMATS = {
  'safetensors': 'a folder that dcgan_jax.load and every --workdir take',
  'stablehlo': 'the generator as a program that runs without this package',
  'torch': "state dicts of the PyTorch DCGAN example's networks",
}


def export(argv: list[str]) -> None:
  """Writes a run's averaged generator, and its discriminator, in a form for use elsewhere, with a model card."""
  parser = flags.Parser('export', export.__doc__)
  parser.add_run()
  parser.add_argument(
    '--to', type=pathlib.Path, required=True, metavar='DIR', help='where to; several formats may share'
  )
  parser.add_argument(
    '--format', default='safetensors', metavar='|'.join(_FORMATS),
    help='; '.join(f'{name}: {what}' for name, what in _FORMATS.items()) + ' (%(default)s)',
  )  # fmt: skip
  parser.add_argument(
    '--license',
    metavar='ID',
    help='license of the weights in the model card, such as apache-2.0 (default: none stated)',
  )
  parser.add_argument(
    '--push', metavar='USER/MODEL', help='then push DIR to the Hugging Face Hub (needs huggingface_hub)'
  )
  args = parser.parse_args(argv)
  look_up(_FORMATS, args.format, '--format')
  if args.to.is_file():
    raise ConfigError(f'--to {args.to} is a file; give a directory')
  flags.check_folder(args.to, flag=f'--to {args.to}')
  from dcgan_jax.exporting import hub

  if args.push is not None:
    hub.check(args.push)

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.exporting import export as exports

  exports.check_directory(args.to)
  restored = run.load(args.workdir, step=args.step)
  exports.write(restored, args.to, format=args.format, license=args.license)
  size = sum(path.stat().st_size for path in args.to.iterdir() if path.is_file())
  say(
    f'Step {restored.step} of {args.workdir} as {args.format}: {args.to} ({size / 1e6:.1f} MB), described in README.md'
  )
  if args.push is not None:
    say(f'Pushed to {hub.upload(args.to, args.push, exports.FILES)}')
