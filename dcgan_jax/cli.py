"""The commands as one dict of functions. Flags are read and checked before JAX is imported.

usage: launch.py [command] [flags]

  train      train a config, or go on with the run in a work directory (the default command)
  sample     draw images from a run
  evaluate   FID, KID, Inception Score, precision, recall and signs of collapse of a run
  probe      what the discriminator has learned: a linear SVM on its features, beside baselines

`launch.py COMMAND --help` lists a command's flags. Without any arguments it trains configs/digits.py.
"""

import argparse
import contextlib
import difflib
import errno
import functools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from dcgan_jax.errors import ConfigError, DivergenceError, StoppedError, UserError, look_up
from dcgan_jax.validate import flatten, validate

# What a disk or its owner may refuse at any time.
_NO_DEFECTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)
ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = ROOT / 'configs' / 'digits.py'


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; returns the exit code: 2 for a user's mistake, 1 for a run that diverged, 130 or 143 for
  one that a signal stopped."""
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    if argv and argv[0] in ('-h', '--help'):
      print(__doc__.split('\n', 2)[2].strip())
      return 0
    name = argv.pop(0) if argv and not argv[0].startswith('-') else 'train'
    look_up(COMMANDS, name, 'command')(argv)
  except UserError as error:
    return _complain(error, 2)
  except DivergenceError as error:
    return _complain(error, 1)
  except StoppedError as stop:
    return _complain(stop, stop.code)
  except KeyboardInterrupt:
    return _complain('Interrupted', 130)
  except OSError as error:
    if error.errno not in _NO_DEFECTS:
      raise
    where = f'{error.filename}: ' if error.filename else ''
    return _complain(f'{where}{error.strerror}; make room or give another path, then the same command goes on', 2)
  return 0


def train(argv: list[str]) -> None:
  """Trains a config, or goes on with the run that is in --workdir."""
  from dcgan_jax import workdir

  parser = _Parser('train', train.__doc__)
  parser.add_argument('--config', metavar='FILE[:VARIANT]', help='config file; default: that of --workdir, else digits')
  parser.add_argument('--config.KEY', metavar='VALUE', help='another value for a key, such as --config.batch_size=64')
  parser.add_argument('--workdir', type=pathlib.Path, help='where the run lives; default: runs/<name of the config>')
  parser.add_argument(
    '--distributed', type=_processes, metavar='auto|HOST:PORT,PROCESS,PROCESSES',
    help='train as one of several processes: auto in SLURM, Open MPI and TPU pods; else process 0 listens at HOST:PORT',
  )  # fmt: skip
  parser.add_argument(
    '--rescues', type=_whole_number(0), default=0, metavar='N',
    help='if it diverges: back to the last checkpoint and on at half the learning rates, at most N times (%(default)s)',
  )  # fmt: skip
  parser.add_argument(
    '--go-on-unsaved', action='store_true', help='where something cannot be written, say so and train on; else stop'
  )
  args, rest = parser.parse_known_args(argv)
  config = _read_config(args.config, args.workdir, rest)
  validate(config.to_dict())
  directory = (args.workdir or pathlib.Path('runs') / _run_name(args.config)).expanduser()
  if directory.exists() and not directory.is_dir():
    raise ConfigError(f'--workdir {directory} is a file; give a directory')
  workdir.check_unchanged(directory, config.to_dict())

  _prepare_libraries()
  from dcgan_jax import build, parallel

  if args.distributed is not None:
    parallel.start_processes(*args.distributed)
  build.run_training(config, directory, max_rescues=args.rescues, go_on_unsaved=args.go_on_unsaved)


def sample(argv: list[str]) -> None:
  """Draws images from the averaged generator of a run; sample i is a function of the seed and i alone."""
  parser = _Parser('sample', sample.__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True, help='the run')
  parser.add_argument('--num', type=_whole_number(1), default=64, help='how many (%(default)s)')
  parser.add_argument('--seed', type=_whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_argument('--step', type=_whole_number(0), help='of the checkpoint; default: the newest')
  parser.add_argument(
    '--class', type=_whole_number(0), dest='label', metavar='N',
    help='of a run with labels: samples of class N; default: each class in turn, a column of the grid each',
  )  # fmt: skip
  parser.add_argument(
    '--out', type=pathlib.Path, default=pathlib.Path('samples.png'),
    help='a .png (grid), an .npz (uint8 [N, H, W, C] under "images") or a folder of PNGs (%(default)s)',
  )  # fmt: skip
  args = parser.parse_args(argv)

  _prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax import sample as samples

  restored = run.load(args.workdir, step=args.step)
  columns = restored.num_classes if args.label is None else None
  samples.save(args.out, restored.sample(args.num, seed=args.seed, label=args.label), columns=columns)
  what = '' if args.label is None else f' of class {args.label}'
  print(f'{args.num} samples{what} of {args.workdir} at step {restored.step}, seed {args.seed}: {args.out}')


def evaluate(argv: list[str]) -> None:
  """Measures a run's samples: FID, KID, Inception Score, precision, recall, density, coverage, duplicates."""
  parser = _Parser('evaluate', evaluate.__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True, help='the run')
  parser.add_argument('--num', type=_whole_number(2), default=50_000, help='samples (%(default)s)')
  parser.add_argument('--reference', default='train', help='split of the real images (%(default)s)')
  parser.add_argument('--features', default='2048', help="Inception's 2048, 768, 192 or 64, or self (%(default)s)")
  parser.add_argument('--weights', help="Inception's, a .pth or .npz file; default: downloaded once")
  parser.add_argument('--seed', type=_whole_number(0), default=0, help='of the draw (%(default)s)')
  parser.add_argument('--step', type=_whole_number(0), help='of the checkpoint; default: the newest')
  parser.add_argument('--data-dir', help='of TensorFlow Datasets, where it is another than when training')
  parser.add_argument('--live', action='store_true', help='the generator of the last update, not the averaged one')
  parser.add_argument('--allow-few', action='store_true', help='a Frechet distance of too few samples to be trusted')
  args = parser.parse_args(argv)
  if args.features.isdecimal():
    from dcgan_jax.metrics.frechet import check_sample_count

    check_sample_count(args.num, int(args.features), args.allow_few)

  _prepare_libraries()
  from dcgan_jax import images, run, workdir

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  report, sheet = restored.evaluate(
    args.num, reference=args.reference, features=args.features, weights=args.weights, seed=args.seed, live=args.live,
    allow_few=args.allow_few,
  )  # fmt: skip
  name = f'{restored.step:08d}_{args.features}_{args.num}_{args.reference}{"_live" * args.live}'
  directory = args.workdir / 'evaluations'
  directory.mkdir(exist_ok=True)
  workdir.write(directory, f'{name}.json', report)
  images.save_png(directory / f'{name}_neighbours.png', sheet)
  print(json.dumps(report, indent=2))
  print(f'Written to {directory / name}.json; samples beside the real images nearest to them: {name}_neighbours.png')


