"""Adversarial losses on logits: what the discriminator and the generator minimise, one value per example."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus

# keys [B] -> the probabilities of being real that D should give the real and the fake images, ([B], [B]).
Targets = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class AdversarialLoss(NamedTuple):
  """A pair of losses.

  discriminator: (keys [B], real_logits [B], fake_logits [B]) -> [B].
  generator: (fake_logits [B], real_logits) -> [B]; `real_logits` is a function that returns logits of real images,
    perhaps of another number of them. It costs a pass of the discriminator, so only losses that need it call it.
  has_floor: whether the discriminator's loss is never negative. A loss near 0 then means that the discriminator tells
    every fake; without a floor it means nothing.
  """

  discriminator: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
  generator: Callable[[jax.Array, Callable[[], jax.Array]], jax.Array]
  has_floor: bool


def targets(real: float = 1.0, fake: float = 0.0, flipped: float = 0.0) -> Targets:
  """What the discriminator should answer.

  Args:
    real: target of real images, in [0, 1]; 0.9 is one-sided label smoothing.
    fake: target of fakes, in [0, 1]; 0.1 with real = 0.9 smooths both sides, which Salimans et al. advise against.
    flipped: probability that a real image gets the target of fakes, and independently of it a fake that of real ones.

  References: Salimans et al. 2016, section 3.4 (smoothing).
  """

  def hard_or_smooth(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.full(keys.shape, real, jnp.float32), jnp.full(keys.shape, fake, jnp.float32)

  def noisy(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    flips = jax.vmap(lambda key: jax.random.bernoulli(key, flipped, (2,)))(keys)
    real_targets, fake_targets = hard_or_smooth(keys)
    return (
      jnp.where(flips[:, 0], fake_targets, real_targets),
      jnp.where(flips[:, 1], real_targets, fake_targets),
    )

  return noisy if flipped else hard_or_smooth


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
  """-t log D - (1 - t) log(1 - D) for D = sigmoid(logits), [B], of targets t in [0, 1], [B]; finite at any logit."""
  return targets * softplus(-logits) + (1 - targets) * softplus(logits)


def non_saturating(targets: Targets) -> AdversarialLoss:
  """D: cross entropy. G: -log D(fake), whose gradients are strong while D still recognises the fakes.

  References: Goodfellow et al. 2014, equation 1 and section 3.
  """

  def generator(fake_logits: jax.Array, real_logits: Callable[[], jax.Array]) -> jax.Array:
    del real_logits
    return softplus(-fake_logits)

  return AdversarialLoss(_classify(targets), generator, has_floor=True)


def saturating(targets: Targets) -> AdversarialLoss:
  """D: cross entropy. G: log(1 - D(fake)), the minimax game as written in Goodfellow et al. 2014, equation 1."""

  def generator(fake_logits: jax.Array, real_logits: Callable[[], jax.Array]) -> jax.Array:
    del real_logits
    return -softplus(fake_logits)

  return AdversarialLoss(_classify(targets), generator, has_floor=True)


def least_squares(targets: Targets) -> AdversarialLoss:
  """Half the squared distance of the logit to its target; G's target is 1 and D's are `targets`.

  References: Mao et al. 2017, equation 9.
  """

  def discriminator(keys: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    real_targets, fake_targets = targets(keys)
    return 0.5 * (real_logits - real_targets) ** 2 + 0.5 * (fake_logits - fake_targets) ** 2

  def generator(fake_logits: jax.Array, real_logits: Callable[[], jax.Array]) -> jax.Array:
    del real_logits
    return 0.5 * (fake_logits - 1) ** 2

  return AdversarialLoss(discriminator, generator, has_floor=True)


def hinge() -> AdversarialLoss:
  """D: max(0, 1 - real) + max(0, 1 + fake), which asks for no more than a margin of 1. G: -fake.

  References: Lim & Ye 2017 (geometric GAN); Miyato et al. 2018, equations 16 and 17.
  """

  def discriminator(keys: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    del keys
    return relu(1 - real_logits) + relu(1 + fake_logits)

  return AdversarialLoss(discriminator, _raise_logits, has_floor=True)


def wasserstein() -> AdversarialLoss:
  """D: fake - real. G: -fake. D must be kept Lipschitz by weight clipping, a penalty or spectral normalisation.

  References: Arjovsky et al. 2017, algorithm 1.
  """

  def discriminator(keys: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    del keys
    return fake_logits - real_logits

  return AdversarialLoss(discriminator, _raise_logits, has_floor=False)


def relativistic_average(mean: Callable[[jax.Array], jax.Array]) -> AdversarialLoss:
  """Real images should look more real than the average fake, and fakes less than the average real image (RaSGAN).

  D: -log sigmoid(real - mean fake) - log(1 - sigmoid(fake - mean real)). G: the same with real and fake exchanged.
  G's second term is a mean over the real images, the same for every fake, so there may be another number of them.

  Args:
    mean: logits [b] of this device -> their mean over the global batch, []; differentiable.

  References: Jolicoeur-Martineau 2019.
  """

  def discriminator(keys: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    del keys
    return softplus(mean(fake_logits) - real_logits) + softplus(fake_logits - mean(real_logits))

  def generator(fake_logits: jax.Array, real_logits: Callable[[], jax.Array]) -> jax.Array:
    logits = real_logits()
    return softplus(mean(logits) - fake_logits) + mean(softplus(logits - mean(fake_logits)))

  return AdversarialLoss(discriminator, generator, has_floor=True)


def _classify(targets: Targets) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
  """The discriminator's cross entropy: 2 log 2 where it cannot decide between hard targets."""

  def discriminator(keys: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    real_targets, fake_targets = targets(keys)
    return cross_entropy(real_logits, real_targets) + cross_entropy(fake_logits, fake_targets)

  return discriminator


def _raise_logits(fake_logits: jax.Array, real_logits: Callable[[], jax.Array]) -> jax.Array:
  del real_logits
  return -fake_logits
