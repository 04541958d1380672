"""The flags, config keys and commands that messages name exist, and what they advise fits what they refuse."""

import ast
import contextlib
import errno
import io
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from configs import cifar10
from dcgan_jax import cli
from dcgan_jax.building import config_files
from dcgan_jax.building.rules import flatten
from dcgan_jax.data import arrays
from dcgan_jax.errors import counted, remedy

ROOT = pathlib.Path(__file__).parent.parent
KEYS = dict(flatten(cifar10.reference().to_dict()))
GROUPS = {key.rpartition('.')[0] for key in KEYS}
# What a module's messages can be about; those of the others can be about any command.
COMMAND_OF = {'build': 'train', 'checkpoint': 'train', 'hooks': 'train', 'parallel': 'train', 'workdir': 'train'}
COMMAND_OF |= {'config_files': 'train', 'sample': 'sample', 'export': 'export', 'hub': 'export', 'metrics': 'evaluate'}
COMMAND_OF |= {'unknown_names': 'train', 'nearby_runs': 'train', 'applications': 'train', 'validate': 'train'}
COMMAND_OF['import_torch'] = 'import'


def _texts():
  """(path, module or room, text) of every string of the package but docstrings; {} stands for what is filled in."""
  for path in sorted((ROOT / 'dcgan_jax').rglob('*.py')):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    parts = path.relative_to(ROOT / 'dcgan_jax').with_suffix('').parts
    room = parts[-1] if parts[0] == 'commands' else parts[0]
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
      if isinstance(node, ast.JoinedStr):
        skipped |= {id(inner) for inner in ast.walk(node) if inner is not node and not isinstance(inner, ast.JoinedStr)}
        parts = [v.value if isinstance(v, ast.Constant) else '{}' for v in node.values]
        yield path, room, ''.join(map(str, parts))
    for node in ast.walk(tree):
      if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
        yield path, room, node.value


@pytest.fixture(scope='module')
def flags():
  """The flags of every command."""
  found = {}
  for command in cli.COMMANDS:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
      cli.main([command, '--help'])
    found[command] = set(re.findall(r'--[a-z][\w-]*', text.getvalue()))
  return found


def _other_command(text, at):
  """The command that a text names before a flag, as in `launch.py evaluate --num`."""
  named = re.findall(rf'\b(?:launch\.py|`)\s?({"|".join(cli.COMMANDS)})\b', text[:at])
  return named[-1] if named else None


def test_every_flag_that_a_message_names_is_one_of_the_command_that_prints_it(flags):
  seen = 0
  for path, room, text in _texts():
    for match in re.finditer(r'(?<![\w-])--[a-z][\w-]*', text):
      if match[0].startswith(('--series', '--line')) or text[match.end() :].startswith(('{', '.{')):
        continue  # Of style sheets; of pieces.
      command = _other_command(text, match.start()) or COMMAND_OF.get(room, room if room in flags else None)
      known = flags[command] if command else set().union(*flags.values())
      is_table = room == 'unknown_names' and ' ' not in text.strip()  # The flags of all commands.
      assert match[0] in (set().union(*flags.values()) if is_table else known) | {'--help', '--version'}, (
        f'{path}: {text}'
      )
      seen += 1
  assert seen > 150


def test_every_key_that_a_message_names_exists_and_is_called_config():
  seen = 0
  rooms = '|'.join(group for group in GROUPS if group and '.' not in group)
  for path, _, text in _texts():
    if ' ' not in text and not text.startswith('--'):
      continue  # Names in code.
    for key in re.findall(r'\bconfig\.([a-z][\w.]*\w)', text):
      assert key in KEYS or key in GROUPS or key in ('json', 'KEY'), f'{path}: {text}'
      seen += 1
    bare = re.findall(rf'(?<![\w./])(?:{rooms})\.[a-z]\w*', text)
    assert not [key for key in bare if not key.endswith(('.safetensors', '.stablehlo'))], f'{path}: {text}'
  assert seen > 60


def test_metrics_which_training_takes_too_name_the_key_beside_the_flag():
  for path, room, text in _texts():
    if room == 'metrics' and re.search(r'--[a-z]', text):
      assert 'config.evaluation.' in text, f'{path}: {text}'


