"""README's commands and links are those that exist."""

import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from program import launch

from dcgan_jax import cli

ROOT = pathlib.Path(__file__).parent.parent
TINY = ['--config.generator.widths=(8, 6, 4, 2)', '--config.discriminator.widths=(2, 4, 6, 8)']
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_the_first_two_commands_set_up_and_train_and_set_up_and_test():
  train, test = re.search(r'```bash\n(.*?)```', README, re.DOTALL)[1].splitlines()
  assert train == 'python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/python launch.py'
  assert (
    test
    == """python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest -m 'not slow'"""
  )


def test_it_has_at_most_160_lines_and_no_paragraph_over_three():
  assert len(README.splitlines()) <= 160
  assert max(map(len, README.splitlines())) <= 250  # rows of tables, and badges
  text = re.sub(r'```.*?```|^(\||- |\[!\[|  ).*$', '', README, flags=re.DOTALL | re.MULTILINE)
  for paragraph in re.split(r'\n\s*\n', text):
    assert len(paragraph.strip().splitlines()) <= 3, paragraph


@pytest.mark.slow
def test_its_commands_run_in_order_in_one_directory(tmp_path):
  for name in ('configs', 'launch.py'):
    (tmp_path / name).symlink_to(ROOT / name)
  faces = tmp_path / 'faces'
  faces.mkdir()
  for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (70, 70, 90, 3), np.uint8)):
    Image.fromarray(pixels).save(faces / f'{i}.png')
  # As the first of the two commands does, in fewer steps.
  commands = [
    '--config.steps=20',
    *re.findall(r'^python launch\.py (.*)$|`python launch\.py ([^`]*)`', README, re.MULTILINE),
  ]
  commands = [command if isinstance(command, str) else ''.join(command) for command in commands]
  others = ('runs/cifar10', 'runs/fashion')  # runs of data that are no part of the package
  commands = [command for command in commands if not any(run in command for run in others)]
  assert len(commands) >= 11
  for command in commands:
    arguments = shlex.split(command.replace('/data/faces', str(faces)).replace('2100', '40').replace('1000', '200'))
    quick = ['--config.steps=2', *TINY] if 'folder.py' in command else []
    result = launch(*arguments, *quick, cwd=tmp_path, JAX_DISABLE_MOST_OPTIMIZATIONS='1')
    assert result.stdout, command
  assert {path.name for path in (tmp_path / 'runs').iterdir()} == {'digits', 'faces'}


def test_every_command_shown_is_one_of_the_program():
  shown = set(re.findall(r'python launch\.py (\w+)', README))
  assert shown <= cli.COMMANDS.keys()


def test_every_config_is_in_the_table():
  assert set(re.findall(r'^\| `(\w+)\.py`', README, re.MULTILINE)) == {p.stem for p in (ROOT / 'configs').glob('*.py')}


def test_every_test_that_a_document_names_exists():
  tests = ''.join(path.read_text(encoding='utf-8') for path in (ROOT / 'tests').glob('*.py'))
  for document in [ROOT / 'SECURITY.md', *(ROOT / 'docs').glob('*.md')]:
    for name in re.findall(r'`(?:tests/)?(test_\w+)(?:\.py)?`', document.read_text(encoding='utf-8')):
      assert f'def {name}(' in tests or (ROOT / 'tests' / f'{name}.py').exists(), name


def test_every_linked_file_exists():
  for link in re.findall(r'\]\((?!http|#)([^)]+)\)', README):
    assert (ROOT / link).exists(), link