def probe(argv: list[str]) -> None:
  """Measures what a run's discriminator has learned: accuracy of a linear L2-SVM on its features, beside baselines."""
  parser = _Parser('probe', probe.__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True, help='the run')
  parser.add_argument('--data', help="labelled data: tfds:NAME, npz:PATH; default: the run's own")
  parser.add_argument('--data-dir', help='of TensorFlow Datasets, where it is another than when training')
  parser.add_argument('--train-split', default='train', help='to train the SVM on (%(default)s)')
  parser.add_argument('--test-split', default='test', help='to test it on (%(default)s)')
  parser.add_argument('--num-train', type=_whole_number(2), help='training examples, drawn by --seed; default: all')
  parser.add_argument('--labels-per-class', type=_whole_number(1), metavar='N', help='also with N labels per class')
  parser.add_argument('--draws', type=_whole_number(2), default=10, help='of the N labels per class (%(default)s)')
  parser.add_argument('--seed', type=_whole_number(0), default=0, help='of everything random (%(default)s)')
  parser.add_argument('--step', type=_whole_number(0), help='of the checkpoint; default: the newest')
  parser.add_argument('--out', type=pathlib.Path, help='a .json with all numbers')
  args = parser.parse_args(argv)
  if args.out is not None and args.out.suffix != '.json':
    raise ConfigError(f"Cannot write the numbers as '{args.out.suffix}'; --out is a .json")

  _prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.applications import linear_probe

  restored = run.load(args.workdir, step=args.step, data_dir=args.data_dir)
  train = restored.labelled(args.data, split=args.train_split, num=args.num_train, seed=args.seed)
  test = restored.labelled(args.data, split=args.test_split)
  features = {'raw pixels': linear_probe.pixels}
  if linear_probe.fits_kmeans(restored.shape):
    features['k-means, 1 layer'] = linear_probe.kmeans_features(train[0], seed=args.seed)
  features['untrained discriminator'] = restored.untrained(args.seed).features
  features[f'discriminator, step {restored.step}'] = restored.features
  result = linear_probe.run_probe(
    features, *train, *test, labels_per_class=args.labels_per_class, draws=args.draws, seed=args.seed,
    report=functools.partial(print, file=sys.stderr, flush=True),
  )  # fmt: skip
  print(linear_probe.table(result))
  if args.out is not None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result | {'workdir': str(args.workdir), 'step': restored.step}, indent=2) + '\n')
    print(f'All numbers: {args.out}')


