"""CIFAR-10 itself, where it lies in ../shared/data beside the checkout."""

import importlib.util
import pathlib

import numpy as np
import pytest

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.kinds import image as images

DATA = pathlib.Path(__file__).parent.parent.parent / 'shared' / 'data'
pytestmark = pytest.mark.skipif(not (DATA / 'prepare.py').exists(), reason='no real data in ../shared/data')


@pytest.fixture(scope='module')
def real():
  specification = importlib.util.spec_from_file_location('prepare', DATA / 'prepare.py')
  prepare = importlib.util.module_from_spec(specification)
  specification.loader.exec_module(prepare)
  return prepare


def test_cifar10_is_trained_on_as_it_is(real, tmp_path):
  examples, labels = real.load('cifar10', 'test')
  np.savez(tmp_path / 'cifar10.npz', train_images=examples, train_labels=labels)
  config = cifar10.get_config()
  config.data.source = f'npz:{tmp_path / "cifar10.npz"}'
  feeder = build_data.build_feeder(config, build_data.build_source(config))
  rows = feeder.block(0, 78, 78)
  indices = rows['indices'].ravel()
  assert len(np.unique(indices)) == 78 * 128  # an epoch shows no example twice
  batch = feeder.gather(feeder.data, {'indices': rows['indices'][3]})
  np.testing.assert_array_equal(batch['images'], examples[rows['indices'][3]])
  np.testing.assert_array_equal(batch['labels'], labels[rows['indices'][3]])


def test_mnist_survives_scaling_and_rounding(real):
  examples, _ = real.load('mnist', 'test')
  scaled = images.to_float(examples)
  assert (scaled.min(), scaled.max()) == (-1.0, 1.0)
  np.testing.assert_array_equal(images.to_uint8(scaled), examples)
