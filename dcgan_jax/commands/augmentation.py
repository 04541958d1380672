import functools
import json
import pathlib
import sys

from dcgan_jax import flags
from dcgan_jax.errors import say


def augmentation(argv: list[str]) -> None:
  """Measures what a conditional run's samples add to labelled data: a small classifier with and without them."""
  parser = flags.Parser('augmentation', augmentation.__doc__)
  parser.add_run()
  parser.add_argument('--data', help="labelled data: tfds:NAME, npz:PATH; default: the run's own")
  parser.add_argument(
    '--data-dir', help='directory of TensorFlow Datasets, or path of the folder or .npz, where it has moved'
  )
  parser.add_argument('--train-split', help='of real examples; default: what the run was trained on')
  parser.add_argument('--test-split', default='test', help='to test the classifier on (%(default)s)')
  parser.add_argument('--num', type=flags.whole_number(1), default=10_000, help='samples (%(default)s)')
  parser.add_argument('--seeds', type=flags.whole_number(1), default=3, help='classifiers of each kind (%(default)s)')
  parser.add_argument('--out', type=pathlib.Path, help='a .json with all numbers')
  args = parser.parse_args(argv)
  if args.out is not None:
    flags.check_output(args.out, '.json', what='the numbers')

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.applications import data_augmentation
  from dcgan_jax.reporting import tables

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  data_augmentation.check_run(restored)
  train, test = (restored.open_labelled(args.data, split=split) for split in (args.train_split, args.test_split))
  result = data_augmentation.compare(
    restored,
    train(),
    test(),
    num_samples=args.num,
    seeds=range(args.seeds),
    report=functools.partial(say, stream=sys.stderr),
  )
  tables.show(*data_augmentation.table(result))
  if args.out is not None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    numbers = result._asdict() | {'command': f'launch.py augmentation {" ".join(argv)}'}
    args.out.write_text(json.dumps(numbers, indent=2), encoding='utf-8')
    say(f'All numbers: {args.out}')
