import functools
import json
import math
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from dcgan_jax import flags
from dcgan_jax.errors import say


def probe(argv: list[str]) -> None:
  """Measures what a run's discriminator has learned: accuracy of a linear L2-SVM on its features, beside baselines."""
  parser = flags.Parser('probe', probe.__doc__)
  parser.add_run()
  parser.add_argument('--data', help="labelled data: tfds:NAME, npz:PATH; default: the run's own")
  parser.add_argument(
    '--data-dir', help='directory of TensorFlow Datasets, or path of the folder or .npz, where it has moved'
  )
  parser.add_argument('--train-split', default='train', help='to train the SVM on (%(default)s)')
  parser.add_argument('--test-split', default='test', help='to test it on (%(default)s)')
  parser.add_argument(
    '--num-train', type=flags.whole_number(2), help='training examples, drawn by --seed; default: all'
  )
  parser.add_argument(
    '--labels-per-class', type=flags.whole_number(1), metavar='N', help='also with N labels per class'
  )
  parser.add_argument('--draws', type=flags.whole_number(2), default=10, help='of the N labels per class (%(default)s)')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of everything random (%(default)s)')
  parser.add_argument('--out', type=pathlib.Path, help='a .json with all numbers')
  args = parser.parse_args(argv)
  if args.out is not None:
    flags.check_output(args.out, '.json', what='the numbers')

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.applications import kmeans, linear_probe
  from dcgan_jax.reporting import tables

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  restored.check_features()
  read = {
    'train': restored.open_labelled(args.data, split=args.train_split, num=args.num_train, seed=args.seed),
    'test': restored.open_labelled(args.data, split=args.test_split),
  }
  train, test = read['train'](), read['test']()
  linear_probe.check_examples(*train, *test, labels_per_class=args.labels_per_class, draws=args.draws, seed=args.seed)
  features = {'raw pixels': linear_probe.pixels}
  if kmeans.fits_kmeans(restored.shape):
    features['k-means, 1 layer'] = kmeans.kmeans_features(train[0], seed=args.seed)
  features['untrained discriminator'] = restored.untrained(args.seed).features
  features[f'discriminator, step {restored.step}'] = restored.features
  result = linear_probe.run_probe(
    features, *train, *test, labels_per_class=args.labels_per_class, draws=args.draws, seed=args.seed,
    report=functools.partial(say, stream=sys.stderr),
  )  # fmt: skip
  tables.show(*table(result))
  say(protocol(result))
  if args.out is not None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    numbers = result | {'workdir': str(args.workdir), 'step': restored.step}
    args.out.write_text(json.dumps(numbers, indent=2) + '\n', encoding='utf-8')
    say(f'All numbers: {args.out}')


def table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
  """The result of `linear_probe.run_probe` as the titles of columns and rows of text."""
  few = result['labels_per_class']
  head = ['features', 'number', 'cost', 'accuracy']
  head += [f'{few} labels per class, {result["draws"]} draws'] if few else []
  rows = []
  for name, row in result['features'].items():
    cells = [name, f'{row["num_features"]:,}', f'{row["cost"]:g}', f'{100 * row["accuracy"]:.1f} %']
    if few:
      cells.append(f'{100 * row["few_labels"]["mean"]:.1f} +- {100 * row["few_labels"]["deviation"]:.1f} %')
    rows.append(cells)
  return head, rows


def protocol(result: Mapping[str, Any]) -> str:
  """How the result of `linear_probe.run_probe` was measured, and which of its differences may be chance."""
  # Two standard errors of the difference of two shares near one half, as if drawn independently.
  noise = 100 * 2 * math.sqrt(2 * 0.25 / result['num_test'])
  return (
    f'Linear L2-SVM on {result["num_train"]:,} training examples, {result["num_validation"]:,} of which chose the '
    f'cost; {result["num_test"]:,} test examples; seed {result["seed"]}.\nAlways guessing the largest class: '
    f'{100 * result["largest_class"]:.1f} %. Differences below {noise:.1f} % may be chance.'
  )
