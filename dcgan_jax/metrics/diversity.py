"""Signs of collapse that a distance between distributions can hide: few classes, repeated images.

Class counts are those of a separate classifier (Srivastava et al. 2017, VEEGAN, section 4). Duplicates show how many
images a generator knows: by the birthday paradox, one that repeats itself once in n samples has about n^2 images
(Arora and Zhang 2018, "Do GANs learn the distribution? Some theory and empirics", section 3).
"""

import hashlib

import numpy as np

from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.metrics.neighbours import TIE, k_nearest_others
from dcgan_jax.metrics.statistics import check_pair


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """How many samples a classifier puts into each class, int64 [K]; a zero is a class that is never drawn.

  Args: labels: integer classes, 0 <= label < K, [N]; of probabilities or logits take the argmax.
  Raises: DataError if labels are not such integers.
  """
  labels = np.asarray(labels)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise DataError(f'The labels are {labels.dtype} of shape {labels.shape}; expected one integer per sample, [N].')
  if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
    raise DataError(f'The labels go from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}.')
  return np.bincount(labels, minlength=num_classes).astype(np.int64)


def effective_classes(counts: np.ndarray) -> float:
  """exp of the entropy of the shares of the classes: K if all are equally frequent, 1 if there is only one.

  Compare it with that of the training set, which may itself be unbalanced. Unlike a chi-square it does not grow with
  the number of samples.

  Args: counts: samples per class, [K].
  Raises: DataError if there are no samples.
  """
  counts = np.asarray(counts, np.float64)
  if counts.sum() == 0:
    raise DataError('No samples in any class; count at least one.')
  shares = counts[counts > 0] / counts.sum()
  return float(np.exp(-(shares * np.log(shares)).sum()))


def duplicate_share(images: np.ndarray) -> float:
  """Share of images that equal an earlier one in every pixel; 0 for any healthy generator.

  Args: images: uint8 [N, H, W, C], or any array with one sample per row.
  Raises: DataError if there are no images.
  """
  images = np.asarray(images)
  if images.ndim == 0 or not len(images):
    raise DataError(f'The images have shape {images.shape}; expected at least one, [N, H, W, C].')
  different = {hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images}
  return (len(images) - len(different)) / len(images)


def near_duplicate_share(real: np.ndarray, fake: np.ndarray, *, quantile: float = 0.01, block: int = 2048) -> float:
  """Share of fakes that have another fake as close as the closest 1 % of real samples have another real sample.

  About `quantile` for a good generator; many times as much for one that draws variants of a few images. Real samples
  set the distance, so that features may have any scale. Among more samples the nearest is nearer: compare equally many.

  Args: real, fake: features, [N, F] each.  quantile: share of real samples that count as near duplicates.
  Raises: ConfigError unless 0 < quantile < 1; DataError if there are not as many real samples as fakes, fewer than two,
    or if features are not finite or not [N, F].
  """
  real, fake = check_pair(real, fake, ('real features', 'fake features'))
  if not 0 < quantile < 1:
    raise ConfigError(f'quantile is {quantile}; expected a share between 0 and 1, for example 0.01.')
  if len(real) != len(fake) or len(real) < 2:
    raise DataError(f'{len(real)} real samples and {len(fake)} fakes; expected equally many, at least two.')
  nearest_real, nearest_fake = (k_nearest_others(x, 1, block=block)[1][:, 0] for x in (real, fake))
  near = np.quantile(nearest_real, quantile, method='inverted_cdf')
  return float((nearest_fake <= near * (1 + TIE)).mean())
