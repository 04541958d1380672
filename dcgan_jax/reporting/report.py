"""A run as one HTML page: what lies in its work directory, and a walk through its latents."""

import contextlib
import json
import math
import pathlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.building.rules import flatten
from dcgan_jax.drawing import sample
from dcgan_jax.errors import CheckpointError, DataError
from dcgan_jax.kinds import image as images
from dcgan_jax.metrics.meanings import meaning
from dcgan_jax.reporting import page, plots
from dcgan_jax.training import workdir
from dcgan_jax.training.record import read_lines

MAX_PICTURES, MIN_PICTURES, TIMELINE_BYTES = 40, 10, 3_000_000
MAX_SHEETS = 4
MAX_STARTS = 20  # The first and the latest.
_SCALARS = {'loss': 'Losses', 'logits': 'Logits (means)', 'parameter_norm': 'Norms of the parameters'}
_OF_GENERATOR = ('generator', 'fake')


class Evaluation(NamedTuple):
  """What `evaluate` wrote: the name of its file, the metrics by name, their protocol, the sheet of neighbours."""

  name: str
  metrics: dict[str, Any]
  protocol: dict[str, Any]
  sheet: pathlib.Path

  @property
  def title(self) -> str:
    """The protocol in words, or the name of the file where that lacks something."""
    if not {'step', 'samples', 'reference', 'reference_split', 'features'} <= self.protocol.keys():
      return self.name
    words = {key: page.text(value) for key, value in self.protocol.items()}
    return 'Step {step}: {samples} samples against {reference} ({reference_split}), features {features}'.format_map(
      words
    )

  @property
  def meanings(self) -> dict[str, str]:
    """What the metrics are, by name."""
    return {metric: str(meaning(metric)) for metric in self.metrics}


class Frame(NamedTuple):
  """One of a player's pictures: where the slider is then, and uint8 [H, W, 1 or 3]."""

  at: str
  image: np.ndarray


class Chart(NamedTuple):
  """A chart: its title, what it shows in words, and an <svg>."""

  title: str
  words: str
  svg: str


def render(directory: pathlib.Path, *, step: int | None, walk: Sequence[np.ndarray] | str, written: str) -> str:
  """The page of a run; what is missing is named where it would be shown, with the command that makes it.

  Args:
    directory: the run's work directory.
    step: of the state that the walk was drawn from; None where there was none.
    walk: uint8 pictures [H, W, 1 or 3] of one size, of which the last leads to the first, or why there are none.
    written: when and by what, in words.

  Raises:
    CheckpointError: there is no run.
  """
  config = workdir.read(directory, 'config.json')
  described, problem = {}, ''
  try:
    described = workdir.read(directory, 'run.json')
  except CheckpointError as error:
    problem = str(error)
  shape = described['shape'] if _is_shape(described.get('shape')) else None
  scalars, metrics = (_steps(directory / name) for name in ('scalars.jsonl', 'metrics.jsonl'))
  evaluations, unreadable = read_evaluations(directory / 'evaluations')
  if step is None and scalars:
    step = scalars[-1]['step']
  if not isinstance(walk, str):
    walk = [Frame(f'{i + 1} of {len(walk)}', image) for i, image in enumerate(walk)]
  versions, rescues = described.get('versions'), described.get('rescues')
  versions = versions if isinstance(versions, dict) else {}
  return page.render(
    {
      'title': directory.resolve().name,
      'workdir': shlex.quote(str(directory)),
      'directory': repr(str(directory)),
      'tensorboard': shlex.quote(str(directory / 'tensorboard')),
      'step': step,
      'shape': shape,
      'facts': _facts(step, shape, described, metrics, evaluations),
      'curves': {'charts': _charts(scalars, _curves(scalars)), 'summary': _summary(scalars)},
      'timeline': _timeline(directory / 'samples', shape),
      'walk': walk,
      'evaluations': evaluations,
      'unreadable': unreadable,
      'metrics': {'charts': _charts(metrics, _metrics(metrics)), 'summary': _summary(metrics)},
      'neighbours': list(_neighbours(evaluations)),
      'config': _config(config),
      'versions': [(name, 'not installed' if version is None else version) for name, version in versions.items()],
      'starts': _starts(described.get('starts')),
      'problem': problem,
      'rescues': [
        {'step': rescue.get('step'), 'reason': rescue.get('reason')}
        for rescue in (rescues if isinstance(rescues, tuple) else ())
        if isinstance(rescue, dict)
      ],
      'footer': f'{directory.resolve()}. {written}. All pictures but real neighbours are synthetic.',
    }
  )


def read_evaluations(directory: pathlib.Path) -> tuple[list[Evaluation], list[str]]:
  """What `evaluate` wrote, that of the latest step first, and the names of files that hold no such thing."""
  read, unreadable = [], []
  for path in sorted(directory.glob('*.json'), reverse=True):
    try:
      metrics = json.loads(path.read_text(encoding='utf-8'))
      protocol = dict(metrics.pop('protocol'))
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
      unreadable.append(path.name)
      continue
    read.append(Evaluation(path.stem, metrics, protocol, path.with_name(f'{path.stem}_neighbours.png')))
  return read, unreadable


def _steps(path: pathlib.Path) -> list[dict]:
  """The lines of a file of JSON lines that are of a step."""
  return read_lines(path)


def _is_shape(value: Any) -> bool:
  return isinstance(value, tuple) and all(isinstance(size, int) for size in value)


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(lines: Sequence[Mapping]) -> list[str]:
  """Of all numbers in the lines, but the step, in the order of their first lines."""
  return list(dict.fromkeys(key for line in lines for key, n in line.items() if key != 'step' and _is_number(n)))


