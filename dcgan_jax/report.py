"""A run as one HTML page: what lies in its work directory, and a walk through its latents."""

import html
import json
import math
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax import images, page, plots, sample, workdir
from dcgan_jax.errors import CheckpointError, DataError
from dcgan_jax.hooks import read_lines
from dcgan_jax.validate import flatten

MAX_PICTURES, MIN_PICTURES, TIMELINE_BYTES = 40, 10, 3_000_000
MAX_SHEETS = 4
_SCALARS = {'loss': 'Losses', 'logits': 'Logits (means)', 'parameter_norm': 'Norms of the parameters'}
_OF_GENERATOR = ('generator', 'fake')
# A metric's name, the chart it is drawn in, what it is.
_METRICS = (
  (r'fid.*', 'Fréchet distance', 'Fréchet distance of the features of samples and real images; lower is better'),
  (r'kid.*_deviation', None, 'standard deviation of the kernel distance over its subsets'),
  (r'kid.*', 'Kernel distance', 'kernel distance of the features of samples and real images; lower is better'),
  (r'is\d.*_deviation', None, 'standard deviation of the Inception Score over its splits'),
  (r'is\d.*', 'Inception Score', 'Inception Score, which does not look at the real images; higher is better'),
  (r'pr.*_precision', 'Precision and recall', 'share of samples that lie among the real images; higher is better'),
  (r'pr.*_recall', 'Precision and recall', 'share of real images that lie among the samples; higher is better'),
  (r'dc.*_density', 'Density and coverage', 'how densely real images lie around the samples; 1 where both are alike'),
  (r'dc.*_coverage', 'Density and coverage', 'share of real images with a sample near by; higher is better'),
  (r'near_duplicates', 'Duplicates', 'share of samples with a near copy; of real images 0.01 have one'),
  (r'duplicates', 'Duplicates', 'share of samples equal to an earlier one in every pixel; 0 is healthy'),
  (r'effective_classes', 'Effective classes', 'classes the samples spread over, as a classifier sees it; all is best'),
  (r'class_counts', None, 'samples in each class, as a classifier sees it'),
)  # fmt: skip


class Evaluation(NamedTuple):
  """What `evaluate` wrote: the name of its file, the metrics by name, their protocol, the sheet of neighbours."""

  name: str
  metrics: dict[str, Any]
  protocol: dict[str, Any]
  sheet: pathlib.Path


