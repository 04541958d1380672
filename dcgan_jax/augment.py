"""What the discriminator sees: (keys, images) -> images, a key per example, differentiable."""

import jax
import jax.numpy as jnp


def unchanged(keys: jax.Array, images: jax.Array) -> jax.Array:
  """The images themselves."""
  del keys
  return images


def flip(keys: jax.Array, images: jax.Array) -> jax.Array:
  """Mirrors each image [B, H, W, C] left to right with probability one half, by its key [B]."""
  mirrored = jax.vmap(jax.random.bernoulli)(keys)
  return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