def _series(lines: Sequence[Mapping], name: str) -> tuple[list[int], list[float]]:
  points = [(line['step'], line[name]) for line in lines if _is_number(line.get(name))]
  return [step for step, _ in points], [value for _, value in points]


def _facts(
  step: int | None, shape: tuple | None, described: Mapping, metrics: list, evaluations: list
) -> list[tuple[str, Any]]:
  pairs = [('step', 'none yet' if step is None else step)]
  if shape:
    pairs.append(('examples', ' x '.join(map(str, shape))))
  if described.get('classes'):
    pairs.append(('classes in the data', described['classes']))
  measured = evaluations[0].metrics if evaluations else metrics[-1] if metrics else {}
  return pairs + [(name, measured[name]) for name in _names([measured])[:1]]


def _curves(lines: list[dict]) -> dict[str, dict[str, str]]:
  """The charts of the scalars: {title: {label: name in the lines}}."""
  charts: dict[str, dict[str, str]] = {title: {} for title in _SCALARS.values()}
  for name in _names(lines):
    network, _, quantity = name.rpartition('/')
    which, kind = (quantity[:-7], 'logits') if quantity.endswith('_logits') else (network or quantity, quantity)
    charts.setdefault(_SCALARS.get(kind, kind.replace('_', ' ').capitalize()), {})[which] = name
  return charts


def _metrics(lines: list[dict]) -> dict[str, dict[str, str]]:
  """The charts of the metrics, as `_curves` has them; of two on one chart the end of the name tells which."""
  charts: dict[str, dict[str, str]] = {}
  for name in _names(lines):
    title = meaning(name).chart
    if title:
      charts.setdefault(title, {})[re.sub(r'(pr|dc).*_', '', name)] = name
  return charts


def _charts(lines: list[dict], charts: Mapping[str, Mapping[str, str]]) -> list[Chart]:
  """Draws {title: {label: name in the lines}}, a chart each; what never changes is left to the table."""
  drawn = []
  for title, labels in charts.items():
    series = {label: _series(lines, name) for label, name in labels.items()}
    series = {label: (x, y) for label, (x, y) in series.items() if len(x) == 1 or len(set(y)) > 1}
    if not series:
      continue
    # What is the generator's comes last and has the second colour, on every chart.
    series = dict(sorted(series.items(), key=lambda item: item[0] in _OF_GENERATOR))
    others = iter([0, 2, 3] * len(series))
    colours = [1 if label in _OF_GENERATOR else next(others) for label in series]
    values = ', '.join(f'{label} {page.text(y[0])} to {page.text(y[-1])}' for label, (_, y) in series.items())
    svg = plots.line_chart(series, colours=colours, name=title)
    drawn.append(Chart(title, f'{title} over the steps, from first to last: {values}', svg))
  return drawn


def _summary(lines: list[dict]) -> list[tuple[str, float, float, float, float]]:
  """Of each quantity its name, first, last, lowest and highest value."""
  rows = []
  for name in _names(lines):
    _, y = _series(lines, name)
    finite = [value for value in y if math.isfinite(value)] or [math.nan]
    rows.append((name, y[0], y[-1], min(finite), max(finite)))
  return rows


def _timeline(directory: pathlib.Path, shape: tuple[int, ...] | None) -> dict[str, Any]:
  """Files that are kept of samples, whether they are pictures, and those of them that are shown."""
  kept = sorted(path for path in directory.glob('*') if re.fullmatch(r'\d+\.(png|npz)', path.name))
  is_image, frames = not shape or sample.is_picture(shape), []
  for path in _thin([path for path in kept if path.suffix == '.png' and is_image]):
    try:
      frames.append(Frame(f'{int(path.stem):,}', images.read(path, channels=shape[-1] if shape else 3)))
    except DataError:
      continue
  return {'kept': kept, 'is_image': is_image, 'frames': frames}


def _thin(grids: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """At most MAX_PICTURES, evenly spread; fewer where they are large, so that the page stays small."""
  if not grids:
    return []
  # WebP takes less than a third of what PNG does where there are many pixels.
  fitting = 3 * TIMELINE_BYTES // max(grids[-1].stat().st_size, 1)
  number = min(len(grids), MAX_PICTURES, max(fitting, MIN_PICTURES))
  return [grids[i] for i in np.unique(np.linspace(0, len(grids) - 1, number).astype(int))]


def _neighbours(evaluations: list[Evaluation]) -> Iterator[tuple[Evaluation, np.ndarray]]:
  """The latest evaluations with their sheets of samples beside the real images nearest to them."""
  for evaluation in evaluations[:MAX_SHEETS]:
    with contextlib.suppress(DataError):
      yield evaluation, images.read(evaluation.sheet)


def _starts(starts: Any) -> list[tuple[str, Any, Any, str]]:
  """Of each start of a run its time, step, devices, and the versions that are not those of the start before."""
  rows, before = [], {}
  for start in starts if isinstance(starts, tuple) else ():
    if not isinstance(start, dict):
      continue
    versions = start.get('versions')
    versions = versions if isinstance(versions, dict) else {}
    changed = [f'{name} {page.text(version)}' for name, version in versions.items() if before.get(name) != version]
    rows.append((start.get('time'), start.get('step'), start.get('devices'), ', '.join(changed) if before else ''))
    before = versions
  return rows if len(rows) <= MAX_STARTS else [rows[0], *rows[1 - MAX_STARTS :]]


def _config(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
  """The keys of each group with their values."""
  groups: dict[str, list[tuple[str, str]]] = {}
  for key, value in flatten(config):
    group, _, rest = key.rpartition('.')
    groups.setdefault(f'config.{group}'.rstrip('.'), []).append((rest, json.dumps(value)))
  return sorted(groups.items())
