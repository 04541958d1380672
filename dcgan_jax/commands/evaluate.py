import json

from dcgan_jax import flags


def evaluate(argv: list[str]) -> None:
  """Measures a run's samples: FID, KID, Inception Score, precision, recall, density, coverage, duplicates."""
  parser = flags.Parser('evaluate', evaluate.__doc__)
  parser.add_run()
  parser.add_argument('--num', type=flags.whole_number(2), default=50_000, help='samples (%(default)s)')
  parser.add_argument('--reference', default='train', help='split of the real images (%(default)s)')
  parser.add_argument('--features', default='2048', help="Inception's 2048, 768, 192 or 64, or self (%(default)s)")
  parser.add_argument('--weights', help="Inception's, a .pth or .npz file; default: downloaded once")
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_argument('--data-dir', help='of TensorFlow Datasets, where it is another than when training')
  parser.add_argument('--live', action='store_true', help='the generator of the last update, not the averaged one')
  parser.add_argument('--allow-few', action='store_true', help='a Frechet distance of too few samples to be trusted')
  args = parser.parse_args(argv)
  if args.features.isdecimal():
    from dcgan_jax.metrics.frechet import check_sample_count

    check_sample_count(args.num, int(args.features), args.allow_few)

  flags.prepare_libraries()
  from dcgan_jax import images, run, run_paths, workdir

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  directory = run_paths.results_directory(args.workdir, restored.directory) / 'evaluations'
  flags.check_output('--workdir', directory / 'x')
  report, sheet = restored.evaluate(
    args.num, reference=args.reference, features=args.features, weights=args.weights, seed=args.seed, live=args.live,
    allow_few=args.allow_few,
  )  # fmt: skip
  name = f'{restored.step:08d}_{args.features}_{args.num}_{args.reference}{"_live" * args.live}'
  name += f'_seed{args.seed}' if args.seed else ''
  directory.mkdir(parents=True, exist_ok=True)
  workdir.write(directory, f'{name}.json', report)
  origin = restored.origin(seed=args.seed, real='every column but the first')
  images.save_png(directory / f'{name}_neighbours.png', sheet, origin=origin)
  print(json.dumps(report, indent=2))
  print(f'Written to {directory / name}.json; samples beside the real images nearest to them: {name}_neighbours.png')
