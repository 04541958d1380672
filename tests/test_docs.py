"""What the pages say exists, and their scripts run as they stand there."""

import contextlib
import itertools
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
from program import HANGS, TINY, start

from configs import cifar10
from dcgan_jax import cli, flags
from dcgan_jax.building.rules import flatten
from dcgan_jax.commands import given
from dcgan_jax.data.digits import open_digits
from dcgan_jax.exporting import hub, tensors
from dcgan_jax.games import parallel
from dcgan_jax.kinds import ffmpeg as video
from dcgan_jax.training import session, workdir

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / 'docs').glob('*.md'))}
KEYS = dict(flatten(cifar10.reference().to_dict()))
# A script, and the commands that use it.
EXTENSIONS = re.findall(r'```python\n(.*?)```.*?```bash\n(.*?)```', PAGES['extending'], re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize('extension', range(3))
def test_each_extension_trains_as_it_stands_here(extension, tmp_path):
  script, commands = EXTENSIONS[extension]
  np.save(tmp_path / 'images.npy', open_digits(split='train', image_size=16).examples[:64])
  for i, line in enumerate(commands.splitlines()):
    arguments = line.replace('images.npy', str(tmp_path / 'images.npy')).replace('runs/', f'{tmp_path}/').split()[2:]
    arguments += ['--out', tmp_path / 'samples.png'] if arguments[0] == 'sample' else ['--config.steps=2', *TINY]
    process = start(*arguments, code=script, JAX_DISABLE_MOST_OPTIMIZATIONS='1')
    output, error = process.communicate(timeout=HANGS)
    assert process.returncode == 0, error
    assert ('Training' if i == 0 else 'samples') in output


def test_each_extension_has_at_most_twenty_lines():
  assert len(EXTENSIONS) == 3
  for script, _ in EXTENSIONS:
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 20, lines[0]
    assert max(map(len, script.splitlines())) <= 120


def test_every_key_that_a_page_gives_on_the_command_line_exists():
  # In extending.md, too: names are new there, keys are not.
  for page, text in PAGES.items():
    for key in re.findall(r'--config\.([\w.]+)', text):
      assert key in KEYS or key == 'KEY', f'{page}: config.{key}'


class _AcceptedError(Exception):
  pass


@pytest.fixture
def play(tmp_path, monkeypatch):
  """A function that takes a command of a page as far as its arguments, and leaves of a training its config alone."""
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  monkeypatch.chdir(tmp_path)

  def accept(*_, **__):
    raise _AcceptedError

  def train(config, directory, **_):
    directory.mkdir(parents=True, exist_ok=True)
    workdir.write(directory, 'config.json', config.to_dict())
    workdir.write(directory, 'run.json', {'shape': [16, 16, 1]})
    raise _AcceptedError

  monkeypatch.setattr(session, 'run_training', train)
  monkeypatch.setattr(given, 'check', lambda sources: None)
  for module, name in ((tensors, 'read'), (hub, 'check'), (video, 'find_ffmpeg'), (parallel, 'start_processes')):
    monkeypatch.setattr(module, name, accept)

  def play(arguments):
    others = arguments and not arguments[0].startswith('--')
    directory = tmp_path / _after(arguments, '--workdir') if '--workdir' in arguments else tmp_path
    if stands_for_a_run := bool(others and not directory.exists()):
      with contextlib.suppress(_AcceptedError):
        train(cifar10.reference(), directory)
    for flag in {'--mask', '--weights'}.intersection(arguments):
      pathlib.Path(_after(arguments, flag)).touch()
    with monkeypatch.context() as context:
      context.setattr(flags, 'prepare_libraries', accept if others else lambda: None)
      with contextlib.suppress(_AcceptedError):
        assert cli.main(arguments) == 0, arguments
    if stands_for_a_run:
      shutil.rmtree(directory)

  return play


def _after(arguments, flag):
  return arguments[arguments.index(flag) + 1]


def _commands(text):
  """The arguments of every launch.py of a page, in order."""
  shown = re.findall(r'```bash\n(.*?)```|`(python launch\.py [^`]*)`', text, re.DOTALL)
  for line in '\n'.join(map(''.join, shown)).replace('\\\n', ' ').splitlines():
    if 'launch.py' in line and '...' not in line and 'COMMAND' not in line:
      words = shlex.split(line, comments=True)
      first = next(i for i, word in enumerate(words) if word.endswith('launch.py'))
      yield list(itertools.takewhile(lambda word: word not in ('&', '>'), words[first + 1 :]))


@pytest.mark.parametrize('page', PAGES)
def test_every_command_of_a_page_is_accepted_after_those_of_the_readme(page, play, capsys):
  for text in ((ROOT / 'README.md').read_text(encoding='utf-8'), PAGES[page]):
    for arguments in _commands(text):
      play(arguments)
  assert capsys.readouterr().err == ''


def test_every_command_that_a_page_shows_is_one_of_the_program():
  for page, text in PAGES.items():
    for command in re.findall(r'python launch\.py ([a-z]\w*)', text):
      assert command in cli.COMMANDS, f'{page}: {command}'


def test_every_file_that_a_page_links_to_exists():
  for page, text in PAGES.items():
    for link in re.findall(r'\]\((?!http)([^)#]+)', text):
      assert (ROOT / 'docs' / link).exists(), f'{page}: {link}'


def test_every_key_and_file_in_the_glossary_exists():
  rows = re.findall(r'^\|.*\|$', PAGES['glossary'], re.MULTILINE)
  keys = re.findall(r'`config\.([\w.]+)', '\n'.join(rows))
  files = re.findall(r'`(\w+(?:/\w+)*\.py)`', '\n'.join(rows))
  assert len(keys) > 15
  assert len(files) > 10
  for key in keys:
    assert key in KEYS or any(known.startswith(f'{key}.') for known in KEYS), key
  for file in files:
    assert (ROOT / file).exists() or (ROOT / 'dcgan_jax' / file).exists(), file


def test_every_module_but_the_commands_is_on_the_page_of_the_api():
  package = ROOT / 'dcgan_jax'
  modules = {path.stem for path in package.glob('*.py')} | {path.parent.name for path in package.glob('*/__init__.py')}
  listed = set(re.findall(r'^ +dcgan_jax\.(\w+)$', PAGES['api'], re.MULTILINE))
  assert listed == modules - {'__init__', '__main__', 'commands'}


def test_every_page_is_in_a_list_of_the_front_page():
  names = re.findall(r'^([a-z_]+)\*?$', PAGES['index'], re.MULTILINE)
  assert PAGES.keys() - {'index'} <= set(names)
