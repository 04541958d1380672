"""Penalties on logits that change with a transformation which keeps an image real, or fake: one value per example.

The signature is that of the terms of gradient_penalty.py, once `transform` is bound: (keys, critic, real, fake) -> [B].
Unlike an augmentation that D sees, this one shows D both the image and its transformation, and D sees no other images.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, Key

from dcgan_jax.objectives.gradient_penalty import Critic, Examples

Array = jax.Array | np.ndarray

Transform = Callable[[Key[Array, ' B'], Examples], Examples]


def real_consistency(
  keys: Key[Array, ' B'], critic: Critic, real: Examples, fake: Examples, *, transform: Transform
) -> Float[Array, ' B']:
  """Squared change of the logit of real images under a transformation, [B].

  Args:
    keys: one per example, [B].
    critic: images [B, *shape] -> logits [B].
    real: images, [B, *shape].
    fake: not used.
    transform: (keys [B], images [B, *shape]) -> images [B, *shape].

  References: Zhang et al. 2020 (CR-GAN).
  """
  del fake
  return _squared_change(keys, critic, real, transform)


def fake_consistency(
  keys: Key[Array, ' B'], critic: Critic, real: Examples, fake: Examples, *, transform: Transform
) -> Float[Array, ' B']:
  """Squared change of the logit of fakes, [B]; with real_consistency balanced consistency. Zhao et al. 2021 (bCR)."""
  del real
  return _squared_change(keys, critic, fake, transform)


def _squared_change(
  keys: Key[Array, ' B'], critic: Critic, images: Examples, transform: Transform
) -> Float[Array, ' B']:
  change = (critic(images) - critic(transform(keys, images))) ** 2
  return change.mean(axis=tuple(range(1, change.ndim)))
