"""Rates of optimisation from plain numbers: optimisers, schedules, bounds, the averaging of the generator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Rate = float | optax.Schedule


def adam(
  learning_rate: Rate, b1: float, b2: float, epsilon: float, weight_decay: float
) -> optax.GradientTransformation:
  """Adam (Kingma & Ba 2015); weight_decay is not used."""
  del weight_decay
  return optax.adam(learning_rate, b1=b1, b2=b2, eps=epsilon)


def adamw(
  learning_rate: Rate, b1: float, b2: float, epsilon: float, weight_decay: float
) -> optax.GradientTransformation:
  """Adam whose every parameter, biases and gains too, also shrinks by learning_rate * weight_decay of itself a step.

  References: Loshchilov & Hutter 2019.
  """
  return optax.adamw(learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay)


def rmsprop(
  learning_rate: Rate, b1: float, b2: float, epsilon: float, weight_decay: float
) -> optax.GradientTransformation:
  """RMSProp: b2 is the decay of the mean square, b1 the momentum; weight_decay is not used."""
  del weight_decay
  # As in Adam (and PyTorch), epsilon is added to the root; 1e-8 under the root would act as 1e-4 there.
  return optax.rmsprop(learning_rate, decay=b2, eps=epsilon, eps_in_sqrt=False, momentum=b1 or None)


def sgd(learning_rate: Rate, b1: float, b2: float, epsilon: float, weight_decay: float) -> optax.GradientTransformation:
  """Gradient descent with momentum b1; b2, epsilon and weight_decay are not used."""
  del b2, epsilon, weight_decay
  return optax.sgd(learning_rate, momentum=b1 or None)


def constant(peak: float, steps: int) -> optax.Schedule:
  """The same rate for ever."""
  del steps
  return optax.constant_schedule(peak)


def linear(peak: float, steps: int) -> optax.Schedule:
  """From the peak in a straight line to 0 after `steps` updates, and 0 from then on."""
  return optax.linear_schedule(peak, 0.0, steps)


def cosine(peak: float, steps: int) -> optax.Schedule:
  """From the peak along half a cosine to 0 after `steps` updates, and 0 from then on. Loshchilov & Hutter 2017."""
  return optax.cosine_decay_schedule(peak, steps)


def learning_rate_schedule(
  peak: float, *, decay: Callable[[float, int], optax.Schedule], steps: int, warm_up: int
) -> Rate:
  """The learning rate of each update, counted from 0.

  Args:
    peak: the highest rate.
    decay: constant, linear or cosine; it begins when the warm-up has ended, and ends at `steps`.
    steps: updates of the whole training, warm-up included; more than warm_up.
    warm_up: updates over which the rate rises in a straight line. The first update has peak / warm_up and not 0, which
      would waste it; update number warm_up - 1, the last of them, has the peak. 0: no warm-up.

  Returns:
    A schedule; where the rate never changes a plain number, with which optimisers keep no count of updates.
  """
  if decay is constant and not warm_up:
    return peak
  after = decay(peak, steps - warm_up)
  if not warm_up:
    return after
  rise = optax.linear_schedule(peak / warm_up, peak + peak / warm_up, warm_up)
  return optax.join_schedules([rise, after], [warm_up])


def constrain(
  optimizer: optax.GradientTransformation,
  *,
  clip_value: float | None,
  clip_norm: float | None,
  weight_clip: float | None,
) -> optax.GradientTransformation:
  """Bounds what goes into an optimiser and what comes out; the optimiser itself where all are None.

  Args:
    optimizer: to be bounded.
    clip_value: largest magnitude of a gradient's element; applied first.
    clip_norm: largest norm of the whole gradient.
    weight_clip: largest magnitude of a parameter after the update.
  """
  before = [optax.clip(clip_value)] if clip_value is not None else []
  before += [optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else []
  after = [clip_weights(weight_clip)] if weight_clip is not None else []
  return optax.chain(*before, optimizer, *after) if before or after else optimizer


def clip_weights(bound: float) -> optax.GradientTransformation:
  """Makes updates end inside: every parameter, biases and gains too, is in [-bound, bound] afterwards, to rounding.

  The last of a chain. References: Arjovsky et al. 2017, algorithm 1.
  """

  def update(updates: optax.Updates, state: optax.EmptyState, params: optax.Params) -> tuple:
    clipped = jax.tree.map(lambda old, change: jnp.clip(old + change, -bound, bound) - old, params, updates)
    return clipped, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def ema_decay(batch_size: int, *, half_life: float, ramp_up: float) -> Callable[[jax.Array], jax.Array]:
  """Decay of the moving average of weights: step -> fraction kept, in [0, 1).

  Args:
    batch_size: images per step.
    half_life: images after which a generator's weight in the average has halved.
    ramp_up: early on the half-life is at most this share of the images seen, so that the average forgets the
      untrained generator quickly.

  References: Karras et al. 2020 (StyleGAN2-ADA), whose ramp-up this is.
  """

  def decay(step: jax.Array) -> jax.Array:
    images = jnp.minimum(half_life, ramp_up * batch_size * step.astype(jnp.float32))
    return 0.5 ** (batch_size / jnp.maximum(images, 1e-8))

  return decay
