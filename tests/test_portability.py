"""What Windows lacks, refuses or does otherwise: read off the source, and simulated. `.ci/portable` runs more."""

import ast
import io
import os
import pathlib
import re
import sys
import types

import numpy as np
import pytest
from PIL import Image
from program import TINY, launch
from windows_like import windows_lacks

from configs import digits
from dcgan_jax import cli
from dcgan_jax.building.data import build_source
from dcgan_jax.commands import inpaint
from dcgan_jax.data import tfds
from dcgan_jax.games import parallel

PACKAGE = pathlib.Path(__file__).parent.parent / 'dcgan_jax'
TREES = {path: ast.parse(path.read_text(encoding='utf-8')) for path in PACKAGE.rglob('*.py')}
# Asked for where its absence is handled.
HANDLED = {('parallel', 'os.sysconf')}
# Functions called `open` that open no text.
OTHER_OPENS = ('Image.open', 'archive.open', 'tarfile.open')
on_other_systems = pytest.mark.skipif(os.name == 'nt', reason='C: is a drive there, and no name of a file')


def test_the_package_asks_for_no_name_that_windows_lacks():
  asked = {
    (path.stem, ast.unparse(node))
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute) and node.attr in windows_lacks.NAMES.get(ast.unparse(node.value), ())
  }
  assert asked == HANDLED


def test_the_package_imports_no_module_that_windows_lacks():
  for path, tree in TREES.items():
    for node in ast.walk(tree):
      names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
      names += [node.module] if isinstance(node, ast.ImportFrom) else []
      assert not windows_lacks.MODULES & set(names), path


def test_text_files_are_read_and_written_with_an_encoding():
  """Without one it is the system's: cp1252 on many a Windows, where a name in another alphabet cannot be written."""
  without = []
  for path, tree in TREES.items():
    for node in ast.walk(tree):
      if isinstance(node, ast.Call) and _opens_text(node) and 'encoding' not in {word.arg for word in node.keywords}:
        without.append((path.name, node.lineno, ast.unparse(node)))
  assert without == []


def _opens_text(call):
  name = ast.unparse(call.func)
  if name.endswith(('.read_text', '.write_text')):
    return True
  if name in (*OTHER_OPENS, 'os.open') or not (name == 'open' or name.endswith('.open')):
    return False
  mode = call.args[1:2] if name == 'open' else call.args[:1]
  return not (mode and isinstance(mode[0], ast.Constant) and 'b' in mode[0].value)


def test_a_system_that_does_not_tell_its_memory_has_no_limit(monkeypatch):
  device = types.SimpleNamespace(memory_stats=lambda: None)
  assert 10**8 < parallel.memory_of(device) <= sys.maxsize
  monkeypatch.delattr(os, 'sysconf', raising=False)
  assert parallel.memory_of(device) == sys.maxsize
  device.memory_stats = lambda: {'bytes_limit': 5}
  assert parallel.memory_of(device) == 5


@on_other_systems
@pytest.mark.parametrize('source', ['npz:C:\\data\\x.npz', 'folder:C:\\pictures'])
def test_a_data_source_may_have_a_drive_letter(source, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  images = np.zeros((9, 4, 4, 3), np.uint8)
  np.savez('C:\\data\\x.npz', train_images=images)
  pathlib.Path('C:\\pictures').mkdir()
  for i, image in enumerate(images):
    Image.fromarray(image).save(f'C:\\pictures/{i}.png')
  config = digits.get_config().unlock()
  config.update(batch_size=2, data={'source': source, 'image_size': 4, 'split': 'train', 'channels': 3})
  assert (len(build_source(config)), build_source(config).shape) == (9, (4, 4, 3))


@on_other_systems
def test_a_mask_may_have_a_drive_letter(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('C:\\mask.png').touch()
  assert inpaint._mask('C:\\mask.png') == pathlib.Path('C:\\mask.png')


def test_a_stream_of_another_alphabet_gets_escapes(monkeypatch):
  """A redirected stream on Windows takes cp1252 alone, and a path in a message may hold anything."""
  stream = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
  monkeypatch.setattr(sys, 'stdout', stream)
  monkeypatch.setitem(cli.COMMANDS, 'say', lambda argv: print('runs/\u4e2d'))
  assert cli.main(['say']) == 0
  stream.flush()
  assert stream.buffer.getvalue().strip() == b'runs/\\u4e2d'


@pytest.mark.parametrize(('platform', 'advice'), [('linux', 'pip install array_record'), ('win32', 'npz:PATH')])
def test_data_sets_that_windows_cannot_read_are_refused_with_what_can_be_done(platform, advice, monkeypatch):
  monkeypatch.setattr(sys, 'platform', platform)
  assert advice in tfds._package(ImportError("No module named 'array_record'", name='array_record'))


@pytest.mark.slow
def test_a_run_with_all_its_files_has_names_that_windows_takes(tmp_path):
  run = tmp_path / 'run'
  for steps in (4, 8):
    launch('--workdir', run, f'--config.steps={steps}', *TINY)
  launch('report', '--workdir', run)
  launch('export', '--workdir', run, '--to', run / 'export')
  names = {path.name for path in run.rglob('*')}
  assert len(names) > 15
  assert [name for name in names if re.search(r'[<>:"|?*\x00-\x1f]|[. ]$', name)] == []
  assert [name for name in names if re.fullmatch(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', name.lower())] == []
