"""The small classifier learns what it is shown, by a function of its arguments alone, and survives its cache."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from sklearn import datasets

from dcgan_jax.errors import DataError
from dcgan_jax.metrics import classifier

QUICK = classifier.Settings(widths=(4, 6), num_features=5, steps=3, batch_size=8)


@pytest.fixture(scope='module')
def digits():
  """Scikit-learn's 1797 digits, uint8 [1797, 8, 8, 1], in a random order."""
  data = datasets.load_digits()
  order = np.random.default_rng(0).permutation(len(data.target))
  return np.round(data.images * (255 / 16)).astype(np.uint8)[order, ..., np.newaxis], data.target[order]


@pytest.fixture(scope='module')
def trained(digits):
  images, labels = digits
  settings = classifier.Settings(widths=(16, 32), num_features=32, steps=200, batch_size=64)
  return classifier.train_classifier(images[:1400], labels[:1400], num_classes=10, settings=settings)


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.arange(shape[0]) % 3


def test_unseen_digits_are_told_apart(digits, trained):
  images, labels = digits
  assert classifier.classifier_accuracy(trained, images[1400:], labels[1400:]) >= 0.95


def test_accuracy_counts_each_image_once(digits, trained):
  images, labels = digits[0][:101], digits[1][:101]
  _, logits = classifier.classifier_features(trained, images)
  expected = np.mean(np.argmax(logits, axis=1) == labels)
  assert classifier.classifier_accuracy(trained, images, labels, batch_size=40) == pytest.approx(expected)


def test_features_do_not_depend_on_the_rest_of_the_batch(digits, trained):
  images, _ = digits
  together, logits = classifier.classifier_features(trained, images[:9])
  alone, _ = classifier.classifier_features(trained, images[4:5])
  assert together.shape == (9, 32)
  assert logits.shape == (9, 10)
  np.testing.assert_allclose(together[4:5], alone, rtol=1e-4, atol=1e-5)


def test_logits_are_linear_in_the_features(digits, trained):
  features, logits = classifier.classifier_features(trained, digits[0][:5])
  kernel, bias = (np.asarray(trained['logits'][name]) for name in ('kernel', 'bias'))
  expected = np.asarray(features) @ kernel + bias
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_default_network_has_about_a_quarter_of_a_million_parameters():
  settings = classifier.Settings()
  network = classifier.Classifier(settings.widths, settings.num_features, num_classes=10)
  shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.uint8))
  assert (
    sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 74_592 + 384 + 196_736 + 1_290
  )  # convolutions, norms, features, logits


def test_the_weights_are_a_function_of_the_seed():
  images, labels = (np.repeat(array[:1], 20, axis=0) for array in noise(20, 8, 8, 1))  # whose order does not matter
  train = functools.partial(classifier.train_classifier, images, labels, num_classes=3)
  first, second, other = (train(settings=dataclasses.replace(QUICK, seed=seed)) for seed in (0, 0, 1))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  assert classifier.weights_sha256(first) == classifier.weights_sha256(second) != classifier.weights_sha256(other)


@pytest.mark.parametrize('shape', [(9, 64, 1), (9, 41, 1, 3), (9, 4, 8, 8, 2)])
def test_examples_may_have_any_size_and_one_to_three_dimensions(shape):
  images, labels = noise(*shape)
  params = classifier.train_classifier(images, labels, num_classes=3, settings=QUICK)
  assert classifier.classifier_features(params, images)[0].shape == (9, 5)
  assert params['features']['kernel'].shape[0] <= 4 ** (len(shape) - 2) * 6


def test_every_example_is_seen_before_one_is_seen_again():
  settings = classifier.Settings(steps=5, batch_size=4)
  order = classifier._order(10, settings)
  assert order.shape == (5, 4)
  assert sorted(order.ravel()[:10]) == list(range(10))
  assert list(order.ravel()[:10]) != list(order.ravel()[10:])
  assert (order != classifier._order(10, dataclasses.replace(settings, seed=1))).any()


def test_the_cache_gives_back_what_was_trained(tmp_path, monkeypatch):
  images, labels = noise(20, 8, 8, 1)
  cached = functools.partial(classifier.cached_classifier, tmp_path / 'cache', num_classes=3, settings=QUICK)
  trained = cached(images, labels)
  monkeypatch.setattr(classifier, 'train_classifier', None)
  again = cached(images, labels)
  jax.tree.map(np.testing.assert_array_equal, trained, again)
  assert classifier.weights_sha256(trained) == classifier.weights_sha256(again)
  assert [path.suffix for path in (tmp_path / 'cache').iterdir()] == ['.npz']


def test_the_cache_tells_data_labels_classes_seeds_and_settings_apart():
  images, labels = noise(20, 8, 8, 1)
  other_settings = (dataclasses.replace(QUICK, **change) for change in ({'seed': 1}, {'steps': 4}))
  prints = [
    classifier.fingerprint(images, labels, num_classes=3, settings=QUICK),
    classifier.fingerprint(255 - images, labels, num_classes=3, settings=QUICK),
    classifier.fingerprint(images.reshape(20, 64, 1), labels, num_classes=3, settings=QUICK),
    classifier.fingerprint(images, labels[::-1], num_classes=3, settings=QUICK),
    classifier.fingerprint(images, labels, num_classes=4, settings=QUICK),
    *(classifier.fingerprint(images, labels, num_classes=3, settings=settings) for settings in other_settings),
  ]
  assert len(set(prints)) == 7
  assert prints[0] == classifier.fingerprint(images, labels.astype(np.uint8), num_classes=3, settings=QUICK)


def test_a_damaged_or_foreign_classifier_is_trained_again_in_one_line(tmp_path, capsys):
  images, labels = noise(20, 8, 8, 1)
  cached = functools.partial(classifier.cached_classifier, tmp_path, images, labels, num_classes=3, settings=QUICK)
  trained = cached()
  (path,) = tmp_path.iterdir()
  with np.load(path) as archive:
    others = {**archive, 'conv_0/kernel': np.zeros((3, 3, 1, 9), np.float32)}
  for damage in (lambda: path.write_bytes(path.read_bytes()[:-50]), lambda: np.savez(path, **others)):
    damage()
    jax.tree.map(np.testing.assert_array_equal, trained, cached())
    error = capsys.readouterr().err
    assert error.startswith(f'WARNING: {path} cannot be used (')
    assert error.count('\n') == 1


def test_images_and_labels_of_another_form_are_refused():
  images, labels = noise(20, 8, 8, 1)
  train = functools.partial(classifier.train_classifier, num_classes=3, settings=QUICK)
  with pytest.raises(DataError, match=r'uint8 \[N, ..., C\], not from float64 \(20, 8, 8, 1\)'):
    train(images / 255, labels)
  with pytest.raises(DataError, match=r'20 images need as many integer labels to train a classifier, not int64 \(5,\)'):
    train(images, labels[:5])
  with pytest.raises(DataError, match='20 images need as many integer labels'):
    train(images, labels / 1)
  with pytest.raises(DataError, match='The labels run from 0 to 2; expected 0 to 1'):
    train(images, labels, num_classes=2)
