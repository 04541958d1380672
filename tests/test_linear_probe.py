"""The linear probe: what it can separate, what it may look at, and what its table says."""

import functools
import json

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from dcgan_jax.applications import kmeans, linear_probe
from dcgan_jax.commands.probe import protocol, table
from dcgan_jax.errors import DataError


def clusters(number, *, seed, num_classes=4, num_features=6, spread=0.3):
  """Features around a corner of a simplex for every class, and the labels."""
  generator = np.random.default_rng(seed)
  labels = generator.permutation(np.arange(number) % num_classes)
  centres = np.eye(num_classes, num_features, dtype=np.float32)
  return (centres[labels] + spread * generator.standard_normal((number, num_features))).astype(np.float32), labels


TRAIN, TEST = clusters(200, seed=0), clusters(100, seed=1)
probe = functools.partial(linear_probe.probe, num_validation=50)
few_labels = functools.partial(linear_probe.few_labels, labels_per_class=5, draws=4, num_validation=50)


def stripes(number, *, seed):
  """Noise with horizontal or vertical stripes: two classes that no pixel tells apart, uint8 [N, 12, 12, 1]."""
  generator = np.random.default_rng(seed)
  labels = generator.integers(0, 2, number)
  phases = generator.integers(0, 2, (number, 1, 1))
  wave = (np.arange(12)[np.newaxis] // 2 + phases[..., 0]) % 2
  images = np.where(labels[:, None, None], wave[:, None, :], wave[:, :, None]) * 120 + 60
  return (images + generator.integers(-20, 20, images.shape)).astype(np.uint8)[..., np.newaxis], labels


def test_separable_classes_are_told_apart_without_error():
  result = probe(*clusters(200, seed=0, spread=0.05), *clusters(100, seed=1, spread=0.05))
  assert result.accuracy == 1.0


def test_labels_without_a_relation_to_the_features_give_chance():
  shuffled = np.random.default_rng(2).permutation(TRAIN[1])
  result = probe(TRAIN[0], shuffled, *clusters(2000, seed=1))
  assert result.accuracy == pytest.approx(0.25, abs=0.12)


def test_two_classes_work_as_well_as_many():
  accuracy = probe(*clusters(100, seed=0, num_classes=2), *clusters(60, seed=1, num_classes=2)).accuracy
  assert accuracy > 0.9


def test_classes_may_have_any_numbers_as_names():
  renamed = probe(TRAIN[0], 10 - 3 * TRAIN[1], TEST[0], 10 - 3 * TEST[1])
  assert renamed.accuracy == pytest.approx(probe(*TRAIN, *TEST).accuracy, abs=0.02)


def test_the_accuracy_is_that_of_scikit_learn_on_all_training_examples():
  result = probe(*TRAIN, *TEST)
  train, test = linear_probe.standardise(TRAIN[0], TEST[0])
  machine = LinearSVC(C=result.cost, dual=False).fit(train, TRAIN[1])
  assert result.accuracy == pytest.approx(machine.score(test, TEST[1]), abs=0.011)


@pytest.mark.parametrize('num_classes', [2, 4])
def test_with_fewer_examples_than_features_the_machine_is_that_of_scikit_learn(num_classes):
  features, labels = clusters(30, seed=0, num_classes=num_classes, num_features=100, spread=0.5)
  features[-1], labels[-1] = features[0], labels[0]
  test, _ = clusters(300, seed=1, num_classes=num_classes, num_features=100, spread=0.5)
  expected = LinearSVC(C=0.3, dual=False).fit(features, labels).predict(test)
  assert np.mean(linear_probe._fit(features, labels, 0.3, seed=0)(test) == expected) > 0.99


@pytest.mark.parametrize('protocol', [probe, few_labels])
def test_the_choice_of_the_cost_never_sees_the_test_set(protocol):
  honest = protocol(*TRAIN, *TEST)
  other = protocol(*TRAIN, 100 * TEST[0][::-1], (TEST[1] + 1) % 4)
  assert honest.validation_accuracies == other.validation_accuracies
  assert honest.cost == other.cost


@pytest.mark.parametrize('protocol', [probe, few_labels])
def test_the_cost_of_the_best_validation_accuracy_is_chosen(protocol):
  features, labels = clusters(200, seed=0, spread=1.0)
  result = protocol(features, labels, *TEST, costs=(1e-5, 0.1, 1e4))
  assert result.cost == max(result.validation_accuracies, key=result.validation_accuracies.get)


def test_large_costs_are_not_tried_once_accuracy_falls():
  accuracies = {0.1: 0.5, 1: 0.7, 10: 0.6, 100: 0.7, 1000: 0.6, 10000: 0.5, 100000: 0.9}
  cost, tried = linear_probe._choose(list(accuracies)[::-1], accuracies.get)
  assert cost == 1
  assert tried == dict(list(accuracies.items())[:6])


def test_what_is_held_out_and_what_is_not_make_up_the_training_set():
  held_out, rest = linear_probe._split(200, 50, seed=3)
  assert len(held_out) == 50
  assert sorted([*held_out, *rest]) == list(range(200))


def test_examples_held_out_are_not_trained_on():
  """Two hundred points in three hundred dimensions can be learnt by heart, whatever their labels."""
  features = np.random.default_rng(0).standard_normal((200, 300)).astype(np.float32)
  accuracies = probe(features, TRAIN[1], features[:100], TRAIN[1][:100]).validation_accuracies
  assert max(accuracies.values()) < 0.5


def test_a_draw_has_as_many_examples_of_every_class_and_repeats_none():
  rows = np.arange(20, 200)
  drawn = linear_probe.draw_per_class(TRAIN[1], rows, 40, seed=0)
  assert np.bincount(TRAIN[1][drawn]).tolist() == [40, 40, 40, 40]
  assert len(set(drawn)) == 160
  assert set(drawn) <= set(rows)


def test_draws_differ_and_their_spread_is_reported():
  result = few_labels(*clusters(200, seed=0, spread=0.6), *clusters(300, seed=1, spread=0.6))
  assert len(set(result.accuracies)) > 1
  assert result.mean == pytest.approx(np.mean(result.accuracies))
  assert result.deviation == pytest.approx(np.std(result.accuracies, ddof=1))


def test_more_labels_help():
  features, labels = clusters(2000, seed=0, spread=0.6, num_features=50)
  few, many = (few_labels(features, labels, *clusters(500, seed=1, spread=0.6, num_features=50),
                          labels_per_class=number, draws=3).mean for number in (3, 100))  # fmt: skip
  assert many > few + 0.1


@pytest.mark.parametrize('protocol', [probe, few_labels])
def test_the_seed_decides_everything(protocol):
  features, labels = clusters(200, seed=0, spread=0.8)
  first, second, other = (protocol(features, labels, *TEST, seed=seed) for seed in (0, 0, 1))
  assert first == second
  assert first.validation_accuracies != other.validation_accuracies


def test_standardised_features_have_mean_zero_equal_deviation_and_length_one():
  raw = np.random.default_rng(0).normal((3, -100, 0), (2, 0.1, 1e-4), (500, 3)).astype(np.float32)
  raw = np.concatenate([raw, np.full((500, 2), 0.1, np.float32)], axis=1)
  train, test = linear_probe.standardise(raw, raw[:7])
  np.testing.assert_allclose(train[:, :3].mean(axis=0), 0, atol=1e-4)
  np.testing.assert_allclose(train[:, :3].std(axis=0), 3**-0.5, rtol=1e-3)
  np.testing.assert_array_equal(train[:, 3:], 0)
  assert (train**2).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
  np.testing.assert_array_equal(test, train[:7])


def test_results_do_not_depend_on_the_scale_of_a_feature():
  scales = np.array([1e-3, 1, 50, 1, 1, 1e3], np.float32)
  scaled = probe(TRAIN[0] * scales + 5, TRAIN[1], TEST[0] * scales + 5, TEST[1])
  assert scaled.accuracy == pytest.approx(probe(*TRAIN, *TEST).accuracy, abs=0.02)


def test_pixels_lie_between_minus_one_and_one():
  np.testing.assert_array_equal(linear_probe.pixels(np.array([[[[0], [255]]]], np.uint8)), [[-1, 1]])


def test_features_in_batches_are_those_of_all_at_once():
  seen = []
  examples = np.arange(22, dtype=np.uint8).reshape(11, 2)
  result = linear_probe.in_batches(lambda x: seen.append(x.shape) or x * 0.5, examples, batch_size=4)
  np.testing.assert_array_equal(result, examples * 0.5)
  assert result.dtype == np.float32
  assert seen == [(4, 2)] * 3


def test_kmeans_tells_apart_what_pixels_cannot():
  (train, train_labels), (test, test_labels) = stripes(200, seed=0), stripes(100, seed=1)
  features = kmeans.kmeans_features(train, num_centroids=6, num_patches=200)
  accuracies = [
    probe(*(f(x) if i % 2 == 0 else x for i, x in enumerate((train, train_labels, test, test_labels)))).accuracy
    for f in (linear_probe.pixels, features)
  ]
  assert accuracies[0] < 0.75
  assert accuracies[1] > 0.95


def test_kmeans_responses_are_those_of_the_definition():
  """One image, one patch position at a time, in float64."""
  generator = np.random.default_rng(0)
  image = generator.integers(100, 108, (1, 8, 7, 2), np.uint8)
  mean, whitening, centroids = (generator.standard_normal(shape) for shape in ((18,), (18, 18), (5, 18)))
  result = kmeans._encode(
    image, *(x.astype(np.float32) for x in (mean, whitening, centroids)), patch_size=3
  )  # fmt: skip
  expected = np.zeros((2, 2, 5))
  for top in range(6):
    for left in range(5):
      patch = image[0, top : top + 3, left : left + 3].astype(float).ravel()
      patch = ((patch - patch.mean()) / np.sqrt(patch.var() + 10) - mean) @ whitening
      distances = np.linalg.norm(patch - centroids, axis=1)
      expected[int(top >= 3), int(left >= 2)] += np.maximum(0, distances.mean() - distances)
  np.testing.assert_allclose(result, expected.reshape(1, 20), rtol=1e-3, atol=1e-3)


def test_kmeans_is_a_function_of_its_seed():
  images, _ = stripes(20, seed=0)
  learn = functools.partial(kmeans.kmeans_features, images, num_centroids=4, num_patches=50)
  first, second, other = learn()(images), learn()(images), learn(seed=1)(images)
  np.testing.assert_array_equal(first, second)
  assert first.shape == (20, 16)
  assert (first != other).any()


def test_the_result_is_json_and_its_table_says_what_was_done():
  (train, train_labels), (test, test_labels) = stripes(100, seed=0), stripes(50, seed=1)
  lines = []
  features = {'raw pixels': linear_probe.pixels, 'mean': lambda x: x.mean((1, 2))}
  result = linear_probe.run_probe(
    features, train, train_labels, test, test_labels, labels_per_class=3, draws=2, report=lines.append
  )  # fmt: skip
  assert json.loads(json.dumps(result)) == result
  assert list(result['features']) == ['raw pixels', 'mean']
  assert result['num_validation'] == 20
  assert len(lines) == 2
  head, rows = table(result)
  assert head == ['features', 'number', 'cost', 'accuracy', '3 labels per class, 2 draws']
  text = protocol(result)
  assert '100 training examples, 20 of which chose the cost; 50 test examples; seed 0' in text
  row = result['features']['raw pixels']
  few = f'{100 * row["few_labels"]["mean"]:.1f} +- {100 * row["few_labels"]["deviation"]:.1f} %'
  assert rows[0] == ['raw pixels', '144', f'{row["cost"]:g}', f'{100 * row["accuracy"]:.1f} %', few]
  assert f'largest class: {100 * max(test_labels.mean(), 1 - test_labels.mean()):.1f} %' in text


def test_without_a_number_of_labels_there_is_no_few_label_test():
  (train, train_labels), (test, test_labels) = stripes(50, seed=0), stripes(20, seed=1)
  result = linear_probe.run_probe({'pixels': linear_probe.pixels}, train, train_labels, test, test_labels)
  assert 'few_labels' not in result['features']['pixels']
  assert table(result)[0] == ['features', 'number', 'cost', 'accuracy']


@pytest.mark.parametrize(
  ('train', 'options', 'message'),
  [
    (stripes(4, seed=0), {}, '4 training and 10 test examples are too few for a probe; expected 5 and 1 or more'),
    ((stripes(20, seed=0)[0], np.zeros(20, int)), {}, 'All 20 training labels are 0; a classifier needs two classes'),
    (stripes(20, seed=0), {'labels_per_class': 15}, 'fewer than 15 labels per class; take fewer'),
    (stripes(10, seed=1), {}, '10 of 10 test examples are training examples too'),
  ],
)
def test_examples_that_cannot_be_probed_are_refused_before_features_are_computed(train, options, message):
  with pytest.raises(DataError, match=message):
    linear_probe.run_probe({'any': lambda x: pytest.fail('computed')}, *train, *stripes(10, seed=1), **options)


ERRORS = {
  r'training features are \(200, 6\) and the labels \(3,\); expected \[N, F\] and \[N\]': lambda: probe(
    TRAIN[0], TRAIN[1][:3], *TEST
  ),
  r'test features are \(100,\) and the labels \(100,\); expected': lambda: probe(*TRAIN, TEST[0][:, 0], TEST[1]),
  '6 features in training, but 5 in the test': lambda: probe(*TRAIN, TEST[0][:, :5], TEST[1]),
  'Some test features are NaN or infinite; has the run diverged': lambda: probe(*TRAIN, TEST[0] / 0.0, TEST[1]),
  r'All \d+ training labels are 7; a classifier needs two classes': lambda: probe(TRAIN[0], 0 * TRAIN[1] + 7, *TEST),
  '200 of 200 training examples cannot be held out; expected 1 to 199': lambda: probe(
    *TRAIN, *TEST, num_validation=200
  ),
  '^0 of 200 training examples cannot be held out': lambda: probe(*TRAIN, *TEST, num_validation=0),
  'number of draws is 1; a deviation needs at least 2': lambda: few_labels(*TRAIN, *TEST, draws=1),
  r'Class 0 has 40 training examples besides those held out, fewer than 50 labels per class': lambda: few_labels(
    *TRAIN, *TEST, labels_per_class=50
  ),
  '60 of 100 test examples are training examples too; take other splits': lambda: linear_probe.run_probe(
    {'raw': linear_probe.pixels},
    *stripes(60, seed=0),
    *map(np.concatenate, zip(stripes(60, seed=0), stripes(40, seed=1), strict=True)),
  ),
  r'patches of 6 x 6 pixels from larger images \[N, H, W, C\], not from examples \(9, 6, 9, 1\)': lambda: (
    kmeans.kmeans_features(np.zeros((9, 6, 9, 1), np.uint8))
  ),
}


@pytest.mark.filterwarnings('ignore:divide by zero', 'ignore:invalid value')
@pytest.mark.parametrize('message', ERRORS)
def test_what_cannot_work_is_refused_in_words(message):
  with pytest.raises(DataError, match=message):
    ERRORS[message]()
