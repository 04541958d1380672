"""What a network has learned, measured by a linear support vector machine on its features.

The test of Radford et al. 2016, section 5: features of labelled images, an L2-SVM whose cost is chosen on a validation
split, accuracy on images neither has seen. A number means something only beside the baselines of the same run: pixels,
one layer of k-means, and the same network before training.
"""

import functools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

# For features of mean squared length 1, whatever their number: see `standardise`.
COSTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class ProbeResult(NamedTuple):
  """Accuracy on the test set in [0, 1], the cost that was chosen, and the validation accuracies of those tried."""

  accuracy: float
  cost: float
  validation_accuracies: dict[float, float]


class FewLabelsResult(NamedTuple):
  """Mean and deviation (of a sample, n - 1) of the test accuracy over the draws, the one cost that was chosen for all,
  the test accuracy of each draw, and the mean validation accuracies of the costs that were tried."""

  mean: float
  deviation: float
  cost: float
  accuracies: tuple[float, ...]
  validation_accuracies: dict[float, float]


def probe(
  train_features: np.ndarray,
  train_labels: np.ndarray,
  test_features: np.ndarray,
  test_labels: np.ndarray,
  *,
  costs: Sequence[float] = COSTS,
  num_validation: int,
  seed: int = 0,
) -> ProbeResult:
  """Accuracy of a linear L2-SVM (squared hinge, one against the rest) on features.

  The cost is chosen on training examples that are held out, then the machine is fitted to all of them. Costs are tried
  upwards until the validation accuracy has fallen twice in a row, as large ones take longest. Features are
  standardised as `standardise` says. liblinear takes 24 bytes a feature value: 2 GB for 10,000 examples of 7,168.

  Args:
    train_features, test_features: [N, F] and [M, F].
    train_labels, test_labels: integers, [N] and [M].
    costs: C of the machine, to choose from.
    num_validation: training examples held out for the choice.
    seed: of the split.

  Raises:
    DataError: arrays that do not fit together, or nothing left to train on or to choose by.

  References: Radford et al. 2016, section 5.1; Fan et al. 2008 (liblinear).
  """
  _check(train_features, train_labels, test_features, test_labels)
  held_out, rest = _split(len(train_labels), num_validation, seed)
  train_features, test_features = standardise(train_features, test_features)

  def validate(cost: float) -> float:
    predict = _fit(train_features[rest], train_labels[rest], cost, seed)
    return _accuracy(predict, train_features[held_out], train_labels[held_out])

  cost, accuracies = _choose(costs, validate)
  predict = _fit(train_features, train_labels, cost, seed)
  return ProbeResult(_accuracy(predict, test_features, test_labels), cost, accuracies)


def few_labels(
  train_features: np.ndarray,
  train_labels: np.ndarray,
  test_features: np.ndarray,
  test_labels: np.ndarray,
  *,
  labels_per_class: int,
  draws: int,
  costs: Sequence[float] = COSTS,
  num_validation: int,
  seed: int = 0,
) -> FewLabelsResult:
  """Accuracy of a linear L2-SVM that knows few labels, over repeated draws of these.

  Each draw takes as many examples of every class from those not held out. One cost serves all draws: that of the best
  mean validation accuracy. Features are standardised by all training examples, as this needs no label.

  Args:
    labels_per_class: examples of every class in a draw.
    draws: how many, at least 2.
    seed: of the split and of the draws; the other arguments are those of `probe`.

  Raises:
    DataError: as `probe`, fewer than 2 draws, or a class with too few examples.

  References: Radford et al. 2016, section 5.2, and its code: svhn/svhn_semisup_analysis.py.
  """
  _check(train_features, train_labels, test_features, test_labels)
  if draws < 2:
    raise DataError(f'The number of draws is {draws}; a deviation needs at least 2')
  held_out, rest = _split(len(train_labels), num_validation, seed)
  chosen = [draw_per_class(train_labels, rest, labels_per_class, seed=(seed, draw)) for draw in range(draws)]
  train_features, test_features = standardise(train_features, test_features)
  tested = {}

  def validate(cost: float) -> float:
    predictors = [_fit(train_features[rows], train_labels[rows], cost, seed) for rows in chosen]
    tested[cost] = tuple(_accuracy(predict, test_features, test_labels) for predict in predictors)
    return float(np.mean([_accuracy(p, train_features[held_out], train_labels[held_out]) for p in predictors]))

  cost, accuracies = _choose(costs, validate)
  mean, deviation = float(np.mean(tested[cost])), float(np.std(tested[cost], ddof=1))
  return FewLabelsResult(mean, deviation, cost, tested[cost], accuracies)


