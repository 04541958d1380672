"""A run that was stopped and resumed is the run that was not; in one process. test_end_to_end.py has more of it."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

import dcgan_jax
from dcgan_jax import cli
from dcgan_jax.training import workdir

TINY = [
  '--config', 'digits', '--config.batch_size=8', '--config.generator.widths=(4,)', '--config.discriminator.widths=(4,)',
  '--config.data.image_size=8', '--config.generator.latent_size=3', '--config.steps_per_call=2',
  '--config.logging.scalars_every=1', '--config.logging.samples_every=2', '--config.logging.num_samples=4',
]  # fmt: skip


def train(directory, steps):
  assert cli.main(['--workdir', str(directory), f'--config.steps={steps}', *TINY]) == 0


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run of four steps."""
  directory = tmp_path_factory.mktemp('whole') / 'run'
  train(directory, 4)
  return directory


def test_a_run_writes_a_line_of_scalars_for_each_step_and_its_last_checkpoint(whole):
  lines = [json.loads(line) for line in (whole / 'scalars.jsonl').read_text('utf-8').splitlines()]
  assert [line['step'] for line in lines] == [1, 2, 3, 4]
  assert all(np.isfinite(list(line.values())).all() for line in lines)
  assert dcgan_jax.load(whole).step == 4


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(whole, tmp_path):
  train(tmp_path / 'run', 3)
  train(tmp_path / 'run', 4)
  expected, resumed = (jax.tree.leaves(dcgan_jax.load(directory).state) for directory in (whole, tmp_path / 'run'))
  assert len(expected) > 20
  for ours, theirs in zip(resumed, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  assert (tmp_path / 'run' / 'scalars.jsonl').read_text('utf-8') == (whole / 'scalars.jsonl').read_text('utf-8')


def test_a_finished_run_whose_end_was_killed_makes_up_for_it(whole, tmp_path):
  # The name of the directory is in the pictures.
  run = shutil.copytree(whole, tmp_path / 'run')
  pictures = {name: (run / 'samples' / name).read_bytes() for name in ('00000004.png', 'training.gif')}
  for name in pictures:
    (run / 'samples' / name).unlink()
  train(run, 4)
  assert {name: (run / 'samples' / name).read_bytes() for name in pictures} == pictures
  (run / 'samples' / 'training.gif').unlink()
  train(run, 4)
  assert (run / 'samples' / 'training.gif').read_bytes() == pictures['training.gif']


def test_a_run_of_another_config_that_came_in_between_is_refused_under_the_lock(whole, tmp_path, monkeypatch, capsys):
  run = tmp_path / 'run'
  held = workdir.held

  @contextlib.contextmanager
  def late(directory):
    shutil.copytree(whole, directory)
    with held(directory):
      yield

  monkeypatch.setattr(workdir, 'held', late)
  assert cli.main(['--workdir', str(run), '--config.steps=4', *TINY, '--config.seed=1']) == 2
  assert 'holds a run with another config (config.seed 0 -> 1)' in capsys.readouterr().err
