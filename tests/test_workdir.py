"""config.json and run.json."""

import errno
import json
import os
import pathlib
import pwd
import re
import tempfile

import filelock
import pytest

from configs import cifar10
from dcgan_jax import cache
from dcgan_jax.errors import CheckpointError
from dcgan_jax.training import workdir


def test_what_was_written_is_read(tmp_path):
  workdir.write(tmp_path, 'config.json', {'steps': 3, 'generator': {'widths': (2, 1)}})
  assert workdir.read(tmp_path, 'config.json') == {'steps': 3, 'generator': {'widths': (2, 1)}}


def test_run_json_knows_the_shape_and_the_versions():
  run = workdir.describe_run((16, 16, 1), 10, [])
  assert run['shape'] == [16, 16, 1]
  assert run['versions'].keys() >= {'python', 'jax', 'flax'}
  assert run['versions']['jax'].count('.') >= 2


@pytest.mark.parametrize(
  ('content', 'message'),
  [(None, 'No run in .* is missing'), ('{', 'config.json is not JSON'), ('[]', 'config.json holds no keys')],
)
def test_a_folder_without_a_readable_run_is_refused(tmp_path, content, message):
  if content is not None:
    (tmp_path / 'config.json').write_text(content)
  with pytest.raises(CheckpointError, match=message):
    workdir.read(tmp_path, 'config.json')


def test_the_cache_is_where_xdg_says_else_in_the_home(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert cache.directory() == tmp_path / 'dcgan_jax'
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  assert cache.directory() == tmp_path / 'home' / '.cache' / 'dcgan_jax'


def test_without_a_home_the_cache_is_a_temporary_directory(monkeypatch):
  for name in ('XDG_CACHE_HOME', 'HOME'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(pwd, 'getpwuid', {}.__getitem__)
  directory = cache.directory()
  assert directory.is_dir()
  assert directory.is_relative_to(tempfile.gettempdir())
  assert cache.directory() == directory


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
  config = cifar10.get_config().to_dict()
  workdir.write(tmp_path, 'config.json', config)
  config['batch_size'], config['generator']['widths'] = 64, (8, 4, 2)
  with pytest.raises(CheckpointError) as error:
    workdir.check_unchanged(tmp_path, config)
  assert 'config.batch_size 128 -> 64, config.generator.widths (256, 128, 64) -> (8, 4, 2)' in str(error.value)


def test_more_steps_and_other_logging_are_no_other_run(tmp_path):
  config = cifar10.get_config().to_dict()
  workdir.write(tmp_path, 'config.json', config)
  config['steps'], config['logging']['scalars_every'], config['data']['dir'] = 10**6, 7, '/data'
  workdir.check_unchanged(tmp_path, config)


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'thesis.tex').touch()
  with pytest.raises(CheckpointError, match='is no run and holds other files .thesis.tex.; give an empty or a new'):
    workdir.check_unchanged(tmp_path, cifar10.get_config().to_dict())


@pytest.mark.parametrize(
  ('key', 'old', 'new'),
  [
    ('generator.widths', '(256, 128, 64)', (8, 4)),
    ('discriminator.optimizer.name', "'adam'", 'sgd'),
    ('precision', "'float32'", 'bfloat16'),
    ('data.source', "'tfds:cifar10'", 'digits'),
    ('loss', "'non_saturating'", 'hinge'),
    ('tricks.r1', '0.0', 10.0),
  ],
)
def test_another_architecture_optimizer_precision_or_data_set_is_another_run(tmp_path, key, old, new):
  config = cifar10.reference()
  workdir.write(tmp_path, 'config.json', config.to_dict())
  with config.ignore_type():
    config.update_from_flattened_dict({key: new})
  with pytest.raises(CheckpointError, match=re.escape(f'(config.{key} {old} -> {new!r})')):
    workdir.check_unchanged(tmp_path, config.to_dict())


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path, capsys):
  with workdir.held(tmp_path / 'run'):
    second = workdir.held(tmp_path / 'run')
    with pytest.raises(CheckpointError, match=f'in use by process {os.getpid()} on .*; wait for it, stop it, or give'):
      second.__enter__()
  with workdir.held(tmp_path / 'run'):
    pass
  assert capsys.readouterr().err == ''


