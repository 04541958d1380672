import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from dcgan_jax import flags
from dcgan_jax.errors import say


def evaluate(argv: list[str]) -> None:
  """Measures a run's samples: FID, KID, Inception Score, precision, recall, density, coverage, duplicates.

  Prints a table on a terminal, else the JSON that it also writes to evaluations/ in --workdir."""
  parser = flags.Parser('evaluate', evaluate.__doc__)
  parser.add_run()
  parser.add_argument('--num', type=flags.whole_number(0), default=50_000, help='samples (%(default)s)')
  parser.add_argument('--reference', default='train', help='split of the real images (%(default)s)')
  parser.add_argument('--features', default='2048', help="Inception's 2048, 768, 192 or 64, or self (%(default)s)")
  parser.add_argument('--weights', help="Inception's, a .pth or .npz file; default: downloaded once")
  parser.add_class('of a run with labels (default: as often as the real images have each): the only class to compare')
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_argument(
    '--data-dir', help='directory of TensorFlow Datasets, or path of the folder or .npz, where it has moved'
  )
  parser.add_argument('--live', action='store_true', help='the generator of the last update, not the averaged one')
  parser.add_argument(
    '--allow-few', action='store_true', help='fewer samples or real images than a Frechet distance can be trusted with'
  )
  args = parser.parse_args(argv)
  from dcgan_jax.metrics import protocol

  protocol.check_request(args.features, num=args.num, weights=args.weights, allow_few=args.allow_few)

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.exporting import run_paths
  from dcgan_jax.kinds import image as images
  from dcgan_jax.training import workdir

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  args.label = restored.label(args.label)
  directory = run_paths.results_directory(args.workdir, restored.directory) / 'evaluations'
  flags.check_folder(directory, flag=f'--workdir {args.workdir}')
  report, sheet = restored.evaluate(
    args.num, reference=args.reference, features=args.features, weights=args.weights, seed=args.seed, live=args.live,
    label=args.label, allow_few=args.allow_few,
  )  # fmt: skip
  name = f'{restored.step:08d}_{args.features}_{args.num}_{args.reference}'
  name += '' if args.label is None else f'_class{args.label}'
  name += '_live' * args.live + (f'_seed{args.seed}' if args.seed else '')
  directory.mkdir(parents=True, exist_ok=True)
  name = free_name(directory, name, report['protocol'])
  workdir.write(directory, f'{name}.json', report)
  origin = restored.origin(seed=args.seed, real='every column but the first')
  images.save_png(directory / f'{name}_neighbours.png', sheet, origin=origin)
  if sys.stdout.isatty():
    _show(report)
  else:
    print(json.dumps(report, indent=2))
  say(
    f'Written to {directory / name}.json; samples beside the real images nearest to them: {name}_neighbours.png',
    sys.stderr,
  )


def free_name(directory: pathlib.Path, name: str, protocol: Mapping[str, Any]) -> str:
  """The name, with a hash of the protocol if it is that of an evaluation by another protocol."""
  try:
    there = json.loads((directory / f'{name}.json').read_text(encoding='utf-8'))['protocol']
  except FileNotFoundError:
    return name
  except (OSError, ValueError, KeyError, TypeError):
    there = None
  said = json.dumps(dict(protocol), sort_keys=True)
  if there == json.loads(said):
    return name
  return f'{name}_{hashlib.sha256(said.encode()).hexdigest()[:8]}'


def _show(report: Mapping[str, Any]) -> None:
  """Prints the metrics as a table, and what they compare with."""
  from dcgan_jax.metrics.meanings import meaning
  from dcgan_jax.reporting import tables

  rows = []
  for name, value in report.items():
    if name != 'protocol':
      text = ' '.join(map(str, value)) if isinstance(value, list) else f'{value:.4g}'
      rows.append((name, text, meaning(name).better))
  tables.show(['metric', 'value', 'better'], rows)
  protocol = report['protocol']
  if protocol['features'] != '2048':
    same = 'the same weights_sha256' if protocol['features'] == 'self' else 'the same features'
    say(f'Features {protocol["features"]}: another scale than FID-2048, the FID of papers; compare within {same}.')
