"""Values of keys as people write them on the command line: 1e5, None, true; what is left over is refused in words."""

import decimal
import re
from collections.abc import Iterable, Iterator

from dcgan_jax.building.rules import BOOLEAN, RULES, Rule, flatten
from dcgan_jax.errors import ConfigError

_SUFFIXES = {'k': 10**3, 'm': 10**6, 'b': 10**9, 'g': 10**9}
_BOOLEANS = {'true': 'true', 't': 'true', '1': 'true', 'false': 'false', 'f': 'false', '0': 'false'}


def pairs(overrides: Iterable[str]) -> Iterator[tuple[str, str | None]]:
  """'--config.KEY=VALUE' or '--config.KEY', 'VALUE' as (KEY, VALUE); a key that ends the line or precedes another has
  the value None."""
  key = None
  for token in overrides:
    if key is not None and not token.startswith('--config.'):
      yield key, token
      key = None
      continue
    if key is not None:
      yield key, None
    key, equals, value = token.removeprefix('--config.').partition('=')
    if equals:
      yield key, value
      key = None
  if key is not None:
    yield key, None


def read(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
  """Overrides of known keys as the config's own parser takes them, and the keys that are to be None.

  Raises:
    ConfigError: a value that is no number or truth value where the key is one.
  """
  rules, parsed, nones = dict(flatten(RULES)), [], {}
  for key, text in pairs(overrides):
    rule = rules[key]
    nones.pop(key, None)
    if text is None:
      parsed.append(f'--config.{key}')
    elif rule.holds(None) and (text == 'None' or (text == 'none' and not rule.holds(text))):
      nones[key] = None
    else:
      parsed.append(f'--config.{key}={_value(key, text, rule)}')
  return parsed, list(nones)


def _value(key: str, text: str, rule: Rule) -> str:
  if rule is BOOLEAN:
    if text.lower() not in _BOOLEANS:
      raise ConfigError(f"config.{key} is '{text}'; write true or false")
    return _BOOLEANS[text.lower()]
  # By what a rule lets pass: 2 and not 0.5 is a whole number, which may have tuples beside it.
  takes_whole, takes_others = _holds(rule, 2) and not _holds(rule, 0.5), _holds(rule, (2,)) or _holds(rule, 'x')
  if takes_whole:
    number = _number(text)
    if number is not None and number == number.to_integral_value():
      return str(int(number))
    if not takes_others:
      raise ConfigError(f"config.{key} is '{text}'; {_advice(text) or f'expected {rule.expected}'}")
  elif _holds(rule, 0.5) and not takes_others:
    try:
      float(text)
    except ValueError:
      raise ConfigError(f"config.{key} is '{text}'; {_advice(text) or f'expected {rule.expected}'}") from None
  return text


def _holds(rule: Rule, value: object) -> bool:
  try:
    return bool(rule.holds(value))
  except TypeError:
    return False


def _number(text: str) -> decimal.Decimal | None:
  """The number that a text is, exactly; None of what is none, or has more than 40 digits."""
  try:
    number = decimal.Decimal(text)
  except decimal.InvalidOperation:
    return None
  return number if number.is_finite() and abs(number.adjusted()) < 40 else None


def _advice(text: str) -> str:
  """'write 100000' of '100k' or '100,000'."""
  found = re.fullmatch(r'([\d.]+)([kmbg])', text.lower())
  number = _number(found[1]) if found else _number(text.replace(',', '')) if ',' in text else None
  if number is None:
    return ''
  return f'write {(number * (_SUFFIXES[found[2]] if found else 1)).normalize():f}'
