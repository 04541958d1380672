"""The wheel, in an empty environment and another folder, does what a checkout does."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
QUICK = ['--config.batch_size=16', '--config.generator.widths=(8, 4)', '--config.discriminator.widths=(4, 8)']
IMPORTED = """
import dcgan_jax
run = dcgan_jax.load('digits')
assert run.sample(4, seed=0).shape == (4, 16, 16, 1)
print(dcgan_jax.__file__)
"""
NOTEBOOK = """
import nbclient, nbformat
notebook = nbformat.read('dcgan_colab.ipynb', as_version=4)
nbclient.NotebookClient(notebook, timeout=400).execute()
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel that WHEEL names, so that what is released is what was tested, or one built here."""
  if 'WHEEL' in os.environ:
    return pathlib.Path(os.environ['WHEEL'])
  directory = tmp_path_factory.mktemp('wheel')
  build = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--wheel-dir', directory, ROOT]
  subprocess.run(build, check=True)
  (path,) = directory.glob('*.whl')
  return path


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
  """The folder of the programs of an environment that holds the wheel, what it needs, and a kernel for the notebook."""
  directory = tmp_path_factory.mktemp('environment')
  subprocess.run([sys.executable, '-m', 'venv', directory], check=True)
  programs = directory / ('Scripts' if os.name == 'nt' else 'bin')
  subprocess.run([programs / 'python', '-m', 'pip', 'install', '-q', wheel, 'nbclient', 'ipykernel'], check=True)
  return programs


@pytest.fixture
def call(environment, tmp_path):
  """Runs a program of the environment in an empty folder; returns what it printed."""
  variables = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'XLA_FLAGS')}
  variables |= {'JAX_PLATFORMS': 'cpu', 'XDG_CACHE_HOME': str(environment.parent / 'cache')}

  def run(program, *arguments):
    command = [environment / program, *map(str, arguments)]
    result = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return result.stdout

  return run


def test_the_wheel_holds_the_package_its_configs_its_exports_and_its_licence_alone(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split('/')[0].partition('-')[0] for name in names} == {'dcgan_jax'}
  shipped = {name for name in names if name.startswith('dcgan_jax/shipped/')}
  configs = {f'dcgan_jax/shipped/configs/{path.name}' for path in (ROOT / 'configs').glob('*.py')}
  files = [path for path in (ROOT / 'exports').rglob('*') if path.is_file()]
  assert shipped == configs | {f'dcgan_jax/shipped/{path.relative_to(ROOT).as_posix()}' for path in files}
  assert any(name.endswith('LICENSE') for name in names)
  modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'dcgan_jax').rglob('*.py')}
  assert modules == {name for name in names if name.endswith('.py')} - configs


def test_the_program_trains_samples_and_resumes_with_no_checkout_at_hand(call, tmp_path):
  assert 'Training' in call('dcgan', '--config.steps=4', *QUICK)
  assert 'Resuming runs/digits at step 4 of 6' in call('dcgan', '--workdir', 'runs/digits', '--config.steps=6')
  call('dcgan', 'sample', '--workdir', 'runs/digits', '--num', 4, '--out', 'grid.png')
  assert (tmp_path / 'grid.png').stat().st_size > 0
  digits = '--config.data.source=digits'
  call('dcgan', '--config', 'cifar10', digits, '--config.data.channels=1', '--config.steps=1', *QUICK)
  assert (tmp_path / 'runs' / 'cifar10' / 'checkpoints' / '1').is_dir()


def test_the_shipped_export_is_loaded_by_its_name_and_torch_networks_are_imported(call, environment, tmp_path):
  assert pathlib.Path(call('python', '-c', IMPORTED).strip()).is_relative_to(environment.parent)
  call('dcgan', 'export', '--workdir', 'digits', '--to', 'exported')
  wide = ['--config.data.image_size=16', '--config.generator.widths=(8, 4)', '--config.discriminator.widths=(4, 8)']
  data = ['--config.data.source=digits', '--config.data.channels=1', '--config.batch_size=16']
  call('dcgan', '--config', 'cifar10:pytorch', '--workdir', 'run', '--config.steps=1', *wide, *data)
  call('dcgan', 'export', '--workdir', 'run', '--to', 'torch', '--format', 'torch')
  call('dcgan', 'import', '--from', 'torch', '--to', 'imported')
  call('dcgan', 'sample', '--workdir', 'imported', '--num', 4, '--out', 'grid.png')


def test_the_notebook_runs_with_the_wheel_alone(call, tmp_path):
  (tmp_path / 'dcgan_colab.ipynb').write_bytes((ROOT / 'notebooks' / 'dcgan_colab.ipynb').read_bytes())
  call('python', '-c', NOTEBOOK)
  assert (tmp_path / 'my_run.zip').is_file()
