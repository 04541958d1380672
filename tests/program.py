"""The program in fresh processes, for the tests that run it as its user does."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
# Seconds after which a process hangs, however busy the machine is.
HANGS = 1800
KEYS = [
  '--config.batch_size=16', '--config.generator.widths=(8, 4)', '--config.discriminator.widths=(4, 8)',
  '--config.discriminator.dropout=0.1', '--config.data.flip=True', '--config.steps_per_call=4',
  '--config.logging.scalars_every=2', '--config.logging.samples_every=6', '--config.logging.checkpoint_every=100',
]  # fmt: skip
TINY = ['--config', 'digits', *KEYS]


def start(*arguments, devices=1, code=None, cwd=ROOT, **variables):
  """Starts launch.py, or Python code in its place."""
  flags = f'--xla_force_host_platform_device_count={devices}'
  environment = {**os.environ, 'XLA_FLAGS': flags, **variables}
  # The program decides itself where it keeps what it compiles: in $XDG_CACHE_HOME, which all tests share.
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  program = [str(ROOT / 'launch.py')] if code is None else ['-c', code]
  command = [sys.executable, *program, *map(str, arguments)]
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  return subprocess.Popen(command, env=environment, cwd=cwd, **pipes)


def launch(*arguments, devices=1, check=True, cwd=ROOT, **variables):
  process = start(*arguments, devices=devices, cwd=cwd, **variables)
  output, error = process.communicate(timeout=HANGS)
  assert not check or process.returncode == 0, error
  return subprocess.CompletedProcess(process.args, process.returncode, output, error)
