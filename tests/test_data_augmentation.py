"""What samples add to labelled data, on data whose classes are easy to tell apart."""

import numpy as np
import pytest

from dcgan_jax import cli
from dcgan_jax.applications import data_augmentation
from dcgan_jax.errors import ConfigError
from dcgan_jax.metrics.classifier import Settings

SETTINGS = Settings(widths=(4,), num_features=8, steps=60, batch_size=32, learning_rate=1e-2)


def bars(num, seed, *, wrong=False):
  """Images of 8 x 8 with a bright row in one of two places, and which; `wrong` turns the labels round."""
  generator = np.random.default_rng(seed)
  labels = np.arange(num, dtype=np.int32) % 2
  examples = generator.integers(0, 60, (num, 8, 8, 1)).astype(np.uint8)
  examples[np.arange(num), np.where(labels == 0, 1, 6)] = 250
  return examples, 1 - labels if wrong else labels


class FakeRun:
  """Draws bars instead of samples."""

  num_classes = 2

  def __init__(self, wrong=False):
    self.wrong = wrong

  def sample(self, num):
    return bars(num, 5)[0]

  def labels(self, num):
    return bars(num, 5, wrong=self.wrong)[1]


@pytest.mark.slow
def test_good_samples_teach_the_classes_and_mislabelled_ones_their_opposite():
  good = data_augmentation.compare(FakeRun(), bars(64, 0), bars(64, 1), num_samples=64, settings=SETTINGS)
  wrong = data_augmentation.compare(
    FakeRun(wrong=True), bars(64, 0), bars(64, 1), num_samples=64, seeds=[0], settings=SETTINGS
  )
  assert min(good.real + good.both + good.samples) > 0.95
  assert len(good.real) == 3
  assert wrong.real[0] > 0.95
  assert wrong.samples[0] < 0.05
  assert 0.05 < wrong.both[0] < 0.95


def test_half_of_what_both_learn_from_is_real_however_few_there_are():
  real, samples = bars(3, 0), bars(12, 5)
  images, labels = data_augmentation._balanced(real, samples)
  assert len(images) == len(labels) == 24
  for part, times in ((real, 4), (samples, 1)):
    assert all((images == image).all(axis=(1, 2, 3)).sum() == times for image in part[0])
  for image, label in zip(images, labels, strict=True):
    assert label == (image[6].mean() > 200)


def test_a_table_names_the_means_and_the_extremes():
  result = data_augmentation.Comparison((0.5, 0.6), (0.7, 0.7), (0.25, 0.35), num_real=1000, num_samples=20_000)
  _, rows = data_augmentation.table(result)
  assert rows[0] == ['1,000 real', '55.0', '50.0 to 60.0']
  assert rows[2] == ['20,000 samples', '30.0', '25.0 to 35.0']


def test_what_cannot_be_compared_is_refused(capsys):
  run = FakeRun()
  images, labels = bars(8, 0)
  with pytest.raises(ConfigError, match='have a class 4; this run has the classes 0 to 1'):
    data_augmentation.compare(run, (images, labels * 4), (images, labels))
  run.num_classes = None
  with pytest.raises(ConfigError, match='trained without labels, so its samples have none; train one with them'):
    data_augmentation.compare(run, (images, labels), (images, labels))
  assert cli.main(['augmentation', '--workdir', 'x', '--out', 'a.csv']) == 2
  assert "Cannot write the numbers as '.csv'; --out is a .json" in capsys.readouterr().err
