"""Networks, optimisers and the game of a config: names become objects through literal tables."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dcgan_jax import augment, images, latents, parallel, step
from dcgan_jax.errors import look_up
from dcgan_jax.models import dcgan, initializers
from dcgan_jax.objectives import adversarial
from dcgan_jax.optimizers import averaging_decay
from dcgan_jax.state import GANState, create_state
from dcgan_jax.validate import strides_of

GENERATORS = {'dcgan': dcgan.Generator}
DISCRIMINATORS = {'dcgan': dcgan.Discriminator}
INITIALIZATIONS = {'dcgan': initializers.DCGAN, 'keras': initializers.KERAS}
NORMALIZATIONS = {'batch': nn.BatchNorm, 'none': None}
LATENTS = {'normal': latents.normal, 'uniform': latents.uniform}
LOSSES = {'non_saturating': adversarial.NON_SATURATING, 'saturating': adversarial.SATURATING}
OPTIMIZERS = {'adam': optax.adam}
PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Model:
  """What a config says of the networks, for examples of one shape.

  generator, discriminator: modules without parameters.
  latents: keys [B] -> z [B, Z].
  create: key -> GANState before the first update.
  """

  generator: nn.Module
  discriminator: nn.Module
  latents: Callable
  latent_size: int
  create: Callable[[jax.Array], GANState]


def build_model(config: ConfigDict, shape: tuple[int, ...]) -> Model:
  """The networks of a config for examples of `shape`, (*spatial, C)."""
  dtype = look_up(PRECISIONS, config.precision, 'config.precision')
  initialization = look_up(INITIALIZATIONS, config.initialization, 'config.initialization')
  generator = look_up(GENERATORS, config.generator.name, 'config.generator.name')(
    shape=tuple(shape),
    norm=_norm(config, 'batch', initialization, dtype),
    norm_before_reshape=config.generator.norm_before_reshape,
    **_layers(config.generator, initialization, dtype),
  )
  discriminator = look_up(DISCRIMINATORS, config.discriminator.name, 'config.discriminator.name')(
    norm=_norm(config, config.discriminator.normalization, initialization, dtype),
    dropout=config.discriminator.dropout,
    **_layers(config.discriminator, initialization, dtype),
  )
  for player in (generator, discriminator):
    dcgan.base_shape(shape, player.strides)
  draw = look_up(LATENTS, config.generator.latents, 'config.generator.latents')
  create = functools.partial(
    create_state,
    generator=generator,
    discriminator=discriminator,
    optimizers=(_optimizer(config.generator.optimizer), _optimizer(config.discriminator.optimizer)),
    latent_size=config.generator.latent_size,
    shape=tuple(shape),
  )
  return Model(
    generator=generator,
    discriminator=discriminator,
    latents=functools.partial(draw, latent_size=config.generator.latent_size),
    latent_size=config.generator.latent_size,
    create=create,
  )


def build_game(config: ConfigDict, model: Model) -> step.Game:
  """The functions a training step is made of."""
  flip = augment.flip if config.data.flip else augment.unchanged
  return step.Game(
    latents=model.latents,
    prepare=lambda keys, examples: flip(keys, images.to_float(examples)),
    augment=augment.unchanged,
    loss=look_up(LOSSES, config.loss, 'config.loss'),
    generator_fakes=step.reuse_fakes if config.reuse_fakes else step.redraw_fakes,
    averaging_decay=averaging_decay(
      config.batch_size,
      half_life=config.generator.averaging.half_life,
      ramp_up=config.generator.averaging.ramp_up,
    ),
  )


def _layers(player: ConfigDict, initialization: initializers.Initialization, dtype: Any) -> Mapping[str, Any]:
  widths = tuple(player.widths)
  return {
    'widths': widths,
    'strides': strides_of(widths, player.strides),
    'kernel_size': player.kernel_size,
    # A slope of 0 is ReLU.
    'activation': functools.partial(nn.leaky_relu, negative_slope=player.negative_slope),
    'bias': player.bias,
    'initialization': initialization,
    'dtype': dtype,
  }


def _norm(config: ConfigDict, name: str, initialization: initializers.Initialization, dtype: Any) -> Callable | None:
  norm = look_up(NORMALIZATIONS, name, 'normalization')
  return norm and functools.partial(
    norm,
    momentum=config.batch_norm.decay,
    epsilon=config.batch_norm.epsilon,
    axis_name=parallel.AXIS,
    scale_init=initialization.gains,
    dtype=dtype,
  )


def _optimizer(optimizer: ConfigDict) -> optax.GradientTransformation:
  make = look_up(OPTIMIZERS, optimizer.name, 'optimizer')
  return make(optimizer.learning_rate, b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.epsilon)
