"""Measures a restored run against real images."""

from typing import Any

import numpy as np

from dcgan_jax.building import evaluation as build_evaluation
from dcgan_jax.kinds import image as images

SHEET_ROWS, SHEET_COLUMNS = 8, 7


def evaluate(
  run: Any, model: Any, num: int, *, reference: str, features: str, weights: str | None, seed: int, live: bool,
  label: int | None, allow_few: bool,
) -> tuple[dict[str, Any], np.ndarray]:  # fmt: skip
  """Metrics of a run's samples with their protocol, and a sheet; arguments as those of `Run.evaluate`."""
  run.labels(1, label)
  run.variables_of(live=live)
  evaluator = build_evaluation.build_evaluator(
    run.config, features=features, weights=weights, reference=reference, num=num, label=label, allow_few=allow_few,
    shape=run.shape, num_classes=run.num_classes,
  )  # fmt: skip
  labels, choice = build_evaluation.sample_labels(evaluator, model, num=num, label=label)
  samples = run.sample(num, seed=seed, live=live, labels=labels(np.arange(num)))
  metrics = evaluator.measure(samples, seed=seed, allow_few=allow_few)
  protocol = {
    'samples': num,
    'reference': evaluator.reference.identity['source'],
    'reference_split': reference,
    'reference_images': evaluator.reference.num,
    'reference_sha256': evaluator.pixels_sha256,
    'features': features,
    'resize': evaluator.net.resize,
    'rounding': 'round to the nearest uint8',
    'weights_sha256': evaluator.net.sha256,
    'generator': 'live' if live else 'averaged',
    'step': run.step,
    'seed': seed,
  }
  if choice is not None:
    protocol['labels'] = choice
  if features == 'self':
    protocol['note'] = 'a small classifier of these data: compare only with numbers of the same weights_sha256'
  if allow_few:
    protocol['allow_few'] = True
  shown = min(SHEET_ROWS, num)
  real = evaluator.reference_images(evaluator.nearest(samples[:shown], k=SHEET_COLUMNS))
  sheet = np.concatenate([samples[:shown, None], real], axis=1)
  picture = images.grid(sheet.reshape(-1, *sheet.shape[2:]), columns=SHEET_COLUMNS + 1)
  return {**metrics, 'protocol': protocol}, picture
