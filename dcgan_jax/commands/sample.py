import pathlib

from dcgan_jax import flags
from dcgan_jax.errors import counted, say


def sample(argv: list[str]) -> None:
  """Draws images from the averaged generator of a run; sample i is a function of the seed and i alone."""
  parser = flags.Parser('sample', sample.__doc__)
  parser.add_run()
  parser.add_argument('--num', type=flags.whole_number(1), default=64, help='how many (%(default)s)')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_class('of a run with labels (default: each in turn, a column of the grid each): the class to draw')
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('samples.png'),
    help='a .png (grid), an .npz (uint8 [N, H, W, C] under "images") or a folder of PNGs (%(default)s)',
  )  # fmt: skip
  args = parser.parse_args(argv)
  if args.out.suffix:
    flags.check_output(args.out, '.png', '.npz', what='samples')
  else:
    flags.check_folder(args.out, flag=f'--out {args.out}')

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.drawing import sample as samples

  restored = run.load(args.workdir, step=args.step)
  samples.check_destination(args.out, restored.shape, num=args.num)
  label = restored.label(args.label)
  every = restored.num_classes if label is None else None
  columns = samples.columns(every, args.num, restored.shape, restored.class_names)
  examples, origin = restored.sample(args.num, seed=args.seed, label=label), restored.origin(seed=args.seed)
  samples.save(args.out, examples, columns=columns, origin=origin)
  what = '' if args.label is None else f' of class {args.label}'
  say(f'{counted(args.num, "sample")}{what} of {args.workdir} at step {restored.step}, seed {args.seed}: {args.out}')
