"""Penalties on the discriminator's gradient with respect to its images, one value per example.

A critic maps images [B, *shape] to logits [B, ...]. The gradient at each image is taken as that of the sum of all
logits, which is valid only where examples do not see one another: with batch normalization or a minibatch layer in the
critic it would mix them.

Every term has the signature (keys [B], critic, real [B, *shape], fake [B, *shape]) -> [B]; what a step calls, `none`
or the result of `weighted`, has the step as its second argument besides.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Float, Int, Key, Scalar

from dcgan_jax.keys import fold

Array = jax.Array | np.ndarray

Examples = Float[Array, 'B ...']
Critic = Callable[[Examples], Float[Array, 'B ...']]
Term = Callable[[Key[Array, ' B'], Critic, Examples, Examples], Float[Array, ' B']]


def zero_centered(critic: Critic, images: Examples) -> Float[Array, ' B']:
  """Half the squared norm of the critic's gradient at images [B, *shape], [B]. Mescheder et al. 2018, equation 9."""
  return 0.5 * (_gradients(critic, images) ** 2).sum(-1)


def one_centered(critic: Critic, images: Examples) -> Float[Array, ' B']:
  """(|g| - 1)^2 of the critic's gradient g at images [B, *shape], [B]; its own gradient is 0 where g is 0."""
  return (optax.safe_norm(_gradients(critic, images), 0.0, axis=-1) - 1) ** 2


def r1(keys: Key[Array, ' B'], critic: Critic, real: Examples, fake: Examples) -> Float[Array, ' B']:
  """R1 penalty: half the squared norm of the critic's gradient at real images. Mescheder et al. 2018, section 4.1."""
  del keys, fake
  return zero_centered(critic, real)


def r2(keys: Key[Array, ' B'], critic: Critic, real: Examples, fake: Examples) -> Float[Array, ' B']:
  """R2 penalty: half the squared norm of the critic's gradient at fakes. Mescheder et al. 2018, section 4.1."""
  del keys, real
  return zero_centered(critic, fake)


def wgan_gp(keys: Key[Array, ' B'], critic: Critic, real: Examples, fake: Examples) -> Float[Array, ' B']:
  """Gradients of norm one at a uniformly random point between each real image and its fake. Gulrajani et al. 2017."""
  return one_centered(critic, _between(keys, real, fake))


def dragan(
  keys: Key[Array, ' B'],
  critic: Critic,
  real: Examples,
  fake: Examples,
  *,
  mean: Callable[[Scalar], Scalar],
) -> Float[Array, ' B']:
  """Gradients of norm one near real images: at a random point between each and a noisy copy of it.

  The noise is half the standard deviation of all pixels of the global batch times U(0, 1), so it only brightens.

  Args:
    keys: one per example, [B].
    critic: images [B, *shape] -> logits [B].
    real: images, [B, *shape].
    fake: not used.
    mean: this device's mean, [] -> that of the global batch, [].

  References: Kodali et al. 2017, algorithm 1; noise and interpolation as in the authors' code.
  """
  del fake
  deviation = jnp.sqrt(mean(((real - mean(real.mean())) ** 2).mean()))
  noise = jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:], real.dtype))(fold(keys, 0))
  return one_centered(critic, _between(fold(keys, 1), real, real + 0.5 * deviation * noise))


def none(
  keys: Key[Array, ' B'], step: Int[Array, ''], critic: Critic, real: Examples, fake: Examples
) -> Float[Array, ' B']:
  """No penalty: zeros [B]."""
  del step, critic, real, fake
  return jnp.zeros(keys.shape, jnp.float32)


def weighted(terms: Sequence[tuple[float, Term]], *, every: int) -> Callable:
  """The weighted sum of terms, each with randomness of its own.

  Args:
    terms: weights and functions (keys, critic, real, fake) -> [B].
    every: steps from one computation to the next, at least 1. In between the sum is zero and costs nothing; where it
      is computed it is multiplied by `every`, so that its mean over steps stays what the weights say.

  Returns:
    (keys [B], step [], critic, real, fake) -> [B]. The step must be the same on all devices, which then agree on
    what to compute.

  References: Karras et al. 2020 (StyleGAN2), section 3.1 (lazy regularisation).
  """

  def always(
    keys: Key[Array, ' B'], step: Int[Array, ''], critic: Critic, real: Examples, fake: Examples
  ) -> Float[Array, ' B']:
    del step
    values = [weight * term(fold(keys, i), critic, real, fake) for i, (weight, term) in enumerate(terms)]
    return sum(values[1:], values[0])

  def lazy(
    keys: Key[Array, ' B'], step: Int[Array, ''], critic: Critic, real: Examples, fake: Examples
  ) -> Float[Array, ' B']:
    # A condition and not a selection: only the branch that is taken runs.
    return lax.cond(
      step % every == 0,
      lambda: every * always(keys, step, critic, real, fake),
      lambda: jnp.zeros_like(real, jnp.float32, shape=keys.shape),
    )

  return always if every == 1 else lazy


def _gradients(critic: Critic, images: Examples) -> Float[Array, 'B pixels']:
  """The critic's gradient at each image, [B, number of pixels and channels]."""
  gradients = jax.grad(lambda x: critic(x).sum())(images)
  return gradients.reshape(images.shape[0], -1)


def _between(keys: Key[Array, ' B'], start: Examples, end: Examples) -> Examples:
  """A uniformly random point of the segment from each image of `start` to that of `end`, [B, *shape]."""
  fractions = jax.vmap(lambda key: jax.random.uniform(key, (1,) * (start.ndim - 1), start.dtype))(keys)
  return start + fractions * (end - start)
