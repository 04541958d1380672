"""Mean and covariance of features that arrive in batches, and the checks that every metric makes of its features.

Batches are merged as in Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1:
each is centred on its own mean, so that a mean that is large against the deviation costs no digits. The result is that
of np.mean and np.cov(rowvar=False), which torch-fidelity 0.4.0 uses, whatever the order and the sizes of the batches.
"""

import numpy as np

from dcgan_jax.errors import DataError


class FeatureStatistics:
  """Number, mean and covariance of all features added so far, in float64.

  Attributes: num: samples added.
  """

  def __init__(self, num_features: int):
    self.num = 0
    self._mean = np.zeros(num_features)
    # The sum of outer products of the deviations from the mean, [F, F].
    self._scatter = np.zeros((num_features, num_features))

  def add(self, features: np.ndarray) -> None:
    """Adds a batch of features, [B, F].

    Raises: DataError if the features are not [B, F] or not finite; what was added before stays as it was.
    """
    features = check_features(features)
    self._check_width(features.shape[1])
    if len(features):
      mean = features.mean(axis=0, dtype=np.float64)
      deviations = features - mean
      self._merge(len(features), mean, deviations.T @ deviations)

  def merge(self, other: 'FeatureStatistics') -> None:
    """Adds all that another one has seen."""
    self._check_width(len(other._mean))
    if other.num:
      self._merge(other.num, other._mean, other._scatter)

  @property
  def mean(self) -> np.ndarray:
    """Mean of the features, [F]. Raises: DataError before the first sample."""
    self._check_num(1)
    return self._mean.copy()

  @property
  def covariance(self) -> np.ndarray:
    """Unbiased covariance of the features, [F, F]. Raises: DataError before the second sample."""
    self._check_num(2)
    return self._scatter / (self.num - 1)

  def _merge(self, num: int, mean: np.ndarray, scatter: np.ndarray) -> None:
    total = self.num + num
    difference = mean - self._mean
    self._scatter += scatter + np.outer(difference, difference) * (self.num * num / total)
    self._mean += difference * (num / total)
    self.num = total

  def _check_width(self, num_features: int) -> None:
    if num_features != len(self._mean):
      raise DataError(f'Each sample has {num_features} features; expected {len(self._mean)}, as in the statistics.')

  def _check_num(self, least: int) -> None:
    if self.num < least:
      raise DataError(f'The statistics have seen {self.num} samples; add at least {least} first.')


def check_features(features: np.ndarray, name: str = 'features') -> np.ndarray:
  """The features as a NumPy array of their own type, if they are finite and [N, F].

  Args: features: array-like.  name: what an error calls them.
  Raises: DataError.
  """
  features = np.asarray(features)
  if features.ndim != 2:
    raise DataError(f'The {name} have shape {features.shape}; expected one row per sample, [N, F].')
  finite = np.isfinite(features).all(axis=1)
  if not finite.all():
    raise DataError(
      f'NaN or infinity in {np.sum(~finite)} of {len(finite)} rows of the {name}, first in row {np.argmin(finite)}; '
      'look at the samples or arrays they come from.'
    )
  return features


def check_pair(real: np.ndarray, fake: np.ndarray, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
  """Both as `check_features` returns them, if samples of both have the same number of features.

  Raises: DataError.
  """
  real, fake = check_features(real, names[0]), check_features(fake, names[1])
  if real.shape[1] != fake.shape[1]:
    raise DataError(
      f'The {names[0]} have {real.shape[1]} columns and the {names[1]} {fake.shape[1]}; '
      'take both from the same layer of the same network.'
    )
  return real, fake
