import pathlib

from dcgan_jax import flags
from dcgan_jax.errors import ConfigError, printable


def project(argv: list[str]) -> None:
  """Finds the z whose image is nearest to an image file, by several searches that run side by side."""
  parser = flags.Parser('project', project.__doc__)
  parser.add_run()
  parser.add_argument(
    '--image', type=pathlib.Path, required=True, action='append', help='a file or a folder; may be repeated'
  )
  parser.add_argument('--class', type=flags.whole_number(0), dest='label', metavar='N', help='of a run with labels')
  parser.add_argument('--restarts', type=flags.whole_number(1), default=8, help='searches an image (%(default)s)')
  parser.add_argument('--steps', type=flags.whole_number(1), default=300, help='of each search (%(default)s)')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of where they start (%(default)s)')
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('projection.png'),
    help='a .png: each image beside what G makes of its z; z itself goes to an .npz of the same name (%(default)s)',
  )  # fmt: skip
  args = parser.parse_args(argv)
  if args.out.suffix != '.png':
    raise ConfigError(f"Cannot write the pairs as '{args.out.suffix}'; --out is a .png")

  flags.prepare_libraries()
  import numpy as np

  from dcgan_jax import images, run

  restored = run.load(args.workdir, step=args.step)
  paths = images.find(args.image)
  targets = restored.read_images(paths)
  z, errors = restored.project(targets, restarts=args.restarts, steps=args.steps, seed=args.seed, label=args.label)
  found = images.to_uint8(restored.generate(z, restored.labels(len(z), args.label)))
  args.out.parent.mkdir(parents=True, exist_ok=True)
  pairs = np.stack([targets, found], axis=1).reshape(-1, *restored.shape)
  origin = restored.origin(seed=args.seed, real='the left column')
  images.save_png(args.out, images.grid(pairs, columns=2), origin=origin)
  np.savez(args.out.with_suffix('.npz'), z=z, squared_error=errors)
  for path, error in zip(paths, errors, strict=True):
    print(f'{printable(str(path))}: mean squared error {error:.4f} on the scale of [-1, 1]')
  print(f'Images beside their projections: {args.out}; z: {args.out.with_suffix(".npz")}')
