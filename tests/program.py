"""The program in fresh processes, for the tests that run it as its user does."""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
CACHE = tempfile.TemporaryDirectory()  # Of compiled programs: these runs differ in little but their steps.
TINY = [
  '--config.batch_size=16', '--config.generator.widths=(8, 4)', '--config.discriminator.widths=(4, 8)',
  '--config.discriminator.dropout=0.1', '--config.data.flip=True', '--config.steps_per_call=4',
  '--config.logging.scalars_every=2', '--config.logging.samples_every=6', '--config.logging.checkpoint_every=100',
]  # fmt: skip


def start(*arguments, devices=1, code=None, **variables):
  """Starts launch.py, or Python code in its place."""
  flags = f'--xla_force_host_platform_device_count={devices}'
  environment = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'XDG_CACHE_HOME': CACHE.name, **variables}
  # A test that called the command line in this process may have set where it keeps what it compiles.
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  program = [str(ROOT / 'launch.py')] if code is None else ['-c', code]
  command = [sys.executable, *program, *map(str, arguments)]
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  return subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)


def launch(*arguments, devices=1, check=True, **variables):
  process = start(*arguments, devices=devices, **variables)
  output, error = process.communicate(timeout=400)
  assert not check or process.returncode == 0, error
  return subprocess.CompletedProcess(process.args, process.returncode, output, error)
