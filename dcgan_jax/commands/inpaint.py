import argparse
import pathlib

from dcgan_jax import flags
from dcgan_jax.commands import given
from dcgan_jax.errors import ConfigError, DataError, counted, say


def inpaint(argv: list[str]) -> None:
  """Fills a hole in images with what a run's generator would have there, in several ways (Yeh et al. 2017)."""
  parser = flags.Parser('inpaint', inpaint.__doc__)
  parser.add_run()
  given.add_images(parser)
  parser.add_argument(
    '--mask', type=_mask, default='centre', metavar='FILE|centre|left|random:SHARE',
    help='what is missing: the white of a picture, or its strokes on a transparent layer; the central square of half '
    'the side; the left half; or that share of the pixels, such as random:0.8 (%(default)s)',
  )  # fmt: skip
  parser.add_class('of a run with labels (default: each in turn): the class to search in')
  parser.add_argument('--completions', type=flags.whole_number(1), default=4, help='of each image (%(default)s)')
  parser.add_argument('--restarts', type=flags.whole_number(1), default=16, help='searches per image (%(default)s)')
  parser.add_argument('--steps', type=flags.whole_number(1), default=300, help='of each search (%(default)s)')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of everything random (%(default)s)')
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('inpainted.png'),
    help='a .png: a row per image with the image, the hole and the completions, best first (%(default)s)',
  )  # fmt: skip
  parser.add_argument('--arrays', type=pathlib.Path, help='an .npz with the images, masks, completions, losses and z')
  args = parser.parse_args(argv)
  if args.completions > args.restarts:
    raise ConfigError(f'--completions is {args.completions}, more than the {args.restarts} --restarts; search more')
  flags.check_output(args.out, '.png', what='the pictures')
  if args.arrays is not None:
    flags.check_output(args.arrays, '.npz', what='the arrays', flag='--arrays')
  given.check(args.sources)

  flags.prepare_libraries()
  import numpy as np

  from dcgan_jax import run
  from dcgan_jax.applications import inpainting
  from dcgan_jax.kinds import image as images

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  inpainting.check_shape(restored.shape)
  args.label = restored.label(args.label)
  x, names = given.read(restored, args.sources, args.seed)
  if isinstance(args.mask, pathlib.Path):
    picture = images.read(args.mask, channels=4, value_range=images.range_of(args.mask))
    try:
      missing = inpainting.fit(picture, restored.shape, crop=restored.crop)
    except DataError as error:
      raise DataError(f'{args.mask}: {error}') from None
  elif isinstance(args.mask, float):
    missing = inpainting.random(restored.shape, len(x), share=args.mask, seed=args.seed)
  else:
    missing = inpainting.MASKS[args.mask](restored.shape)
  say(f'{missing.mean():.1%} of the pixels are missing')
  found = inpainting.inpaint(
    restored, x, missing, completions=args.completions, restarts=args.restarts, steps=args.steps, label=args.label,
    seed=args.seed,
  )  # fmt: skip
  args.out.parent.mkdir(parents=True, exist_ok=True)
  origin = restored.origin(seed=args.seed, real='the first column, and everywhere what was not missing')
  images.save_png(args.out, inpainting.sheet(x, missing, found.images), origin=origin)
  for name, losses in zip(names, found.losses, strict=True):
    say(f'{name}: loss {", ".join(f"{loss:.3f}" for loss in losses)}')
  say(
    f'{counted(args.completions, "completion")} of {counted(args.restarts, "try")} for each of '
    f'{counted(len(x), "image")}, by {args.workdir} at step {restored.step}, seed {args.seed}: {args.out}'
  )
  if args.arrays is not None:
    args.arrays.parent.mkdir(parents=True, exist_ok=True)
    arrays = {key: value for key, value in found._asdict().items() if value is not None}
    np.savez_compressed(args.arrays, originals=x, missing=missing, names=names, **arrays)
    say(f'All arrays: {args.arrays}')


def _mask(text: str) -> str | float | pathlib.Path:
  """A name, the share of random pixels, or a file."""
  kind, _, share = text.partition(':')
  if kind == 'random':
    try:
      if 0 < float(share) < 1:
        return float(share)
    except ValueError:
      pass
    raise argparse.ArgumentTypeError(f'{text!r} has no share between 0 and 1; expected such as random:0.8')
  if text in ('center', 'centre', 'left'):
    return text.replace('center', 'centre')
  if not pathlib.Path(text).is_file():
    raise argparse.ArgumentTypeError(f'{text!r} is neither centre (or center), left, random:SHARE nor a file')
  return pathlib.Path(text)