def render(directory: pathlib.Path, *, step: int | None, walk: Sequence[np.ndarray] | str, written: str) -> str:
  """The page of a run; what is missing is named where it would be shown, with the command that makes it.

  Args:
    directory: the run's work directory.
    step: of the state that the walk was drawn from; None where there was none.
    walk: uint8 pictures [H, W, 1 or 3] of one size, of which the last leads to the first, or why there are none.
    written: when and by what, in words.

  Raises:
    CheckpointError: there is no run.
    ConfigError: matplotlib is missing.
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
  launch = f'python launch.py {{}}--workdir {shlex.quote(str(directory))}'
  return page.render(
    directory.resolve().name,
    head=_facts(step, shape, described, metrics, evaluations),
    sections=[
      page.Section('Curves', _curves(scalars, launch)),
      page.Section('Samples over time', _timeline(directory / 'samples', shape, launch), half=True),
      page.Section('Latent walk', _walk_section(walk, step), half=True),
      page.Section('Metrics', _metrics(metrics, evaluations, unreadable, launch)),
      page.Section('Nearest neighbours', _neighbours(evaluations, launch)),
      page.Section('Config', _config(config)),
      page.Section('Versions', _versions(described, problem)),
      page.Section('How to continue', _how_to_continue(directory, step, shape, launch)),
    ],
    footer=f'{directory.resolve()}. {written}. All pictures but real neighbours are synthetic.',
  )


def read_evaluations(directory: pathlib.Path) -> tuple[list[Evaluation], list[str]]:
  """What `evaluate` wrote, that of the latest step first, and the names of files that hold no such thing."""
  read, unreadable = [], []
  for path in sorted(directory.glob('*.json'), reverse=True):
    try:
      metrics = json.loads(path.read_text())
      protocol = dict(metrics.pop('protocol'))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
      unreadable.append(path.name)
      continue
    read.append(Evaluation(path.stem, metrics, protocol, path.with_name(f'{path.stem}_neighbours.png')))
  return read, unreadable


def _steps(path: pathlib.Path) -> list[dict]:
  """The lines of a file of JSON lines that are of a step."""
  return [line for line in read_lines(path) if isinstance(line, dict) and isinstance(line.get('step'), int)]


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


def _meaning(name: str) -> tuple[str | None, str]:
  """The chart of a metric, and what it is."""
  known = ((title, words) for pattern, title, words in _METRICS if re.fullmatch(pattern, name))
  return next(known, (name, ''))


def _facts(step: int | None, shape: tuple | None, described: Mapping, metrics: list, evaluations: list) -> str:
  pairs = [('step', 'none yet' if step is None else step)]
  if shape:
    pairs.append(('examples', ' x '.join(map(str, shape))))
  if described.get('classes'):
    pairs.append(('classes in the data', described['classes']))
  measured = evaluations[0].metrics if evaluations else metrics[-1] if metrics else {}
  for name in _names([measured])[:1]:
    pairs.append((name, measured[name]))
  return page.facts(pairs)


def _curves(lines: list[dict], launch: str) -> str:
  if not lines:
    return page.missing('scalars.jsonl is missing or empty. Training writes it:', launch.format(''))
  charts: dict[str, dict[str, str]] = {title: {} for title in _SCALARS.values()}
  for name in _names(lines):
    network, _, quantity = name.rpartition('/')
    which, kind = (quantity[:-7], 'logits') if quantity.endswith('_logits') else (network or quantity, quantity)
    charts.setdefault(_SCALARS.get(kind, kind.replace('_', ' ').capitalize()), {})[which] = name
  return _charts(lines, charts, 'h3') + _summary(lines, 'The curves in numbers')


def _charts(lines: list[dict], charts: Mapping[str, Mapping[str, str]], heading: str) -> str:
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
    label = html.escape(f'{title} over the steps, from first to last: {values}')
    svg = plots.line_chart(series, colours=colours, name=title)
    svg = svg.replace('<svg', f'<svg role="img" aria-label="{label}"', 1)
    drawn.append(f'<figure><{heading}>{page.text(title)}</{heading}>{svg}</figure>')
  return f'<div class="charts">{"".join(drawn)}</div>'


def _summary(lines: list[dict], title: str) -> str:
  rows = []
  for name in _names(lines):
    _, y = _series(lines, name)
    finite = [value for value in y if math.isfinite(value)] or [math.nan]
    rows.append((name, y[0], y[-1], min(finite), max(finite)))
  return page.details(title, page.table(('', 'first', 'last', 'lowest', 'highest'), rows, name=title))


def _timeline(directory: pathlib.Path, shape: tuple[int, ...] | None, launch: str) -> str:
  kept = sorted(path for path in directory.glob('*') if re.fullmatch(r'\d+\.(png|npz)', path.name))
  if not kept:
    return page.missing('samples/ is missing or empty. Training fills it; this draws now:', launch.format('sample '))
  if shape and not sample.is_image(shape):
    return page.missing(
      f'Examples of shape {shape} are no pictures. samples/ holds {len(kept)} files of them, the last of which is '
      f'{kept[-1].name}. This draws others:', f'{launch.format("sample ")} --out samples.npz'
    )  # fmt: skip
  frames = []
  for path in _thin([path for path in kept if path.suffix == '.png']):
    try:
      frames.append(page.Frame(f'{int(path.stem):,}', images.read(path, channels=shape[-1] if shape else 3)))
    except DataError:
      continue
  if not frames:
    return page.missing('No picture in samples/ can be read. This draws now:', launch.format('sample '))
  caption = f'Synthetic: samples of the averaged generator, always from the same latents; {len(frames)} of {len(kept)}'
  caption += ' pictures, made smaller (lossy WebP). The exact pixels are in samples/.'
  return page.player(frames, what='Samples', label='step', milliseconds=250, endless=False, caption=caption)


def _thin(grids: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """At most MAX_PICTURES, evenly spread; fewer where they are large, so that the page stays small."""
  if not grids:
    return []
  # WebP takes less than a third of what PNG does where there are many pixels.
  fitting = 3 * TIMELINE_BYTES // max(grids[-1].stat().st_size, 1)
  number = min(len(grids), MAX_PICTURES, max(fitting, MIN_PICTURES))
  return [grids[i] for i in np.unique(np.linspace(0, len(grids) - 1, number).astype(int))]


def _walk_section(walk: Sequence[np.ndarray] | str, step: int | None) -> str:
  if isinstance(walk, str):
    return page.paragraph(f'There is none: {walk}', kind='missing')
  frames = [page.Frame(f'{i + 1} of {len(walk)}', image) for i, image in enumerate(walk)]
  caption = f'Synthetic: closed walks between latents, by the averaged generator of step {step:,}. '
  caption += 'A generator that has learned changes smoothly; one that has memorised jumps from picture to picture.'
  return page.player(frames, what='Latent walk', label='frame', milliseconds=100, endless=True, caption=caption)


def _metrics(lines: list[dict], evaluations: list[Evaluation], unreadable: list[str], launch: str) -> str:
  parts = []
  for name, metrics, protocol, _ in evaluations:
    rows = [(page.Named(metric, _meaning(metric)[1]), value) for metric, value in metrics.items()]
    protocol_table = page.table((), protocol.items(), name=f'Protocol of {name}')
    quoted = page.details('Protocol: quote it with the numbers', protocol_table, shown=True)
    numbers = page.table((), rows, name=f'Metrics of {name}')
    parts.append(f'<h3>{_title(name, protocol)}</h3><div class="charts">{numbers}{quoted}</div>')
  if unreadable:
    parts.append(page.paragraph(f'In evaluations/, no evaluation: {", ".join(unreadable)}.', kind='missing'))
  if not evaluations:
    parts.append(page.missing('evaluations/ is missing or empty. This fills it:', launch.format('evaluate ')))
  if not lines:
    words = 'metrics.jsonl is missing or empty: nothing was measured while training. This does as it goes on:'
    return ''.join([*parts, page.missing(words, f'{launch.format("")} --config.steps=N --config.evaluation.every=N')])
  charts: dict[str, dict[str, str]] = {}
  for name in _names(lines):
    title, _ = _meaning(name)
    if title:
      # Of the two on one chart the end alone tells which.
      charts.setdefault(title, {})[re.sub(r'(pr|dc).*_', '', name)] = name
  return ''.join([*parts, '<h3>While training</h3>', _charts(lines, charts, 'h4'), _summary(lines, 'These in numbers')])


def _title(name: str, protocol: Mapping[str, Any]) -> str:
  """HTML: an evaluation's protocol in words, or the name of its file where that lacks something."""
  if not {'step', 'samples', 'reference', 'reference_split', 'features'} <= protocol.keys():
    return page.text(name)
  words = {key: page.text(value) for key, value in protocol.items()}
  return 'Step {step}: {samples} samples against {reference} ({reference_split}), features {features}'.format_map(words)


