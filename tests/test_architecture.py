"""The laws of the house, read off the source."""

import ast
import functools
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'dcgan_jax'
FILES = sorted(PACKAGE.rglob('*.py'))
# What each module or room may import of the package, besides errors and its own room.
MAY_IMPORT = {
  '__init__': {'run'},
  '__main__': {'cli'},
  'applications': {'images', 'latents', 'metrics', 'sample'},
  'archives': set(),
  'augment': set(),
  'build': {
    'build_data', 'build_evaluation', 'build_game', 'build_model', 'checkpoint', 'classes', 'data_record', 'hooks',
    'images', 'parallel', 'record', 'sample', 'state', 'step', 'stopping', 'train', 'workdir',
  },
  'build_data': {'classes', 'data', 'metrics', 'sample', 'unknown_names'},
  'build_evaluation': {'build_data', 'metrics', 'parallel', 'sample', 'workdir'},
  'build_game': {'augment', 'build_model', 'images', 'objectives', 'optimizers', 'parallel', 'step'},
  'build_model': {'latents', 'models', 'optimizers', 'parallel', 'sample', 'state', 'validate'},
  'checkpoint': {'state'},
  'classes': set(),
  'cli': {'commands', 'config_files', 'unknown_names', 'validate'},
  'config_files': set(),
  'commands': {
    'applications', 'build', 'build_model', 'config_files', 'export', 'flags', 'hub', 'images', 'latents', 'metrics',
    'model_card', 'overrides', 'parallel', 'report', 'run', 'run_paths', 'sample', 'state', 'tables', 'tensors',
    'torch_layout', 'unknown_names', 'validate', 'video', 'workdir',
  },
  'data': {'images', 'progress'},
  'data_record': {'classes'},
  'errors': set(),
  'evaluation': {'build_evaluation', 'images'},
  'export': {'images', 'model_card', 'sample', 'state', 'tensors', 'torch_layout', 'workdir'},
  'flags': {'unknown_names', 'validate', 'workdir'},
  'hooks': {'checkpoint', 'images', 'progress', 'record', 'sample', 'state', 'stopping'},
  'hub': {'nearby_runs', 'validate'},
  'images': {'pixel_budget'},
  'latents': set(),
  'metrics': {'progress'},
  'model_card': {'templates', 'validate'},
  'models': set(),
  'nearby_runs': set(),
  'objectives': set(),
  'optimizers': set(),
  'overrides': {'validate'},
  'page': {'images', 'templates'},
  'parallel': set(),
  'pixel_budget': set(),
  'plots': set(),
  'progress': set(),
  'record': {'workdir'},
  'report': {'images', 'metrics', 'page', 'plots', 'record', 'sample', 'validate', 'workdir'},
  'run': {
    'build', 'build_data', 'build_model', 'checkpoint', 'classes', 'evaluation', 'export', 'images', 'latents',
    'models', 'parallel', 'run_paths', 'sample', 'state', 'validate', 'workdir',
  },
  'run_paths': {'config_files', 'hub', 'workdir'},
  'sample': {'images', 'latents'},
  'state': set(),
  'step': {'parallel', 'state'},
  'stopping': set(),
  'tables': set(),
  'templates': set(),
  'tensors': set(),
  'torch_layout': {'validate'},
  'train': {'hooks', 'parallel', 'state'},
  'unknown_names': set(),
  'validate': set(),
  'video': set(),
  'workdir': {'nearby_runs', 'validate'},
}  # fmt: skip
BUILDERS = {'build', 'build_data', 'build_evaluation', 'build_game', 'build_model'}
ONE_IMPORTER = {
  'PIL': 'images', 'matplotlib': 'plots', 'orbax': 'checkpoint', 'tensorboardX': 'record', 'tqdm': 'progress',
  'grain': 'data.streamed',
  'tensorflow_datasets': 'data.tfds', 'safetensors': 'tensors', 'huggingface_hub': 'hub',
  'pooch': 'metrics.inception_weights', 'platformdirs': 'workdir', 'imageio_ffmpeg': 'video',
  'jinja2': 'templates', 'markupsafe': 'templates', 'rich': 'tables', 'ml_dtypes': 'tensors',
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
    assert targets <= MAY_IMPORT[room] | {'errors', room}, _name(path)


def test_a_library_is_imported_by_one_module():
  for library, module in ONE_IMPORTER.items():
    importers = {_name(path) for path in FILES if any(name.split('.')[0] == library for name in _imports(path))}
    assert importers == {module}, library


@pytest.mark.parametrize('transform', ['pmap', 'shard_map'])
def test_a_transform_over_devices_is_said_in_one_file(transform):
  users = {_name(path) for path in FILES for node in _nodes(path) if _is(node, transform)}
  assert users == {'parallel'}


def test_nobody_replicates_by_stacking():
  for path in FILES:
    assert not any(_is(node, name) for node in _nodes(path) for name in ('unreplicate',))


def test_collectives_are_called_in_one_file():
  names = ('pmean', 'psum', 'all_gather', 'axis_index')
  users = {_name(path) for path in FILES for node in _nodes(path) if any(_is(node, n) for n in names)}
  assert users == {'parallel'}


def test_configs_are_read_by_the_builders_alone():
  for path in FILES:
    readers = [node for node in _nodes(path) if isinstance(node, ast.Attribute) and _is_config(node.value)]
    fields = {node.attr for node in readers} - {'to_dict'}
    assert not fields or _name(path) in BUILDERS, f'{_name(path)} reads {fields}'
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
    assert not free or _name(path) in ('errors', 'cli', 'tables'), f'{_name(path)}: {ast.unparse(free[0][0])}'


def test_no_file_is_over_400_lines_and_no_function_over_80():
  for path in FILES:
    assert len(path.read_text().splitlines()) <= 400, path
    for node in _nodes(path):
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < 80, f'{path}: {node.name}'


def test_rooms_do_not_nest_and_nothing_is_called_utils():
  assert not list(PACKAGE.glob('*/*/*.py'))
  vague = {'utils', 'common', 'helpers', 'misc', 'base'}
  assert not vague & {path.stem for path in FILES}


def test_the_step_is_a_sentence():
  text = (PACKAGE / 'step.py').read_text()
  (step,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == 'train_step')
  assert step.end_lineno - step.lineno <= 65
  assert not any(isinstance(node, (ast.If, ast.IfExp, ast.For, ast.While)) for node in ast.walk(step))


def _is_config(node):
  """`config` or `self.config`, and not TensorFlow's `tf.config`."""
  return ast.unparse(node) in ('config', 'self.config')


def _is(node, name):
  return (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)