@pytest.mark.parametrize(
  ('number', 'noun', 'words'),
  [(1, 'layer', '1 layer'), (2, 'layer', '2 layers'), (0, 'entry', '0 entries'), (1797, 'example', '1,797 examples')],
)
def test_one_thing_is_no_things(number, noun, words):
  assert counted(number, noun) == words


@pytest.mark.parametrize(
  ('number', 'words'),
  [
    (errno.ENOSPC, 'make room'),
    (errno.EDQUOT, 'make room'),
    (errno.EACCES, 'change its permissions or give another path'),
    (errno.ENAMETOOLONG, 'give a shorter name'),
    (errno.ENOTDIR, 'a part of the path is a file: give another path'),
    (errno.EROFS, 'give a path that is not read-only'),
    (errno.ENOENT, 'give another path'),
    (None, 'give another path'),
  ],
)
def test_room_is_asked_for_where_a_disk_is_full_and_nowhere_else(number, words):
  assert remedy(OSError(*([] if number is None else [number, 'x']))) == words


@pytest.mark.parametrize(
  ('source', 'message'),
  [
    ('photos', "config.data.source is 'photos'; for a folder write folder:photos"),
    ('/data/faces', "config.data.source is '/data/faces'; for a folder write folder:/data/faces"),
    ('~/faces', 'for a folder write folder:~/faces'),
    (r'C:\faces', r'for a folder write folder:C:\faces'),
    ('cells.npz', 'for an .npz file write npz:cells.npz'),
    ('cells.npy', "make an .npz of it, np.savez('cells.npz', images=np.load('cells.npy')), and write npz:cells.npz"),
    ('faces.tar.gz', 'unpack it, and write folder:faces'),
    ('cifar10', 'for the TensorFlow data set write tfds:cifar10'),
    ('CelebA', 'for the TensorFlow data set write tfds:celeb_a'),
    ('Folder:photos', 'did you mean folder:photos?'),
    ('file:photos', 'did you mean folder:photos?'),
    ('folder=photos', 'did you mean folder:photos?'),
    ('NPZ:cells.npz', 'did you mean npz:cells.npz?'),
    ('tfd:mnist', "Unknown kind of config.data.source 'tfd'; known: digits, folder, npz, tfds. Did you mean 'tfds'?"),
    ('folder:photo', 'photo does not exist, did you mean photos?'),
    (
      'folder:photos,icons',
      'photos,icons is not one folder; to train on several, put links to them in one (ln -s) and',
    ),
    ('folder:photos icons', 'photos icons is not one folder; to train on several'),
    ('folder:photos/*', 'photos/* does not exist; give the folder without wildcards: its sub-folders are searched too'),
    ('npz:named.npz', 'rename: old = np.load(path); np.savez(new_path, train_images=old['),
    (
      'npz:words.npz',
      'but must be integers [N]; turn names into integers with np.unique(labels, return_inverse=True)[1]',
    ),
    ('npz:rows.npz', 'but must be integers [N]; turn one-hot rows into integers with labels.argmax(-1)'),
    ('npz:floats.npz', 'but must be integers [N]; convert class numbers with labels.astype(int)'),
  ],
)
def test_data_that_are_named_or_stored_otherwise_are_refused_with_what_to_type(
  source, message, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  images = np.zeros((8, 8, 8, 1), np.uint8)
  for folder in ('photos', 'icons'):
    (tmp_path / folder).mkdir()
  np.savez('named.npz', x_train=images, y_train=np.arange(8))
  np.savez('words.npz', images=images, labels=['cat', 'dog'] * 4)
  np.savez('rows.npz', images=images, labels=np.eye(8))
  np.savez('floats.npz', images=images, labels=np.arange(8.0))
  keys = ['--config.data.image_size=8', '--config.batch_size=8', f'--config.data.source={source}']
  assert cli.main(['--config', 'digits', '--workdir', 'run', *keys]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.loss=wgan'], "Unknown config.loss 'wgan'; known: hinge, least_squares, "),
    (['--config.loss=wgan'], "Did you mean 'wasserstein'?"),
    (['--config.loss=BCE'], "Did you mean 'non_saturating'?"),
    (['--config.loss=lsgan'], "Did you mean 'least_squares'?"),
    (['--config.generator.latents=gaussian'], "Did you mean 'normal'?"),
    (['--config.initialization=xavier'], "Did you mean 'keras'?"),
    (['--config.precision=fp16'], "Did you mean 'bfloat16'?"),
    (['--config.generator.name=ResNet'], "Did you mean 'residual'?"),
    (['--config.generator.normalization=batchnorm'], "Did you mean 'batch'?"),
    (['--config.generator.optimizer.name=ADAM'], "Did you mean 'adam'?"),
    (['--config.evaluation.every=5', '--config.evaluation.features=inception'], "Did you mean '2048'?"),
    (
      ['--config.evaluation=5'],
      'config.evaluation is a group of keys; give one of them, --config.evaluation.NAME=VALUE',
    ),
    (
      ['--config', 'run.json'],
      'run.json is no Python file; expected one with a function get_config, such as configs/ci',
    ),
    (['--config', 'old'], 'old is a run, not a config; to go on with it: launch.py --workdir old'),
    (['--config', 'old/config.json'], 'old is a run, not a config; to go on with it: launch.py --workdir old'),
    (['--workdir', 'old'], 'config.batch_size 3 -> 64, '),
    (['--workdir', 'old'], ' and 2 more); take the old values'),
    (['sample', '--out', '.'], 'holds 1 other image, such as a.png; expected a new or empty folder'),
    (
      ['inpaint', '--image', 'nope.png'],
      'There is no image file or folder nope.png; images of a split are given as SPLIT',
    ),
    (['project', '--image', 'nope.png'], 'There is no image file or folder nope.png'),
    (['anomaly', '--images', 'a.png', 'nope'], 'There is no image file or folder nope'),
    (['evaluate', '--batch-size', '5'], 'Unrecognized arguments: --batch-size 5; see launch.py evaluate --help'),
    (['evaluate', '--features', 'fid'], "Did you mean '2048'?"),
    (['export', '--to', 'x', '--format', 'pytorch'], "Did you mean 'torch'?"),
  ],
)
def test_a_mistake_of_a_newcomer_is_one_line_that_says_what_to_do(arguments, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  Image.new('L', (16, 16)).save('a.png')
  (tmp_path / 'run.json').write_text('{}')
  config = config_files.load('digits').to_dict() | {
    'batch_size': 3,
    'seed': 3,
    'precision': 'bfloat16',
    'loss': 'hinge',
  }
  config['data']['flip'] = config['generator']['bias'] = config['discriminator']['bias'] = True
  config |= {'reuse_fakes': True, 'initialization': 'keras', 'batch_norm': {'decay': 0.5, 'epsilon': 1e-5}}
  (tmp_path / 'old').mkdir()
  (tmp_path / 'old' / 'config.json').write_text(json.dumps(config))
  if arguments[0] in cli.COMMANDS:
    arguments = [*arguments, '--workdir', 'digits']
  else:
    arguments = ['--config', 'digits', '--workdir', 'run', *arguments]
  before = sorted(tmp_path.rglob('*'))
  assert cli.main(arguments) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
  ('keys', 'wanted', 'line'),
  [
    (['x_train', 'y_train'], 'train', "train_images=old['x_train'], train_labels=old['y_train'])"),
    (
      ['x_train', 'x_test', 'y_test'],
      'test',
      "train_images=old['x_train'], test_images=old['x_test'], test_labels=old[",
    ),
    (['X', 'y'], 'train', "images=old['X'], labels=old['y'])"),
    (['arr_0', 'arr_1'], 'train', "images=old['arr_0'], labels=old['arr_1'])"),
    (['images', 'labels'], 'test', None),
    (['y'], 'train', None),
    ([], 'train', None),
  ],
)
def test_arrays_of_usual_names_are_told_from_their_names(keys, wanted, line):
  words = arrays._renaming(keys, [f'{wanted}_images', *['images'] * (wanted == 'train')])
  assert (words == '') if line is None else (line in words)
