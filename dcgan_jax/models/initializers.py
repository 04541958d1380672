"""Initial values of weights and normalisation gains."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Initialization(NamedTuple):
  """How a network starts; each a function (key, shape, dtype) -> values. Biases are always zero.

  weights: of convolutions and projections.
  gains: of normalisation layers.
  """

  weights: Callable
  gains: Callable


def normal_around_one(standard_deviation: float) -> Callable:
  """N(1, standard_deviation). The mean of a gain is 1: N(0, 0.02), a common slip, silences every layer."""

  def initialize(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return 1.0 + standard_deviation * jax.random.normal(key, shape, dtype)

  return initialize


# Radford et al. 2016, section 4, and the authors' code for the gains.
DCGAN = Initialization(weights=nn.initializers.normal(0.02), gains=normal_around_one(0.02))
# The defaults of Keras, which the TensorFlow tutorial leaves as they are.
KERAS = Initialization(weights=nn.initializers.glorot_uniform(), gains=nn.initializers.ones)
# Saxe et al. 2014; what spectrally normalised networks often start from (Brock et al. 2019).
ORTHOGONAL = Initialization(weights=nn.initializers.orthogonal(), gains=nn.initializers.ones)
