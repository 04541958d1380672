"""The commands as one dict of functions. Flags are read and checked before JAX is imported.

usage: launch.py [command] [flags]

  train        train a config, or go on with the run in a work directory (the default command)
  sample       draw images from a run
  evaluate     FID, KID, Inception Score, precision, recall and signs of collapse of a run
  report       a run as one HTML file: curves, samples over time, a latent walk, metrics, how to go on
  interpolate  ways, walks, traversals, truncation and arithmetic in a run's latent space
  project      the z that gives an image back
  inpaint      fill a hole in images with what a run's generator would have there
  anomaly      how unlike the training images an image is, by AnoGAN or the discriminator's features
  augmentation what a conditional run's samples add to labelled data
  probe        what the discriminator has learned: a linear SVM on its features, beside baselines
  export       write a run's networks as safetensors, StableHLO or PyTorch state dicts, with a model card
  import       turn state dicts of the PyTorch DCGAN example into an export, which the other commands take as a run

`launch.py COMMAND --help` lists a command's flags, `launch.py --version` prints the version. Without any arguments it
trains configs/digits.py.
"""

import contextlib
import errno
import io
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import dcgan_jax
from dcgan_jax.building import config_files, unknown_names
from dcgan_jax.building.rules import RULES, flatten
from dcgan_jax.commands.anomaly import anomaly
from dcgan_jax.commands.augmentation import augmentation
from dcgan_jax.commands.evaluate import evaluate
from dcgan_jax.commands.export import export
from dcgan_jax.commands.import_torch import import_torch
from dcgan_jax.commands.inpaint import inpaint
from dcgan_jax.commands.interpolate import interpolate
from dcgan_jax.commands.probe import probe
from dcgan_jax.commands.project import project
from dcgan_jax.commands.report import report
from dcgan_jax.commands.sample import sample
from dcgan_jax.commands.train import train
from dcgan_jax.errors import ConfigError, DivergenceError, StoppedError, UserError, printable, remedy

COMMANDS: dict[str, Callable[[list[str]], None]] = {
  'anomaly': anomaly,
  'augmentation': augmentation,
  'evaluate': evaluate,
  'export': export,
  'import': import_torch,
  'inpaint': inpaint,
  'interpolate': interpolate,
  'probe': probe,
  'project': project,
  'report': report,
  'sample': sample,
  'train': train,
}
_SHOWN = 120  # Characters of a path.
# What a disk or its owner may refuse at any time, and paths that no system takes.
_NO_DEFECTS = (
  *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO),
  *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT),
)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; returns the exit code: 2 for a user's mistake, 1 for a run that diverged, 128 + the signal's
  number for one that a signal stopped, 141 where the reader of its output has gone, as in `launch.py --help | head`."""
  try:
    try:
      return _run(argv)
    finally:
      if sys.stdout is not None:
        sys.stdout.flush()
  except BrokenPipeError:
    # Else Python would write what is left as it exits, and complain.
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 141


def _run(argv: Sequence[str] | None) -> int:
  argv = list(sys.argv[1:] if argv is None else argv)
  # A path in a message may hold what the encoding of a terminal has no bytes for.
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='backslashreplace')
  try:
    if argv and argv[0] in ('-h', '--help'):
      print(__doc__.split('\n', 2)[2].strip())
      return 0
    if argv[:1] == ['--version']:
      print(dcgan_jax.__version__)
      return 0
    _command(argv)(argv)
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
    name = str(error.filename or '')
    where = f'{name[:_SHOWN]}{"..." * (len(name) > _SHOWN)}: ' if name else ''
    return _complain(f'{where}{error.strerror}; {remedy(error)}, then the same command goes on', 2)
  except RuntimeError as error:
    # pathlib's expanduser, of ~USER that is not there, or of ~ where the user has no home.
    if 'home directory' not in str(error):
      raise
    return _complain('No home directory is known for a path that begins with ~; give the path without ~', 2)
  return 0


def _command(argv: list[str]) -> Callable[[list[str]], None]:
  """Takes the command's name off the arguments; without one it is train."""
  if not argv or argv[0].startswith('-'):
    late = [token for before, token in itertools.pairwise(argv) if token in COMMANDS and not _takes_value(before)]
    if late:
      raise ConfigError(f'The command comes first: launch.py {late[0]} {" ".join(t for t in argv if t != late[0])}')
    return train
  name = argv.pop(0)
  if name not in COMMANDS:
    is_run = (pathlib.Path(name) / 'config.json').is_file()
    keys = [key for key, _ in flatten(RULES)]
    raise ConfigError(unknown_names.for_command(name, COMMANDS, config_files.names(), is_run=is_run, keys=keys))
  return COMMANDS[name]


def _takes_value(token: str) -> bool:
  return token.startswith('--') and '=' not in token


def _complain(message: object, code: int) -> int:
  print(_as_called(f'launch.py: {printable(str(message))}'), file=sys.stderr)
  return code


def _as_called(text: str) -> str:
  """The text with the name that an installed package's program was called by, which has no launch.py nor configs/."""
  program = pathlib.Path(sys.argv[0])
  if program.parts[-2:] == (dcgan_jax.__name__, '__main__.py'):
    name = f'python -m {dcgan_jax.__name__}'
  elif program.stem == 'dcgan':
    name = 'dcgan'
  else:
    return text
  text = text.replace('python launch.py', name).replace('launch.py', name)
  return text.replace('configs/cifar10.py', str(config_files.CONFIGS / 'cifar10.py'))
