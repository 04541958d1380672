"""How little an image looks like what a GAN was trained on: AnoGAN, and distances between discriminator features.

AnoGAN (Schlegl et al. 2017) searches the z whose image is nearest to the one in question and scores what the search
leaves. The fast score needs no search: how far the discriminator's features lie from those of normal images. A number
means something only beside the baselines, PCA and raw pixels, which cost next to nothing.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dcgan_jax.applications import linear_probe
from dcgan_jax.drawing import latents
from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

FEATURE_WEIGHT = 0.1  # lambda of Schlegl et al. 2017, section 2.2
# The sheet: pictures in a row, how many with the highest scores it shows, and how many with the lowest.
COLUMNS, HIGHEST, LOWEST = 12, 24, 12


class Found(NamedTuple):
  """What a search found for each of N images: the score and its two parts, [N], and the nearest images of the
  generator, uint8 [N, *shape]."""

  score: np.ndarray
  residual: np.ndarray
  features: np.ndarray
  nearest: np.ndarray


class AnoGAN:
  """Scores images by what the nearest image of a generator cannot explain of them.

  The loss of a z, and the score of the best one: (1 - weight) * mean|x - G(z)| + weight * mean|f(x) - f(G(z))|, where
  f is the discriminator's last convolution. Both are means over elements where the paper has sums, so that the weight
  means the same for every size of image and network.

  References: Schlegl et al. 2017, "Unsupervised anomaly detection with generative adversarial networks to guide marker
  discovery", sections 2.2 and 2.3.
  """

  def __init__(
    self,
    generator: Callable,
    discriminator: Callable,
    variables: Mapping[str, dict],
    *,
    weight: float = FEATURE_WEIGHT,
    limit: float | None = None,
  ):
    """Takes what `Run` calls by the same names.

    Args:
      generator: (variables, z [B, Z], labels) -> examples in [-1, 1], [B, *shape].
      discriminator: (variables, x [B, *shape], labels) -> logits [B] and the activations of each layer, [B, ...].
      variables: of 'generator' and 'discriminator'.
      weight: lambda, of the features, in [0, 1].
      limit: z stays within [-limit, limit]; None: no limit.
    """
    self._generator, self._discriminator = generator, discriminator
    self._variables = dict(variables)
    self._limit = limit

    # One object for the life of the search, so that one program is compiled.
    def loss(z, context):
      _, residual, features = self._compare(z, context)
      return (1 - weight) * residual + weight * features

    self._loss = loss
    self._weight = weight

  def search(
    self,
    examples: np.ndarray,
    starts: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    steps: int = 100,
    learning_rate: float = 0.1,
    rows: int = 64,
    report: Callable[[str], None] = lambda line: None,
  ) -> Found:
    """Searches for each image from every start, and keeps the z of the lowest loss.

    Args:
      examples: uint8 [N, *shape].
      starts: z to begin from, [R, Z], the same for every image.
      labels: of the starts, int32 [R], of a run with labels.
      steps: of Adam; the paper's 500 let a good generator come near to anomalies too (docs/anomaly.md).
      learning_rate: of Adam, at first.
      rows: z in one program, which bounds the memory; no effect on the result but rounding.
      report: called with a line of progress.

    Raises:
      DataError: no examples, or a score that is not finite.
    """
    if not len(examples):
      raise DataError('There are no images to score')
    size = min(max(1, rows // len(starts)), len(examples))
    chunks = []
    for first in range(0, len(examples), size):
      # The last chunk is filled up, so that one program is compiled.
      chosen = np.minimum(np.arange(first, first + size), len(examples) - 1)
      found = self._search(examples[chosen], starts, labels, steps, learning_rate)
      chunks.append(Found(*(part[: len(examples) - first] for part in found)))
      report(f'{min(first + size, len(examples)):,} of {len(examples):,} images searched')
    return Found(*map(np.concatenate, zip(*chunks, strict=True)))

  def _search(self, examples, starts, labels, steps, learning_rate):
    number, restarts = len(examples), len(starts)
    x = jnp.repeat(jnp.asarray(images.to_float(examples)), restarts, axis=0)
    labels = None if labels is None else jnp.tile(jnp.asarray(labels), number)
    context = {'variables': self._variables, 'x': x, 'labels': labels, 'features': self._features(x, labels)}
    z, losses = latents.minimise(
      self._loss, jnp.tile(jnp.asarray(starts), (number, 1)), context, steps=steps, learning_rate=learning_rate,
      limit=self._limit,
    )  # fmt: skip
    nearest, residual, features = self._compare(z, context)
    best = np.arange(number) * restarts + np.asarray(losses).reshape(number, restarts).argmin(axis=1)
    residual, features = np.asarray(residual)[best], np.asarray(features)[best]
    score = (1 - self._weight) * residual + self._weight * features
    if not np.isfinite(score).all():
      raise DataError('Some scores are NaN or infinite; has the run diverged?')
    return Found(score, residual, features, images.to_uint8(np.asarray(nearest)[best]))

  def _compare(self, z, context):
    """The image of each z, [B, *shape], and how it differs from x: residual and features, [B] and [B]."""
    nearest = self._generator(context['variables']['generator'], z, context['labels'])
    features = self._discriminator(context['variables']['discriminator'], nearest, context['labels'])[1][-1]
    return nearest, _mean_difference(nearest, context['x']), _mean_difference(features, context['features'])

  def _features(self, x, labels):
    return self._discriminator(self._variables['discriminator'], x, labels)[1][-1]


def _mean_difference(a, b):
  return jnp.abs(a - b).astype(jnp.float32).mean(axis=tuple(range(1, a.ndim)))


def feature_scores(
  features: Callable, normal: np.ndarray, examples: np.ndarray, *, k: int = 5
) -> tuple[np.ndarray, np.ndarray]:
  """The fast score: how far an image's features lie from those of the nearest normal images.

  Args:
    features: of uint8 examples, [B, *shape] -> [B, F], such as `Run.features`.
    normal: uint8 [M, *shape].
    examples: uint8 [N, *shape].
    k: neighbours.

  Returns:
    As `neighbour_scores`.

  References: Bergman, Cohen and Hoshen 2020, "Deep nearest neighbor anomaly detection", on another network's features.
  """
  check_neighbours(normal, k)
  return neighbour_scores(linear_probe.in_batches(features, normal), linear_probe.in_batches(features, examples), k=k)


def neighbour_scores(normal: np.ndarray, features: np.ndarray, *, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
  """Mean Euclidean distance to the k nearest of the normal points.

  Args:
    normal: [M, F].
    features: [N, F]; a point that is among the normal ones counts itself.
    k: from 1 to M.

  Returns:
    Scores [N], and the index of the nearest normal point, [N].

  Raises:
    DataError: fewer normal points than k, or features that are not finite.

  References: Angiulli and Pizzuti 2002, "Fast outlier detection in high dimensional spaces".
  """
  from sklearn.neighbors import NearestNeighbors

  check_neighbours(normal, k)
  if not (np.isfinite(normal).all() and np.isfinite(features).all()):
    raise DataError('Some features are NaN or infinite; has the run diverged?')
  distances, indices = NearestNeighbors(n_neighbors=k, algorithm='brute').fit(normal).kneighbors(features)
  return distances.mean(axis=1), indices[:, 0]


def check_neighbours(normal: np.ndarray, k: int) -> None:
  """Raises DataError where there are fewer normal images or features, [N, ...], than neighbours."""
  if len(normal) < k:
    raise DataError(f'{len(normal)} normal images are fewer than {k} neighbours; take fewer, or more images')


def pca_scores(normal: np.ndarray, features: np.ndarray, *, variance: float = 0.95) -> np.ndarray:
  """Mean squared error of the reconstruction by the principal components of the normal points: [N].

  Args:
    normal: [M, F].
    features: [N, F].
    variance: share of the normal points' variance that the components explain.
  """
  from sklearn.decomposition import PCA

  components = PCA(variance).fit(normal)
  return ((features - components.inverse_transform(components.transform(features))) ** 2).mean(axis=1)


def baselines(normal: np.ndarray, examples: np.ndarray, *, k: int = 5) -> dict[str, np.ndarray]:
  """By name the scores [N] of what knows no network, from uint8 [M, *shape] normal examples and [N, *shape]."""
  normal, pixels = linear_probe.pixels(normal), linear_probe.pixels(examples)
  return {
    'PCA reconstruction': pca_scores(normal, pixels),
    f'raw pixels, {k} nearest': neighbour_scores(normal, pixels, k=k)[0],
  }


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
  """Share of the pairs of an anomaly and a normal image in which the anomaly has the higher score; 0.5 is chance.

  Args:
    scores: [N].
    anomalous: bool [N].

  Raises:
    DataError: all images are normal, or none is.
  """
  from sklearn.metrics import roc_auc_score

  check_kinds(anomalous)
  return float(roc_auc_score(anomalous, scores))


def check_kinds(anomalous: np.ndarray) -> None:
  """Raises what `auroc` raises: a DataError where all images are normal, or none is."""
  if anomalous.all() or not anomalous.any():
    kind = 'an anomaly' if anomalous.all() else 'normal'
    raise DataError(f'Each of the {len(anomalous)} images is {kind}; an AUROC needs both, so take more images')


def heat_maps(examples: np.ndarray, nearest: np.ndarray) -> np.ndarray:
  """Where images differ from the nearest: in red over the image in grey, the largest difference of all full red.

  Args:
    examples, nearest: uint8 [N, H, W, C].

  Returns:
    uint8 [N, H, W, 3].

  References: Schlegl et al. 2017, section 2.3: the residual image |x - G(z)|; here the mean over its channels.
  """
  difference = np.abs(examples.astype(np.float32) - nearest).mean(axis=-1, keepdims=True)
  heat = difference / max(difference.max(), 1.0)
  grey = examples.astype(np.float32).mean(axis=-1, keepdims=True)
  return np.round((1 - heat) * grey / 2 + heat * np.array([255, 0, 0], np.float32)).astype(np.uint8)


def sheet(examples: np.ndarray, nearest: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Images, highest score first, over the nearest ones, over heat maps; of many the highest 24 and the lowest 12.

  Args:
    examples, nearest: uint8 [N, H, W, C], C 1 or 3.
    scores: [N].

  Returns:
    uint8 [H', W', 3].
  """
  order = np.argsort(-scores, kind='stable')
  if len(order) > HIGHEST + LOWEST:
    order = np.concatenate([order[:HIGHEST], order[-LOWEST:]])
  columns = min(COLUMNS, len(order))
  triples = [in_colour(examples[order]), in_colour(nearest[order]), heat_maps(examples[order], nearest[order])]
  empty = np.full((-len(order) % columns, *triples[0].shape[1:]), 128, np.uint8)
  rows = np.stack([np.concatenate([kind, empty]).reshape(-1, columns, *kind.shape[1:]) for kind in triples], axis=1)
  return images.grid(rows.reshape(-1, *triples[0].shape[1:]), columns=columns)


def in_colour(examples: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, 1 or 3] as [N, H, W, 3]."""
  return np.broadcast_to(examples, (*examples.shape[:-1], 3))
