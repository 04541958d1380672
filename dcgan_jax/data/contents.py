"""What a sample of examples says of how they were read."""

import numpy as np

# Levels of 256 that the pixels of good data span at least, in all; and the share of pixels that may be outliers.
_FEWEST_LEVELS, _OUTLIERS = 32, 0.001


def fault(examples: np.ndarray, *, robust: bool) -> str:
  """Why examples look as if they were read wrongly, and what to do about it; '' where they do not.

  Args:
    examples: uint8 [N, ...], spread over a data set.
    robust: leave out the few darkest and lightest pixels, which may be all that spans a measured range.
  """
  pixels = examples.reshape(len(examples), -1, examples.shape[-1])
  number = f'{len(pixels):,} examples that were looked at'
  if (pixels == pixels[:, :1]).all():
    return (
      f'each of the {number} is of one color; if it is transparency that shows their forms, set config.data.ground to '
      'another color'
    )
  if len(pixels) > 1 and (pixels == pixels[:1]).all():
    return f'the {number} are all the same'
  shares = np.bincount(pixels.ravel(), minlength=256).cumsum() / pixels.size
  outliers = _OUTLIERS if robust else 0
  low = int(np.searchsorted(shares, outliers, 'right'))
  high = int(np.searchsorted(shares, 1 - outliers, 'left'))
  if high - low + 1 < _FEWEST_LEVELS:
    return (
      f'the {number} span {low} to {high} of 0 to 255; store them scaled to that range, or, if their files have more '
      'than 8 bits, set config.data.range to the values of black and white'
    )
  return ''
