import argparse
import functools
import pathlib

from dcgan_jax import flags
from dcgan_jax.building import config_files, unknown_names
from dcgan_jax.building.overrides import read as parse_overrides
from dcgan_jax.building.rules import flatten, validate
from dcgan_jax.errors import ConfigError

_FLAGS = ('--config', '--workdir', '--distributed', '--rescues', '--go-on-unsaved')


def train(argv: list[str]) -> None:
  """Trains a config, or goes on with the run that is in --workdir."""
  from dcgan_jax.training import workdir

  parser = flags.Parser('train', train.__doc__)
  parser.add_argument(
    '--config', metavar='FILE[:VARIANT]',
    help='config file, or name of a shipped config such as cifar10 (default: that of the run in --workdir; without '
    '--workdir digits)',
  )  # fmt: skip
  parser.add_argument('--config.KEY', metavar='VALUE', help='another value for a key, such as --config.batch_size=64')
  parser.add_argument('--workdir', type=pathlib.Path, help='directory of the run (default: runs/<name of the config>)')
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
  given = None if args.workdir is None else args.workdir.expanduser()
  if given is not None and given.exists() and not given.is_dir():
    raise ConfigError(f'--workdir {given} is a file; give a directory')
  # A byte that is no text becomes a surrogate.
  if any('\ud800' <= letter <= '\udfff' for letter in str((given or pathlib.Path()).absolute())):
    raise ConfigError(f'--workdir {given} is not UTF-8, which checkpoints need; give another path')
  config = read_config(args.config, given, rest)
  validate(config.to_dict())
  directory = given or pathlib.Path('runs') / _run_name(args.config)
  workdir.check_unchanged(directory, config.to_dict())

  flags.prepare_libraries()
  from dcgan_jax.games import parallel
  from dcgan_jax.training import session

  if args.distributed is not None:
    parallel.start_processes(*args.distributed)
  session.run_training(config, directory, max_rescues=args.rescues, go_on_unsaved=args.go_on_unsaved)


def _processes(text: str) -> tuple[str | None, int | None, int | None]:
  """(coordinator, process, processes) of --distributed; None where the machine tells."""
  if text == 'auto':
    return None, None, None
  coordinator, *numbers = text.split(',')
  host, _, port = coordinator.rpartition(':')
  if not host or '/' in host or len(numbers) != 2 or not all(number.isdecimal() for number in (port, *numbers)):
    raise argparse.ArgumentTypeError(f'{text!r} is neither auto nor HOST:PORT,PROCESS,PROCESSES')
  if not 1 <= int(port) <= 65535:
    raise argparse.ArgumentTypeError(f'{port} in {text!r} is no port; expected a number from 1 to 65535')
  process, processes = map(int, numbers)
  if process >= processes:
    raise argparse.ArgumentTypeError(f'process {process} of {processes}; they are numbered from 0')
  return coordinator, process, processes


def read_config(path: str | None, directory: pathlib.Path | None, overrides: list[str]):
  """The locked config of a file, else of the run in a directory, else of the digits, with the command line's overrides.

  Raises:
    CheckpointError: no file is given, and the directory holds no run.
    ConfigError: no such config, a config that cannot be read, or an override of no key or of another type.
  """
  from absl import flags as absl_flags
  from ml_collections import config_flags

  config = _base_config(path, directory)
  _check_overrides(overrides, dict(flatten(config.to_dict())))
  overrides, nones = parse_overrides(overrides)
  values, argv = absl_flags.FlagValues(), ['launch.py', *overrides]
  try:
    config_flags.DEFINE_config_dict('config', config, flag_values=values, lock_config=True, sys_argv=argv)
    values(argv)
  except (absl_flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    words = ' '.join(str(error.args[0] if error.args else error).split()).rstrip('.')
    raise ConfigError(f'{words}; configs/cifar10.py lists every key with its meaning') from error
  for key in nones:
    *groups, name = key.split('.')
    group = functools.reduce(lambda tree, part: tree[part], groups, values.config)
    with group.ignore_type():
      group[name] = None
  return values.config


def _base_config(path: str | None, directory: pathlib.Path | None):
  """The config before the overrides."""
  from ml_collections import ConfigDict

  from dcgan_jax.training import workdir

  if path is None and directory is not None:
    return ConfigDict(_with_placeholders(workdir.read_config(directory)))
  return config_files.load(path or config_files.DEFAULT)


def _with_placeholders(values: dict) -> dict:
  """None as ml_collections wants it: a key that takes a value from the command line."""
  from ml_collections import config_dict

  fill = lambda value: _with_placeholders(value) if isinstance(value, dict) else value
  return {key: config_dict.placeholder(object) if value is None else fill(value) for key, value in values.items()}


def _check_overrides(overrides: list[str], known: dict[str, object]) -> None:
  """Raises ConfigError at the first argument that is no `--config.KEY=VALUE` or `--config.KEY VALUE` of a known key."""
  is_value = False
  for token in overrides:
    if is_value and token != '=' and not token.startswith('--'):
      is_value = False
      continue
    if not token.startswith('--config.'):
      raise ConfigError(unknown_names.for_argument(token, known, _FLAGS))
    key, equals, _ = token.removeprefix('--config.').partition('=')
    if key not in known:
      raise ConfigError(unknown_names.for_key(key, known))
    is_value = not equals


def _run_name(path: str | None) -> str:
  """'configs/cifar10.py:paper' -> 'cifar10_paper'."""
  file, variant = config_files.split(path or config_files.DEFAULT)
  return '_'.join(filter(None, (pathlib.PurePath(file).stem, variant)))
