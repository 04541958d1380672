"""A small convolutional classifier trained on the data set at hand: features where Inception's are too dear or unfit.

Numbers made with its features compare only with numbers of the same parameters; say so beside each of them.

With the default settings, in half a minute to a minute of two CPU cores: MNIST 99.2 %, Fashion-MNIST 89.5 %, CIFAR-10
66.0 % of the test images (seed 0).
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util

from dcgan_jax.errors import DataError
from dcgan_jax.metrics import cache

# Part of the cache's key: to be raised when the network or its training changes.
_VERSION = 1
_LARGEST_END = 4


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a classifier is made.

  widths: channels of the convolutions; the last is repeated until the image is at most 4 pixels a side.
  num_features: F.
  steps: updates.
  batch_size: examples in an update.
  learning_rate: the highest of one rise and fall.
  seed: of the weights and of the order of the examples.
  """

  widths: tuple[int, ...] = (32, 64, 96)
  num_features: int = 128
  steps: int = 500
  batch_size: int = 128
  learning_rate: float = 3e-3
  seed: int = 0


class Classifier(nn.Module):
  """Blocks of convolution, maximum over 2 x 2, layer normalisation and ReLU, then two linear layers.

  Nothing in it depends on the other examples of a batch, in training or after. Linear layers on the whole of the last
  block: its mean over the image learns too slowly (CIFAR-10, a last block of 128, equal steps: 57 % against 69 %).

  Attributes:
    widths: channels of each block.
    num_features: F.
    num_classes: K.
  """

  widths: tuple[int, ...]
  num_features: int
  num_classes: int

  @nn.compact
  def __call__(self, examples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps uint8 examples [B, *spatial, C] to features [B, F] and logits [B, K]."""
    x = examples.astype(jnp.float32) / 127.5 - 1.0
    he_normal = nn.initializers.he_normal()
    for i, width in enumerate(self.widths):
      x = nn.Conv(width, (3,) * (x.ndim - 2), use_bias=False, kernel_init=he_normal, name=f'conv_{i}')(x)
      x = nn.relu(nn.LayerNorm(name=f'norm_{i}')(_halve(x)))
    x = nn.Dense(self.num_features, kernel_init=he_normal, name='features')(x.reshape(x.shape[0], -1))
    features = nn.relu(x)
    return features, nn.Dense(self.num_classes, name='logits')(features)


def train_classifier(
  images: np.ndarray, labels: np.ndarray, *, num_classes: int, settings: Settings = Settings()
) -> Any:
  """Trains a classifier by Adam on the cross entropy; a function of its arguments on one machine.

  Args:
    images: uint8 [N, *spatial, C]; all of them go to the device.
    labels: integers in [0, num_classes), [N].
    num_classes: K.
    settings: how.

  Returns:
    Parameters.

  Raises:
    DataError: images or labels of another form.
  """
  images, labels = _checked(images, labels, num_classes)
  network = _new_network(images.shape, num_classes, settings)
  schedule = optax.cosine_onecycle_schedule(settings.steps, settings.learning_rate, pct_start=0.2)
  optimizer = optax.adamw(schedule, b2=0.99, weight_decay=0.01)

  # One step a call: XLA's CPU backend runs convolutions inside a loop many times slower.
  @functools.partial(jax.jit, donate_argnums=0)
  def update(state, images, labels, rows):
    def loss(params):
      _, logits = network.apply({'params': params}, images[rows])
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    params, optimizer_state = state
    updates, optimizer_state = optimizer.update(jax.grad(loss)(params), optimizer_state, params)
    return optax.apply_updates(params, updates), optimizer_state

  params = jax.jit(network.init)(jax.random.key(settings.seed), images[:1])['params']
  state = (params, optimizer.init(params))
  images, labels = jax.device_put((images, labels))
  for rows in _order(len(images), settings):
    state = update(state, images, labels, rows)
  return state[0]


def classifier_features(params: Any, images: np.ndarray) -> tuple[jax.Array, jax.Array]:
  """Features [B, F] and logits [B, K] of uint8 images [B, *spatial, C] of the size trained on."""
  return _apply(params, images)


def classifier_accuracy(params: Any, images: np.ndarray, labels: np.ndarray, *, batch_size: int = 250) -> float:
  """Share of uint8 images [N, *spatial, C] whose largest logit is that of their label."""
  correct = 0
  for first in range(0, len(images), batch_size):
    # The last batch is filled up, so that one program is compiled.
    rows = np.minimum(np.arange(first, first + batch_size), len(images) - 1)
    best = np.asarray(classifier_features(params, images[rows])[1]).argmax(axis=1)
    correct += (best == labels[rows])[: len(images) - first].sum()
  return float(correct / len(images))


def cached_classifier(
  directory: pathlib.Path, images: np.ndarray, labels: np.ndarray, *, num_classes: int, settings: Settings = Settings()
) -> Any:
  """Parameters as `train_classifier` makes them, read from `directory` if it made them before."""

  def make() -> dict[str, np.ndarray]:
    params = train_classifier(images, labels, num_classes=num_classes, settings=settings)
    return jax.tree.map(np.asarray, traverse_util.flatten_dict(params, sep='/'))

  network = _new_network(np.shape(images), num_classes, settings)
  abstract = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8))
  leaves: dict[str, Any] = traverse_util.flatten_dict(abstract['params'], sep='/')
  shapes = {name: leaf.shape for name, leaf in leaves.items()}
  identity = {'classifier': fingerprint(images, labels, num_classes=num_classes, settings=settings)}
  fits = lambda arrays: {name: array.shape for name, array in arrays.items()} == shapes
  return traverse_util.unflatten_dict(cache.cached(directory, identity, make, fits), sep='/')


def fingerprint(images: np.ndarray, labels: np.ndarray, *, num_classes: int, settings: Settings) -> str:
  """SHA-256 of everything that decides the parameters, in hexadecimal digits."""
  described = [_VERSION, list(np.shape(images)), num_classes, dataclasses.asdict(settings)]
  digest = hashlib.sha256(json.dumps(described).encode())
  digest.update(np.ascontiguousarray(images))
  digest.update(np.ascontiguousarray(labels, np.int32))
  return digest.hexdigest()


def weights_sha256(params: Any) -> str:
  """SHA-256 of parameters in hexadecimal digits: which classifier a number was made with."""
  digest = hashlib.sha256()
  for name, leaf in sorted(traverse_util.flatten_dict(params, sep='/').items()):
    digest.update(f'{name} {leaf.shape}'.encode())
    digest.update(np.ascontiguousarray(leaf))
  return digest.hexdigest()


@jax.jit
def _apply(params, images):
  return _network(params).apply({'params': params}, images)


def _new_network(shape: tuple[int, ...], num_classes: int, settings: Settings) -> Classifier:
  """The network for images of a shape [N, *spatial, C]."""
  return Classifier(_all_widths(shape[1:-1], settings.widths), settings.num_features, num_classes)


def _network(params) -> Classifier:
  """The network that fits parameters."""
  widths = tuple(params[f'conv_{i}']['kernel'].shape[-1] for i in range((len(params) - 2) // 2))
  return Classifier(widths, params['features']['bias'].shape[0], params['logits']['bias'].shape[0])


def _halve(x):
  """Maxima of blocks of 2 in every spatial dimension longer than 1; an odd last row is dropped."""
  for axis in range(1, x.ndim - 1):
    half = x.shape[axis] // 2
    if half:
      first, second = (jax.lax.slice_in_dim(x, i, 2 * half - 1 + i, stride=2, axis=axis) for i in (0, 1))
      x = jnp.maximum(first, second)
  return x


def _all_widths(sizes: tuple[int, ...], widths: tuple[int, ...]) -> tuple[int, ...]:
  end = max(sizes) >> len(widths)
  while end > _LARGEST_END:
    end, widths = end // 2, (*widths, widths[-1])
  return widths


def _order(number: int, settings: Settings) -> np.ndarray:
  """Examples of each update, [steps, batch_size]: one random order of all after the other."""
  generator = np.random.default_rng(settings.seed)
  needed = settings.steps * settings.batch_size
  orders = [generator.permutation(number) for _ in range(-(-needed // number))]
  return np.concatenate(orders)[:needed].reshape(settings.steps, settings.batch_size)


def _checked(images, labels, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
  images, labels = np.asarray(images), np.asarray(labels)
  if images.dtype != np.uint8 or images.ndim < 3 or not images.size:
    raise DataError(f'The classifier learns from uint8 [N, ..., C], not from {images.dtype} {images.shape}')
  if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
    raise DataError(
      f'{len(images)} images need as many integer labels to train a classifier, not {labels.dtype} {labels.shape}'
    )
  if labels.min() < 0 or labels.max() >= num_classes:
    raise DataError(f'The labels run from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}')
  return images, labels.astype(np.int32)
