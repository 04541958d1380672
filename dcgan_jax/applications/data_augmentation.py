"""What samples of a conditional generator add to labelled data: a small classifier trained with and without them.

The seeds of a GAN are often few labelled images, and "more data" the wish. This measures it: accuracy on test images of
one classifier, trained with the same number of updates on the real examples, on both, and on samples alone. A generator
that saw more labels than the classifier hands those on; to measure what it adds by itself, train it on the same split.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.errors import ConfigError
from dcgan_jax.metrics import classifier

_SETTINGS = classifier.Settings()


class Comparison(NamedTuple):
  """Accuracies on the test set in [0, 1], one per seed of the classifier.

  real: trained on the real examples.
  both: half of every batch real, half samples.
  samples: trained on samples alone: the classification accuracy score of Ravuri and Vinyals 2019.
  num_real, num_samples: how many examples there were of each.
  """

  real: tuple[float, ...]
  both: tuple[float, ...]
  samples: tuple[float, ...]
  num_real: int
  num_samples: int


def compare(
  run: Any,
  train: tuple[np.ndarray, np.ndarray],
  test: tuple[np.ndarray, np.ndarray],
  *,
  num_samples: int = 10_000,
  seeds: Sequence[int] = (0, 1, 2),
  settings: classifier.Settings = _SETTINGS,
  report: Callable[[str], Any] = lambda line: None,
) -> Comparison:
  """Trains the classifier on real examples, on both, and on samples, once per seed.

  Args:
    run: a `Run` with labels.
    train, test: uint8 [N, *shape] and labels [N].
    num_samples: drawn from the run by seed 0, as many of each class as of any other.
    seeds: of the classifier.
    settings: of the classifier; all three are given the same number of updates.
    report: is told each accuracy.

  Raises:
    ConfigError: the run has no labels, or other classes than the data.

  References: Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative models".
  """
  check_run(run)
  highest = max(int(labels.max()) for _, labels in (train, test))
  if highest >= run.num_classes:
    raise ConfigError(f'The data have a class {highest}; this run has the classes 0 to {run.num_classes - 1}')
  samples = run.sample(num_samples), run.labels(num_samples)
  sets = {'real': train, 'both': _balanced(train, samples), 'samples': samples}
  accuracies = {name: [] for name in sets}
  for seed in seeds:
    for name, (images, labels) in sets.items():
      trained = classifier.train_classifier(
        images, labels, num_classes=run.num_classes, settings=dataclasses.replace(settings, seed=seed)
      )
      accuracies[name].append(classifier.classifier_accuracy(trained, *test))
      report(f'seed {seed}, {name}: {100 * accuracies[name][-1]:.2f} %')
  return Comparison(**{k: tuple(v) for k, v in accuracies.items()}, num_real=len(train[1]), num_samples=num_samples)


def check_run(run: Any) -> None:
  """Raises ConfigError where a run has no labels, so that its samples could teach no classifier."""
  if run.num_classes is None:
    raise ConfigError(
      'This run was trained without labels, so its samples have none; train one with them, such as '
      '--config configs/cifar10.py:conditional'
    )


def table(result: Comparison) -> tuple[list[str], list[list[str]]]:
  """The comparison as the titles of columns and rows of text: mean and range over the seeds."""
  sets = {
    f'{result.num_real:,} real': result.real,
    f'{result.num_real:,} real and {result.num_samples:,} samples': result.both,
    f'{result.num_samples:,} samples': result.samples,
  }
  return ['trained on', 'accuracy, %', 'lowest to highest of the seeds'], [
    [name, f'{100 * np.mean(values):.1f}', f'{100 * min(values):.1f} to {100 * max(values):.1f}']
    for name, values in sets.items()
  ]


def _balanced(first, second):
  """Both sets, the smaller one repeated until it is about as large as the other."""
  size = max(len(first[1]), len(second[1]))
  both = [tuple(np.concatenate([part] * max(1, round(size / len(part)))) for part in some) for some in (first, second)]
  return tuple(np.concatenate(parts) for parts in zip(*both, strict=True))
