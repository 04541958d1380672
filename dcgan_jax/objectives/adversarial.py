"""Adversarial losses on logits: what the discriminator and the generator minimise, one value per logit."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu, softplus
from jaxtyping import Float, Key, Scalar

Array = jax.Array | np.ndarray

Logits = Float[Array, 'B ...']

# keys [B] -> the probabilities of being real that D should give the real and the fake images, ([B], [B]).
Targets = Callable[[Key[Array, ' B']], tuple[Float[Array, ' B'], Float[Array, ' B']]]


class AdversarialLoss(NamedTuple):
  """A pair of losses.

  discriminator: (keys [B], real_logits [B, ...], fake_logits [B, ...]) -> loss of each logit, [B, ...].
  generator: (fake_logits [B, ...], real_logits) -> [B, ...]; `real_logits` is a function that returns logits of real
    images, perhaps of another number of them. It costs a pass of the discriminator: only losses that need it call it.
  has_floor: whether the discriminator's loss is never negative. A loss near 0 then means that the discriminator tells
    every fake; without a floor it means nothing.
  """

  discriminator: Callable[[Key[Array, ' B'], Logits, Logits], Logits]
  generator: Callable[[Logits, Callable[[], Logits]], Logits]
  has_floor: bool


def targets(real: float = 1.0, fake: float = 0.0, flipped: float = 0.0) -> Targets:
  """What the discriminator should answer.

  Args:
    real: target of real images, in [0, 1]; 0.9 is one-sided label smoothing.
    fake: target of fakes, in [0, 1]; 0.1 with real = 0.9 smooths both sides, which Salimans et al. advise against.
    flipped: probability that a real image gets the target of fakes, and independently of it a fake that of real ones.

  References: Salimans et al. 2016, section 3.4 (smoothing).
  """

  def hard_or_smooth(keys: Key[Array, ' B']) -> tuple[Float[Array, ' B'], Float[Array, ' B']]:
    return jnp.full(keys.shape, real, jnp.float32), jnp.full(keys.shape, fake, jnp.float32)

  def noisy(keys: Key[Array, ' B']) -> tuple[Float[Array, ' B'], Float[Array, ' B']]:
    flips = jax.vmap(lambda key: jax.random.bernoulli(key, flipped, (2,)))(keys)
    real_targets, fake_targets = hard_or_smooth(keys)
    return (
      jnp.where(flips[:, 0], fake_targets, real_targets),
      jnp.where(flips[:, 1], real_targets, fake_targets),
    )

  return noisy if flipped else hard_or_smooth


def cross_entropy(logits: Logits, targets: Float[Array, ' B']) -> Logits:
  """-t log D - (1 - t) log(1 - D) for D = sigmoid(logits), [B, ...], and targets t in [0, 1], [B]; always finite."""
  targets = _broadcast(targets, logits)
  return targets * softplus(-logits) + (1 - targets) * softplus(logits)


def non_saturating(targets: Targets) -> AdversarialLoss:
  """D: cross entropy. G: -log D(fake), whose gradients are strong while D still recognises the fakes.

  References: Goodfellow et al. 2014, equation 1 and section 3.
  """

  def generator(fake_logits: Logits, real_logits: Callable[[], Logits]) -> Logits:
    del real_logits
    return softplus(-fake_logits)

  return AdversarialLoss(_classify(targets), generator, has_floor=True)


def saturating(targets: Targets) -> AdversarialLoss:
  """D: cross entropy. G: log(1 - D(fake)), the minimax game as written in Goodfellow et al. 2014, equation 1."""

  def generator(fake_logits: Logits, real_logits: Callable[[], Logits]) -> Logits:
    del real_logits
    return -softplus(fake_logits)

  return AdversarialLoss(_classify(targets), generator, has_floor=True)


def least_squares(targets: Targets) -> AdversarialLoss:
  """Half the squared distance of the logit to its target; G's target is 1 and D's are `targets`.

  References: Mao et al. 2017, equation 9.
  """

  def discriminator(keys: Key[Array, ' B'], real_logits: Logits, fake_logits: Logits) -> Logits:
    real_targets, fake_targets = (_broadcast(target, real_logits) for target in targets(keys))
    return 0.5 * (real_logits - real_targets) ** 2 + 0.5 * (fake_logits - fake_targets) ** 2

  def generator(fake_logits: Logits, real_logits: Callable[[], Logits]) -> Logits:
    del real_logits
    return 0.5 * (fake_logits - 1) ** 2

  return AdversarialLoss(discriminator, generator, has_floor=True)


def hinge() -> AdversarialLoss:
  """D: max(0, 1 - real) + max(0, 1 + fake), which asks for no more than a margin of 1. G: -fake.

  References: Lim & Ye 2017 (geometric GAN); Miyato et al. 2018, equations 16 and 17.
  """

  def discriminator(keys: Key[Array, ' B'], real_logits: Logits, fake_logits: Logits) -> Logits:
    del keys
    return relu(1 - real_logits) + relu(1 + fake_logits)

  return AdversarialLoss(discriminator, _raise_logits, has_floor=True)


def wasserstein() -> AdversarialLoss:
  """D: fake - real. G: -fake. D must be kept Lipschitz by weight clipping, a penalty or spectral normalisation.

  References: Arjovsky et al. 2017, algorithm 1.
  """

  def discriminator(keys: Key[Array, ' B'], real_logits: Logits, fake_logits: Logits) -> Logits:
    del keys
    return fake_logits - real_logits

  return AdversarialLoss(discriminator, _raise_logits, has_floor=False)


def relativistic_average(mean: Callable[[Logits], Scalar]) -> AdversarialLoss:
  """Real images should look more real than the average fake, and fakes less than the average real image (RaSGAN).

  D: -log sigmoid(real - mean fake) - log(1 - sigmoid(fake - mean real)). G: the same with real and fake exchanged.
  G's second term is a mean over the real images, the same for every fake, so there may be another number of them.

  Args:
    mean: logits [B, ...] of this device -> their mean over the global batch, []; differentiable.

  References: Jolicoeur-Martineau 2019.
  """

  def discriminator(keys: Key[Array, ' B'], real_logits: Logits, fake_logits: Logits) -> Logits:
    del keys
    return softplus(mean(fake_logits) - real_logits) + softplus(fake_logits - mean(real_logits))

  def generator(fake_logits: Logits, real_logits: Callable[[], Logits]) -> Logits:
    logits = real_logits()
    return softplus(mean(logits) - fake_logits) + mean(softplus(logits - mean(fake_logits)))

  return AdversarialLoss(discriminator, generator, has_floor=True)


def _classify(targets: Targets) -> Callable[[Key[Array, ' B'], Logits, Logits], Logits]:
  """The discriminator's cross entropy: 2 log 2 where it cannot decide between hard targets."""

  def discriminator(keys: Key[Array, ' B'], real_logits: Logits, fake_logits: Logits) -> Logits:
    real_targets, fake_targets = targets(keys)
    return cross_entropy(real_logits, real_targets) + cross_entropy(fake_logits, fake_targets)

  return discriminator


def _raise_logits(fake_logits: Logits, real_logits: Callable[[], Logits]) -> Logits:
  del real_logits
  return -fake_logits


def _broadcast(targets: Float[Array, ' B'], logits: Logits) -> Float[Array, 'B ...']:
  """The target of each example for all of its logits, [B, 1, ...]."""
  return targets.reshape(-1, *(1,) * (logits.ndim - 1))
