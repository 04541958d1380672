"""A run that was stopped and resumed is the run that was not; in one process. test_end_to_end.py has more of it."""

import json

import jax
import numpy as np
import pytest

import dcgan_jax
from dcgan_jax import cli

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
