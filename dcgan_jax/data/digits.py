"""Scikit-learn's handwritten digits: 1797 images that come with the package, so that a first run needs no download."""

import numpy as np

from dcgan_jax.data import arrays
from dcgan_jax.errors import DataError


def open_digits(*, split: str, image_size: int | None, crop: int | None = None) -> arrays.ArraySource:
  """Opens the 1797 handwritten digits of scikit-learn.

  Args:
    split: 'train', which is all of them.
    image_size: side in pixels to which they are resized; None keeps 8.
    crop: side in pixels of the central square cut out before resizing; None takes all.

  Returns:
    A source of shape (image_size, image_size, 1) with 10 classes.

  Raises:
    DataError: another split, or scikit-learn is not installed.
    ConfigError: crop without image_size.
  """
  if split != 'train':
    raise DataError(f"The digits have no split {split!r}; their only split is 'train', all 1797 images.")
  try:
    from sklearn import datasets
  except ImportError as error:
    raise DataError('The digits come with scikit-learn, which is not installed: pip install scikit-learn.') from error
  digits = datasets.load_digits()
  examples = np.round(digits['images'] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
  return arrays.ArraySource(arrays.fit_all(examples, image_size, crop), digits['target'], classes=10)
