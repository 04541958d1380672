"""Inception Score: how sure a classifier is of each image, and how varied it finds all of them.

Salimans et al. 2016, "Improved techniques for training GANs", section 4. Order and splits are those of metric_isc.py of
torch-fidelity 0.4.0, so that the same seed gives the same number (its default seed is 2020).
"""

import itertools

import numpy as np

from dcgan_jax.errors import ConfigError
from dcgan_jax.metrics.statistics import check_features


def inception_score(logits: np.ndarray, *, splits: int = 10, seed: int | None = 0) -> tuple[float, float]:
  """Mean and standard deviation over splits of exp(E_x KL(p(y | x) || p(y))): 1 at worst, K at best.

  Args: logits: of a classifier, before the softmax, [N, K].  splits: parts, equal to one sample, that the samples are
    divided into; each estimates p(y) from its own.  seed: of the order in which samples are dealt to the splits; None
    keeps the given order, which must not be sorted by class.
  Raises: ConfigError if there are more splits than samples; DataError if logits are not finite or not [N, K].
  """
  logits = check_features(logits, 'logits')
  num = len(logits)
  if not 1 <= splits <= num:
    raise ConfigError(f'splits is {splits} with {num} samples; expected 1 to {num}.')
  if seed is not None:
    logits = logits[np.random.RandomState(seed).permutation(num)]
  ends = [i * num // splits for i in range(splits + 1)]
  scores = [_score(logits[start:end].astype(np.float64)) for start, end in itertools.pairwise(ends)]
  return float(np.mean(scores)), float(np.std(scores))


def _score(logits: np.ndarray) -> float:
  """exp of the mean divergence of each sample's classes from those of all samples, [N, K] -> scalar."""
  logits = logits - logits.max(axis=1, keepdims=True)
  log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  probabilities = np.exp(log_probabilities)
  marginal = probabilities.mean(axis=0)
  # A class that no sample can have adds 0 log 0 = 0, where the formula as it stands is NaN.
  log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
  return float(np.exp((probabilities * (log_probabilities - log_marginal)).sum(axis=1).mean()))