def draw_per_class(labels: np.ndarray, rows: np.ndarray, number: int, *, seed: int | Sequence[int]) -> np.ndarray:
  """Picks `number` of the rows, indices into labels [N], of every class; without repetition, classes in turn.

  Raises:
    DataError: a class has fewer.
  """
  generator = np.random.default_rng(seed)
  picked = []
  for label in np.unique(labels):
    candidates = rows[labels[rows] == label]
    if len(candidates) < number:
      raise DataError(
        f'Class {label} has {len(candidates)} training examples besides those held out, fewer than {number} labels '
        'per class; take fewer, or more training examples'
      )
    picked.append(generator.choice(candidates, number, replace=False))
  return np.concatenate(picked)


def standardise(train_features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Features of mean 0, equal deviation and mean squared length 1 on the training set, float32 [N, F] and [M, F].

  Layers of very different scale then count alike, as they must in a network before training, and a cost means the same
  for any number of features. A feature that is constant in training becomes 0.
  """
  mean = train_features.mean(axis=0, dtype=np.float64)
  deviation = train_features.std(axis=0, dtype=np.float64)
  constant = deviation <= 1e-6 * np.abs(mean)
  scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation)) / np.sqrt(max(1, (~constant).sum()))
  mean, scale = mean.astype(np.float32), scale.astype(np.float32)
  return tuple((np.asarray(x, np.float32) - mean) * scale for x in (train_features, test_features))


def pixels(examples: np.ndarray) -> np.ndarray:
  """Uint8 examples [B, *shape] as features in [-1, 1], [B, F]."""
  return images.to_float(examples).reshape(len(examples), -1)


def in_batches(features: Callable, examples: np.ndarray, *, batch_size: int = 250) -> np.ndarray:
  """Features of examples [N, ...] computed a batch at a time, float32 [N, F]; the last batch is filled up, so that
  one program is compiled."""
  batches = []
  for first in range(0, len(examples), batch_size):
    rows = np.minimum(np.arange(first, first + batch_size), len(examples) - 1)
    batches.append(np.asarray(features(examples[rows]), np.float32)[: len(examples) - first])
  return np.concatenate(batches)


def run_probe(
  features: Mapping[str, Callable],
  train_examples: np.ndarray,
  train_labels: np.ndarray,
  test_examples: np.ndarray,
  test_labels: np.ndarray,
  *,
  labels_per_class: int | None = None,
  draws: int = 10,
  costs: Sequence[float] = COSTS,
  num_validation: int | None = None,
  seed: int = 0,
  batch_size: int = 250,
  report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Compares kinds of features by the same protocol.

  Args:
    features: by name, functions of uint8 examples [B, *shape] to features [B, F].
    train_examples, test_examples: uint8 [N, *shape] and [M, *shape].
    train_labels, test_labels: integers, [N] and [M].
    labels_per_class: of the few-label test; None leaves it out.
    draws: of the few-label test.
    costs: C of the machine, to choose from.
    num_validation: training examples held out to choose the cost; None is a fifth.
    seed: of everything random.
    batch_size: examples at a time through a network; changes the result by rounding alone.
    report: called with a line of progress.

  Returns:
    What JSON can hold: the protocol, and by name the results. `table` prints it.

  Raises:
    DataError: as `probe` and `few_labels`, or the same examples to train and to test.
  """
  num_validation = check_examples(
    train_examples, train_labels, test_examples, test_labels, labels_per_class=labels_per_class, draws=draws,
    num_validation=num_validation, seed=seed,
  )  # fmt: skip
  options = {'costs': costs, 'num_validation': num_validation, 'seed': seed}
  results = {}
  for name, function in features.items():
    start = time.monotonic()
    train, test = (in_batches(function, x, batch_size=batch_size) for x in (train_examples, test_examples))
    results[name] = {'num_features': train.shape[1]}
    results[name] |= _jsonable(probe(train, train_labels, test, test_labels, **options))
    if labels_per_class is not None:
      protocol = functools.partial(few_labels, labels_per_class=labels_per_class, draws=draws, **options)
      results[name]['few_labels'] = _jsonable(protocol(train, train_labels, test, test_labels))
    results[name]['seconds'] = round(time.monotonic() - start, 1)
    report(f'{name}: {100 * results[name]["accuracy"]:.1f} % ({results[name]["seconds"]:.0f} s)')
  return {
    'num_train': len(train_labels),
    'num_validation': num_validation,
    'num_test': len(test_labels),
    'largest_class': float(np.unique(test_labels, return_counts=True)[1].max() / len(test_labels)),
    'labels_per_class': labels_per_class,
    'draws': None if labels_per_class is None else draws,
    'costs': list(costs),
    'seed': seed,
    'features': results,
  }


def check_examples(
  train_examples: np.ndarray, train_labels: np.ndarray, test_examples: np.ndarray, test_labels: np.ndarray, *,
  labels_per_class: int | None = None, draws: int = 10, num_validation: int | None = None, seed: int = 0,
) -> int:  # fmt: skip
  """Refuses examples that `run_probe` could not compare features on; arguments as its. Returns `num_validation`.

  Raises:
    DataError: too few examples, too few of a class, one class alone, or the same examples to train and to test.
  """
  if len(test_labels) < 1 or len(train_labels) < 5:
    raise DataError(
      f'{len(train_labels)} training and {len(test_labels)} test examples are too few for a probe; expected 5 and 1 '
      'or more'
    )
  _check_classes(train_labels)
  known = {example.tobytes() for example in train_examples}
  shared = sum(example.tobytes() in known for example in test_examples)
  if 2 * shared > len(test_examples):
    raise DataError(f'{shared} of {len(test_examples)} test examples are training examples too; take other splits')
  num_validation = len(train_labels) // 5 if num_validation is None else num_validation
  _, rest = _split(len(train_labels), num_validation, seed)
  _check_classes(train_labels[rest])
  for draw in range(draws if labels_per_class is not None else 0):
    draw_per_class(train_labels, rest, labels_per_class, seed=(seed, draw))
  return num_validation


def _check_classes(labels: np.ndarray) -> None:
  if len(np.unique(labels)) < 2:
    raise DataError(f'All {len(labels)} training labels are {labels[0]}; a classifier needs two classes')


def _check(train_features, train_labels, test_features, test_labels) -> None:
  for name, x, labels in (('training', train_features, train_labels), ('test', test_features, test_labels)):
    if x.ndim != 2 or labels.shape != x.shape[:1] or not len(labels):
      raise DataError(f'The {name} features are {x.shape} and the labels {labels.shape}; expected [N, F] and [N]')
    if not np.isfinite(x).all():
      raise DataError(f'Some {name} features are NaN or infinite; has the run diverged?')
  if train_features.shape[1] != test_features.shape[1]:
    raise DataError(f'{train_features.shape[1]} features in training, but {test_features.shape[1]} in the test')
  _check_classes(train_labels)


def _split(number: int, num_validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Indices held out and the others, of `number`."""
  if not 0 < num_validation < number:
    raise DataError(f'{num_validation} of {number} training examples cannot be held out; expected 1 to {number - 1}')
  return tuple(np.split(np.random.default_rng(seed).permutation(number), [num_validation]))


def _choose(costs: Sequence[float], validate: Callable[[float], float]) -> tuple[float, dict[float, float]]:
  """The cost of highest validation accuracy, the smaller of equals, and the accuracies of those tried."""
  accuracies = {}
  for cost in sorted(costs):
    accuracies[cost] = validate(cost)
    if len(accuracies) > 2 and max(list(accuracies.values())[-2:]) < max(accuracies.values()):
      break
  return max(accuracies, key=accuracies.get), accuracies


def _fit(features: np.ndarray, labels: np.ndarray, cost: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
  """Trains the machine: a function of features [B, F] to labels [B]."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.svm import LinearSVC

  # The weights are sums of examples, which a few of these span: the rows of a triangle with the same inner products
  # serve as well as they.
  few = 2 * features.shape[0] < features.shape[1]
  if few:
    products = np.asarray(features, np.float64) @ features.T
    products[np.diag_indices_from(products)] += 1e-9 * np.trace(products) / len(products)  # for equal examples
    triangle = np.linalg.cholesky(products)
  # At these costs the dual solver is two to twenty times faster than the primal one, to the same accuracy. Where a
  # large cost would take it more than its 1000 passes, what it has reached is judged by the validation like any other.
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)
    machine = LinearSVC(C=cost, dual=True, random_state=seed).fit(triangle if few else features, labels)
  weights = features.T @ np.linalg.solve(triangle.T, machine.coef_.T) if few else machine.coef_.T
  weights = weights.astype(np.float32)

  def predict(features: np.ndarray) -> np.ndarray:
    # Not machine.predict, which would make a float64 copy of the features.
    scores = features @ weights + machine.intercept_
    return machine.classes_[scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)]

  return predict


def _accuracy(predict: Callable, features: np.ndarray, labels: np.ndarray) -> float:
  return float((predict(features) == labels).mean())


def _jsonable(result: Any) -> dict[str, Any]:
  content = {name: list(value) if isinstance(value, tuple) else value for name, value in result._asdict().items()}
  return content | {'validation_accuracies': [list(pair) for pair in result.validation_accuracies.items()]}
