"""Scikit-learn's handwritten digits: 1797 images that come with the package, so that a first run needs no download."""

import numpy as np

from dcgan_jax.data import arrays
from dcgan_jax.errors import DataError


def open_digits(*, split: str, image_size: int | None) -> arrays.ArraySource:
  """Opens the 1797 handwritten digits of scikit-learn.

  Args:
    split: 'train', which is all of them.
    image_size: side in pixels to which they are resized; None keeps 8.

  Returns:
    A source of shape (image_size, image_size, 1) with 10 classes.

  Raises:
    DataError: another split, or scikit-learn is not installed.
  """
  if split != 'train':
    raise DataError(f"The digits have no split {split!r}; their only split is 'train', all 1797 images.")
  try:
    from sklearn import datasets
  except ImportError as error:
    raise DataError('The digits come with scikit-learn, which is not installed: pip install scikit-learn.') from error
  digits = datasets.load_digits()
  examples = np.round(digits['images'] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
  return arrays.ArraySource(arrays.fit_all(examples, image_size), digits['target'], classes=10)
