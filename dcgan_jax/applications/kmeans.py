"""One layer of k-means on image patches (Coates, Ng and Lee 2011): a baseline for learned features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.errors import DataError


def kmeans_features(
  examples: np.ndarray, *, num_centroids: int = 400, patch_size: int = 6, num_patches: int = 100_000, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
  """Learns one layer of k-means from images: the baseline that trained networks long had to beat.

  Patches are normalised in contrast and whitened. A centroid responds to a patch by how much nearer than the average
  centroid it is, max(0, mean(z) - z_k); responses are summed over the image's quadrants.

  Args:
    examples: uint8 [N, H, W, C] to take patches from.
    num_centroids: K.
    patch_size: side of the patches in pixels, less than H and W.
    num_patches: how many to learn from.
    seed: of the patches and of k-means.

  Returns:
    A function of uint8 images [B, H, W, C] to features [B, 4 * K].

  Raises:
    DataError: no images, or smaller ones than a patch.

  References: Coates, Ng and Lee 2011, sections 3 and 4 (their patches, 6 x 6, and constants: 10 and 0.1).
  """
  if not fits_kmeans(examples.shape[1:], patch_size):
    raise DataError(
      f'k-means takes patches of {patch_size} x {patch_size} pixels from larger images [N, H, W, C], '
      f'not from examples {examples.shape}'
    )
  from sklearn.cluster import MiniBatchKMeans

  generator = np.random.default_rng(seed)
  sizes = (len(examples), *(side - patch_size + 1 for side in examples.shape[1:3]))
  corners = [generator.integers(0, n, num_patches) for n in sizes]
  patches = np.stack([
    examples[i, top : top + patch_size, left : left + patch_size].ravel()
    for i, top, left in zip(*corners, strict=True)
  ])  # fmt: skip
  patches = np.asarray(_normalise(patches.astype(np.float32)))
  mean = patches.mean(axis=0)
  variances, directions = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
  whitening = (directions / np.sqrt(np.maximum(variances, 0) + 0.1) @ directions.T).astype(np.float32)
  kmeans = MiniBatchKMeans(num_centroids, batch_size=4096, n_init=1, max_iter=50, random_state=seed)
  centroids = kmeans.fit((patches - mean) @ whitening).cluster_centers_.astype(np.float32)  # pyright: ignore[reportAttributeAccessIssue]
  encode = jax.jit(_encode, static_argnames='patch_size')
  return lambda batch: np.asarray(encode(batch, mean, whitening, centroids, patch_size=patch_size))


def fits_kmeans(shape: tuple[int, ...], patch_size: int = 6) -> bool:
  """Whether `kmeans_features` can learn from examples of a shape: [H, W, C], larger than a patch."""
  return len(shape) == 3 and min(shape[:2]) > patch_size


def _normalise(patches):
  """Patches [..., F] of pixel values 0..255 to mean 0 and about deviation 1 each."""
  patches = patches - patches.mean(axis=-1, keepdims=True)
  return patches / jnp.sqrt(patches.var(axis=-1, keepdims=True) + 10.0)


def _encode(examples, mean, whitening, centroids, *, patch_size):
  """Uint8 images [B, H, W, C] to the centroids' responses in four quadrants, [B, 4 * K]."""
  batch, height, width, _ = examples.shape
  rows, columns = height - patch_size + 1, width - patch_size + 1
  x = examples.astype(jnp.float32)
  shifts = [x[:, i : i + rows, j : j + columns] for i in range(patch_size) for j in range(patch_size)]
  patches = jnp.concatenate(shifts, axis=-1).reshape(batch * rows * columns, -1)
  patches = (_normalise(patches) - mean[np.newaxis]) @ whitening
  squares = (patches**2).sum(-1, keepdims=True) - 2 * patches @ centroids.T + (centroids**2).sum(-1)[np.newaxis]
  distances = jnp.sqrt(jnp.maximum(squares, 0.0))
  responses = jax.nn.relu(distances.mean(-1, keepdims=True) - distances).reshape(batch, rows, columns, -1)
  halves = lambda size: (slice(0, size // 2), slice(size // 2, size))
  quadrants = [responses[:, top, left].sum((1, 2)) for top in halves(rows) for left in halves(columns)]
  return jnp.concatenate(quadrants, axis=1)
