"""Names of exports stand for directories that are not the user's: nothing is written there."""

import pathlib

import numpy as np
import pytest

import dcgan_jax
from dcgan_jax import cli
from dcgan_jax.building import config_files
from dcgan_jax.errors import ConfigError
from dcgan_jax.exporting import run_paths
from dcgan_jax.run import Run

SHIPPED = config_files.SHIPPED / 'exports' / 'digits'


@pytest.mark.parametrize(
  ('name', 'found', 'results'),
  [
    ('runs/digits', 'runs/digits', 'runs/digits'),
    ('./digits', 'digits', 'digits'),
    ('digits', SHIPPED, 'digits_results'),
    ('ada/faces@v1', '/cache/hub/faces', 'ada_faces@v1_results'),
  ],
)
def test_results_lie_in_the_directory_that_was_given_and_else_in_the_current_one(name, found, results):
  assert run_paths.results_directory(name, pathlib.Path(found)) == pathlib.Path(results)


@pytest.mark.parametrize(
  ('step', 'message'),
  [
    ('2000', "step is '2000', a str; expected an int such as 400, or None for the newest"),
    (2000.0, 'step is 2000.0, a float; expected an int'),
    (True, 'step is True, a bool; expected an int'),
  ],
)
def test_a_step_of_another_type_is_refused(step, message):
  with pytest.raises(ConfigError, match=message):
    dcgan_jax.load('digits', step=step)


def test_a_step_of_numpy_is_a_step():
  assert dcgan_jax.load('digits', step=np.int64(2000)).step == 2000


def test_a_name_with_a_zero_byte_is_refused():
  with pytest.raises(ConfigError, match='holds a zero byte, as no path may'):
    dcgan_jax.load('runs/\0')


def test_results_about_the_home_lie_in_the_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert run_paths.results_directory('~/run', run_paths.find('~/run')) == tmp_path / 'run'


@pytest.mark.parametrize(
  ('command', 'written'),
  [
    (['evaluate', '--num', '200', '--features', 'self'], 'digits_results/evaluations/00002000_self_200_train.json'),
    (['report', '--frames', '2'], 'digits_results/report.html'),
    (['sample', '--num', '1'], 'samples.png'),
    (['interpolate', '--rows', '1', '--columns', '2'], 'lines.png'),
  ],
)
def test_no_command_writes_into_the_export_that_the_package_brings(command, written, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(Run, 'evaluate', lambda *_, **__: ({'protocol': {}}, np.zeros((4, 4, 1), np.uint8)))
  before = sorted(SHIPPED.rglob('*'))
  assert cli.main([*command, '--workdir', 'digits']) == 0
  assert written in ''.join(capsys.readouterr())
  assert (tmp_path / written).is_file()
  assert sorted(SHIPPED.rglob('*')) == before
