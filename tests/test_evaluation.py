"""Evaluations of a run: what they compare, what they refuse before anything is computed, what the protocol says."""

import pathlib
import types

import numpy as np
import pytest

from configs import digits
from dcgan_jax.applications import evaluation
from dcgan_jax.building import data as build_data
from dcgan_jax.building import evaluation as build_evaluation
from dcgan_jax.data.digits import open_digits
from dcgan_jax.drawing import sample
from dcgan_jax.errors import CheckpointError, ConfigError, DataError
from dcgan_jax.metrics import classifier, protocol
from dcgan_jax.metrics.features import FeatureNet
from dcgan_jax.training import session, workdir

# Nine of ten images are of class 0, and the class decides how bright they are.
LABELS = (np.random.default_rng(0).random(1000) < 0.1).astype(np.int32)


def draw(labels, seed):
  noise = np.random.default_rng(seed).normal(60, 20, (len(labels), 8, 8, 1))
  return np.clip(noise + 120 * labels[:, None, None, None], 0, 255).astype(np.uint8)


IMAGES = draw(LABELS, 1)


class PerfectRun:
  """Draws from the distribution of the images, of the classes that it is asked for."""

  step, shape, num_classes, asked = 7, (8, 8, 1), 2, None

  def __init__(self, config):
    self.config = config

  def labels(self, num, label=None):
    if label is not None and not 0 <= label < 2:
      raise ConfigError(f'No class {label}')

  def variables_of(self, *, live):
    pass

  def sample(self, num, *, seed, live, labels):
    self.asked = LABELS[:num] if labels is None else labels
    return draw(self.asked, 2)


MODEL = types.SimpleNamespace(num_classes=2, labels=lambda indices: (indices % 2).astype(np.int32))


def pixel_net(config, weights, cache):
  return FeatureNet('64', 'abc', 'none', None, lambda _, x: {'features': x.reshape(len(x), -1) / 255.0})


@pytest.fixture
def config(tmp_path, monkeypatch):
  monkeypatch.setitem(build_evaluation.FEATURE_NETS, '64', pixel_net)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  of_test = {'test_images': IMAGES[:100], 'test_labels': LABELS[:100]}
  np.savez(tmp_path / 'x.npz', train_images=IMAGES, train_labels=LABELS, bare_images=IMAGES, **of_test)
  config = digits.get_config()
  config.update(data={'source': f'npz:{tmp_path / "x.npz"}', 'image_size': 8})
  return config


def measure(config, num=200, **options):
  options = {
    'reference': 'train', 'features': '64', 'weights': None, 'seed': 0, 'live': False, 'label': None,
    'allow_few': False, **options,
  }  # fmt: skip
  run = PerfectRun(config)
  report, sheet = evaluation.evaluate(run, MODEL, num, **options)
  return report, run.asked, sheet


def test_labels_are_drawn_as_often_as_the_reference_has_them(config):
  report, asked, _ = measure(config)
  assert abs((asked == 1).sum() - 200 * (LABELS == 1).mean()) <= 1
  in_turn = build_evaluation.build_evaluator(config, features='64', weights=None, reference='train')
  worse = in_turn.measure(draw(MODEL.labels(np.arange(200)), 2), seed=0)['fid64_200_train']
  assert report['fid64_200_train'] < 0.2 * worse
  assert report['protocol']['labels'] == 'each class as often as in the reference'


def test_an_evaluation_while_training_draws_labels_as_the_real_images_have_them(config):
  config.evaluation.update(every=5, num=200)
  evaluator = build_evaluation.build_evaluator(config, features='64', weights=None, reference='train')
  asked = []

  def draw_labels(variables, *, num, labels):
    asked.append(labels(np.arange(num)))
    return draw(asked[-1], 2)

  measure_state = session._measure(config, evaluator, draw_labels, MODEL)
  report, labels, _ = measure(config)
  assert measure_state({}) == {name: value for name, value in report.items() if name != 'protocol'}
  np.testing.assert_array_equal(asked[0], labels)


