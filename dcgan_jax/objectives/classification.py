"""A discriminator's second task: to name the class."""

import jax
import numpy as np
import optax
from jaxtyping import Float, Int

Array = jax.Array | np.ndarray


def classification(class_logits: Float[Array, 'B classes'], labels: Int[Array, ' B']) -> Float[Array, ' B']:
  """-log p(label), [B]: what both players of an auxiliary classifier GAN minimise, of real images and of fakes.

  Args:
    class_logits: [B, classes].
    labels: of the real images, or those that the generator was asked for; int32 [B].

  References: Odena et al. 2017, equation 3.
  """
  return optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)
