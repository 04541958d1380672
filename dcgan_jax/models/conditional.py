"""How labels enter a network: at a generator's input, at a discriminator's input, or at its output.

Each maker returns one hook of a Conditioning, called inside a network's `__call__`; what the hook learns is a parameter
of that network.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.models.initializers import Initialization
from dcgan_jax.models.normalization import constrained

# Rows of N(0, 1): a latent times its label's row keeps its variance, and classes differ from the start.
_ROWS = nn.initializers.normal(1.0)


class Conditioning(NamedTuple):
  """Where labels, int32 [B], enter; called inside a network's `__call__`.

  at_input: (x, labels) -> x; x is z [B, Z] of a generator, examples [B, *spatial, C] of a discriminator.
  at_output: (h, labels, train=) -> [B], added to a discriminator's logits; h is its last layer, flattened, [B, F].
  """

  at_input: Callable[[jax.Array, jax.Array | None], jax.Array]
  at_output: Callable[..., jax.Array]


def unchanged(x: jax.Array, labels: jax.Array | None) -> jax.Array:
  """x itself."""
  del labels
  return x


def nothing(h: jax.Array, labels: jax.Array | None, *, train: bool) -> jax.Array:
  """Zeros [B]."""
  del labels, train
  return jnp.zeros(h.shape[0], jnp.float32)


UNCONDITIONAL = Conditioning(at_input=unchanged, at_output=nothing)


def join_one_hot(num_classes: int) -> Callable:
  """At a generator's input: z and the one-hot label side by side, [B, Z + classes]. Mirza and Osindero 2014."""

  def at_input(z: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.concatenate([z, jax.nn.one_hot(labels, num_classes, dtype=z.dtype)], axis=-1)

  return at_input


def multiply_embedding(num_classes: int) -> Callable:
  """At a generator's input: z times a learned row of its label, [B, Z], as implementations of AC-GAN have it."""

  def at_input(z: jax.Array, labels: jax.Array) -> jax.Array:
    rows = nn.Embed(num_classes, z.shape[-1], embedding_init=_ROWS, name='label_embedding')(labels)
    return z * rows.astype(z.dtype)

  return at_input


def join_planes(num_classes: int) -> Callable:
  """At a discriminator's input: a plane of ones for the label and of zeros for the others, [B, *spatial, C + classes].

  References: Mirza and Osindero 2014, in the form that convolutions can read.
  """

  def at_input(x: jax.Array, labels: jax.Array) -> jax.Array:
    planes = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
    planes = jnp.expand_dims(planes, range(1, x.ndim - 1))
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:-1], num_classes))], axis=-1)

  return at_input


def join_embedding(num_classes: int) -> Callable:
  """At a discriminator's input: a learned image of the label as one more channel, [B, *spatial, C + 1]."""

  def at_input(x: jax.Array, labels: jax.Array) -> jax.Array:
    size = x[0, ..., 0].size
    plane = nn.Embed(num_classes, size, embedding_init=_ROWS, name='label_embedding')(labels)
    return jnp.concatenate([x, plane.reshape(*x.shape[:-1], 1).astype(x.dtype)], axis=-1)

  return at_input


def project(num_classes: int, *, initialization: Initialization, spectral_norm: bool) -> Callable:
  """At a discriminator's output: the inner product of h with a learned vector of its label.

  Args:
    num_classes: vectors.
    initialization: of the vectors.
    spectral_norm: divide the vectors, as a matrix [classes, F], by their spectral norm; as the network's other layers.

  References: Miyato and Koyama 2018, equation 3.
  """

  def at_output(h: jax.Array, labels: jax.Array, *, train: bool) -> jax.Array:
    table = nn.Embed(num_classes, h.shape[-1], embedding_init=initialization.weights, name='label_projection')
    vectors = constrained(table, labels, spectral_norm=spectral_norm, train=train)
    return jnp.sum(vectors * h.astype(jnp.float32), axis=-1)

  return at_output


def classify(num_classes: int, *, initialization: Initialization, spectral_norm: bool) -> Callable:
  """At a discriminator's output: logits of the classes, for an auxiliary loss; real and fake are told without labels.

  They leave by the collection 'auxiliary', which the caller makes mutable, at ['classifier']['class_logits'], float32
  [B, classes].

  Args:
    num_classes: logits.
    initialization: of weights.
    spectral_norm: divide the kernel by its spectral norm; as the network's other layers.

  References: Odena et al. 2017, section 3.
  """

  def at_output(h: jax.Array, labels: jax.Array | None, *, train: bool) -> jax.Array:
    Classifier(num_classes, initialization, spectral_norm, name='classifier')(h, train=train)
    return nothing(h, labels, train=train)

  return at_output


class Classifier(nn.Module):
  """A linear layer whose logits go to the collection 'auxiliary'."""

  num_classes: int
  initialization: Initialization
  spectral_norm: bool

  @nn.compact
  def __call__(self, h: jax.Array, *, train: bool) -> None:
    """Stores the logits of h [B, F]."""
    head = nn.Dense(self.num_classes, kernel_init=self.initialization.weights, name='output')
    logits = constrained(head, h.astype(jnp.float32), spectral_norm=self.spectral_norm, train=train)
    # The last pass's logits themselves, not Flax's tuple of all passes.
    self.sow('auxiliary', 'class_logits', logits, reduce_fn=lambda _, new: new, init_fn=lambda: None)
