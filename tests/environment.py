"""Environment variables of the tests and of the programs they start; to be imported before JAX."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

# Everything that tests write outside their own folders, and what they compile, lies in one directory of the session,
# which its worker processes share and its first process removes.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ['TMPDIR'] = tempfile.mkdtemp(prefix='dcgan_jax_tests_')
  atexit.register(shutil.rmtree, os.environ['TMPDIR'], ignore_errors=True)
tempfile.tempdir = os.environ['TMPDIR']
os.environ['XDG_CACHE_HOME'] = os.path.join(tempfile.tempdir, 'cache')
os.environ['JAX_COMPILATION_CACHE_DIR'] = os.path.join(tempfile.tempdir, 'compiled')
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.3'
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'
# Quicker compilation, slower programs.
os.environ['XLA_FLAGS'] += ' --xla_cpu_parallel_codegen_split_count=1'
if tuple(map(int, importlib.metadata.version('jaxlib').split('.')[:2])) < (0, 11):  # Later ones have no such flag.
  os.environ['XLA_FLAGS'] += ' --xla_cpu_use_fusion_emitters=false'

import jaxtyping  # noqa: E402  After the variables above, which JAX reads as it is imported.

CHECKED = [
  'dcgan_jax.objectives',
  *(f'dcgan_jax.games.{name}' for name in ('adversarial', 'augment', 'players', 'step')),
]
# Every call of a function in these modules checks the shapes that its annotations give; in the tests alone.
jaxtyping.install_import_hook(CHECKED, 'beartype.beartype')
