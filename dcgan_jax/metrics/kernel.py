"""Kernel Inception distance (KID): squared maximum mean discrepancy of features under a cubic polynomial kernel.

Binkowski et al. 2018, "Demystifying MMD GANs", section 4. The subsets and the estimator are those of metric_kid.py of
torch-fidelity 0.4.0, so that the same seed gives the same number (its default seed is 2020).
"""

import numpy as np

from dcgan_jax.errors import ConfigError
from dcgan_jax.metrics.statistics import check_pair


def kernel_distance(
  x: np.ndarray, y: np.ndarray, *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
  """Mean and standard deviation over random subsets of the unbiased squared MMD with kernel (x.y / F + 1)^3.

  Zero on average if both come from one distribution, whatever the number of samples; so it is often a little negative.

  Args: x, y: features, [N, F] and [M, F].  subset_size: samples drawn from each for a subset, without replacement.
  Returns: mean and deviation; the deviation is that of one subset, not of the mean.
  Raises: ConfigError if a subset is larger than x or y; DataError if features are not finite or not [N, F].
  """
  x, y = check_pair(x, y, ('first features', 'second features'))
  if num_subsets < 1:
    raise ConfigError(f'num_subsets is {num_subsets}; expected at least 1.')
  if not 2 <= subset_size <= min(len(x), len(y)):
    raise ConfigError(
      f'subset_size is {subset_size} with {len(x)} and {len(y)} samples; expected 2 to {min(len(x), len(y))}.'
    )
  # RandomState rather than default_rng: torch-fidelity's subsets, x first.
  rng = np.random.RandomState(seed)
  distances = []
  for _ in range(num_subsets):
    some_x = x[rng.choice(len(x), subset_size, replace=False)].astype(np.float64)
    some_y = y[rng.choice(len(y), subset_size, replace=False)].astype(np.float64)
    distances.append(_squared_discrepancy(some_x, some_y))
  return float(np.mean(distances)), float(np.std(distances))


def _squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
  """Unbiased squared MMD of two sets of equal size, [N, F] each; may be negative."""
  num = len(x)
  within = sum(_sum_without_diagonal(_cubic(z, z)) for z in (x, y)) / (num * (num - 1))
  return within - 2 * _cubic(x, y).mean()


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return (x @ y.T / x.shape[1] + 1) ** 3


def _sum_without_diagonal(kernel: np.ndarray) -> float:
  return kernel.sum() - np.trace(kernel)