def _neighbours(evaluations: list[Evaluation], launch: str) -> str:
  parts = []
  for name, _, protocol, sheet in evaluations[:MAX_SHEETS]:
    try:
      pixels = images.read(sheet)
    except DataError:
      continue
    alt = f'Samples of {name} in the first column, beside each the real images nearest to it'
    shown = page.picture(pixels, alt, quality=None)
    parts.append(f'<figure><h3>{_title(name, protocol)}</h3>{shown}</figure>')
  if not parts:
    words = 'There is no sheet of samples beside the real images nearest to them. This makes one:'
    return page.missing(words, launch.format('evaluate '))
  words = 'The first column is synthetic, the others are the real images nearest to it, the nearest first, by the '
  words += 'features of the evaluation. Where the second column repeats the first, the generator has memorised.'
  return page.paragraph(words) + ''.join(parts)


def _config(config: Mapping[str, Any]) -> str:
  groups: dict[str, dict[str, str]] = {}
  for key, value in flatten(config):
    group, _, rest = key.rpartition('.')
    groups.setdefault(group, {})[rest] = json.dumps(value)
  tables = []
  for group, values in sorted(groups.items()):
    title = f'config.{group}'.rstrip('.')
    tables.append(f'<div><h3>{page.text(title)}</h3>{page.table((), values.items(), name=title)}</div>')
  return f'<div class="keys">{"".join(tables)}</div>'


def _versions(described: Mapping[str, Any], problem: str) -> str:
  if problem:
    return page.paragraph(problem, kind='missing')
  versions = described.get('versions') or {}
  rows = [(name, 'not installed' if version is None else version) for name, version in versions.items()]
  said = page.table((), rows, name='Versions when the run was started')
  for rescue in described.get('rescues') or ():
    said += page.paragraph(f'Diverged and went back to step {rescue.get("step")}: {rescue.get("reason")}')
  return said


def _how_to_continue(directory: pathlib.Path, step: int | None, shape: tuple | None, launch: str) -> str:
  more = launch.format('')
  parts = [
    page.paragraph('Go on with a run that was stopped, or with a finished one to twice its steps:'),
    page.commands(more, f'{more} --config.steps={2 * (step or 1000)}'),
    page.paragraph(
      'Draw from it, measure it, see its latent space, ask what its discriminator has learned, write this page again:'
    ),
    page.commands(*(launch.format(f'{name} ') for name in ('sample', 'evaluate', 'interpolate', 'probe', 'report'))),
    page.paragraph('All scalars while it trains:'),
    page.commands(f'tensorboard --logdir {shlex.quote(str(directory / "tensorboard"))}'),
    page.paragraph('In Python:'),
    page.commands(
      'import dcgan_jax',
      '',
      f'run = dcgan_jax.load({str(directory)!r})',
      f'run.sample(64, seed=0)  # uint8 [64, {", ".join(map(str, shape or ("...",)))}]',
    ),
  ]
  return ''.join(parts)
