"""Random keys of a batch, one for each example."""

import jax
import jax.numpy as jnp


def fold(keys: jax.Array, use: int) -> jax.Array:
  """Derives other keys [B] from keys [B], for one of several uses; each depends on its own key and the use alone."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, jnp.uint32(use))
