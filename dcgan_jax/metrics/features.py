"""Features of images: one protocol for every feature net, and their extraction batch by batch."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax import progress
from dcgan_jax.metrics import classifier
from dcgan_jax.metrics.inception import InceptionV3
from dcgan_jax.metrics.inception_weights import Weights

_SECONDS_WITHOUT_BAR = 5


class FeatureNet(NamedTuple):
  """A network that turns images into features.

  name: as the metrics' names carry it: '2048', '768', '192', '64' of Inception, or 'self'.
  sha256: of its weights.
  resize: how it resizes images, in words.
  params: its parameters.
  apply: (params, uint8 images [B, H, W, C]) -> {'features': [B, F]} and, if it classifies, {'logits': [B, K]}.
  """

  name: str
  sha256: str
  resize: str
  params: Any
  apply: Callable[[Any, Any], dict[str, Any]]


def inception_net(depth: str, weights: Weights) -> FeatureNet:
  """Inception's features of one depth, '2048', '768', '192' or '64'; with its logits where the weights reach them.

  Raises:
    DataError: the weights do not reach this depth.
  """
  weights.require(depth)
  deepest = 'logits' if depth == '2048' and 'logits' in weights.depths else depth
  network = InceptionV3(depth=deepest)

  def apply(params: Any, images: Any) -> dict[str, Any]:
    outputs = network.apply({'params': params}, images)
    return {'features': outputs[depth]} | {name: outputs[name] for name in ('logits',) if name in outputs}

  return FeatureNet(depth, weights.sha256, 'bilinear to 299 x 299 as TensorFlow 1', weights.params, apply)


def own_net(images: np.ndarray, labels: np.ndarray, *, num_classes: int, cache: pathlib.Path) -> FeatureNet:
  """Features of a small classifier of the data set at hand; numbers made with it compare only with one another.

  Args:
    images: uint8 [N, H, W, C].
    labels: integers in [0, num_classes), [N].
    num_classes: K.
    cache: folder where classifiers are kept; one is trained, in a minute or two, where none of these data is there.
  """
  settings = classifier.Settings()
  params = classifier.cached_classifier(cache, images, labels, num_classes=num_classes, settings=settings)

  def apply(params: Any, images: Any) -> dict[str, Any]:
    return dict(zip(('features', 'logits'), classifier.classifier_features(params, images), strict=True))

  return FeatureNet('self', classifier.weights_sha256(params), 'none', params, apply)


def extract(
  net: FeatureNet, mapped: Callable, batches: Iterable[np.ndarray], *, num: int, batch_size: int, title: str
) -> dict[str, np.ndarray]:
  """Features of the first `num` images.

  Args:
    net: the feature net.
    mapped: net.apply on all devices, as `parallel.compile_map` makes it.
    batches: uint8 images [b, H, W, C], any b.
    num: how many images.
    batch_size: images at a time; changes the result by rounding alone. The last batch is filled up.
    title: of the progress bar.

  Returns:
    {'features': float32 [num, F]}, and 'logits' [num, K] where the net classifies.
  """
  results: dict[str, list[np.ndarray]] = {}
  for images in with_bar(_rebatch(batches, num, batch_size), num=num, title=title):
    full = np.concatenate([images, np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)])
    for name, values in mapped(net.params, full).items():
      results.setdefault(name, []).append(np.asarray(values, np.float32)[: len(images)])
  return {name: np.concatenate(values) for name, values in results.items()}


def with_bar(batches: Iterable[np.ndarray], *, num: int, title: str) -> Iterable[np.ndarray]:
  """Yields the batches; a progress bar on stderr counts their images up to `num` if this takes long."""
  with progress.bar(
    total=num, desc=title, unit=' images', delay=_SECONDS_WITHOUT_BAR, mininterval=1.0, leave=False
  ) as bar:
    for images in batches:
      yield images
      bar.update(len(images))


def _rebatch(batches: Iterable[np.ndarray], num: int, batch_size: int) -> Iterable[np.ndarray]:
  waiting: list[np.ndarray] = []
  for images in batches:
    images = images[:num]
    num -= len(images)
    waiting.append(images)
    if sum(map(len, waiting)) >= batch_size or num == 0:
      joined = np.concatenate(waiting)
      whole = len(joined) if num == 0 else len(joined) // batch_size * batch_size
      yield from (joined[i : i + batch_size] for i in range(0, whole, batch_size))
      waiting = [joined[whole:]]
    if num == 0:
      return
