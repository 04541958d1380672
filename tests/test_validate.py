"""The config's rules hold before JAX is imported, and say what they want."""

import copy
import math
import re

import pytest

from configs import cifar10
from dcgan_jax.building.rules import RULES, flatten, is_address, validate
from dcgan_jax.errors import ConfigError


def _changed(**values):
  config = copy.deepcopy(cifar10.get_config().to_dict())
  for path, value in values.items():
    *groups, key = path.split('__')
    node = config
    for group in groups:
      node = node[group]
    node[key] = value
  return config


def test_every_key_of_the_reference_config_has_a_rule():
  assert dict(flatten(RULES)).keys() == dict(flatten(cifar10.get_config().to_dict())).keys()


def test_no_rule_lets_everything_pass_and_no_value_makes_a_rule_fail():
  values = (-5, math.nan, 'x', (0,), [], object())
  for key, rule in flatten(RULES):
    assert sum(not rule.holds(value) for value in values) >= 5, key


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'batch_size': -5}, 'config.batch_size is -5; expected a whole number from 1'),
    ({'batch_size': True}, 'config.batch_size is True; expected a whole number from 1'),
    ({'seed': -1}, r'config.seed is -1; expected a whole number from 0 to 2\*\*32 - 1'),
    (
      {'generator__optimizer__learning_rate': math.nan},
      'config.generator.optimizer.learning_rate is nan; expected a finite number above 0',
    ),
    ({'discriminator__dropout': 1.0}, 'config.discriminator.dropout is 1.0; expected a number from 0 up to'),
    ({'data__channels': 0}, 'config.data.channels is 0; expected a whole number from 1'),
    ({'generator__widths': ()}, r'config.generator.widths is \(\); expected a tuple of whole numbers'),
    (
      {'data__image_size': 30},
      r'config.data.image_size is 30, which 3 layers \(config.generator.widths\) cannot reach: '
      'sizes are multiples of 8, for example 24 or 32; or change the number of widths',
    ),
    ({'data__image_size': 4}, 'sizes are multiples of 8, for example 8;'),
    (
      {'discriminator__strides': (2, 2)},
      'config.discriminator.strides has 2 entries and config.discriminator.widths 3; give one stride for each width',
    ),
  ],
)
def test_a_value_that_cannot_work_is_named_with_what_was_expected(values, message):
  with pytest.raises(ConfigError, match=message):
    validate(_changed(**values))


def test_missing_and_unknown_keys_are_listed():
  config = _changed(stepz=3)
  del config['steps']
  with pytest.raises(
    ConfigError, match=r'The config lacks steps and has the unknown stepz; start from configs/cifar10'
  ):
    validate(config)


@pytest.mark.parametrize('path', ['gs://b/x', 'folder:s3://b/x', 'npz:https://b/x.npz', 'file:///x', 'a\0b'])
def test_an_address_or_nul_is_no_path(path):
  for key in ('data__source', 'data__dir', 'evaluation__weights'):
    with pytest.raises(ConfigError, match=re.escape(f'is {path!r}; expected') + '.*mount a bucket'):
      validate(_changed(**{key: path}))


@pytest.mark.parametrize('path', ['C://x', 'folder:C:/x', 'folder://x', 'npz:/a://b', 'tfds:cifar10', 'x:y'])
def test_a_drive_or_a_colon_is_no_scheme(path):
  assert not is_address(path)