def test_one_class_is_compared_with_its_own_images(config):
  report, asked, _ = measure(config, 64, label=1)
  assert set(asked) == {1}
  assert report['protocol']['labels'] == 'class 1'
  assert report['protocol']['reference_images'] == (LABELS == 1).sum()
  ones = np.flatnonzero(LABELS == 1)
  reference = build_data.build_reference(config, 'train', 1)
  np.testing.assert_array_equal(np.concatenate(list(reference.batches())), IMAGES[ones])
  np.testing.assert_array_equal(reference.at(3), IMAGES[ones[3]])
  assert 'fid64_64_train_class1' in report


def test_a_reference_without_labels_is_met_by_classes_in_turn_and_the_protocol_says_so(config):
  report, asked, _ = measure(config, reference='bare')
  assert (asked[:4] == [0, 1, 0, 1]).all()
  assert report['protocol']['labels'] == 'each class equally often, as the reference has no labels'
  with pytest.raises(DataError, match=r"split 'bare', has no labels, so none of its images is of class 1"):
    measure(config, reference='bare', label=1)


def test_a_reference_of_other_classes_or_another_shape_is_refused(config, tmp_path, monkeypatch):
  monkeypatch.setitem(build_evaluation.FEATURE_NETS, '64', lambda *_: pytest.fail('computed'))
  np.savez(tmp_path / 'x.npz', train_images=IMAGES, train_labels=LABELS + 1)
  with pytest.raises(DataError, match=r"split 'train', has images of 3 classes, but the generator knows 2"):
    measure(config)
  np.savez(tmp_path / 'x.npz', train_images=IMAGES[:, :4], train_labels=LABELS)
  config.data.image_size = None
  with pytest.raises(DataError, match=r'holds examples of shape \(4, 8, 1\), but the run is of \(8, 8, 1\)'):
    measure(config)


def test_labels_in_proportion_depend_on_the_index_alone():
  counts = np.array([5, 0, 90, 1, 5])
  labels = sample.in_proportion(counts, 5000)
  for num in (1, 2, 40, 101, 999):
    np.testing.assert_array_equal(sample.in_proportion(counts, num), labels[:num])
  taken = np.stack([np.bincount(labels[:num], minlength=5) for num in range(1, 5001)])
  wanted = np.arange(1, 5001)[:, None] * counts / counts.sum()
  assert np.abs(taken - wanted).max() < 2.5
  assert taken[100].tolist() == counts.tolist()


@pytest.mark.parametrize('classes', [1, 2, 10, 1000])
def test_labels_of_balanced_data_are_each_class_in_turn(classes):
  expected = sample.every_class(np.arange(2500), num_classes=classes)
  np.testing.assert_array_equal(sample.in_proportion(np.full(classes, 5000), 2500), expected)


def test_labels_of_rare_classes_suffice_whatever_the_number():
  counts = np.r_[10**6, np.ones(3000, int)]
  assert len(sample.in_proportion(counts, 1001)) == 1001


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'num': 0}, '^0 samples are too few to be measured; expected num '),
    ({'num': 63}, '^63 samples are too few for the Fréchet distance of 64 features'),
    ({'num': 9, 'allow_few': True}, '^9 samples are too few to be measured'),
    ({'features': '65'}, "^Unknown features '65'"),
    ({'features': '64', 'weights': 'nowhere.pth'}, r'^Cannot read Inception weights from nowhere.pth \(No such file'),
    ({'reference': 'nonsense'}, "no array 'nonsense_images'"),
    ({'features': '192', 'reference': 'test', 'weights': __file__}, r"split 'test', has 100 real images, too few for "
     'the Fréchet distance of 192 features: .*; take features 64, or ask for it again with --allow-few'),
    ({'reference': 'test', 'label': 1, 'num': 64}, r'^Class 1 of .* has \d+ real images, too few'),
    ({'label': 2}, '^No class 2'),
    ({'weights': __file__}, 'Cannot read Inception weights from .*: it is neither a .pth nor an .npz'),
  ],
)  # fmt: skip
def test_what_cannot_succeed_is_refused_before_features_are_computed(options, message, config, monkeypatch):
  for name in build_evaluation.FEATURE_NETS:
    monkeypatch.setitem(build_evaluation.FEATURE_NETS, name, lambda *_: pytest.fail('computed'))
  with pytest.raises((ConfigError, DataError), match=message):
    measure(config, **options)


