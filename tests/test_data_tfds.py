"""TensorFlow Datasets: reading, and every way in which a data set may not be there."""

import io
import json
import urllib.error

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from dcgan_jax.data import tfds
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 1), np.uint8)


def open_mnist(data_dir, *, name='mnist', split='train', image_size=None, crop=None):
  return tfds.open_tfds(name, split=split, image_size=image_size, crop=crop, data_dir=data_dir)


def open_mock(name, *, image_size=None, crop=None):
  with tensorflow_datasets.testing.mock_data(num_examples=5):
    return tfds.open_tfds(name, split='train', image_size=image_size, crop=crop)


def message(*args, error=DataError, **kwargs) -> str:
  """The text of the error that opening mnist raises."""
  with pytest.raises(error) as caught:
    open_mnist(*args, **kwargs)
  return str(caught.value)


def encoded(image) -> bytes:
  stream = io.BytesIO()
  Image.fromarray(image[..., 0]).save(stream, 'PNG')
  return stream.getvalue()


@pytest.fixture
def data_dir(tmp_path):
  """A prepared mnist: 10 digits whose label is their place in PIXELS, and a broken image as the test split."""
  features = tensorflow_datasets.features

  class Mnist(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    name = 'mnist'
    VERSION = tensorflow_datasets.core.Version('3.0.1')
    pkg_dir_path = tmp_path

    def _info(self):
      image, label = features.Image(shape=(28, 28, 1)), features.ClassLabel(num_classes=10)
      return self.dataset_info_from_configs(features=features.FeaturesDict({'image': image, 'label': label}))

    def _split_generators(self, dl_manager):
      whole = [(i, {'image': encoded(PIXELS[i]), 'label': i}) for i in range(10)]
      return {'train': iter(whole), 'test': iter([(0, {'image': b'no image', 'label': 0})])}

    def _generate_examples(self):
      raise NotImplementedError

  Mnist(data_dir=tmp_path / 'tfds', file_format='array_record').download_and_prepare()
  return tmp_path / 'tfds'


@pytest.fixture
def unreachable(monkeypatch):
  monkeypatch.setattr(tfds, '_is_reachable', lambda address: False)


@pytest.fixture
def reachable(monkeypatch):
  monkeypatch.setattr(tfds, '_is_reachable', lambda address: True)


# Reading.


def test_a_prepared_data_set_is_read_pixel_by_pixel(data_dir):
  source = open_mnist(data_dir)
  assert (len(source), source.shape, source.classes) == (10, (28, 28, 1), 10)
  assert sorted(source[i][1] for i in range(10)) == list(range(10))
  for i in range(10):
    image, label = source[i]
    np.testing.assert_array_equal(image, PIXELS[label])


def test_images_are_cut_and_resized_as_images_fit_does(data_dir):
  image, label = open_mnist(data_dir, image_size=16, crop=20)[4]
  np.testing.assert_array_equal(image, images.fit(PIXELS[label], 16, crop=20))


def test_a_version_and_a_part_of_a_split_may_be_named(data_dir):
  assert len(open_mnist(data_dir, name='mnist:3.0.1', split='train[:40%]')) == 4


def test_the_directory_may_come_from_the_environment(data_dir, monkeypatch):
  monkeypatch.setattr(tensorflow_datasets.core.constants, 'DATA_DIR', str(data_dir))
  assert len(open_mnist(None)) == 10


def test_opening_prints_nothing(data_dir, capfd):
  open_mnist(data_dir)[0]
  assert capfd.readouterr() == ('', '')


def test_a_record_that_is_no_image_is_named(data_dir):
  text = message(data_dir, split='test')
  assert text.startswith("The image of record 0 of mnist, split 'test' cannot be decoded (Cannot read these bytes")


def test_a_missing_or_damaged_file_is_found_at_once(data_dir):
  (file,) = (data_dir / 'mnist' / '3.0.1').glob('mnist-train.array_record*')
  file.write_bytes(file.read_bytes()[:1000])
  text = message(data_dir)
  assert text.startswith("Record 0 of mnist, split 'train' cannot be read (ArrayRecord file should be at least")
  assert text.endswith('; its files are damaged or not all there, so copy or prepare them again.')
  file.unlink()
  assert 'No such file or directory' in message(data_dir)


def test_many_examples_at_once_are_those_read_one_by_one(data_dir):
  source = tfds.open_tfds('mnist', split='train', image_size=None, crop=None, data_dir=data_dir)
  many = source.__getitems__([2, 0])
  for (image, label), i in zip(many, (2, 0), strict=True):
    np.testing.assert_array_equal(image, source[i][0])
    assert label == source[i][1]


def test_a_directory_without_its_description_is_not_prepared_over(data_dir, reachable):
  (data_dir / 'mnist' / '3.0.1' / 'dataset_info.json').unlink()
  assert message(data_dir) == (
    f'{data_dir}/mnist/3.0.1 is no complete data set: it has no dataset_info.json; copy it again, or delete it.'
  )


def test_a_damaged_description_is_one_line(data_dir):
  (data_dir / 'mnist' / '3.0.1' / 'dataset_info.json').write_text('{"tru')
  assert message(data_dir).startswith("TensorFlow Datasets cannot open 'mnist': Failed to load JSON")


@pytest.mark.parametrize(
  ('name', 'image_size', 'crop', 'shape', 'classes'),
  [
    ('cifar10', None, None, (32, 32, 3), 10),
    ('fashion_mnist', None, None, (28, 28, 1), 10),
    ('celeb_a', 64, 108, (64, 64, 3), None),
    ('celeb_a', None, None, (218, 178, 3), None),
    ('lsun/bedroom', 64, None, (64, 64, 3), None),
    ('downsampled_imagenet/64x64', 64, None, (64, 64, 3), None),
    ('imagenet_resized/64x64', None, None, (64, 64, 3), 1000),
  ],
)
def test_examples_have_the_promised_shape(name, image_size, crop, shape, classes):
  source = open_mock(name, image_size=image_size, crop=crop)
  image, label = source[4]
  assert (len(source), source.shape, source.classes) == (5, shape, classes)
  assert (image.dtype, image.shape) == (np.uint8, shape)
  assert label is None if classes is None else label in range(classes)


# Wrong names and wishes.


def test_a_misspelt_name_gets_near_ones():
  assert message(None, name='cifra10') == (
    "TensorFlow Datasets knows no data set 'cifra10'. Did you mean 'cifar10' or 'cifar100' or 'cifar10_n'?"
  )


def test_a_misspelt_configuration_gets_near_ones():
  text = message(None, name='lsun/bedrom', image_size=64)
  assert text.startswith("TensorFlow Datasets cannot open 'lsun/bedrom': BuilderConfig bedrom not found")
  assert "Did you mean 'lsun/bedroom'" in text


def test_an_unknown_version_lists_the_known_ones():
  text = message(None, name='mnist:9.9.9')
  assert text.endswith('Dataset mnist cannot be loaded at version 9.9.9, only: 3.0.1.')


def test_an_unknown_split_lists_the_known_ones(data_dir):
  assert message(data_dir, split='trian') == (
    "Split 'trian' of mnist cannot be read; its splits are train, test, and parts of them such as 'train[:80%]'."
  )


def test_a_data_set_without_images_lists_its_features():
  assert message(None, name='ag_news_subset') == (
    "The TensorFlow data set 'ag_news_subset' has no feature 'image' with uint8 images; "
    'it has: label, title, description.'
  )


def test_images_of_various_sizes_need_an_image_size():
  assert message(None, name='lsun/bedroom', error=ConfigError) == (
    "The images of 'lsun/bedroom' differ in size; set config.data.image_size to the side in pixels to train at, "
    'for example 64.'
  )


def test_crop_needs_an_image_size(data_dir):
  text = message(data_dir, crop=20, error=ConfigError)
  assert text == 'config.data.crop is 20, but config.data.image_size is not set; set it to 20 to keep the cut pixels.'


def test_a_tfrecord_data_set_is_not_read(data_dir):
  path = data_dir / 'mnist' / '3.0.1' / 'dataset_info.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | {'fileFormat': 'tfrecord'}))
  assert message(data_dir) == (
    f'{data_dir}/mnist/3.0.1 was prepared as tfrecord, which cannot be read in random order; move it away to have it '
    'prepared anew as array_record, or set config.data.dir to another directory.'
  )


# Code of others.


@pytest.mark.parametrize('old', ['features_dict.FeaturesDict', 'image_feature.Image'])
def test_no_module_that_a_features_json_names_is_imported(data_dir, tmp_path, monkeypatch, old):
  (tmp_path / 'of_others.py').write_text(f"open('{tmp_path}/was_run', 'w')")
  monkeypatch.syspath_prepend(tmp_path)
  path = data_dir / 'mnist' / '3.0.1' / 'features.json'
  assert f'tensorflow_datasets.core.features.{old}' in path.read_text()
  path.write_text(path.read_text().replace(f'tensorflow_datasets.core.features.{old}', 'of_others.Feature'))
  info = path.with_name('dataset_info.json')
  info.write_text(info.read_text().replace('"mnist"', '"others"'))
  (data_dir / 'mnist').rename(data_dir / 'others')
  assert message(data_dir, name='others') == (
    "The data set is of features 'of_others.Feature', code of others that reading it would run; save its images as an "
    '.npz or in a folder instead.'
  )
  assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize('name', ['huggingface:mnist', 'kaggle:mnist', 'somebody:mnist/plain:1.0.0'])
def test_namespaces_are_refused(monkeypatch, name):
  monkeypatch.setattr(tensorflow_datasets, 'builder', None)
  assert message(None, name=name).startswith(
    f'Cannot take {name!r}: after a colon comes a version, such as mnist:3.0.1'
  )


def test_classes_have_the_names_of_the_data_set(data_dir):
  source = open_mnist(data_dir)
  assert (source.class_names, source.fingerprint()) == (list('0123456789'), 'mnist/3.0.1, 10 examples')


# Not prepared.


def test_an_unreachable_data_set_is_one_line_with_what_to_do(tmp_path, unreachable, capfd):
  assert message(tmp_path, name='cifar100') == (
    f"The TensorFlow data set 'cifar100' is not prepared in {tmp_path}/cifar100/3.0.2, and www.cs.toronto.edu cannot "
    "be reached to download it. On a connected machine run pip install 'dcgan-jax[tfds]' and the same command, then "
    'copy that directory here; if the data is elsewhere, set config.data.dir or TFDS_DATA_DIR to it.'
  )
  assert capfd.readouterr() == ('', '')


def test_preparing_without_tensorflow_says_what_to_install(tmp_path, reachable, monkeypatch):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  assert message(tmp_path) == (
    f"The TensorFlow data set 'mnist' is not prepared in {tmp_path}/mnist/3.0.1. Preparing it needs TensorFlow, once: "
    "pip install 'dcgan-jax[tfds]'."
  )


def test_a_failed_download_is_one_line(tmp_path, reachable, monkeypatch):
  def fail(builder, **kwargs):
    raise tensorflow_datasets.download.DownloadError('Failed to get url http://x. HTTP code: 404.\nAnd more.')

  monkeypatch.setattr(tfds, '_load_tensorflow', lambda: None)
  monkeypatch.setattr('importlib.util.find_spec', lambda name: 'found')
  monkeypatch.setattr(tensorflow_datasets.core.DatasetBuilder, 'download_and_prepare', fail)
  assert message(tmp_path) == (
    f"The TensorFlow data set 'mnist' is not prepared in {tmp_path}/mnist/3.0.1, and preparing it failed: "
    'DownloadError: Failed to get url http://x. HTTP code: 404. And more.'
  )


def test_a_missing_package_of_a_builder_is_one_line(monkeypatch, capfd):
  def fail(name, data_dir):
    print('**** Failed to import TensorFlow. ****')
    raise ModuleNotFoundError("Failed to construct dataset: No module named 'tensorflow'")

  monkeypatch.setattr(tensorflow_datasets, 'builder', fail)
  assert message(None, name='speech_commands') == (
    "The TensorFlow data set 'speech_commands' needs the package tensorflow: pip install 'dcgan-jax[tfds]'."
  )
  assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
  ('error', 'reachable'),
  [
    (urllib.error.HTTPError('http://x', 403, 'Forbidden', None, None), True),
    (urllib.error.URLError('Name or service not known'), False),
    (TimeoutError('timed out'), False),
  ],
)
def test_any_http_answer_counts_as_reachable(error, reachable, monkeypatch):
  def answer(request, timeout):
    raise error

  monkeypatch.setattr('urllib.request.urlopen', answer)
  assert tfds._is_reachable('http://x') is reachable


def test_images_turn_grey_where_one_channel_is_asked_for():
  with tensorflow_datasets.testing.mock_data(num_examples=5):
    colour, grey = (
      tfds.open_tfds('cifar10', split='train', image_size=None, crop=None, channels=channels) for channels in (3, 1)
    )
    assert (colour.shape, grey.shape) == ((32, 32, 3), (32, 32, 1))
    assert grey[0][0].shape == (32, 32, 1)
