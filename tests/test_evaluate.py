"""Metrics carry their protocol in their names, and depend neither on the batch size nor on the number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.games import parallel
from dcgan_jax.metrics import evaluate
from dcgan_jax.metrics.features import FeatureNet, extract

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), np.uint8)


def _net(name='768'):
  """Sixteen features: the pixels, mixed by a matrix; logits where it is called self."""

  def apply(params, images):
    features = images.reshape(images.shape[0], -1).astype(jnp.float32) @ params
    return {'features': features} | ({'logits': features[:, :3]} if name == 'self' else {})

  params = np.eye(16, dtype=np.float32) / 255
  return FeatureNet(name, 'abc', 'none', params, apply)


def _evaluator(tmp_path, *, images=IMAGES, name='768', batch_size=8, devices=1):
  net = _net(name)
  reference = evaluate.Reference(
    split='test', num=len(images), batches=lambda: iter([images[:7], images[7:]]), at=lambda i: images[i], identity={}
  )
  mapped = parallel.compile_map(net.apply, devices=jax.devices()[:devices])
  return evaluate.Evaluator(net, mapped, reference, batch_size=batch_size, cache=tmp_path)


def test_names_carry_features_count_neighbours_and_split(tmp_path):
  metrics = _evaluator(tmp_path).measure(IMAGES[:40], seed=0)
  assert list(metrics) == [
    'fid768_40_test', 'kid768_40_test', 'kid768_40_test_deviation', 'pr768_40_3_test_precision',
    'pr768_40_3_test_recall', 'dc768_40_5_test_density', 'dc768_40_5_test_coverage', 'near_duplicates', 'duplicates',
  ]  # fmt: skip


def test_the_names_of_the_standard_protocol_are_the_customary_ones(tmp_path):
  assert evaluate._protocol(50_000, 3) == '50k3'
  assert next(iter(_evaluator(tmp_path, name='2048').measure(IMAGES[:40], seed=0))) == 'fid40_test'


def test_images_are_at_distance_zero_from_themselves(tmp_path):
  metrics = _evaluator(tmp_path).measure(IMAGES, seed=0)
  assert abs(metrics['fid768_60_test']) < 1e-9
  assert metrics['pr768_60_3_test_precision'] == metrics['pr768_60_3_test_recall'] == 1
  assert metrics['duplicates'] == 0


@pytest.mark.parametrize(('batch_size', 'devices'), [(4, 1), (60, 1), (8, 4)])
def test_neither_batch_size_nor_devices_change_a_metric(tmp_path, batch_size, devices):
  expected = _evaluator(tmp_path / 'a').measure(IMAGES[:40], seed=0)
  metrics = _evaluator(tmp_path / 'b', batch_size=batch_size, devices=devices).measure(IMAGES[:40], seed=0)
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_features_come_in_the_order_of_the_images():
  net = _net()
  mapped = parallel.compile_map(net.apply, devices=jax.devices()[:1])
  batches = [IMAGES[:3], IMAGES[3:20], IMAGES[20:]]
  features = extract(net, mapped, batches, num=50, batch_size=8, title='')['features']
  np.testing.assert_allclose(features, IMAGES[:50].reshape(50, 16) / 255, atol=1e-6)


def test_the_references_features_are_computed_once(tmp_path):
  first = _evaluator(tmp_path)
  first.measure(IMAGES[:40], seed=0)
  second = _evaluator(tmp_path)
  second._mapped = lambda *_: pytest.fail('computed again')
  np.testing.assert_array_equal(second.real_features(), first.real_features())


@pytest.mark.parametrize('place', [1, 30, 58])
def test_one_changed_pixel_of_the_reference_is_seen(tmp_path, place):
  _evaluator(tmp_path).real_features()
  images = IMAGES.copy()
  images[place, 2, 3] ^= 1
  features = _evaluator(tmp_path, images=images).real_features()
  np.testing.assert_array_equal(np.round(features * 255), images.reshape(60, 16))


def test_the_same_bytes_in_another_shape_are_another_reference(tmp_path):
  _evaluator(tmp_path).real_features()
  wide = IMAGES.reshape(60, 2, 8, 1)
  assert _evaluator(tmp_path, images=wide)._pixels[0] == _evaluator(tmp_path)._pixels[0]
  _evaluator(tmp_path, images=wide).real_features()
  assert len(list(tmp_path.iterdir())) == 2


def test_a_reference_that_changes_while_it_is_read_is_not_kept(tmp_path):
  evaluator, changing = _evaluator(tmp_path), IMAGES.copy()

  def batches():
    yield changing.copy()
    changing[7] ^= 1

  evaluator.reference = evaluator.reference._replace(batches=batches)
  with pytest.raises(DataError, match='The reference images changed while they were read'):
    evaluator.real_features()
  assert not list(tmp_path.iterdir())


def test_the_nearest_image_of_a_copy_is_its_original(tmp_path):
  evaluator = _evaluator(tmp_path)
  nearest = evaluator.nearest(IMAGES[[5, 50]], k=2)
  assert nearest[:, 0].tolist() == [5, 50]
  assert evaluator.reference_images(nearest).shape == (2, 2, 4, 4, 1)


def test_a_classifier_of_the_data_counts_classes(tmp_path):
  metrics = _evaluator(tmp_path, name='self').measure(IMAGES[:40], seed=0)
  assert sum(metrics['class_counts']) == 40
  assert 1 <= metrics['effective_classes'] <= 3


def test_too_few_samples_are_refused_unless_asked_twice(tmp_path):
  evaluator = _evaluator(tmp_path)
  with pytest.raises(ConfigError, match='10 samples'):
    evaluator.measure(IMAGES[:10], seed=0)
  assert np.isfinite(evaluator.measure(IMAGES[:10], seed=0, allow_few=True)['fid768_10_test'])


def test_few_real_images_are_refused_as_few_samples_are(tmp_path):
  evaluator = _evaluator(tmp_path, images=IMAGES[:15])
  with pytest.raises(
    ConfigError, match=r"split 'test'.* has 15 real images, too few for the Fréchet .* of 16 features"
  ):
    evaluator.measure(IMAGES[:40], seed=0)
  assert np.isfinite(evaluator.measure(IMAGES[:40], seed=0, allow_few=True)['fid768_40_test'])
