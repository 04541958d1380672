"""The laws of the house, read off the source."""

import ast
import functools
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'dcgan_jax'
FILES = sorted(PACKAGE.rglob('*.py'))
# The rooms that each room or top-level module may import, besides itself and cache, errors, keys and progress.
MAY_IMPORT = {
  '__init__': {'run'},
  '__main__': {'cli'},
  'applications': {'building', 'drawing', 'kinds', 'metrics'},
  'building': {'data', 'drawing', 'games', 'kinds', 'metrics', 'models', 'objectives'},
  'cache': set(),
  'cli': {'building', 'commands'},
  'commands': {
    'applications', 'building', 'drawing', 'exporting', 'flags', 'games', 'kinds', 'metrics', 'reporting', 'run',
    'training',
  },
  'data': {'kinds'},
  'drawing': {'kinds'},
  'errors': set(),
  'exporting': {'building', 'drawing', 'games', 'kinds', 'reporting', 'training'},
  'flags': {'building', 'training'},
  'games': set(),
  'keys': set(),
  'kinds': set(),
  'metrics': set(),
  'models': set(),
  'nearby_runs': set(),
  'objectives': set(),
  'progress': set(),
  'reporting': {'building', 'drawing', 'kinds', 'metrics', 'training'},
  'run': {'applications', 'building', 'data', 'drawing', 'exporting', 'games', 'kinds', 'models', 'training'},
  'training': {'building', 'data', 'drawing', 'games', 'kinds', 'metrics'},
}  # fmt: skip
CONFIG_READERS = ('building.', 'training.session')
ONE_IMPORTER = {
  'PIL': 'kinds.image', 'matplotlib': 'reporting.plots', 'orbax': 'training.checkpoint',
  'tensorboardX': 'training.record', 'tqdm': 'progress', 'grain': 'data.streamed', 'tensorflow_datasets': 'data.tfds',
  'safetensors': 'exporting.tensors', 'huggingface_hub': 'exporting.hub', 'pooch': 'metrics.inception_weights',
  'platformdirs': 'cache', 'imageio_ffmpeg': 'kinds.ffmpeg', 'jinja2': 'reporting.templates',
  'markupsafe': 'reporting.templates', 'rich': 'reporting.tables', 'ml_dtypes': 'exporting.tensors',
}  # fmt: skip


def _name(path):
  return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)


@functools.cache
def _nodes(path):
  """Every node of a file's syntax tree."""
  return list(ast.walk(ast.parse(path.read_text())))


def _imports(path):
  """Dotted names imported anywhere in a file."""
  for node in _nodes(path):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def test_imports_follow_the_table():
  for path in FILES:
    room = _name(path).split('.')[0]
    targets = {name.split('.')[1] for name in _imports(path) if name.startswith('dcgan_jax.')}
    assert targets <= MAY_IMPORT[room] | {'cache', 'errors', 'keys', 'progress', room}, _name(path)


def test_a_library_is_imported_by_one_module():
  for library, module in ONE_IMPORTER.items():
    importers = {_name(path) for path in FILES if any(name.split('.')[0] == library for name in _imports(path))}
    assert importers == {module}, library


@pytest.mark.parametrize('transform', ['pmap', 'shard_map'])
def test_a_transform_over_devices_is_said_in_one_file(transform):
  users = {_name(path) for path in FILES for node in _nodes(path) if _is(node, transform)}
  assert users == {'games.parallel'}


def test_nobody_replicates_by_stacking():
  for path in FILES:
    assert not any(_is(node, name) for node in _nodes(path) for name in ('unreplicate',))


def test_collectives_are_called_in_one_file():
  names = ('pmean', 'psum', 'all_gather', 'axis_index')
  users = {_name(path) for path in FILES for node in _nodes(path) if any(_is(node, n) for n in names)}
  assert users == {'games.parallel'}


def test_configs_are_read_by_the_builders_alone():
  for path in FILES:
    readers = [node for node in _nodes(path) if isinstance(node, ast.Attribute) and _is_config(node.value)]
    fields = {node.attr for node in readers} - {'to_dict'}
    assert not fields or _name(path).startswith(CONFIG_READERS), f'{_name(path)} reads {fields}'
    assert 'config.get(' not in path.read_text()


def test_no_dynamic_imports_nor_decorator_registries():
  for path in FILES:
    assert not any(
      name.startswith('importlib') and 'util' not in name and 'metadata' not in name for name in _imports(path)
    )
    assert 'register' not in path.read_text()


def test_what_others_named_is_printed_by_say_alone():
  # It takes out what a terminal would obey. The command line escapes its messages itself, JSON escapes its strings.
  for path in FILES:
    printed = [node.args for node in _nodes(path) if isinstance(node, ast.Call) and ast.unparse(node.func) == 'print']
    free = [
      args for args in printed if not isinstance(args[0], ast.Constant) and 'json.dumps' not in ast.unparse(args[0])
    ]
    assert not free or _name(path) in ('errors', 'cli', 'reporting.tables'), f'{_name(path)}: {ast.unparse(free[0][0])}'


def test_rooms_do_not_nest_and_nothing_is_called_utils():
  assert not list(PACKAGE.glob('*/*/*.py'))
  vague = {'utils', 'common', 'helpers', 'misc', 'base'}
  assert not vague & {path.stem for path in FILES}


def test_no_import_runs_in_a_circle_between_rooms():
  def reach(room):
    seen, todo = set(), [room]
    while todo:
      new = MAY_IMPORT[todo.pop()] - seen
      seen |= new
      todo += new
    return seen

  assert not [room for room in MAY_IMPORT if room in reach(room)]


def test_what_is_averaged_over_devices_is_averaged_by_the_primitives_of_games():
  users = {_name(path) for path in FILES for node in _nodes(path) if _is(node, 'average_over_devices')}
  assert users <= {'games.parallel', 'games.players', 'building.game', 'building.model'}


def _is_config(node):
  """`config` or `self.config`, and not TensorFlow's `tf.config`."""
  return ast.unparse(node) in ('config', 'self.config')


def _is(node, name):
  return (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)
