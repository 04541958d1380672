import csv
import functools
import pathlib
import sys

from dcgan_jax import flags
from dcgan_jax.commands import given
from dcgan_jax.errors import ConfigError, DataError, counted, printable, say

# What the columns of scores are called, by --score.
_TITLES = {'anogan': ('AnoGAN', 'its residual alone', 'its features alone'), 'features': ("D's features, nearest",)}


def anomaly(argv: list[str]) -> None:
  """Scores how little images look like what a run was trained on: by the nearest image of the generator (AnoGAN), or by
  the distance to the training images in the discriminator's features."""
  args = _parse(argv)
  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.applications import anomaly as anomalies
  from dcgan_jax.drawing import sample
  from dcgan_jax.kinds import image as images
  from dcgan_jax.reporting import tables

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  args.label = restored.label(args.label)
  labels = restored.labels(args.restarts, args.label)
  if args.normal_class is None:
    args.normal_class = args.label
  if labels is not None and args.label is None and args.score == 'anogan':
    raise ConfigError(f'A run with labels is searched in one class; give --class 0 to {restored.num_classes - 1}')
  if args.score == 'features':
    restored.check_features()
  if args.out is not None and not sample.is_image(restored.shape):
    raise ConfigError(f'Examples of shape {restored.shape} are no images, so there is no picture; leave out --out')
  if args.images:
    examples, names = images.read_readable(images.find(args.images), lambda path: restored.read_images([path])[0])
  else:
    examples, anomalous, title = _labelled(restored, args)
  normal = _normal(restored, args) if args.data or args.score == 'features' else None
  if args.score == 'features':
    scores, indices = anomalies.feature_scores(restored.features, normal, examples, k=args.neighbours)
    columns, nearest = [scores], normal[indices]
  else:
    search = anomalies.AnoGAN(
      restored.generator, restored.discriminator, restored.variables, limit=restored.latent_limit
    )
    *columns, nearest = search.search(
      examples, restored.latents(args.restarts, seed=args.seed), labels, steps=args.steps,
      report=functools.partial(say, stream=sys.stderr),
    )  # fmt: skip
  if args.images:
    _print_scores(names, columns)
  else:
    methods = dict(zip(_TITLES[args.score], columns, strict=True))
    methods |= anomalies.baselines(normal, examples, k=args.neighbours)
    rows = [(name, f'{anomalies.auroc(scores, anomalous):.3f}') for name, scores in methods.items()]
    tables.show(['score', 'AUROC'], rows, title=f'AUROC, {title}')
  if args.out is not None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # The nearest training images are real, too.
    real = 'the images that were given'
    origin = restored.origin(seed=args.seed, real=real) if args.score == 'anogan' else None
    images.save_png(args.out, anomalies.sheet(examples, nearest, columns[0]), origin=origin)
    say(f'Images, the nearest to each, and where they differ, highest score first: {args.out}', sys.stderr)


def _parse(argv: list[str]):
  parser = flags.Parser('anomaly', anomaly.__doc__)
  parser.add_run()
  parser.add_argument('--images', type=pathlib.Path, nargs='+', metavar='PATH', help='image files or folders to score')
  parser.add_argument('--data', help='or labelled data, for an AUROC: tfds:NAME, npz:PATH, folder:PATH')
  parser.add_argument('--split', default='test', help='of --data (%(default)s)')
  parser.add_argument('--num', type=flags.whole_number(2), default=500, help='examples of --data (%(default)s)')
  parser.add_argument(
    '--normal-class', type=flags.whole_number(0), metavar='N', help='of --data; the others are anomalies'
  )
  parser.add_class('of a run with labels: the class that is normal')
  parser.add_argument(
    '--score', choices=('anogan', 'features'), default='anogan',
    help="search the generator's nearest image, or compare D's features, which is fast (%(default)s)",
  )  # fmt: skip
  parser.add_argument('--steps', type=flags.whole_number(1), default=100, help='of a search (%(default)s)')
  parser.add_argument('--restarts', type=flags.whole_number(1), default=2, help='searches per image (%(default)s)')
  parser.add_argument('--neighbours', type=flags.whole_number(1), default=5, help='of the features (%(default)s)')
  parser.add_argument(
    '--num-normal', type=flags.whole_number(1), default=5000, help='training images to compare with (%(default)s)'
  )
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of everything random (%(default)s)')
  parser.add_argument(
    '--data-dir', help='directory of TensorFlow Datasets, or path of the folder or .npz, where it has moved'
  )
  parser.add_argument('--out', type=pathlib.Path, help='a .png of the images, the nearest to each, and heat maps')
  args = parser.parse_args(argv)
  if bool(args.images) == bool(args.data):
    parser.error('give either --images to score or --data for an AUROC')
  if args.data and args.normal_class is None and args.label is None:
    parser.error('--data needs --normal-class, the class which is no anomaly')
  if args.out is not None:
    flags.check_output(args.out, '.png', what='the pictures')
  given.check([str(path) for path in args.images or ()])
  return args


def _labelled(restored, args):
  """Examples of --data, which of them are anomalies, and a title."""
  from dcgan_jax.applications import anomaly as anomalies

  examples, labels = restored.examples(args.data, split=args.split, num=args.num, seed=args.seed)
  where = f'{args.data}, split {args.split!r}'
  if labels is None:
    raise DataError(f'{where} has no labels, so nothing says which images are normal; score them by --images')
  anomalous = labels != args.normal_class
  if anomalous.all():
    known = ', '.join(map(str, sorted(set(labels.tolist()))))
    raise DataError(
      f'None of the {len(labels)} examples of {where} is of class {args.normal_class}; they are of {known}'
    )
  anomalies.check_kinds(anomalous)
  return examples, anomalous, (
    f'{where}: {counted((~anomalous).sum(), "example")} of class {args.normal_class} against {anomalous.sum()} others, '
    f'seed {args.seed}'
  )  # fmt: skip


def _normal(restored, args):
  """Training images of the run, of --class alone if that is given."""
  from dcgan_jax.applications import anomaly as anomalies

  examples, labels = restored.examples(seed=args.seed, num=None if args.label is not None else args.num_normal)
  normal = examples if args.label is None else examples[labels == args.label][: args.num_normal]
  anomalies.check_neighbours(normal, args.neighbours)
  return normal


def _print_scores(names, columns) -> None:
  """A line of comma-separated values per image, highest score first."""
  writer = csv.writer(sys.stdout, lineterminator='\n')
  writer.writerow([*('score', 'residual', 'features')[: len(columns)], 'image'])
  for row in (-columns[0]).argsort(kind='stable'):
    writer.writerow([*(f'{column[row]:.4f}' for column in columns), printable(names[row])])
