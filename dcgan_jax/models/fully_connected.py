"""Networks without convolutions: the baseline that DCGAN replaced. Goodfellow et al. 2014."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from dcgan_jax.keys import fold
from dcgan_jax.models.conditional import UNCONDITIONAL, Conditioning
from dcgan_jax.models.dcgan import drop
from dcgan_jax.models.initializers import Initialization
from dcgan_jax.models.normalization import constrained


class Generator(nn.Module):
  """Linear layers with normalisation and activation, tanh out.

  Attributes:
    shape: of an example, (*spatial, channels).
    widths: units of each hidden layer.
    activation: of all layers but the last.
    norm: a normalisation of normalization.py, or None; none follows the last layer.
    bias: layers without normalisation after them have a bias; the others' would be undone.
    initialization: of weights.
    conditioning: how labels enter.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters are float32.
  """

  takes = (
    'shape', 'widths', 'activation', 'norm', 'bias', 'initialization', 'conditioning', 'spectral_norm', 'dtype',
  )  # fmt: skip
  shape: tuple[int, ...]
  widths: tuple[int, ...]
  activation: Callable
  norm: Callable | None
  bias: bool
  initialization: Initialization
  conditioning: Conditioning = UNCONDITIONAL
  spectral_norm: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
    """Maps latents [B, Z] to examples in [-1, 1], [B, *shape].

    Args:
      z: latents, [B, Z].
      labels: int32 [B], or None of an unconditional network.
      train: normalise by this batch's statistics.
    """

    def dense(x: jax.Array, width: int, bias: bool, name: str) -> jax.Array:
      layer = nn.Dense(width, bias, self.dtype, kernel_init=self.initialization.weights, name=name)
      return constrained(layer, x, spectral_norm=self.spectral_norm, train=train)

    x = self.conditioning.at_input(z, labels)
    for i, width in enumerate(self.widths):
      x = dense(x, width, self.bias and self.norm is None, f'dense_{i}')
      x = self.activation(x if self.norm is None else self.norm(x, name=f'norm_{i}', train=train, labels=labels))
    x = dense(x, math.prod(self.shape), self.bias, 'output')
    return jnp.tanh(x.astype(jnp.float32)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """The example as one vector, linear layers with activation and dropout, then one linear unit.

  Attributes:
    widths: units of each hidden layer.
    activation: of all hidden layers.
    norm: a normalisation of normalization.py, or None; the first layer never has one, as DCGAN's.
    dropout: share of activations set to zero after each layer in training.
    bias: layers without normalisation after them have a bias.
    initialization: of weights.
    conditioning: how labels enter.
    minibatch: a layer of minibatch.py that lets the last activations see their batch, (x, train) -> x; None: no such.
    spectral_norm: divide every kernel by its spectral norm.
    dtype: of activations; parameters and logits are float32.
  """

  takes = (
    'widths', 'activation', 'norm', 'dropout', 'bias', 'initialization', 'conditioning', 'minibatch', 'spectral_norm',
    'dtype',
  )  # fmt: skip
  widths: tuple[int, ...]
  activation: Callable
  norm: Callable | None
  dropout: float
  bias: bool
  initialization: Initialization
  conditioning: Conditioning = UNCONDITIONAL
  minibatch: Callable | None = None
  spectral_norm: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, labels: jax.Array | None = None, *, train: bool, keys: jax.Array
  ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Judges examples.

    Args:
      x: examples in [-1, 1], [B, *spatial, C].
      labels: int32 [B], or None of an unconditional network.
      train: normalise by this batch's statistics, and drop activations.
      keys: one random key per example, [B], for dropout.

    Returns:
      Logits [B], positive for real, and the activations of every hidden layer, [B, widths_i].
    """

    def dense(x: jax.Array, width: int, bias: bool, name: str) -> jax.Array:
      layer = nn.Dense(width, bias, self.dtype, kernel_init=self.initialization.weights, name=name)
      return constrained(layer, x, spectral_norm=self.spectral_norm, train=train)

    x, features = self.conditioning.at_input(x, labels), []
    x = x.reshape(x.shape[0], -1)
    for i, width in enumerate(self.widths):
      normalized = self.norm is not None and i > 0
      x = dense(x, width, self.bias and not normalized, f'dense_{i}')
      x = self.activation(self.norm(x, name=f'norm_{i}', train=train, labels=labels) if normalized else x)
      features.append(x)
      if train and self.dropout:
        x = drop(fold(keys, i), x, self.dropout)
    if self.minibatch is not None:
      x = self.minibatch(x, train=train)
    logits = dense(x, 1, self.bias, 'output').astype(jnp.float32).squeeze(-1)
    return logits + self.conditioning.at_output(x, labels, train=train), tuple(features)
