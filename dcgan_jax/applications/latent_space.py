"""Pictures of a generator's latent space: ways, traversals, truncation, classes, arithmetic.

Every function takes a `Run` and gives examples [rows, columns, *shape] in uint8. Samples are named by their index in
the draw of a seed, as `launch.py sample --seed` numbers them, so that what was seen in a grid can be asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dcgan_jax.drawing import latents
from dcgan_jax.errors import ConfigError
from dcgan_jax.kinds import image as images

_EFFECT = 2.0  # A traversal goes from -2 to 2, where 95 % of a normal latent's components lie.
_NEIGHBOURHOOD = 0.25  # Radford et al. 2016, figure 7: noise around the result of an arithmetic.


def straight_or_round(run: Any) -> Callable:
  """`latents.slerp` for normal z; `latents.lerp` for uniform z, whose cube a great circle would leave."""
  return latents.slerp if run.latent_limit is None else latents.lerp


def lines(
  run: Any, *, rows: int = 8, columns: int = 9, seed: int = 0, label: int | None = None, between: Callable | None = None
) -> np.ndarray:
  """Ways between pairs of samples, uint8 [rows, columns, *shape]: row i from sample 2 i to sample 2 i + 1.

  Args:
    run: a `Run`.
    rows: pairs.
    columns: examples on each way, both ends included.
    seed: of the draw.
    label: of all, in a run with labels; None is each class in turn, a row each.
    between: `latents.slerp` or `latents.lerp`; None is `straight_or_round`.

  Raises:
    ConfigError: a label that does not exist.
  """
  z = run.latents(2 * rows, seed=seed).reshape(rows, 2, -1)
  between = between or straight_or_round(run)
  ways = np.stack([between(z[:, 0], z[:, 1], t) for t in np.linspace(0, 1, columns)], axis=1)
  return _draw(run, ways, labels=_rows_of(run, rows, columns, label))


def walk(
  run: Any, *, frames: int = 96, stations: int = 6, num: int = 16, seed: int = 0, label: int | None = None,
  between: Callable | None = None,
) -> np.ndarray:  # fmt: skip
  """Closed ways of several samples at once, uint8 [frames, num, *shape]; the last frame leads back to the first.

  Args:
    run: a `Run`.
    frames: on the whole way.
    stations: samples that each way goes through.
    num: ways, shown side by side.
    seed: of the draw.
    label: of all, in a run with labels; None is each class in turn, a way each.
    between: `latents.slerp` or `latents.lerp`; None is `straight_or_round`.

  Raises:
    ConfigError: a label that does not exist.
  """
  z = run.latents(stations * num, seed=seed).reshape(num, stations, -1)
  between = between or straight_or_round(run)
  ways = np.stack([latents.walk(way, frames=frames, between=between) for way in z])
  drawn = _draw(run, ways, labels=_rows_of(run, num, frames, label))
  return np.swapaxes(drawn, 0, 1)


def traversals(
  run: Any, *, rows: int = 8, columns: int = 9, seed: int = 0, index: int = 0, label: int | None = None,
  dimensions: Sequence[int] | None = None,
) -> np.ndarray:  # fmt: skip
  """One sample while one dimension of its z goes through its range, uint8 [rows, columns, *shape].

  Args:
    run: a `Run`.
    rows: dimensions, where they are not given.
    columns: values of each, from -2 to 2 of a normal z, else from end to end.
    seed: of the draw.
    index: of the sample.
    label: of a run with labels; None is that which the sample has.
    dimensions: of z, a row each; None: those that change the picture most, the strongest first.

  Raises:
    ConfigError: a dimension or a label that does not exist.
  """
  z = run.latents(1, seed=seed, first=index)[0]
  label = label if label is not None or run.num_classes is None else index % run.num_classes
  end = run.latent_limit or _EFFECT
  if dimensions is None:
    every = latents.traverse(z, range(run.latent_size), (-end, end))
    ends = _draw(run, every, labels=run.labels(every.shape[0] * 2, label)).astype(np.float32)
    effects = ((ends[:, 0] - ends[:, 1]) ** 2).reshape(run.latent_size, -1).mean(axis=1)
    dimensions = np.argsort(-effects, kind='stable')[:rows]
  missing = [dimension for dimension in dimensions if not 0 <= dimension < run.latent_size]
  if missing:
    raise ConfigError(f'z has no dimension {missing[0]}; this run has 0 to {run.latent_size - 1}')
  points = latents.traverse(z, dimensions, np.linspace(-end, end, columns))
  return _draw(run, points, labels=run.labels(len(points) * columns, label))


def truncations(
  run: Any, *, thresholds: Sequence[float] = (0.5, 1.0, 1.5, 2.0), columns: int = 10, seed: int = 0,
  label: int | None = None,
) -> np.ndarray:  # fmt: skip
  """The same samples at several truncations of z, and without any in the last row: uint8 [rows, columns, *shape].

  Args:
    run: a `Run`.
    thresholds: of z's components, a row each; `latents.truncate` says what they do.
    columns: samples.
    seed: of the draw.
    label: of a run with labels; None is each class in turn, a column each.
  """
  z = run.latents(columns, seed=seed)
  rows = [latents.truncate(z, threshold, limit=run.latent_limit) for threshold in thresholds]
  labels = run.labels(columns, label)
  return _draw(run, np.stack([*rows, z]), labels=None if labels is None else np.tile(labels, len(rows) + 1))


def across_classes(run: Any, *, rows: int = 8, seed: int = 0) -> np.ndarray:
  """One z in every class, uint8 [rows, num_classes, *shape]: what z says where the label says the class.

  Raises:
    ConfigError: the run has no labels.
  """
  if run.num_classes is None:
    raise ConfigError('This run was trained without labels; one z across classes takes a conditional run')
  z = np.repeat(run.latents(rows, seed=seed)[:, None], run.num_classes, axis=1)
  return _draw(run, z, labels=np.tile(np.arange(run.num_classes, dtype=np.int32), rows))


def arithmetic(
  run: Any, *, plus: Sequence[Sequence[int]], minus: Sequence[Sequence[int]], seed: int = 0, label: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Sums and differences of concepts, each the mean z of samples that show it.

  Args:
    run: a `Run`.
    plus, minus: concepts, each as the indices of samples that show it; those of `plus` are added.
    seed: of the draw in which the indices count.
    label: of all, in a run with labels, where it is needed.

  Returns:
    The examples of each mean, uint8 [len(plus) + len(minus), *shape], and the result in the middle of eight
    others near it (uniform noise of 0.25 added to its z), uint8 [3, 3, *shape].

  Raises:
    ConfigError: no concept to add, or a label that does not exist or is missing.

  References: Radford et al. 2016, section 6.3.2 and figure 7.
  """
  if not plus or not all([*plus, *minus]):
    raise ConfigError('Arithmetic takes at least one concept to add, and each is one sample or more')
  if run.num_classes is not None and label is None:
    raise ConfigError(f'Arithmetic of a run with labels stays in one class; give one of 0 to {run.num_classes - 1}')
  z_of = lambda concept: np.concatenate([run.latents(1, seed=seed, first=index) for index in concept])
  added, taken = ([z_of(concept) for concept in concepts] for concepts in (plus, minus))
  means = np.stack([z.mean(axis=0) for z in (*added, *taken)])
  noise = np.random.default_rng(seed).uniform(-_NEIGHBOURHOOD, _NEIGHBOURHOOD, (9, run.latent_size))
  noise[4] = 0
  result = (latents.combine(added, taken) + noise).astype(np.float32).reshape(3, 3, -1)
  if run.latent_limit is not None:
    result = result.clip(-run.latent_limit, run.latent_limit)
  concepts = _draw(run, means[None], labels=run.labels(len(means), label))[0]
  return concepts, _draw(run, result, labels=run.labels(9, label))


def _rows_of(run, rows, columns, label):
  labels = run.labels(rows, label)
  return None if labels is None else np.repeat(labels, columns)


def _draw(run, z: np.ndarray, *, labels: np.ndarray | None, batch_size: int = 64) -> np.ndarray:
  """uint8 [rows, columns, *shape] of z [rows, columns, Z]; batches are filled up, so that one program is compiled."""
  flat = z.reshape(-1, z.shape[-1])
  padding = -len(flat) % batch_size
  padded = np.pad(flat, ((0, padding), (0, 0)))
  labels = None if labels is None else np.pad(labels, (0, padding))
  batches = [slice(first, first + batch_size) for first in range(0, len(padded), batch_size)]
  drawn = [images.to_uint8(run.generate(padded[batch], None if labels is None else labels[batch])) for batch in batches]
  return np.concatenate(drawn)[: len(flat)].reshape(*z.shape[:2], *run.shape)
