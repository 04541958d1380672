"""Fréchet distance between two Gaussians; between Inception features of real and generated images it is the FID.

Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", equation 6,
after Dowson and Landau 1982. The same number as metric_fid.py of torch-fidelity 0.4.0 and as fid.py of TTUR; these take
the root of a product that is not symmetric, which is where their imaginary components come from.
"""

import numpy as np

from dcgan_jax.errors import ConfigError, DataError

_OTHERWISE = 'ask for it again with --allow-few (in training change config.evaluation.num)'


def frechet_distance(
  mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
  """Squared Fréchet distance |a - b|^2 + tr(A) + tr(B) - 2 tr(sqrt(A B)), never negative and never NaN.

  With A = R R' and B = S S', the eigenvalues of A B are the squares of the singular values of R' S. Roots and singular
  values are real by construction. Squaring them first, as the eigenvalues of sqrt(A) B sqrt(A) would, loses half of the
  digits where covariances are singular or nearly so.

  Args: mean_a, mean_b: [F].  covariance_a, covariance_b: symmetric, [F, F]; may be singular.
  Raises: DataError if shapes differ or a value is not finite.
  """
  mean_a, covariance_a, mean_b, covariance_b = (
    np.asarray(array, np.float64) for array in (mean_a, covariance_a, mean_b, covariance_b)
  )
  for mean, covariance in ((mean_a, covariance_a), (mean_b, covariance_b)):
    _check(mean, covariance, mean_a.size)
  difference = mean_a - mean_b
  overlap = np.linalg.svd(_root(covariance_a).T @ _root(covariance_b), compute_uv=False).sum()
  distance = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
  # Rounding can leave equal Gaussians a little below zero.
  return max(0.0, float(distance))


def check_sample_count(
  num: int,
  num_features: int,
  allow_few: bool = False,
  *,
  otherwise: str = _OTHERWISE,
) -> None:
  """Refuses fewer samples than features, 2,048 for the FID, unless they are allowed.

  The covariance of N samples has at most N - 1 directions. With fewer samples than features some variances are zero
  whatever the images are, and the distance is too large by an amount that depends on N: a perfect generator measured
  with 2,000 samples has an FID near 30 (k-diffusion issue 51).

  Raises: ConfigError.
  """
  if num < num_features and not allow_few:
    raise ConfigError(
      f'{num} samples are too few for the Fréchet distance of {num_features} features: their covariance is singular '
      f'and the distance too large. Use at least {num_features} (papers: 50000), or {otherwise}'
    )


def _root(covariance: np.ndarray) -> np.ndarray:
  """R with R R' = covariance and only as many columns as its rank, [F, rank]."""
  variances, directions = np.linalg.eigh(covariance)
  # Below this an eigenvalue is rounding, of either sign; as numpy.linalg.matrix_rank.
  kept = variances > np.max(np.abs(variances)) * len(variances) * np.finfo(np.float64).eps
  return directions[:, kept] * np.sqrt(variances[kept])


def _check(mean: np.ndarray, covariance: np.ndarray, num_features: int) -> None:
  if num_features == 0 or mean.shape != (num_features,) or covariance.shape != (num_features, num_features):
    raise DataError(
      f'A mean of shape {mean.shape} and a covariance of shape {covariance.shape}; expected ({num_features},) and '
      f'({num_features}, {num_features}), from the same layer of the same network.'
    )
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise DataError('A mean or covariance holds NaN or infinity; compute the statistics again.')
