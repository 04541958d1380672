"""A run with labels and a dozen tricks at once, as its user starts it."""

import functools
import json

import jax
import numpy as np
import pytest
from program import TINY, launch

import dcgan_jax
from dcgan_jax.drawing import latents, sample
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

pytestmark = pytest.mark.slow
MANY = [
  '--config.loss=hinge',
  '--config.discriminator.normalization=none',
  "--config.tricks.spectral_norm=('generator', 'discriminator')",
  '--config.tricks.generator_labels=conditional_batch',
  '--config.tricks.discriminator_labels=projection',
  '--config.tricks.r1=1.0',
  '--config.tricks.penalty_every=3',
  '--config.tricks.consistency_real=1.0',
  "--config.tricks.augment=('translation', 'cutout')",
  '--config.tricks.instance_noise=0.1',
  '--config.tricks.feature_matching=0.01',
  '--config.tricks.discriminator_turns=2',
  '--config.tricks.generator_batches=2',
  '--config.tricks.weight_clip=1.0',
  '--config.tricks.gradient_clip_norm=1.0',
]


@pytest.fixture(scope='module')
def run_directory(tmp_path_factory):
  root = tmp_path_factory.mktemp('tricks')
  launch('--workdir', root / 'whole', '--config.steps=6', *TINY, *MANY)
  for steps in (3, 6):
    launch('--workdir', root / 'resumed', f'--config.steps={steps}', *TINY, *MANY)
  return root


def test_a_resumed_run_with_tricks_equals_an_uninterrupted_one_bit_for_bit(run_directory):
  whole, resumed = (jax.tree.leaves(dcgan_jax.load(run_directory / name).state) for name in ('whole', 'resumed'))
  for ours, theirs in zip(whole, resumed, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  lines = [json.loads(line) for line in (run_directory / 'whole/scalars.jsonl').read_text().splitlines()]
  assert any(line['discriminator/penalty'] > 0 for line in lines)


def test_the_grids_of_a_run_with_labels_have_a_column_for_each_class(run_directory):
  assert images.read(run_directory / 'whole/samples/00000006.png').shape[1] == 10 * 18 + 2


def test_samples_of_one_class_are_those_that_have_its_label(run_directory, tmp_path):
  launch('sample', '--workdir', run_directory / 'whole', '--num', 3, '--class', 7, '--out', tmp_path / 'sevens.npz')
  run = dcgan_jax.load(run_directory / 'whole')
  drawn = np.load(tmp_path / 'sevens.npz')['images'].astype(int)
  # This process compiles with fewer optimisations.
  assert np.abs(drawn - run.sample(3, label=7).astype(int)).max() <= 1
  z = sample.draw_latents(functools.partial(latents.normal, latent_size=100), num=3, seed=0)
  sevens, sixes = (run.generate(z, labels=[label] * 3) for label in (7, 6))
  assert np.abs(images.to_uint8(sevens).astype(int) - drawn).max() <= 1
  assert np.abs(sevens - sixes).max() > 1e-4


def test_classes_that_do_not_exist_are_refused(run_directory):
  directory = run_directory / 'whole'
  result = launch('sample', '--workdir', directory, '--class', 11, check=False)
  assert result.returncode == 2
  assert result.stderr == 'launch.py: No class 11; this run has the classes 0 to 9\n'
  run = dcgan_jax.load(directory)
  for labels in (None, [1, 2], [0, 1, 10], [0.0, 1.0, 2.0]):
    with pytest.raises(DataError, match=r'expected whole numbers \[3\] from 0 to 9'):
      run.generate(np.zeros((3, 100)), labels=labels)


def test_a_run_without_labels_has_no_classes(tmp_path):
  launch('--workdir', tmp_path / 'run', '--config.steps=1', *TINY)
  run = dcgan_jax.load(tmp_path / 'run')
  with pytest.raises(ConfigError, match='trained without labels, so it has no class 3'):
    run.sample(2, label=3)
  with pytest.raises(DataError, match='trained without labels'):
    run.generate(np.zeros((1, 100)), labels=[0])


def test_features_that_depend_on_labels_are_refused(tmp_path):
  labels = ['--config.tricks.generator_labels=one_hot', '--config.tricks.discriminator_labels=planes']
  launch('--workdir', tmp_path / 'run', '--config.steps=1', *TINY, *labels)
  with pytest.raises(ConfigError, match='sees labels at its input'):
    dcgan_jax.load(tmp_path / 'run').features(np.zeros((1, 16, 16, 1), np.uint8))
