"""A config is found by path or name, imports its neighbors and the package's configs, and leaves nothing imported."""

import sys

import pytest

from dcgan_jax.building import config_files
from dcgan_jax.commands.train import read_config
from dcgan_jax.errors import ConfigError


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('cifar10', ('cifar10', '')),
    ('configs/cifar10.py:paper', ('configs/cifar10.py', 'paper')),
    (r'C:\configs\cifar10.py', (r'C:\configs\cifar10.py', '')),
    (r'C:\configs\cifar10.py:paper', (r'C:\configs\cifar10.py', 'paper')),
    ('d:/configs/cifar10.py:paper', ('d:/configs/cifar10.py', 'paper')),
  ],
)
def test_a_colon_separates_the_variant_and_not_a_windows_drive(text, expected):
  assert config_files.split(text) == expected


def test_a_name_finds_the_config_that_the_package_brings(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert config_files.load('cifar10:paper').to_dict() == read_config('cifar10:paper', None, []).to_dict()
  assert config_files.find('digits') == config_files.CONFIGS / 'digits.py'


def test_a_file_of_the_same_name_comes_before_the_one_of_the_package(tmp_path, monkeypatch):
  (tmp_path / 'digits.py').write_text('from configs import cifar10\n\nget_config = cifar10.reference\n')
  monkeypatch.chdir(tmp_path)
  assert config_files.load('digits.py').data.source == 'tfds:cifar10'
  assert config_files.load('digits').data.source == 'digits'


def test_a_config_imports_its_neighbor_before_one_of_the_package_and_nothing_stays_imported(tmp_path):
  before = {name: module for name, module in sys.modules.items() if name.partition('.')[0] == 'configs'}
  lines = 'from configs import base, cifar10\n\n\ndef get_config():\n  return base.change(cifar10.reference())\n'
  for seed in (1, 2):
    directory = tmp_path / str(seed)
    directory.mkdir()
    (directory / 'base.py').write_text(f'def change(config):\n  config.seed = {seed}\n  return config\n')
    (directory / 'mine.py').write_text(lines)
    assert config_files.load(str(directory / 'mine.py')).seed == seed
  assert before == {name: module for name, module in sys.modules.items() if name.partition('.')[0] == 'configs'}


def test_a_regular_package_of_the_name_configs_on_the_path_changes_nothing(tmp_path, monkeypatch):
  (tmp_path / 'configs').mkdir()
  for name in ('__init__', 'cifar10'):
    (tmp_path / 'configs' / f'{name}.py').write_text('raise ImportError("the wrong one")\n')
  monkeypatch.syspath_prepend(tmp_path)
  assert config_files.load('digits').data.source == 'digits'


def test_a_variant_that_does_not_exist_is_refused_with_those_that_do():
  with pytest.raises(ConfigError, match=r"Unknown variant of cifar10 'papr'; known: .*Did you mean 'paper'\?"):
    config_files.load('cifar10:papr')


def test_the_name_of_a_shipped_export_is_found_unless_a_directory_has_it(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert (config_files.find_export('digits') / 'model.safetensors').is_file()
  assert config_files.find_export('runs/digits') is None
  assert config_files.find_export('nothing') is None
  (tmp_path / 'digits').mkdir()
  assert config_files.find_export('digits') is None


def test_the_line_of_a_mistake_is_named_in_a_file_given_by_a_relative_path_too(tmp_path, monkeypatch):
  (tmp_path / 'mine.py').write_text('def get_config():\n  return 1 / 0\n')
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match=r'^Cannot read mine.py, line 2: ZeroDivisionError: division by zero$'):
    config_files.load('mine.py')
