"""A generator's loss that asks for the statistics of real images rather than for the discriminator's approval."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Scalar

Array = jax.Array | np.ndarray


def feature_matching(
  fake_features: Sequence[Float[Array, 'B ...']],
  real_features: Sequence[Float[Array, 'C ...']],
  *,
  mean: Callable[[Float[Array, '...']], Float[Array, '...']],
) -> Scalar:
  """Squared distance of the mean activation of fakes from that of real images, in the discriminator's last layer.

  |E f(real) - E f(fake)|^2: a sum over the layer's positions and channels, as the paper has it, and not a mean, so a
  suitable weight falls as the layer grows. There may be another number of real images than of fakes.

  Args:
    fake_features: activations of each layer, [B, ...]; the last ones count.
    real_features: those of real images.
    mean: this device's mean activation -> that of the global batch, of the same shape; differentiable.

  Returns:
    One value for the batch, [], the same on every device.

  References: Salimans et al. 2016, section 3.1.
  """
  # In float32 whatever the network computes in: it is the small difference that counts.
  fake, real = (mean(features[-1].mean(0, jnp.float32)) for features in (fake_features, real_features))
  return ((fake - real) ** 2).sum()
