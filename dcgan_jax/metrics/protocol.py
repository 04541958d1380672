"""What an evaluation may ask for, checked before JAX is imported."""

import pathlib

from dcgan_jax.errors import ConfigError, DataError, look_up
from dcgan_jax.metrics.frechet import check_sample_count

# Features by their name in the metrics' names: of an Inception layer, or of a small classifier of the data.
NUM_FEATURES = {'64': 64, '192': 192, '768': 768, '2048': 2048, 'self': 128}
# The metrics of neighbours and the Inception Score are not defined for fewer images.
LEAST_IMAGES = 10
ALLOW_FEW = 'ask for it again with --allow-few (in Python allow_few=True, in training another config.evaluation.num)'


def check_request(features: str, *, num: int, weights: str | None, allow_few: bool, otherwise: str = ALLOW_FEW) -> None:
  """Refuses an evaluation that cannot succeed.

  Args:
    features: name of the features.
    num: number of samples.
    weights: file of Inception's weights, or None.
    allow_few: whether fewer samples than features are accepted.
    otherwise: what else the user can do, for the message.

  Raises:
    ConfigError: unknown features or too few samples.
    DataError: no such file of weights.
  """
  num_features = look_up(NUM_FEATURES, features, 'features')
  if num < LEAST_IMAGES:
    raise ConfigError(
      f'{num} samples are too few to be measured; expected num (in training config.evaluation.num) from {LEAST_IMAGES}'
    )
  check_sample_count(num, num_features, allow_few, otherwise=otherwise)
  if weights is not None and features != 'self' and not pathlib.Path(weights).expanduser().is_file():
    raise DataError(f'Cannot read Inception weights from {weights} (No such file); expected a .pth or .npz file')


def check_real_count(
  num: int, num_features: int, *, what: str, allow_few: bool = False, otherwise: str = ALLOW_FEW
) -> None:
  """Refuses fewer real images than features, unless they are allowed, and fewer than the other metrics need.

  Args:
    num: number of real images.
    num_features: number of features.
    what: the real images in words, for the message.
    allow_few: whether fewer real images than features are accepted.
    otherwise: what else the user can do, for the message.

  Raises:
    ConfigError: too few.
  """
  if num < LEAST_IMAGES:
    raise ConfigError(f'{what} has {num} real images, too few to compare with; expected {LEAST_IMAGES} or more')
  if num < num_features and not allow_few:
    fitting = [name for name, size in NUM_FEATURES.items() if size <= num]
    choice = f'take features {" or ".join(fitting)}' if fitting else 'take a larger split'
    raise ConfigError(
      f'{what} has {num:,} real images, too few for the Fréchet distance of {num_features:,} features: their '
      f'covariance is singular and the distance wrong; {choice}, or {otherwise}'
    )
