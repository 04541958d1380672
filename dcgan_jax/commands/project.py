import pathlib

from dcgan_jax import flags
from dcgan_jax.commands import given
from dcgan_jax.errors import say


def project(argv: list[str]) -> None:
  """Finds the z whose image is nearest to each of some images, by several searches that run side by side."""
  parser = flags.Parser('project', project.__doc__)
  parser.add_run()
  given.add_images(parser)
  parser.add_class('of a run with labels: the class to search in')
  parser.add_argument('--restarts', type=flags.whole_number(1), default=8, help='searches an image (%(default)s)')
  parser.add_argument('--steps', type=flags.whole_number(1), default=300, help='of each search (%(default)s)')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of where they start (%(default)s)')
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('projection.png'),
    help='a .png: each image beside what G makes of its z; z itself goes to an .npz of the same name (%(default)s)',
  )  # fmt: skip
  args = parser.parse_args(argv)
  flags.check_output(args.out, '.png', what='the pairs')
  given.check(args.sources)

  flags.prepare_libraries()
  import numpy as np

  from dcgan_jax import run
  from dcgan_jax.kinds import image as images

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  restored.check_images()
  restored.labels(1, args.label)
  targets, names = given.read(restored, args.sources, args.seed)
  z, errors = restored.project(targets, restarts=args.restarts, steps=args.steps, seed=args.seed, label=args.label)
  found = images.to_uint8(restored.generate(z, restored.labels(len(z), args.label)))
  args.out.parent.mkdir(parents=True, exist_ok=True)
  pairs = np.stack([targets, found], axis=1).reshape(-1, *restored.shape)
  origin = restored.origin(seed=args.seed, real='the left column')
  images.save_png(args.out, images.grid(pairs, columns=2), origin=origin)
  np.savez(args.out.with_suffix('.npz'), z=z, squared_error=errors)
  for name, error in zip(names, errors, strict=True):
    say(f'{name}: mean squared error {error:.4f} on the scale of [-1, 1]')
  say(f'Images beside their projections: {args.out}; z: {args.out.with_suffix(".npz")}')
