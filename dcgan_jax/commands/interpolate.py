import argparse
import pathlib
from collections.abc import Sequence

from dcgan_jax import flags
from dcgan_jax.errors import ConfigError, look_up, say

KINDS = {
  'lines': 'ways between pairs of samples, a row each',
  'walk': 'closed ways through several samples, as a .gif or .mp4',
  'traverse': 'one sample while one dimension of z goes through its range, a row each',
  'truncate': 'the same samples with z drawn closer and closer to the middle',
  'classes': 'one z in every class, a row each (of a conditional run)',
  'arithmetic': 'sums and differences of mean z: --plus 3,17,20 --minus 5,8,9 --plus 1,2,4',
}
_ROUTES = ('slerp', 'lerp')


def interpolate(argv: list[str]) -> None:
  """Shows the latent space of a run: ways between samples, traversals, truncation, classes, arithmetic."""
  parser = flags.Parser('interpolate', interpolate.__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.epilog = '\n'.join(f'  {kind:11}{meaning}' for kind, meaning in KINDS.items())
  parser.add_argument('kind', nargs='?', default='lines', metavar='KIND', help='one of those below (%(default)s)')
  parser.add_run()
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_class('of a run with labels: the class to draw')
  parser.add_argument('--rows', type=flags.whole_number(1), default=8, help='of a grid; ways of a walk (%(default)s)')
  parser.add_argument('--columns', type=flags.whole_number(2), default=9, help='of a grid (%(default)s)')
  parser.add_argument('--between', help='slerp or lerp; default: slerp for normal z, lerp for uniform z')
  parser.add_argument('--frames', type=flags.whole_number(2), default=96, help='of a walk (%(default)s)')
  parser.add_argument('--stations', type=flags.whole_number(2), default=6, help='of a walk (%(default)s)')
  parser.add_argument('--index', type=flags.whole_number(0), default=0, help='of the sample to traverse (%(default)s)')
  parser.add_argument(
    '--dimensions', type=_indices, metavar='I,J,...', help='to traverse; default: --rows that change the picture most'
  )
  parser.add_argument(
    '--plus', type=_indices, action='append', default=[], metavar='I,J,...', help='samples of a concept to add'
  )
  parser.add_argument(
    '--minus', type=_indices, action='append', default=[], metavar='I,J,...', help='samples of a concept to take away'
  )
  parser.add_argument('--out', type=pathlib.Path, help='a .png; of a walk a .gif or .mp4; default: KIND.png, walk.gif')
  args = parser.parse_args(argv)
  look_up(KINDS, args.kind, 'kind')
  out = args.out or pathlib.Path('walk.gif' if args.kind == 'walk' else f'{args.kind}.png')
  suffixes = ('.gif', '.mp4') if args.kind == 'walk' else ('.png',)
  flags.check_output(out, *suffixes, what=f"'{args.kind}'")
  if args.between is not None and args.between not in _ROUTES:
    raise ConfigError(f"--between is '{args.between}'; expected slerp or lerp")
  if args.kind == 'arithmetic' and not args.plus:
    raise ConfigError('Arithmetic takes at least one --plus I,J,... of sample indices, as `sample --seed` counts them')
  from dcgan_jax.kinds import ffmpeg as video
  from dcgan_jax.kinds import image as images

  if out.suffix == '.mp4':
    video.find_ffmpeg()

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.drawing import latents

  restored = run.load(args.workdir, step=args.step)
  restored.check_images()
  args.label = restored.label(args.label)
  between = None if args.between is None else getattr(latents, args.between)
  out.parent.mkdir(parents=True, exist_ok=True)
  if args.kind == 'walk':
    frames = _walk(restored, args, between)
    (video.save_mp4 if out.suffix == '.mp4' else images.save_gif)(
      out, frames, milliseconds=60, origin=restored.origin(seed=args.seed)
    )
  else:
    images.save_png(out, _sheet(restored, args, between), origin=restored.origin(seed=args.seed))
  say(f'{args.kind} of {args.workdir} at step {restored.step}, seed {args.seed}: {out}')


def _walk(restored, args, between) -> list:
  from dcgan_jax.applications import latent_space
  from dcgan_jax.kinds import image as images

  frames = latent_space.walk(
    restored, frames=args.frames, stations=args.stations, num=args.rows, seed=args.seed, label=args.label,
    between=between,
  )  # fmt: skip
  return [images.grid(frame) for frame in frames]


def _sheet(restored, args, between):
  """uint8 [H, W, C] of every kind but a walk."""
  import numpy as np

  from dcgan_jax.applications import latent_space
  from dcgan_jax.kinds import image as images

  common = {'seed': args.seed, 'label': args.label}
  grids = {
    'lines': lambda: latent_space.lines(restored, rows=args.rows, columns=args.columns, between=between, **common),
    'traverse': lambda: latent_space.traversals(
      restored, rows=args.rows, columns=args.columns, index=args.index, dimensions=args.dimensions, **common
    ),
    'truncate': lambda: latent_space.truncations(restored, columns=args.columns, **common),
    'classes': lambda: latent_space.across_classes(restored, rows=args.rows, seed=args.seed),
  }
  if args.kind != 'arithmetic':
    examples = grids[args.kind]()
    return images.grid(examples.reshape(-1, *restored.shape), columns=examples.shape[1])
  concepts, result = latent_space.arithmetic(restored, plus=args.plus, minus=args.minus, **common)
  concepts, result = images.grid(concepts, columns=1), images.grid(result.reshape(-1, *restored.shape), columns=3)
  height = max(len(concepts), len(result))
  fill = lambda sheet: np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=128)
  return np.concatenate([fill(concepts), fill(result)], axis=1)


def _indices(text: str) -> Sequence[int]:
  parts = text.split(',')
  if not all(part.isdecimal() and int(part) < 2**32 for part in parts):
    raise argparse.ArgumentTypeError(f'{text!r} is no list of whole numbers such as 3,17,20')
  return tuple(int(part) for part in parts)
