"""A --workdir that holds no run is answered with the run that was meant, and with how to start one."""

import pytest

from dcgan_jax import cli
from dcgan_jax.building import config_files
from dcgan_jax.commands.train import read_config
from dcgan_jax.errors import CheckpointError
from dcgan_jax.training import nearby_runs, workdir


@pytest.fixture
def runs(tmp_path, monkeypatch):
  """runs/digits, runs/faces and an empty runs/digits/checkpoints below the current directory."""
  monkeypatch.chdir(tmp_path)
  for name in ('digits', 'faces'):
    (tmp_path / 'runs' / name / 'checkpoints').mkdir(parents=True)
    for file in ('config.json', 'run.json'):
      (tmp_path / 'runs' / name / file).write_text('{}')
  return tmp_path / 'runs'


@pytest.mark.parametrize(
  ('directory', 'message'),
  [
    ('typo', 'there is no such directory); to start one there: launch.py --config digits --workdir typo (or another'),
    (
      'runs/digist',
      'did you mean runs/digits? To start one there: launch.py --config digits --workdir runs/',
    ),
    ('face', 'did you mean runs/faces? To start one there: launch.py --config digits --workdir face (or'),
    ('runs', 'config.json is missing); it holds runs: give runs/digits, runs/faces'),
    ('runs/digits/checkpoints', 'it is a part of the run runs/digits: give that'),
    ('runs/digits/checkpoints/400', 'it is a part of the run runs/digits: give that'),
    ('my photos', 'config.json is missing); it holds other files: give the directory of a run'),
  ],
)
@pytest.mark.parametrize('command', [[], ['train'], ['sample'], ['report'], ['probe']])
def test_a_directory_that_is_no_run_is_refused_with_what_was_meant(runs, command, directory, message, capsys):
  (runs.parent / 'my photos').mkdir()
  (runs.parent / 'my photos' / '1.jpg').touch()
  before = sorted(runs.parent.rglob('*'))
  assert cli.main([*command, '--workdir', directory]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert sorted(runs.parent.rglob('*')) == before


def test_many_runs_are_not_all_listed(tmp_path):
  for i in range(9):
    (tmp_path / str(i)).mkdir()
    for file in ('config.json', 'run.json'):
      (tmp_path / str(i) / file).touch()
  assert nearby_runs.advice(tmp_path).endswith('/4 or one of 4 others')


def test_the_config_of_another_program_makes_no_run(tmp_path, monkeypatch):
  (tmp_path / 'config.json').touch()
  monkeypatch.chdir(tmp_path)
  assert nearby_runs.advice(tmp_path / 'x').startswith('to start one there')


def test_a_run_without_its_run_json_is_called_incomplete(runs):
  (runs / 'digits' / 'run.json').unlink()
  with pytest.raises(CheckpointError, match=r'digits is incomplete \(run.json is missing\); copy it again, or resume'):
    workdir.read(runs / 'digits', 'run.json')


def test_without_a_workdir_the_digits_are_trained_and_with_one_the_config_of_its_run():
  assert read_config(None, None, []).data.source == 'digits'
  assert read_config(None, config_files.SHIPPED / 'exports' / 'digits', []).data.source == 'digits'
