"""Semantic inpainting: a hole in an image is filled with what a trained generator would have there.

Yeh et al. 2017, "Semantic image inpainting with deep generative models": the z is searched whose image agrees with the
known pixels around the hole and looks real to the discriminator; its pixels, blended in by Poisson's equation, fill the
hole. Several searches find several completions.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.drawing import latents, sample
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

# Of pictures of masks: the largest difference within a colour, the lightest black, and the share of greys at edges.
_SAME_COLOUR = 16
_BLACK = 32
_MOST_GREY = 0.1


class Completions(NamedTuple):
  """The K best completions of each image, best first.

  images: uint8 [N, K, H, W, C]; the known pixels are those of the image, the hole is blended in.
  unblended: uint8 [N, K, H, W, C]; the same with the generator's own pixels in the hole.
  generated: uint8 [N, K, H, W, C]; the whole image the generator made.
  losses: of the search, float32 [N, K].
  z: float32 [N, K, Z].
  labels: int32 [N, K]; None of an unconditional run.
  """

  images: np.ndarray
  unblended: np.ndarray
  generated: np.ndarray
  losses: np.ndarray
  z: np.ndarray
  labels: np.ndarray | None


def centre(shape: tuple[int, ...]) -> np.ndarray:
  """Mask of images [H, W, C] whose central rectangle of half the sides is missing, bool [H, W]; True is missing."""
  height, width = shape[:2]
  missing = np.zeros((height, width), bool)
  missing[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = True
  return missing


def left(shape: tuple[int, ...]) -> np.ndarray:
  """Mask of images [H, W, C] whose left half is missing, bool [H, W]; True is missing."""
  missing = np.zeros(shape[:2], bool)
  missing[:, : shape[1] // 2] = True
  return missing


MASKS = {'centre': centre, 'left': left}


def random(shape: tuple[int, ...], num: int, *, share: float, seed: int = 0) -> np.ndarray:
  """Masks of `num` images [H, W, C] with single pixels missing, bool [num, H, W]; True is missing.

  Args:
    shape: of the images.
    num: how many masks; mask i depends on the seed and i alone.
    share: of the pixels that are missing, in every mask the same number.
    seed: of the masks.
  """
  height, width = shape[:2]
  first = np.arange(height * width) < round(share * height * width)
  permuted = [np.random.default_rng((seed, i)).permutation(first) for i in range(num)]
  return np.reshape(permuted, (num, height, width))


def hole(picture: np.ndarray) -> np.ndarray:
  """What is missing in a picture of a mask, bool [h, w].

  Without transparency it is white, and what is known is black. Of a layer with strokes of one colour it is the strokes,
  and of a photograph that was erased in part it is what is transparent.

  Args:
    picture: uint8 [h, w, 4], RGB and opacity.

  Raises:
    DataError: the picture is neither.
  """
  opaque, colours = picture[..., 3] > 127, picture[..., :3]
  if not opaque.all():
    drawn = colours[opaque]
    if len(drawn) == 0 or np.ptp(drawn, axis=0).max() <= _SAME_COLOUR:
      return opaque
    if np.isin(drawn, (0, 255)).all() and len(np.unique(drawn, axis=0)) == 2:
      raise DataError(
        'A mask has black and white, or strokes and transparency, not all of them; fill what is transparent'
      )
    return ~opaque
  grey = images.to_grey(colours)[..., 0]
  levels = np.unique(grey)
  if len(levels) == 2:
    return grey == levels[1]
  share = ((grey > _BLACK) & (grey < 255 - _BLACK)).mean()
  if share > _MOST_GREY:
    raise DataError(
      f'A mask is black and white, white where something is missing, and {share:.0%} of this picture is grey; '
      'is it the mask?'
    )
  return grey > 127


def fit(picture: np.ndarray, shape: tuple[int, ...], *, crop: int | None = None) -> np.ndarray:
  """A mask out of a picture: the central part of its `hole` at the size of images by the nearest pixel, bool [H, W].

  Args:
    picture: uint8 [h, w, 4], RGB and opacity.
    shape: of the images, [H, W, C].
    crop: side of the central square in pixels; None takes the largest.

  Raises:
    DataError: the picture is no mask.
  """
  missing = hole(picture)
  *corner, tall, wide = images.central_part(*missing.shape, shape[:2], crop=crop)
  rows, columns = (
    first + ((np.arange(size) + 0.5) * side / size).astype(int)
    for first, side, size in zip(corner, (tall, wide), shape[:2], strict=True)
  )
  return missing[rows[:, None], columns]


def context_weights(missing: np.ndarray, *, window: int = 7) -> np.ndarray:
  """How much each known pixel tells of the hole: the share of missing pixels in the window around it; 0 in the hole.

  Args:
    missing: bool [H, W] or [N, H, W].
    window: its side, odd. At the border it is the part of the window that is inside the image.

  Returns:
    float32, in [0, 1], of the shape of `missing`.

  References: Yeh et al. 2017, equation 2.
  """
  from scipy import ndimage

  sides = (1,) * (missing.ndim - 2) + (window, window)
  mean = lambda x: ndimage.uniform_filter(x.astype(np.float64), sides, mode='constant')
  share = mean(missing) / mean(np.ones_like(missing))
  # The filter keeps running sums, so that a window without a hole may be left with a trace.
  return np.where(missing | (share < 0.5 / window**2), 0, share).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Loss:
  """What the search for z minimises: disagreement with the known pixels, and how unlikely the whole image is.

    sum of W |G(z) - y| / sum of W  +  prior_weight * log(1 - D(G(z)))  +  latent_weight * mean of z^2

  The first term is a weighted mean over pixels and channels, in [0, 2], so that neither the size of the image nor that
  of the hole changes what the weights of the others mean. The last one is of normal z what limits are of uniform ones.
  Losses of the same networks are equal, so that one program serves.

  generator: (variables, z [B, Z], labels) -> images in [-1, 1], [B, H, W, C].
  discriminator: (variables, images, labels) -> (logits [B], features).

  References: Yeh et al. 2017, equations 2 to 4, where the first term is a sum, z is uniform, and the last is not.
  """

  generator: Callable
  discriminator: Callable

  def __call__(self, z: jax.Array, context: dict[str, Any]) -> jax.Array:
    """Losses of z [B, Z], [B].

    Args:
      z: [B, Z].
      context: 'variables' of both networks; 'target', images in [-1, 1], [B, H, W, C]; 'weights' [B, H, W];
        'labels' [B] or None; 'prior_weight' [] and 'latent_weight' [].
    """
    fake = self.generator(context['variables']['generator'], z, context['labels'])
    distance = jnp.abs(fake - context['target']).mean(axis=-1)
    disagreement = (context['weights'] * distance).sum(axis=(1, 2)) / context['weights'].sum(axis=(1, 2))
    logits, _ = self.discriminator(context['variables']['discriminator'], fake, context['labels'])
    # log(1 - sigmoid(x)) = -softplus(x), finite at any logit.
    unreal, unlikely = -jax.nn.softplus(logits), (z**2).mean(axis=1)
    return disagreement + context['prior_weight'] * unreal + context['latent_weight'] * unlikely


def check_shape(shape: tuple[int, ...]) -> None:
  """Raises a DataError where examples of this shape are no images."""
  if not sample.is_image(shape):
    raise DataError(f'Examples of this run have the shape {shape}; only images [H, W, 1 or 3] can be inpainted')


def inpaint(
  run: Any,
  x: np.ndarray,
  missing: np.ndarray,
  *,
  completions: int = 4,
  restarts: int = 16,
  steps: int = 300,
  learning_rate: float = 0.1,
  prior_weight: float = 0.003,
  latent_weight: float = 0.1,
  window: int = 7,
  label: int | None = None,
  seed: int = 0,
  rows: int = 64,
) -> Completions:
  """Fills the holes of images.

  Args:
    run: a restored run of images.
    x: uint8 [N, H, W, C] of the run's shape; what is in the hole has no effect.
    missing: bool [H, W] for all images or [N, H, W], True in the hole.
    completions: K, how many to return of each image, at most `restarts`.
    restarts: searches per image, from z drawn by `seed`, the same ones for every image.
    steps: of Adam.
    learning_rate: of Adam, at first.
    prior_weight: of the discriminator's opinion, against the known pixels.
    latent_weight: of the density of z, against the known pixels, where z is normal; uniform z are kept in their limits.
    window: of `context_weights`.
    label: the class to search in, of a run with labels; None: one class after the other, restart i in i mod classes.
    seed: of the starting points.
    rows: searches that run side by side. The last ones are filled up, so that one program is compiled for any number of
      images; changes the result by rounding alone, unless the discriminator compares the images of a batch.

  Raises:
    DataError: the images are none, or not of the run's shape, or a mask is of another shape or covers all or nothing.
    ConfigError: more completions than restarts; an even window; a label where there are none, or that does not exist.
  """
  x, missing = _check(run.shape, x, missing)
  if not 1 <= completions <= restarts:
    raise ConfigError(f'{completions} completions of {restarts} restarts; expected 1 to {restarts} completions')
  if window < 3 or window % 2 == 0:
    raise ConfigError(f'The window is {window}; expected an odd number from 3')
  labels = run.labels(restarts, label)
  starts = run.latents(restarts, seed=seed)
  target = images.to_float(x)
  weights = context_weights(missing, window=window)
  loss = Loss(run.generator, run.discriminator)
  shared = {'variables': run.variables, 'prior_weight': np.float32(prior_weight)}
  shared['latent_weight'] = np.float32(latent_weight if run.latent_limit is None else 0)
  of_labels = lambda restart: None if labels is None else labels[restart]

  # Search from every starting point for every image.
  z, losses = [], []
  for rows_now, count in _chunks(len(x) * restarts, rows):
    image, restart = np.divmod(rows_now, restarts)
    context = shared | {'target': target[image], 'weights': weights[image], 'labels': of_labels(restart)}
    found = latents.minimise(
      loss, jnp.asarray(starts[restart]), context, steps=steps, learning_rate=learning_rate, limit=run.latent_limit
    )
    z.append(np.asarray(found[0])[:count])
    losses.append(np.asarray(found[1])[:count])
  z, losses = np.concatenate(z).reshape(len(x), restarts, -1), np.concatenate(losses).reshape(len(x), restarts)

  # Keep the best of each image.
  best = np.argsort(losses, axis=1, kind='stable')[:, :completions]
  z, losses = np.take_along_axis(z, best[:, :, None], axis=1), np.take_along_axis(losses, best, axis=1)
  labels = None if labels is None else labels[best]
  flat_z, flat_labels = z.reshape(-1, z.shape[-1]), None if labels is None else labels.reshape(-1)
  generated = np.concatenate([
    np.asarray(run.generator(run.variables['generator'], flat_z[i], None if labels is None else flat_labels[i]))[:count]
    for i, count in _chunks(len(flat_z), rows)
  ]).reshape(*best.shape, *run.shape)  # fmt: skip

  # Blend them in.
  blended = np.stack([blend(*parts) for parts in zip(target, generated, missing, strict=True)])
  originals, hole = x[:, None], missing[:, None, :, :, None]
  in_hole = lambda filling: np.where(hole, images.to_uint8(filling), originals)
  return Completions(in_hole(blended), in_hole(generated), images.to_uint8(generated), losses, z, labels)


def blend(target: np.ndarray, generated: np.ndarray, missing: np.ndarray) -> np.ndarray:
  """Pastes the generated content of the hole in without a seam, by Poisson's equation.

  In the hole the result has the Laplacian of the generated image, and at the hole's edge the values of the known
  pixels; where the hole reaches the image's border there is no condition (Perez et al., equation 7).

  Args:
    target: the image, [H, W, C]; what is in the hole has no effect.
    generated: [..., H, W, C], one or several fillings.
    missing: the hole, bool [H, W].

  Returns:
    float64 [..., H, W, C], the target outside the hole; within, values may lie outside [-1, 1].

  References: Perez, Gangnet and Blake 2003, "Poisson image editing", section 3; Yeh et al. 2017, section 3.4.
  """
  from scipy.sparse import linalg

  # Not OpenCV's seamlessClone: it takes 8 bits and three channels, changes known pixels, and fails at holes that touch
  # the border or are scattered. SciPy has the Laplacian of the pixels' grid and its solver.
  laplacian = linalg.LaplacianNd(missing.shape, boundary_conditions='neumann', dtype=np.float64).tosparse().tocsc()
  hole = missing.ravel()
  # The result is the generated image plus a correction: that of the known pixels outside, harmonic inside.
  correction = np.moveaxis(np.subtract(target, generated, dtype=np.float64), (-3, -2), (0, 1))
  shape, correction = correction.shape, correction.reshape(hole.size, -1)
  inner = laplacian[hole]
  correction[hole] = linalg.splu(inner[:, hole]).solve(-(inner[:, ~hole] @ correction[~hole]))
  return generated + np.moveaxis(correction.reshape(shape), (0, 1), (-3, -2))


def sheet(x: np.ndarray, missing: np.ndarray, completions: np.ndarray) -> np.ndarray:
  """A row per image: the image, the image with a grey hole, its completions.

  Args:
    x: uint8 [N, H, W, C].
    missing: bool [H, W] or [N, H, W].
    completions: uint8 [N, K, H, W, C].

  Returns:
    uint8 [height, width, C].
  """
  holes = np.where(np.broadcast_to(missing, x.shape[:3])[..., None], np.uint8(128), x)
  rows = np.concatenate([x[:, None], holes[:, None], completions], axis=1)
  return images.grid(rows.reshape(-1, *x.shape[1:]), columns=rows.shape[1])


def _chunks(num: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Indices 0 .. num - 1, `size` at a time, the last filled up by repetition, and how many of them count."""
  for first in range(0, num, size):
    yield np.minimum(np.arange(first, first + size), num - 1), min(size, num - first)


def _check(shape: tuple[int, ...], x: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The images, and a mask for each."""
  check_shape(shape)
  x, missing = np.asarray(x), np.asarray(missing)
  if x.dtype != np.uint8 or x.shape[1:] != shape or not len(x):
    raise DataError(
      f'The images are {x.dtype} of shape {x.shape}; expected uint8 [N, {", ".join(map(str, shape))}] with N from 1'
    )
  if missing.dtype != bool or missing.shape not in (shape[:2], (len(x), *shape[:2])):
    raise DataError(
      f'The mask is {missing.dtype} of shape {missing.shape}; expected bool [{shape[0]}, {shape[1]}], '
      f'or {len(x)} of these'
    )
  missing = np.broadcast_to(missing, (len(x), *shape[:2]))
  for i, share in enumerate(missing.mean(axis=(1, 2))):
    if share in (0, 1):
      raise DataError(
        f'The mask of image {i} covers {"all" if share else "no"} pixels; '
        'expected a hole (white in a mask file) with known pixels (black) around it'
      )
  return x, missing
