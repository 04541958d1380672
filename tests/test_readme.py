"""README's commands and links are those that exist."""

import pathlib
import re

from dcgan_jax import cli

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def test_the_first_two_commands_set_up_and_train_and_set_up_and_test():
  train, test = re.search(r'```bash\n(.*?)```', README, re.DOTALL)[1].splitlines()
  assert train == 'python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/python launch.py'
  assert test == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest"


def test_every_command_shown_is_one_of_the_program():
  shown = set(re.findall(r'python launch\.py (\w+)', README))
  assert shown <= cli.COMMANDS.keys()


def test_every_config_is_in_the_table():
  assert set(re.findall(r'^\| `(\w+)\.py`', README, re.MULTILINE)) == {p.stem for p in (ROOT / 'configs').glob('*.py')}


def test_every_test_that_a_document_names_exists():
  tests = ''.join(path.read_text() for path in (ROOT / 'tests').glob('*.py'))
  for document in [ROOT / 'SECURITY.md', *(ROOT / 'docs').glob('*.md')]:
    for name in re.findall(r'`(?:tests/)?(test_\w+)(?:\.py)?`', document.read_text()):
      assert f'def {name}(' in tests or (ROOT / 'tests' / f'{name}.py').exists(), name


def test_every_linked_file_exists():
  for link in re.findall(r'\]\((?!http)([^)]+)\)', README):
    assert (ROOT / link).exists(), link
