import argparse
import difflib
import pathlib
import sys
from collections.abc import Iterable

from dcgan_jax import flags
from dcgan_jax.errors import ConfigError
from dcgan_jax.validate import flatten, validate

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEFAULT_CONFIG = ROOT / 'configs' / 'digits.py'
_FLAGS = ('--config', '--workdir', '--distributed', '--rescues', '--go-on-unsaved')


def train(argv: list[str]) -> None:
  """Trains a config, or goes on with the run that is in --workdir."""
  from dcgan_jax import workdir

  parser = flags.Parser('train', train.__doc__)
  parser.add_argument('--config', metavar='FILE[:VARIANT]', help='config file; default: that of --workdir, else digits')
  parser.add_argument('--config.KEY', metavar='VALUE', help='another value for a key, such as --config.batch_size=64')
  parser.add_argument('--workdir', type=pathlib.Path, help='where the run lives; default: runs/<name of the config>')
  parser.add_argument(
    '--distributed', type=_processes, metavar='auto|HOST:PORT,PROCESS,PROCESSES',
    help='train as one of several processes: auto in SLURM, Open MPI and TPU pods; else process 0 listens at HOST:PORT',
  )  # fmt: skip
  parser.add_argument(
    '--rescues', type=flags.whole_number(0), default=0, metavar='N',
    help='if it diverges: back to the last checkpoint and on at half the learning rates, at most N times (%(default)s)',
  )  # fmt: skip
  parser.add_argument(
    '--go-on-unsaved', action='store_true', help='where something cannot be written, say so and train on; else stop'
  )
  args, rest = parser.parse_known_args(argv)
  config = read_config(args.config, args.workdir, rest)
  validate(config.to_dict())
  directory = (args.workdir or pathlib.Path('runs') / _run_name(args.config)).expanduser()
  if directory.exists() and not directory.is_dir():
    raise ConfigError(f'--workdir {directory} is a file; give a directory')
  workdir.check_unchanged(directory, config.to_dict())

  flags.prepare_libraries()
  from dcgan_jax import build, parallel

  if args.distributed is not None:
    parallel.start_processes(*args.distributed)
  build.run_training(config, directory, max_rescues=args.rescues, go_on_unsaved=args.go_on_unsaved)


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


def read_config(path: str | None, directory: pathlib.Path | None, overrides: list[str]):
  """The locked config of a file, of a run, or of the digits, with the overrides of the command line."""
  from absl import flags as absl_flags

  try:
    _check_overrides(overrides, dict(flatten(_parse_config(path, directory, []).to_dict())))
    return _parse_config(path, directory, overrides)
  except (absl_flags.Error, AttributeError, ImportError, KeyError, SyntaxError, TypeError, ValueError) as error:
    raise ConfigError(_explain(error, path)) from error


def _parse_config(path: str | None, directory: pathlib.Path | None, overrides: list[str]):
  from absl import flags as absl_flags
  from ml_collections import ConfigDict, config_flags

  from dcgan_jax import workdir

  values = absl_flags.FlagValues()
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
      raise ConfigError(f"Unknown argument '{token}'{_near(token, _FLAGS)}; see launch.py train --help")
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
  from absl import flags as absl_flags

  lines = str(error.args[0] if error.args else error).strip().split('\n')
  file, _, variant = (path or '').partition(':')
  if variant and (variant in lines[-1] or 'get_config() takes' in lines[-1]):
    return f"{file} has no variant '{variant}'; its docstring lists those it has"
  # Of a traceback out of a config file only the last line says what is wrong.
  text = lines[-1] if len(lines) > 2 else ' '.join(lines)
  own = isinstance(error, absl_flags.Error) and text.startswith('flag --config.')
  where = '' if own else f'Cannot read {file or "the config"}: '
  return f'{where}{text.strip().rstrip(".")}; configs/cifar10.py lists every key with its meaning'


def _run_name(path: str | None) -> str:
  """'configs/cifar10.py:paper' -> 'cifar10_paper'."""
  file, _, variant = (path or str(DEFAULT_CONFIG)).partition(':')
  return '_'.join(filter(None, (pathlib.Path(file).stem, variant)))