def test_few_real_images_are_measured_where_they_are_allowed(config):
  report, _, _ = measure(config, 20, reference='test', allow_few=True)
  assert report['protocol']['allow_few'] is True
  assert np.isfinite(report['fid64_20_test'])


@pytest.mark.parametrize('num', [10, 11])
def test_the_fewest_images_that_are_taken_have_every_metric(num, config, tmp_path):
  np.savez(tmp_path / 'x.npz', train_images=IMAGES[:10], train_labels=LABELS[:10])
  report, _, sheet = measure(config, num, allow_few=True)
  assert all(np.isfinite(value) for value in report.values() if isinstance(value, float))
  assert sheet.shape == (8 * 10 + 2, 8 * 10 + 2, 1)


def test_every_feature_net_has_its_number_of_features():
  assert protocol.NUM_FEATURES.keys() == build_evaluation.FEATURE_NETS.keys()
  assert protocol.NUM_FEATURES['self'] == classifier.Settings().num_features


@pytest.mark.parametrize(
  ('key', 'value', 'message'),
  [
    ('num', 100, '100 samples are too few .* or change config.evaluation.num, features or ref'),
    ('features', '2048', r'digits, split .train., has 1,797 real images, too few .* take features 64 or 192 or 768 or'),
    ('reference', 'test', "The digits have no split 'test'"),
    ('weights', 'nope', 'Cannot read Inception weights from nope'),
  ],
)
def test_an_evaluation_that_cannot_succeed_stops_a_run_before_its_directory_is_made(key, value, message, tmp_path):
  config = digits.get_config()
  config.evaluation.update(every=5, weights=__file__, num=5000)
  config.evaluation[key] = value
  with pytest.raises((ConfigError, DataError), match=message) as error:
    session.run_training(config, tmp_path / 'run')
  assert '--allow-few' not in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_a_run_that_another_process_holds_is_refused_before_its_evaluator_is_built(config, tmp_path, monkeypatch):
  monkeypatch.setitem(build_evaluation.FEATURE_NETS, '64', lambda *_: pytest.fail('built'))
  config.update(batch_size=16, evaluation={'every': 5, 'features': '64', 'num': 100})
  config.update(generator={'widths': (4,)}, discriminator={'widths': (4,)})
  with workdir.held(tmp_path / 'run'), pytest.raises(CheckpointError, match='is in use by'):
    session.run_training(config, tmp_path / 'run')


def test_the_small_classifier_learns_from_a_bounded_part_of_a_large_data_set(monkeypatch):
  class Streamed:
    """Numbers as images, and how many of them were read."""

    classes, shape, read = 10, (4, 4, 1), 0

    def __len__(self):
      return 100_000

    def __getitem__(self, i):
      self.read += 1
      return np.full(self.shape, i % 251, np.uint8), i % 10

  source, seen = Streamed(), {}
  monkeypatch.setattr(build_evaluation, 'build_source', lambda config: source)
  monkeypatch.setattr(build_evaluation, 'CLASSIFIER_BYTES', 16 * 5000)
  monkeypatch.setattr(build_evaluation.features, 'own_net', lambda *arrays, **_: seen.update(arrays=arrays))
  build_evaluation._own_classifier(None, None, pathlib.Path())
  images, labels = seen['arrays']
  assert source.read == len(images) == len(labels) == 5000
  assert np.bincount(labels).min() > 400


def test_a_source_in_memory_is_taken_as_it_is():
  source = open_digits(split='train', image_size=8)
  images, labels = build_data.read_part(source, 1797)
  assert images is source.examples
  assert labels is source.labels
  part, labels = build_data.read_part(source, 300)
  assert part.shape == (300, 8, 8, 1)
  assert np.bincount(labels).min() > 10
