"""What the discriminator sees: (keys, images) -> images, a key per example, differentiable.

Images are [B, H, W, C] in [-1, 1], where nothing else is said, and keys [B].
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Key

from dcgan_jax.keys import fold

Array = jax.Array | np.ndarray

Keys = Key[Array, ' B']
Images = Float[Array, 'B H W C']
Examples = Float[Array, 'B ...']

_PER_IMAGE = (slice(None), None, None, None)


def unchanged(keys: Keys, images: Examples) -> Examples:
  """The images themselves."""
  del keys
  return images


def flip(keys: Keys, images: Images) -> Images:
  """Mirrors each image left to right with probability one half."""
  mirrored = jax.vmap(jax.random.bernoulli)(keys)
  return jnp.where(mirrored[_PER_IMAGE], images[:, :, ::-1], images)


def color(keys: Keys, images: Images) -> Images:
  """Changes brightness by up to 1/2, saturation to 0 .. 2 and contrast to 1/2 .. 3/2 times what they are.

  References: Zhao et al. 2020 (DiffAugment), section 3 and the authors' code.
  """
  brightness, saturation, contrast = jnp.moveaxis(_uniform(keys, 3), 1, 0)
  images = images + (brightness - 0.5)[_PER_IMAGE]
  grey = images.mean(axis=-1, keepdims=True)
  images = grey + (images - grey) * (2 * saturation)[_PER_IMAGE]
  mean = images.mean(axis=(1, 2, 3), keepdims=True)
  return mean + (images - mean) * (contrast + 0.5)[_PER_IMAGE]


def translation(keys: Keys, images: Images, *, fraction: float = 0.125) -> Images:
  """Moves each image by whole pixels, up to `fraction` of its size, and fills up with zeros.

  References: Zhao et al. 2020 (DiffAugment), section 3 and the authors' code.
  """
  shifts = _uniform(keys, 2)
  for axis in (1, 2):
    size = images.shape[axis]
    furthest = round(size * fraction)
    shift = jnp.floor(shifts[:, axis - 1] * (2 * furthest + 1)).astype(jnp.int32) - furthest
    # A product with a shifted identity: its gradient is another one, and no scatter.
    source = jnp.arange(size)[None, :, None] + shift[:, None, None]
    moves = (source == jnp.arange(size)[None, None, :]).astype(images.dtype)
    images = jnp.einsum(('bij,bjwc->biwc', 'bij,bhjc->bhic')[axis - 1], moves, images, precision='highest')
  return images


def cutout(keys: Keys, images: Images, *, fraction: float = 0.5) -> Images:
  """Sets a square of `fraction` of the size to zero, its center anywhere in the image.

  References: Zhao et al. 2020 (DiffAugment), section 3 and the authors' code.
  """
  centers = _uniform(keys, 2)
  kept = []
  for axis in (1, 2):
    size = images.shape[axis]
    hole = round(size * fraction)
    first = jnp.floor(centers[:, axis - 1] * (size + 1 - hole % 2)).astype(jnp.int32) - hole // 2
    distance = jnp.arange(size)[None] - first[:, None]
    kept.append((distance < 0) | (distance >= hole))
  seen = kept[0][:, :, None, None] | kept[1][:, None, :, None]
  return jnp.where(seen, images, jnp.zeros((), images.dtype))


def noise(keys: Keys, images: Examples, deviation: Float[Array, ''] | float) -> Examples:
  """Adds N(0, deviation^2) to every pixel of examples of any shape. Soenderby et al. 2017, Arjovsky and Bottou 2017."""
  draws = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
  return images + deviation * draws


def fading_noise(
  deviation: float, *, steps: int
) -> Callable[[Keys, Float[Array, 'B ...'], Int[Array, '']], Float[Array, 'B ...']]:
  """(keys, images, step) -> images with noise that starts at `deviation` and falls linearly to none at `steps`."""
  return lambda keys, images, step: noise(keys, images, deviation * jnp.maximum(1 - step / steps, 0.0))


def sequence(parts: Sequence[Callable[..., Examples]]) -> Callable[..., Examples]:
  """One after the other, (keys, images, ...) -> images, each with keys of its own."""

  def augment(keys: Keys, images: Examples, *rest: Int[Array, '']) -> Examples:
    for i, part in enumerate(parts):
      images = part(fold(keys, i), images, *rest)
    return images

  return augment


def _uniform(keys: Keys, count: int) -> Float[Array, 'B count']:
  """U(0, 1) [B, count]."""
  return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
