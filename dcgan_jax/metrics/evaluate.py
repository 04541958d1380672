"""All metrics of a sample against a reference, under names that carry the protocol."""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.errors import DataError
from dcgan_jax.metrics import cache, diversity, frechet, inception_score, kernel, neighbours, protocol
from dcgan_jax.metrics.features import FeatureNet, extract, with_bar
from dcgan_jax.metrics.statistics import FeatureStatistics

PRECISION_NEIGHBOURS = 3
COVERAGE_NEIGHBOURS = 5
INCEPTION_SPLITS = 10


class Reference(NamedTuple):
  """The real images that samples are compared with.

  split: 'train' or 'test'.
  num: how many images it has.
  batches: () -> uint8 images [b, H, W, C], in order.
  at: index -> uint8 image [H, W, C].
  identity: {'source': of the images}, for the protocol.
  labels: () -> their labels, int32 [num], or None if they have none.
  """

  split: str
  num: int
  batches: Callable[[], Iterable[np.ndarray]]
  at: Callable[[int], np.ndarray]
  identity: dict[str, Any]
  labels: Callable[[], np.ndarray | None] = lambda: None


class Evaluator:
  """Measures samples against one reference with one feature net; the reference's features are computed once."""

  def __init__(self, net: FeatureNet, mapped: Callable, reference: Reference, *, batch_size: int, cache: pathlib.Path):
    """Prepares; the reference is read when it is first needed.

    Args:
      net: the feature net.
      mapped: net.apply on all devices, as `parallel.compile_map` makes it.
      reference: the real images.
      batch_size: images at a time; changes the results by rounding alone.
      cache: folder where a reference's features are kept from run to run.
    """
    self.net = net
    self.reference = reference
    self._mapped = mapped
    self._batch_size = batch_size
    self._cache = cache
    self._real: np.ndarray | None = None

  def real_features(self) -> np.ndarray:
    """Features of the reference, float32 [N, F], from the cache if they are there."""
    if self._real is None:
      num, (pixels, shape) = self.reference.num, self._pixels
      identity = {'num': num, 'shape': shape, 'pixels_sha256': pixels}
      identity |= {'features': self.net.name, 'resize': self.net.resize, 'weights_sha256': self.net.sha256}
      fits = lambda arrays: arrays['features'].dtype == np.float32 and arrays['features'].shape[:-1] == (num,)
      self._real = cache.cached(self._cache, identity, self._extract_reference, fits)['features']
    return self._real

  def class_counts(self, num_classes: int) -> np.ndarray | None:
    """How many real images each of the classes of a generator has, [num_classes]; None if they have no labels.

    Raises:
      DataError: the reference has other classes.
    """
    # The labels come with the pixels, so that the images are read once.
    labels = self._pixels and self.reference.labels()
    if labels is None:
      return None
    if labels.max() >= num_classes:
      raise DataError(
        f'The reference (split {self.reference.split!r}) has images of class {labels.max()}; the generator knows the '
        f'classes 0 to {num_classes - 1}'
      )
    return np.bincount(labels, minlength=num_classes)

  @property
  def pixels_sha256(self) -> str:
    """SHA-256 of all pixels of the reference, in order, in hexadecimal digits."""
    return self._pixels[0]

  @functools.cached_property
  def _pixels(self) -> tuple[str, tuple[int, ...]]:
    """SHA-256 of all pixels of the reference, and the shape of an image."""
    digest, shape = hashlib.sha256(), ()
    for images in with_bar(self.reference.batches(), num=self.reference.num, title='Reading the reference'):
      digest.update(np.ascontiguousarray(images))
      shape = images.shape[1:]
    return digest.hexdigest(), shape

  def _extract_reference(self) -> dict[str, np.ndarray]:
    digest = hashlib.sha256()

    def hashed() -> Iterable[np.ndarray]:
      for images in self.reference.batches():
        digest.update(np.ascontiguousarray(images))
        yield images

    features = self._extract(hashed(), self.reference.num, 'Reference')['features']
    if digest.hexdigest() != self.pixels_sha256:
      raise DataError('The reference images changed while they were read; evaluate again when nothing writes to them')
    return {'features': features}

  def measure(self, samples: np.ndarray, *, seed: int, allow_few: bool = False) -> dict[str, Any]:
    """The metrics of samples, uint8 [N, H, W, C], by name.

    Args:
      samples: drawn by the generator, rounded to uint8.
      seed: of KID's subsets and of the choice of images for precision and recall.
      allow_few: compute the Frechet distance from fewer samples or real images than it can be trusted with.

    Raises:
      ConfigError: too few samples or real images for the size of the features.
    """
    real = self.real_features()
    count = f'{_short(len(samples))}_{self.reference.split}'
    prefix = '' if self.net.name == '2048' else f'{self.net.name}_'
    frechet.check_sample_count(len(samples), real.shape[1], allow_few=allow_few)
    what = f'The reference (split {self.reference.split!r})'
    protocol.check_real_count(len(real), real.shape[1], what=what, allow_few=allow_few)
    outputs = self._extract([samples], len(samples), 'Samples')
    fake = outputs['features']
    results = {f'fid{prefix}{count}': frechet_distance(real, fake)}
    size = min(1000, len(real), len(fake))
    kid, deviation = kernel.kernel_distance(real, fake, num_subsets=100, subset_size=size, seed=seed)
    results |= {f'kid{prefix}{count}': kid, f'kid{prefix}{count}_deviation': deviation}
    if 'logits' in outputs and self.net.name != 'self':
      score, deviation = inception_score.inception_score(outputs['logits'], splits=INCEPTION_SPLITS)
      results |= {f'is{_short(len(samples))}': score, f'is{_short(len(samples))}_deviation': deviation}
    results |= self._neighbour_metrics(real, fake, prefix, seed)
    if 'logits' in outputs and self.net.name == 'self':
      classes = outputs['logits'].shape[1]
      counts = diversity.class_counts(outputs['logits'].argmax(axis=1), classes)
      results |= {'effective_classes': diversity.effective_classes(counts), 'class_counts': counts.tolist()}
    results['duplicates'] = diversity.duplicate_share(samples)
    return results

  def nearest(self, samples: np.ndarray, *, k: int) -> np.ndarray:
    """Indices [N, k] of the reference's images whose features are nearest to each sample's: is it memorising?"""
    fake = self._extract([samples], len(samples), 'Samples')['features']
    return neighbours.k_nearest(fake, self.real_features(), k)[0]

  def reference_images(self, indices: np.ndarray) -> np.ndarray:
    """Real images by index [N, k], uint8 [N, k, H, W, C]."""
    return np.stack([np.stack([self.reference.at(int(i)) for i in row]) for row in indices])

  def _neighbour_metrics(self, real: np.ndarray, fake: np.ndarray, prefix: str, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    num = min(len(real), len(fake))
    real, fake = (side[np.sort(rng.permutation(len(side))[:num])] for side in (real, fake))
    precision, recall = neighbours.precision_recall(real, fake, k=PRECISION_NEIGHBOURS)
    density, coverage = neighbours.density_coverage(real, fake, k=COVERAGE_NEIGHBOURS)
    near = diversity.near_duplicate_share(real, fake)
    split = self.reference.split
    pr, dc = (f'{prefix}{_protocol(num, k)}_{split}' for k in (PRECISION_NEIGHBOURS, COVERAGE_NEIGHBOURS))
    return {
      f'pr{pr}_precision': precision,
      f'pr{pr}_recall': recall,
      f'dc{dc}_density': density,
      f'dc{dc}_coverage': coverage,
      'near_duplicates': near,
    }

  def _extract(self, batches: Iterable[np.ndarray], num: int, title: str) -> dict[str, np.ndarray]:
    return extract(self.net, self._mapped, batches, num=num, batch_size=self._batch_size, title=title)


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
  """The Frechet distance between two sets of features, [N, F] and [M, F]."""
  sides = []
  for features in (real, fake):
    statistics = FeatureStatistics(features.shape[1])
    statistics.add(features)
    sides += [statistics.mean, statistics.covariance]
  return frechet.frechet_distance(*sides)


def _short(num: int) -> str:
  """50000 -> '50k', 2500 -> '2500': how counts are written in a metric's name."""
  return f'{num // 1000}k' if num % 1000 == 0 else str(num)


def _protocol(num: int, k: int) -> str:
  """'50k3' for 50,000 samples and 3 neighbours, '2500_3' where the count does not end in k."""
  return f'{_short(num)}{"" if num % 1000 == 0 else "_"}{k}'