COMMANDS: dict[str, Callable[[list[str]], None]] = {
  'evaluate': evaluate,
  'probe': probe,
  'sample': sample,
  'train': train,
}


class _Parser(argparse.ArgumentParser):
  """An argument parser whose errors are UserErrors."""

  def __init__(self, command: str, description: str):
    super().__init__(prog=f'launch.py {command}', description=description, allow_abbrev=False)

  def error(self, message: str) -> NoReturn:
    raise ConfigError(f'{message[0].upper()}{message[1:]}; see {self.prog} --help')


def _whole_number(lowest: int) -> Callable[[str], int]:
  def parse(text: str) -> int:
    if not text.isdecimal() or not lowest <= int(text) < 2**32:
      raise argparse.ArgumentTypeError(f'{text!r} is no whole number from {lowest} to 2**32 - 1')
    return int(text)

  return parse


def _processes(text: str) -> tuple[str | None, int | None, int | None]:
  """(coordinator, process, processes) of --distributed; None where the machine tells."""
  if text == 'auto':
    return None, None, None
  coordinator, *numbers = text.split(',')
  if ':' not in coordinator or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
    raise argparse.ArgumentTypeError(f'{text!r} is neither auto nor HOST:PORT,PROCESS,PROCESSES')
  process, processes = map(int, numbers)
  if process >= processes:
    raise argparse.ArgumentTypeError(f'process {process} of {processes}; they are numbered from 0')
  return coordinator, process, processes


def _read_config(path: str | None, directory: pathlib.Path | None, overrides: list[str]):
  """The locked config of a file, of a run, or of the digits, with the overrides of the command line."""
  from absl import flags

  try:
    _check_overrides(overrides, dict(flatten(_parse_config(path, directory, []).to_dict())))
    return _parse_config(path, directory, overrides)
  except (flags.Error, AttributeError, ImportError, KeyError, SyntaxError, TypeError, ValueError) as error:
    raise ConfigError(_explain(error, path)) from error


