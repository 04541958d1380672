"""What run.json keeps of the data that a run was trained on, and what changed since."""

from collections.abc import Mapping
from typing import Any

from dcgan_jax.data import classes
from dcgan_jax.errors import CheckpointError


def describe(source: Any) -> dict[str, Any]:
  """The record of a source: how many examples, names of the classes, range of the values, and a fingerprint."""
  fingerprint = getattr(source, 'fingerprint', None)
  names, value_range = getattr(source, 'class_names', None), getattr(source, 'value_range', None)
  return {
    'examples': len(source),
    'classes': names and list(names),
    'range': value_range and list(value_range),
    'fingerprint': fingerprint and fingerprint(),
  }


def change(before: Mapping[str, Any], now: Mapping[str, Any], title: str) -> str | None:
  """A line about data that changed under a run; None where they did not, or nothing is known of before.

  Args:
    before: the record of the run's last start, or {}.
    now: that of the data as they are.
    title: of the data.
  """
  if before.get('fingerprint') in (None, now['fingerprint']):
    return None
  numbers = before.get('examples'), now['examples']
  what = f'{numbers[0]:,} examples are now {numbers[1]:,}' if numbers[0] != numbers[1] else 'some of them are others'
  return f'WARNING: {title} has changed since this run was last started: {what}; training continues with the new ones'


def check_moved(before: Mapping[str, Any], now: Mapping[str, Any], *, old: str, new: str) -> None:
  """Refuses to go on with a run whose data are said to be elsewhere, unless they are the same there.

  Args:
    before, now: records, as of `change`.
    old, new: the sources.

  Raises:
    CheckpointError: they differ.
  """
  if old != new and (before.get('fingerprint') is None or before['fingerprint'] != now['fingerprint']):
    raise CheckpointError(
      f'The run was trained on {old}, and {new} holds other data; give the path where those are now, '
      'or another --workdir to start anew'
    )


def check_fits(
  before: Mapping[str, Any], now: Mapping[str, Any], *, old: tuple, new: tuple, conditional: bool, title: str
) -> None:
  """Refuses data that the networks of a run were not made for.

  Args:
    before, now: records, as of `change`.
    old, new: shape of an example and number of classes, of the run and of the data.
    conditional: whether the networks take labels.
    title: of the data.

  Raises:
    CheckpointError: another shape, or other classes of a conditional run.
  """
  advice = 'put the old data back, or start anew in another --workdir'
  if old[0] != new[0]:
    raise CheckpointError(f'{title} holds examples of shape {new[0]}, but the run is of {old[0]}; {advice}')
  if not conditional:
    return
  differs = classes.difference(before.get('classes') or (), now['classes'] or ()) if before.get('classes') else ''
  if differs:
    raise CheckpointError(f'{title} has not the classes of the run: it {differs}; {advice}')
  if old[1] != new[1]:
    raise CheckpointError(f'{title} has {new[1]} classes, but the run has {old[1]}; {advice}')
