"""The Colab notebook runs from top to bottom, from every source it offers."""

import os
import pathlib
import shutil

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / 'notebooks' / 'dcgan_colab.ipynb'
# What Colab has and others have not.
COLAB = {
  'output.py': '',  # JAX imports it where google.colab is
  'drive.py': 'def mount(path):\n  print("mounted", path)\n',
  'files.py': (
    'import os, shutil\n\n'
    'def upload():\n  return {shutil.copy(os.environ["UPLOADED"], "."): b""}\n\n'
    'def download(path):\n  print("downloaded", path)\n'
  ),
}


def _execute(directory, *, cells=None, form=None, **environment):
  """Runs the notebook, or its first cells, in a kernel of its own; returns what it printed and how many pictures."""
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  notebook.cells = notebook.cells[:cells]
  for name, value in (form or {}).items():
    (line,) = (line for line in notebook.cells[1].source.splitlines() if line.startswith(f'{name} = '))
    notebook.cells[1].source = notebook.cells[1].source.replace(line, f'{name} = {value!r}')
  environment = {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu', **environment}
  environment['XDG_CACHE_HOME'] = str(directory / 'cache')
  client = nbclient.NotebookClient(notebook, timeout=400, resources={'metadata': {'path': str(directory)}})
  client.execute(env=environment)
  outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
  printed = ''.join(output.get('text', '') for output in outputs)
  kinds = [kind for output in outputs for kind in output.get('data', {}) if kind.startswith('image/')]
  return printed, kinds


@pytest.fixture
def directory(tmp_path):
  """A work directory in which the notebook finds the project above it, as in a clone."""
  for name in ('dcgan_jax', 'configs', 'exports', 'launch.py'):
    (tmp_path / name).symlink_to(ROOT / name)
  (tmp_path / 'notebooks').mkdir()
  return tmp_path / 'notebooks'


def test_it_runs_from_top_to_bottom_at_once(directory):
  printed, kinds = _execute(directory)
  assert 'step 2,000, examples of 16 x 16 x 1, trained on digits' in printed
  assert 'Resuming' in printed
  assert 'Step 20\n' in printed
  assert kinds.count('image/png') == 4
  assert kinds.count('image/gif') == 1
  assert (directory / 'my_run.zip').stat().st_size > 10**6


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
  return pathlib.Path(shutil.make_archive(tmp_path_factory.mktemp('a') / 'run', 'zip', ROOT / 'exports' / 'digits'))


@pytest.mark.parametrize('source', ['url', 'upload', 'drive'])
def test_a_run_is_restored_from_every_source(source, archive, directory, tmp_path):
  colab = tmp_path / 'colab' / 'google' / 'colab'
  colab.mkdir(parents=True)
  for name, content in COLAB.items():
    (colab / name).write_text(content)
  path = {'url': archive.as_uri(), 'upload': '', 'drive': str(archive)}[source]
  printed, _ = _execute(
    directory, cells=6, form={'SOURCE': source, 'PATH': path}, UPLOADED=str(archive), PYTHONPATH=str(tmp_path / 'colab')
  )
  assert 'step 2,000, examples of 16 x 16 x 1' in printed
  assert 'run_' in printed
  assert ('mounted /content/drive' in printed) == (source == 'drive')


def test_the_address_of_the_project_is_said_once():
  text = NOTEBOOK.read_text()
  assert text.count('https://') == 1
  assert 'outputs": []' in text
  assert '"output_type"' not in text