def _parse_config(path: str | None, directory: pathlib.Path | None, overrides: list[str]):
  from absl import flags
  from ml_collections import ConfigDict, config_flags

  from dcgan_jax import workdir

  values = flags.FlagValues()
  if path is None and directory is not None and (directory / 'config.json').exists():
    argv = ['launch.py', *overrides]
    config = ConfigDict(_with_placeholders(workdir.read_config(directory)))
    config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=argv)
  else:
    path = path or str(DEFAULT_CONFIG)
    file = pathlib.Path(path.partition(':')[0])
    if not file.is_file():
      raise ConfigError(f'No config file {file}; expected a Python file such as configs/cifar10.py')
    # Configs import one another as `configs.NAME`.
    sys.path.insert(0, str(file.resolve().parent.parent))
    argv = ['launch.py', f'--config={path}', *overrides]
    config_flags.DEFINE_config_file('config', flag_values=values, lock_config=True, sys_argv=argv)
  values(argv)
  return values.config


def _with_placeholders(values: dict) -> dict:
  """None as ml_collections wants it: a key that takes a value from the command line."""
  from ml_collections import config_dict

  fill = lambda value: _with_placeholders(value) if isinstance(value, dict) else value
  return {key: config_dict.placeholder(object) if value is None else fill(value) for key, value in values.items()}


def _check_overrides(overrides: list[str], known: dict[str, object]) -> None:
  """Raises ConfigError at the first argument that is no `--config.KEY=VALUE` or `--config.KEY VALUE` of a known key."""
  is_value = False
  for token in overrides:
    if is_value and not token.startswith('--'):
      is_value = False
      continue
    if not token.startswith('--config.'):
      raise ConfigError(
        f"Unknown argument '{token}'{_near(token, ['--config', '--workdir', *COMMANDS])}; see launch.py train --help"
      )
    key, equals, _ = token.removeprefix('--config.').partition('=')
    if key not in known:
      raise ConfigError(
        f'Unknown key config.{key}{_near(key, known)}; configs/cifar10.py lists every key with its meaning'
      )
    is_value = not equals


def _near(name: str, names: Iterable[str]) -> str:
  near = difflib.get_close_matches(name, names, n=1)
  return f', did you mean {near[0]}' if near else ''


def _explain(error: Exception, path: str | None) -> str:
  """One line for what absl, ml_collections and a config file's own code say."""
  from absl import flags

  lines = str(error.args[0] if error.args else error).strip().split('\n')
  file, _, variant = (path or '').partition(':')
  if variant and (variant in lines[-1] or 'get_config() takes' in lines[-1]):
    return f"{file} has no variant '{variant}'; its docstring lists those it has"
  # Of a traceback out of a config file only the last line says what is wrong.
  text = lines[-1] if len(lines) > 2 else ' '.join(lines)
  own = isinstance(error, flags.Error) and text.startswith('flag --config.')
  where = '' if own else f'Cannot read {file or "the config"}: '
  return f'{where}{text.strip().rstrip(".")}; configs/cifar10.py lists every key with its meaning'


def _run_name(path: str | None) -> str:
  """'configs/cifar10.py:paper' -> 'cifar10_paper'."""
  file, _, variant = (path or str(DEFAULT_CONFIG)).partition(':')
  return '_'.join(filter(None, (pathlib.Path(file).stem, variant)))


def _prepare_libraries() -> None:
  """Before JAX is imported: it keeps what it compiles, and libraries tell their developers' news to nobody."""
  import logging as standard_logging
  import warnings

  from absl import logging

  from dcgan_jax import workdir

  compiled = workdir.cache_directory() / 'compiled'
  with contextlib.suppress(OSError):  # JAX would complain about every program that it cannot keep.
    compiled.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(compiled))
  # A program that took less than this to compile takes as long to find again.
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')
  # What Orbax logs of a failure is raised, too, and said in one line.
  logging.set_verbosity(logging.FATAL)
  standard_logging.getLogger('asyncio').setLevel(standard_logging.CRITICAL)
  warnings.filterwarnings('ignore', category=DeprecationWarning)


def _complain(message: object, code: int) -> int:
  print(f'launch.py: {message}', file=sys.stderr)
  return code
