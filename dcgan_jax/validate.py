"""What each config key may be, checked before JAX is imported; which names exist is known to the builders' tables."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dcgan_jax.errors import ConfigError


class Rule(NamedTuple):
  """What a value must be, in words and as a test."""

  expected: str
  holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_whole_numbers(value: Any) -> bool:
  return isinstance(value, (tuple, list)) and len(value) > 0 and all(_is_integer(v) and v > 0 for v in value)


COUNT = Rule('a whole number from 1', lambda v: _is_integer(v) and v >= 1)
NATURAL = Rule('a whole number from 0 to 2**32 - 1', lambda v: _is_integer(v) and 0 <= v < 2**32)
POSITIVE = Rule('a finite number above 0', lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Rule('a finite number from 0', lambda v: _is_number(v) and v >= 0)
SHARE = Rule('a number from 0 up to, not including, 1', lambda v: _is_number(v) and 0 <= v < 1)
BOOLEAN = Rule('True or False', lambda v: isinstance(v, bool))
TEXT = Rule('a name', lambda v: isinstance(v, str) and v != '')
WIDTHS = Rule('a tuple of whole numbers from 1, such as (256, 128, 64)', _is_whole_numbers)
CHANNELS = Rule('1 (grey) or 3 (RGB)', lambda v: v in (1, 3) and _is_integer(v))
KERNEL_SIZE = Rule('a whole number from 2', lambda v: _is_integer(v) and v >= 2)


def _or_none(rule: Rule) -> Rule:
  return Rule(f'{rule.expected}, or None', lambda v: v is None or rule.holds(v))


_OPTIMIZER = {'name': TEXT, 'learning_rate': POSITIVE, 'b1': SHARE, 'b2': SHARE, 'epsilon': POSITIVE}

RULES: dict[str, Any] = {
  'seed': NATURAL,
  'steps': COUNT,
  'batch_size': COUNT,
  'steps_per_call': COUNT,
  'precision': TEXT,
  'data': {
    'source': TEXT,
    'split': TEXT,
    'dir': _or_none(TEXT),
    'image_size': _or_none(COUNT),
    'crop': _or_none(COUNT),
    'channels': CHANNELS,
    'flip': BOOLEAN,
    'resident_megabytes': NOT_NEGATIVE,
    'threads': COUNT,
  },
  'generator': {
    'name': TEXT,
    'latents': TEXT,
    'latent_size': COUNT,
    'widths': WIDTHS,
    'strides': _or_none(WIDTHS),
    'kernel_size': KERNEL_SIZE,
    'negative_slope': NOT_NEGATIVE,
    'norm_before_reshape': BOOLEAN,
    'bias': BOOLEAN,
    'optimizer': _OPTIMIZER,
    'averaging': {'half_life': POSITIVE, 'ramp_up': POSITIVE},
  },
  'discriminator': {
    'name': TEXT,
    'widths': WIDTHS,
    'strides': _or_none(WIDTHS),
    'kernel_size': KERNEL_SIZE,
    'negative_slope': NOT_NEGATIVE,
    'normalization': TEXT,
    'dropout': SHARE,
    'bias': BOOLEAN,
    'optimizer': _OPTIMIZER,
  },
  'initialization': TEXT,
  'batch_norm': {'decay': SHARE, 'epsilon': POSITIVE},
  'loss': TEXT,
  'reuse_fakes': BOOLEAN,
  'logging': {
    'scalars_every': COUNT,
    'samples_every': COUNT,
    'num_samples': COUNT,
    'checkpoint_every': COUNT,
    'checkpoints_kept': COUNT,
  },
  'evaluation': {
    'every': _or_none(COUNT),
    'num': COUNT,
    'features': TEXT,
    'weights': _or_none(TEXT),
    'reference': TEXT,
    'stop_on_collapse': BOOLEAN,
  },
}


def validate(config: Mapping[str, Any]) -> None:
  """Checks every value of a config, and what fits together.

  Raises:
    ConfigError: the first value that cannot work, what was expected, and the keys that are missing or unknown.
  """
  flat, rules = dict(flatten(config)), dict(flatten(RULES))
  missing, unknown = sorted(rules.keys() - flat.keys()), sorted(flat.keys() - rules.keys())
  if missing or unknown:
    lists = [f'{word} {", ".join(keys)}' for word, keys in (('lacks', missing), ('has the unknown', unknown)) if keys]
    raise ConfigError(f'The config {" and ".join(lists)}; start from configs/cifar10.py, which has every key')
  for key, rule in rules.items():
    if not rule.holds(flat[key]):
      raise ConfigError(f'config.{key} is {flat[key]!r}; expected {rule.expected}')
  for player in ('generator', 'discriminator'):
    _check_size(flat, player)


def strides_of(widths: tuple[int, ...], strides: tuple[int, ...] | None) -> tuple[int, ...]:
  """The strides of the layers: those given, or 2 for every width."""
  return tuple(strides) if strides is not None else (2,) * len(widths)


def flatten(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Yields ('data.flip', value) for each leaf of nested mappings."""
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def _check_size(flat: dict[str, Any], player: str) -> None:
  widths, given, size = flat[f'{player}.widths'], flat[f'{player}.strides'], flat['data.image_size']
  strides = strides_of(widths, given)
  if len(strides) != len(widths):
    raise ConfigError(
      f'config.{player}.strides has {len(strides)} entries and config.{player}.widths {len(widths)}; '
      'give one stride for each width, or None for 2 everywhere'
    )
  factor = math.prod(strides)
  if size is not None and size % factor:
    lower = size // factor * factor
    choices = f'{lower} or {lower + factor}' if lower else f'{factor}'
    raise ConfigError(
      f'config.data.image_size is {size}, which the {len(widths)} layers of config.{player}.widths do not reach: '
      f'sizes are multiples of {factor}, for example {choices}; or change the number of widths'
    )
