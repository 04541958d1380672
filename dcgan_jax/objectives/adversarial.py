"""Adversarial losses on logits: what the discriminator and the generator minimise, one value per example."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.nn import softplus


class AdversarialLoss(NamedTuple):
  """A pair of losses.

  discriminator: (real_logits [B], fake_logits [B]) -> [B].
  generator: fake_logits [B] -> [B].
  """

  discriminator: Callable[[jax.Array, jax.Array], jax.Array]
  generator: Callable[[jax.Array], jax.Array]


def cross_entropy(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
  """-log D(real) - log(1 - D(fake)) for D = sigmoid(logits), [B]; 2 log 2 where D cannot decide.

  References: Goodfellow et al. 2014, equation 1.
  """
  return softplus(-real_logits) + softplus(fake_logits)


def non_saturating(fake_logits: jax.Array) -> jax.Array:
  """-log D(fake), [B]: strong gradients while D still recognises the fakes. Goodfellow et al. 2014, section 3."""
  return softplus(-fake_logits)


def saturating(fake_logits: jax.Array) -> jax.Array:
  """log(1 - D(fake)), [B]: the minimax game as written in Goodfellow et al. 2014, equation 1."""
  return -softplus(fake_logits)


NON_SATURATING = AdversarialLoss(discriminator=cross_entropy, generator=non_saturating)
SATURATING = AdversarialLoss(discriminator=cross_entropy, generator=saturating)
