"""What each config key may be, checked before JAX is imported; which names exist is known to the builders' tables."""

import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dcgan_jax.errors import ConfigError, counted


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


def is_address(text: str) -> bool:
  """Whether a path, or the path of a data source, is SCHEME://...; the letter of a Windows drive is no scheme."""
  return re.match(r'[A-Za-z][A-Za-z0-9+.-]+://', re.sub('^(folder|npz|tfds):', '', text)) is not None


# What is read and written.
LOCAL = 'a path of a local or mounted file system; mount a bucket (gcsfuse, rclone) or copy its files'

COUNT = Rule('a whole number from 1', lambda v: _is_integer(v) and v >= 1)
NATURAL = Rule('a whole number from 0 to 2**32 - 1', lambda v: _is_integer(v) and 0 <= v < 2**32)
POSITIVE = Rule('a finite number above 0', lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Rule('a finite number from 0', lambda v: _is_number(v) and v >= 0)
SHARE = Rule('a number from 0 up to, not including, 1', lambda v: _is_number(v) and 0 <= v < 1)
BOOLEAN = Rule('True or False', lambda v: isinstance(v, bool))
TEXT = Rule('a name', lambda v: isinstance(v, str) and v != '')
PATH = Rule(LOCAL, lambda v: isinstance(v, str) and v != '' and '\0' not in v and not is_address(v))
SOURCE = Rule(f'digits, tfds:NAME, folder:PATH or npz:PATH, with {LOCAL}', PATH.holds)
WIDTHS = Rule('a tuple of whole numbers from 1, such as (256, 128, 64)', _is_whole_numbers)
KERNEL_SIZE = Rule(
  'a whole number from 2, or a tuple of whole numbers from 1, one for each width',
  lambda v: (_is_integer(v) and v >= 2) or _is_whole_numbers(v),
)
NAMES = Rule(
  "a tuple of names such as ('color', 'cutout'), or () for none",
  lambda v: isinstance(v, (tuple, list)) and all(isinstance(name, str) for name in v),
)
PLAYERS = Rule(
  "a tuple of 'generator' and 'discriminator', or () for none",
  lambda v: isinstance(v, (tuple, list)) and set(v) <= {'generator', 'discriminator'},
)
RANGE = Rule(
  'two numbers, the values of black and of white, such as (0, 4095)',
  lambda v: isinstance(v, (tuple, list)) and len(v) == 2 and all(map(_is_number, v)) and v[0] < v[1],
)
SIDE = Rule(
  'a whole number from 1, the side of squares, which is all that files are fitted to (H x W: an .npz without it)',
  COUNT.holds,
)
PROBABILITY = Rule('a number from 0 to 1', lambda v: _is_number(v) and 0 <= v <= 1)


def _or_none(rule: Rule) -> Rule:
  return Rule(f'{rule.expected}, or None', lambda v: v is None or rule.holds(v))


_OPTIMIZER = {'name': TEXT, 'learning_rate': POSITIVE, 'b1': SHARE, 'b2': SHARE, 'epsilon': POSITIVE}

# Each trick, and its value that leaves the game as Radford et al. 2016 play it.
_TRICKS = {
  'real_target': (PROBABILITY, 1.0),
  'fake_target': (PROBABILITY, 0.0),
  'flipped_labels': (SHARE, 0.0),
  'r1': (NOT_NEGATIVE, 0.0),
  'r2': (NOT_NEGATIVE, 0.0),
  'gradient_penalty': (NOT_NEGATIVE, 0.0),
  'dragan': (NOT_NEGATIVE, 0.0),
  'consistency_real': (NOT_NEGATIVE, 0.0),
  'consistency_fake': (NOT_NEGATIVE, 0.0),
  'penalty_every': (COUNT, 1),
  'weight_clip': (_or_none(POSITIVE), None),
  'gradient_clip_value': (_or_none(POSITIVE), None),
  'gradient_clip_norm': (_or_none(POSITIVE), None),
  'spectral_norm': (PLAYERS, ()),
  'minibatch': (TEXT, 'none'),
  'feature_matching': (NOT_NEGATIVE, 0.0),
  'instance_noise': (NOT_NEGATIVE, 0.0),
  'instance_noise_steps': (COUNT, 10_000),
  'augment': (NAMES, ()),
  'discriminator_turns': (COUNT, 1),
  'generator_batches': (COUNT, 1),
  'decay': (TEXT, 'constant'),
  'warm_up': (NATURAL, 0),
  'weight_decay': (NOT_NEGATIVE, 0.0),
  'upsampling': (TEXT, 'transposed'),
  'generator_labels': (TEXT, 'none'),
  'discriminator_labels': (TEXT, 'none'),
  'auxiliary_weight': (POSITIVE, 1.0),
}
# Keys that runs of earlier versions lack, with the value that they go on with: for training, what those versions did.
ADDED = {'generator.normalization': 'batch', 'logging.mark_synthetic': True, 'data.range': None, 'data.ground': 'white'}
# Keys of earlier versions that no longer are, and never had an effect on a result.
REMOVED = ('data.threads',)
ADDED |= {f'tricks.{name}': off for name, (_, off) in _TRICKS.items()}

RULES: dict[str, Any] = {
  'seed': NATURAL,
  'steps': COUNT,
  'batch_size': COUNT,
  'steps_per_call': COUNT,
  'precision': TEXT,
  'data': {
    'source': SOURCE,
    'split': TEXT,
    'dir': _or_none(PATH),
    'image_size': _or_none(SIDE),
    'crop': _or_none(COUNT),
    'channels': COUNT,
    'range': _or_none(RANGE),
    'ground': TEXT,
    'flip': BOOLEAN,
    'resident_megabytes': NOT_NEGATIVE,
  },
  'generator': {
    'name': TEXT,
    'latents': TEXT,
    'latent_size': COUNT,
    'widths': WIDTHS,
    'strides': _or_none(WIDTHS),
    'kernel_size': KERNEL_SIZE,
    'negative_slope': NOT_NEGATIVE,
    'normalization': TEXT,
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
  'tricks': {name: rule for name, (rule, _) in _TRICKS.items()},
  'logging': {
    'scalars_every': COUNT,
    'samples_every': COUNT,
    'num_samples': COUNT,
    'checkpoint_every': COUNT,
    'checkpoints_kept': COUNT,
    'mark_synthetic': BOOLEAN,
  },
  'evaluation': {
    'every': _or_none(COUNT),
    'num': COUNT,
    'features': TEXT,
    'weights': _or_none(PATH),
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
  missing, unknown = sorted(rules.keys() - flat.keys()), sorted(flat.keys() - rules.keys() | _dotted(config))
  if missing or unknown:
    lists = [f'{word} {", ".join(keys)}' for word, keys in (('lacks', missing), ('has the unknown', unknown)) if keys]
    raise ConfigError(f'The config {" and ".join(lists)}; start from configs/cifar10.py, which has every key')
  for key, rule in rules.items():
    if not _holds(rule, flat[key]):
      raise ConfigError(f'config.{key} is {flat[key]!r}; expected {rule.expected}')
  for player in ('generator', 'discriminator'):
    _check_size(flat, player)
  for makes_no_sense, reason in _COMBINATIONS:
    if makes_no_sense(_Values(flat)):
      raise ConfigError(reason)


def _dotted(tree: Mapping[str, Any]) -> set[str]:
  """Names with a dot in them, which would pass for keys of a group."""
  inner = [_dotted(value) for value in tree.values() if isinstance(value, Mapping)]
  return {name for name in tree if '.' in name}.union(*inner)


def _holds(rule: Rule, value: Any) -> bool:
  try:
    return rule.holds(value)
  except (OverflowError, TypeError):  # Numbers beyond floats, lists in lists.
    return False


def strides_of(widths: tuple[int, ...], strides: tuple[int, ...] | None) -> tuple[int, ...]:
  """The strides of the layers: those given, or 2 for every width."""
  return tuple(strides) if strides is not None else (2,) * len(widths)


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
  """A config of an earlier version with the keys that came later, at the values that change nothing, and without those
  that went."""
  values = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
  for key, value in ADDED.items():
    group, _, name = key.partition('.')
    if isinstance(there := values.setdefault(group, {}), dict):
      there.setdefault(name, value)
  for key in REMOVED:
    group, _, name = key.partition('.')
    if isinstance(there := values.get(group), dict):
      there.pop(name, None)
  return values


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
      f'config.{player}.strides has {counted(len(strides), "entry")} and config.{player}.widths {len(widths)}; '
      'give one stride for each width, or None for 2 everywhere'
    )
  kernel_size = flat[f'{player}.kernel_size']
  if not _is_integer(kernel_size) and len(kernel_size) != len(widths):
    raise ConfigError(
      f'config.{player}.kernel_size has {counted(len(kernel_size), "entry")} and config.{player}.widths {len(widths)}; '
      'give one for each width, or one number for all'
    )
  factor = math.prod(strides)
  if size is not None and size % factor:
    lower = size // factor * factor
    choices = f'{lower} or {lower + factor}' if lower else f'{factor}'
    raise ConfigError(
      f'config.data.image_size is {size}, which {counted(len(widths), "layer")} (config.{player}.widths) cannot reach: '
      f'sizes are multiples of {factor}, for example {choices}; or change the number of widths'
    )


class _Values(types.SimpleNamespace):
  """A flat config read by attribute: `tricks.r1` is `values.tricks_r1`."""

  def __init__(self, flat: dict[str, Any]):
    super().__init__(**{key.replace('.', '_'): value for key, value in flat.items()})


def _sees_batch(v: _Values) -> bool:
  return v.discriminator_normalization == 'batch' or v.tricks_minibatch != 'none'


def _is_penalized(v: _Values) -> bool:
  return any((v.tricks_r1, v.tricks_r2, v.tricks_gradient_penalty, v.tricks_dragan))


def _is_bounded(v: _Values) -> bool:
  return v.tricks_weight_clip is not None or 'discriminator' in v.tricks_spectral_norm or _is_penalized(v)


def _has_soft_targets(v: _Values) -> bool:
  return (v.tricks_real_target, v.tricks_fake_target, v.tricks_flipped_labels) != (1.0, 0.0, 0.0)


# Combinations that make no sense, and why.
_COMBINATIONS: tuple[tuple[Callable[[_Values], bool], str], ...] = (
  (
    lambda v: v.loss == 'wasserstein' and not _is_bounded(v),
    "config.loss is 'wasserstein', which a discriminator without bound makes arbitrarily small; bound it: "
    "config.tricks.gradient_penalty 10, weight_clip 0.01, or spectral_norm with 'discriminator'",
  ),
  (
    lambda v: _is_penalized(v) and _sees_batch(v),
    'config.tricks.r1, r2, gradient_penalty and dragan bound the gradient at each example alone, and this '
    "discriminator judges an example by its batch; set config.discriminator.normalization to 'layer' or 'none' and "
    "config.tricks.minibatch to 'none'",
  ),
  (
    lambda v: _has_soft_targets(v) and v.loss not in ('non_saturating', 'saturating', 'least_squares'),
    'config.tricks.real_target, fake_target and flipped_labels are of losses that have targets; '
    "set config.loss to 'non_saturating', 'saturating' or 'least_squares'",
  ),
  (
    lambda v: v.tricks_fake_target >= v.tricks_real_target,
    'config.tricks.fake_target is not below config.tricks.real_target, so nothing tells real from fake; '
    'take for example 0.1 and 0.9',
  ),
  (
    lambda v: v.tricks_weight_decay > 0 and 'adamw' not in (v.generator_optimizer_name, v.discriminator_optimizer_name),
    "config.tricks.weight_decay acts in adamw alone; set the name of an optimizer to 'adamw'",
  ),
  (
    lambda v: v.reuse_fakes and (v.tricks_discriminator_turns > 1 or v.tricks_generator_batches > 1),
    'config.reuse_fakes needs as many fakes in both updates; set it to False, or '
    'config.tricks.discriminator_turns and generator_batches to 1',
  ),
  (
    lambda v: (v.tricks_generator_labels == 'none') != (v.tricks_discriminator_labels == 'none'),
    'Labels help only where both players have them; set both config.tricks.generator_labels and '
    'config.tricks.discriminator_labels, or neither',
  ),
  (
    lambda v: v.tricks_generator_labels == 'conditional_batch' and v.generator_normalization != 'batch',
    "config.tricks.generator_labels 'conditional_batch' is a batch normalisation; "
    "set config.generator.normalization to 'batch'",
  ),
  (
    lambda v: v.discriminator_normalization == 'virtual_batch',
    "config.discriminator.normalization 'virtual_batch' is for generators, whose reference batch is a choice of z; "
    "take 'layer' or 'instance'",
  ),
  (
    lambda v: v.generator_normalization == 'instance' and v.generator_norm_before_reshape,
    "config.generator.normalization 'instance' has no space to average over before the reshape; "
    'set config.generator.norm_before_reshape to False',
  ),
  (
    lambda v: v.generator_normalization == 'none' and v.generator_norm_before_reshape,
    'config.generator.norm_before_reshape says where to normalise, and config.generator.normalization is '
    "'none'; set norm_before_reshape to False",
  ),
  (
    lambda v: len(v.discriminator_widths) == 1 and v.discriminator_normalization not in ('batch', 'none'),
    'config.discriminator.normalization is of all layers but the first, and config.discriminator.widths has one; '
    "set it to 'none', or give more widths",
  ),
  (
    lambda v: v.tricks_warm_up >= v.steps,
    'config.tricks.warm_up takes all of config.steps; make it shorter',
  ),
)