def test_a_file_system_without_locks_is_used_all_the_same(tmp_path, monkeypatch, capsys):
  def refuse(*_, **__):
    raise NotImplementedError

  monkeypatch.setattr(filelock.FileLock, 'acquire', refuse)
  with workdir.held(tmp_path / 'run'):
    assert (tmp_path / 'run' / '.process.json').exists()
  assert 'without locks' in capsys.readouterr().err


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  calls = []
  replace = pathlib.Path.replace
  monkeypatch.setattr(os, 'fsync', lambda descriptor: calls.append('fsync'))
  monkeypatch.setattr(pathlib.Path, 'replace', lambda path, target: calls.append('replace') or replace(path, target))
  workdir.write(tmp_path, 'run.json', {'a': 1})
  assert calls == ['fsync', 'replace']


def test_no_part_of_a_file_is_left(tmp_path):
  workdir.write(tmp_path, 'run.json', {'a': 1})
  assert [path.name for path in tmp_path.iterdir()] == ['run.json']
  assert json.loads((tmp_path / 'run.json').read_text()) == {'a': 1}


def test_what_a_full_disk_or_a_kill_left_of_a_start_does_not_block_the_directory(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  with monkeypatch.context() as full:
    full.setattr(pathlib.Path, 'replace', refuse)
    with pytest.raises(CheckpointError, match='No space left on device'), workdir.held(tmp_path):
      pass
  assert [path.name for path in tmp_path.iterdir()] == ['.lock']
  for name in ('.process.json', 'config.json', 'run.json'):
    (tmp_path / f'.{name}.part').write_text('{')
  workdir.check_unchanged(tmp_path, cifar10.get_config().to_dict())


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('steps', 'many'),
    ('tricks', {'r1': 10**400}),
    ('steps', None),
    ('data', 3),
    ('data', []),
    ('tricks', 'none'),
    ('tricks', {'spectral_norm': [['generator'], {}]}),
    ('generator', None),
    ('generator', {'widths': [[8], [4]]}),
    ('generator', {'kernel_size': {}}),
    ('a.b', 1),
    ('data.source', 'digits'),
    ('tricks', {'optimizer.name': 'adam'}),
  ],
)
def test_a_config_edited_to_values_of_other_types_is_one_line(tmp_path, key, value):
  config = cifar10.get_config().to_dict()
  config[key] = config[key] | value if isinstance(value, dict) else value
  workdir.write(tmp_path, 'config.json', config)
  with pytest.raises(CheckpointError, match='config.json is no config of a run: The config|is no config of a run: con'):
    workdir.read_config(tmp_path)


@pytest.mark.parametrize('name', ['config.json', 'run.json'])
def test_a_file_of_deep_brackets_is_one_line(tmp_path, name):
  (tmp_path / name).write_text('[' * 100_000)
  with pytest.raises(CheckpointError, match=f'{name} is not JSON'):
    workdir.read(tmp_path, name)


@pytest.mark.parametrize('rescues', [3, None, 'once', {'step': 1}, [1], [{'reason': 'x'}]])
def test_rescues_of_another_type_are_one_line(tmp_path, rescues):
  workdir.write(tmp_path, 'run.json', {'rescues': rescues})
  with pytest.raises(CheckpointError, match='run.json has no list of rescues'):
    workdir.rescues(tmp_path)


@pytest.mark.parametrize('starts', [3, None, 'once', {'step': 1}, [1], [[]]])
def test_starts_of_another_type_are_one_line(tmp_path, starts):
  workdir.write(tmp_path, 'run.json', {'starts': starts})
  with pytest.raises(CheckpointError, match='run.json has no list of starts'):
    workdir.starts(tmp_path)


def test_starts_are_those_that_were_written_and_none_of_an_earlier_version(tmp_path):
  assert workdir.starts(tmp_path) == []
  workdir.write(tmp_path, 'run.json', {'shape': [8, 8, 1]})
  assert workdir.starts(tmp_path) == []
  start = workdir.start(7, '1 cpu', {'jax': '1.0'})
  assert start['time'][:2] == '20'
  workdir.write(tmp_path, 'run.json', {'starts': [start, start]})
  assert workdir.starts(tmp_path) == [start, start]


def test_the_last_process_cannot_command_the_terminal(tmp_path, capsys):
  workdir.write(tmp_path, '.process.json', {'process': 1, 'host': '\x1b[2J{x}\nevil', 'since': 'x'})
  with workdir.held(tmp_path):
    pass
  assert 'left by process 1 on [2J{x} evil (since x) without a word' in capsys.readouterr().err
