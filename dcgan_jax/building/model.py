"""Networks and optimisers of a config: names become objects through literal tables."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dcgan_jax.building.rules import flatten, strides_of
from dcgan_jax.drawing import latents, sample
from dcgan_jax.errors import ConfigError, look_up
from dcgan_jax.games import optimizers, parallel
from dcgan_jax.games.state import GANState, create_state
from dcgan_jax.models import (
  conditional,
  convolution,
  dcgan,
  fully_connected,
  initializers,
  minibatch,
  normalization,
  residual,
  upsampling,
)

GENERATORS = {'dcgan': dcgan.Generator, 'residual': residual.Generator, 'fully_connected': fully_connected.Generator}
DISCRIMINATORS = {
  'dcgan': dcgan.Discriminator,
  'residual': residual.Discriminator,
  'fully_connected': fully_connected.Discriminator,
}
INITIALIZATIONS = {'dcgan': initializers.DCGAN, 'keras': initializers.KERAS, 'orthogonal': initializers.ORTHOGONAL}
NORMALIZATIONS = {
  'batch': normalization.batch,
  'virtual_batch': normalization.virtual_batch,
  'instance': normalization.instance,
  'layer': normalization.layer,
  'none': None,
}
UPSAMPLINGS = {
  'transposed': convolution.ConvTranspose,
  'nearest': functools.partial(upsampling.UpsampledConv, enlarge=upsampling.nearest),
  'bilinear': functools.partial(upsampling.UpsampledConv, enlarge=upsampling.bilinear),
}
MINIBATCHES = {
  'none': None,
  'discrimination': functools.partial(
    minibatch.discrimination, gather=parallel.gather_from_devices, num_kernels=50, kernel_dim=5
  ),
  'standard_deviation': functools.partial(minibatch.standard_deviation, mean=parallel.average_over_devices),
}
# What a generator does with labels: at its input, and the normalisation it then has instead of its own.
GENERATOR_LABELS = {
  'none': (None, None),
  'one_hot': (conditional.join_one_hot, None),
  'embedding': (conditional.multiply_embedding, None),
  'conditional_batch': (None, normalization.conditional_batch),
}
# At a discriminator's input, and at its output.
DISCRIMINATOR_LABELS = {
  'none': (None, None),
  'planes': (conditional.join_planes, None),
  'embedding': (conditional.join_embedding, None),
  'projection': (None, conditional.project),
  'auxiliary': (None, conditional.classify),
}
# How z is drawn, and the bounds of every component of it.
LATENTS = {'normal': (latents.normal, None), 'uniform': (latents.uniform, 1.0)}
OPTIMIZERS = {'adam': optimizers.adam, 'adamw': optimizers.adamw, 'rmsprop': optimizers.rmsprop, 'sgd': optimizers.sgd}
DECAYS = {'constant': optimizers.constant, 'linear': optimizers.linear, 'cosine': optimizers.cosine}
PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
_REFERENCE_SIZE = 64  # Examples of virtual batch normalisation's fixed batch.


@dataclasses.dataclass(frozen=True)
class Model:
  """What a config says of the networks, for examples of one shape.

  generator, discriminator: modules without parameters.
  latents: keys [B] -> z [B, Z].
  latent_limit: every component of z is within [-limit, limit]; None: z is normal.
  num_classes: of the labels that the networks ask for; None: they ask for none.
  labels: indices of samples [B] -> their labels, int32 [B], or None.
  sees_labels: whether the discriminator's features depend on labels.
  create: key -> GANState before the first update.
  """

  generator: nn.Module
  discriminator: nn.Module
  latents: Callable
  latent_size: int
  latent_limit: float | None
  num_classes: int | None
  labels: Callable
  sees_labels: bool
  create: Callable[[jax.Array], GANState]


def build_model(config: ConfigDict, shape: tuple[int, ...], classes: int | None = None) -> Model:
  """The networks of a config for examples of `shape`, (*spatial, C), which have `classes` classes, or no labels."""
  num_classes = _num_classes(config, classes)
  draw, limit = look_up(LATENTS, config.generator.latents, 'config.generator.latents')
  draw = functools.partial(draw, latent_size=config.generator.latent_size)
  generator = _generator(config, tuple(shape), num_classes)
  if config.generator.normalization == 'virtual_batch':
    keys = jax.random.split(jax.random.key(config.seed), _REFERENCE_SIZE)
    generator = normalization.WithReference(generator, draw(keys), num_classes)
  discriminator = _discriminator(config, tuple(shape), num_classes)
  labels = jnp.zeros(1, jnp.int32)
  create = functools.partial(
    create_state,
    networks={'generator': generator, 'discriminator': discriminator},
    optimizers={
      'generator': _optimizer(config, config.generator.optimizer, steps=config.steps),
      'discriminator': _optimizer(
        config,
        config.discriminator.optimizer,
        steps=config.steps * config.tricks.discriminator_turns,
        weight_clip=config.tricks.weight_clip,
      ),
    },
    inputs={
      'generator': {'z': jnp.zeros((1, config.generator.latent_size)), 'labels': labels},
      'discriminator': {'x': jnp.zeros((1, *shape)), 'labels': labels, 'keys': jax.random.split(jax.random.key(0), 1)},
    },
  )
  return Model(
    generator=generator,
    discriminator=discriminator,
    latents=draw,
    latent_size=config.generator.latent_size,
    latent_limit=limit,
    num_classes=num_classes,
    labels=sample.no_labels if num_classes is None else functools.partial(sample.every_class, num_classes=num_classes),
    sees_labels=config.tricks.discriminator_labels in ('planes', 'embedding'),
    create=create,
  )


def check_memory(model: Model, shape: tuple[int, ...], *, batch_size: int, memory: int, data: int = 0) -> None:
  """Refuses what surely does not fit, before anything is compiled; what barely fits is left to be tried.

  Args:
    model: the networks.
    shape: of an example.
    batch_size: examples on one device.
    memory: of the device, bytes.
    data: bytes of the data set that are kept on it.

  Raises:
    ConfigError: with what is needed at least, and the largest batch that could fit.
  """
  state = jax.eval_shape(model.create, jax.random.key(0))
  of_state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
  keys = jax.random.split(jax.random.key(0))
  judge = functools.partial(model.discriminator.apply, train=False, keys=keys)
  examples = jax.ShapeDtypeStruct((2, *shape), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
  _, activations = jax.eval_shape(judge, state.players['discriminator'].variables, *examples)
  # The discriminator's update keeps its activations of a real and of a fake image; two of them were asked for.
  of_image = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(activations))
  needed = of_state + batch_size * of_image
  if data and needed <= memory < needed + data:
    raise ConfigError(
      f'The data take {data / 1e9:,.1f} GB and training more than {needed / 1e9:,.1f} GB, and a device has '
      f'{memory / 1e9:,.1f} GB; set config.data.resident_megabytes to 0 to stream the data'
    )
  if needed > memory:
    most = max(0, memory - of_state) // of_image
    advice = f'no batch above {most:,} fits' if most else 'give the networks smaller widths'
    raise ConfigError(
      f'config.batch_size is {batch_size:,} on each device, which needs more than {needed / 1e9:,.1f} GB with these '
      f'networks, and a device has {memory / 1e9:,.1f} GB; {advice}'
    )


def _num_classes(config: ConfigDict, classes: int | None) -> int | None:
  if config.tricks.generator_labels == 'none':
    return None
  if classes is None:
    raise ConfigError(
      f"config.tricks.generator_labels is '{config.tricks.generator_labels}', and {config.data.source} has no labels; "
      "take a labelled data set, or 'none' for both players"
    )
  return classes


def _generator(config: ConfigDict, shape: tuple[int, ...], num_classes: int | None) -> nn.Module:
  tricks, player = config.tricks, config.generator
  make_input, own_norm = look_up(GENERATOR_LABELS, tricks.generator_labels, 'config.tricks.generator_labels')
  norm = _norm(config, player, 'generator')
  if own_norm is not None:
    norm = functools.partial(own_norm, num_classes=num_classes, **norm.keywords)
  return _network(
    GENERATORS,
    config,
    'generator',
    shape=shape,
    norm=norm,
    norm_before_reshape=player.norm_before_reshape,
    conv=look_up(UPSAMPLINGS, tricks.upsampling, 'config.tricks.upsampling'),
    conditioning=conditional.UNCONDITIONAL._replace(**({'at_input': make_input(num_classes)} if make_input else {})),
  )


def _discriminator(config: ConfigDict, shape: tuple[int, ...], num_classes: int | None) -> nn.Module:
  tricks, player = config.tricks, config.discriminator
  at_input, at_output = look_up(DISCRIMINATOR_LABELS, tricks.discriminator_labels, 'config.tricks.discriminator_labels')
  conditioning = conditional.UNCONDITIONAL
  if at_input is not None:
    conditioning = conditioning._replace(at_input=at_input(num_classes))
  if at_output is not None:
    options = {
      'initialization': look_up(INITIALIZATIONS, config.initialization, 'config.initialization'),
      'spectral_norm': 'discriminator' in tricks.spectral_norm,
    }
    conditioning = conditioning._replace(at_output=at_output(num_classes, **options))
  return _network(
    DISCRIMINATORS,
    config,
    'discriminator',
    norm=_norm(config, player, 'discriminator'),
    dropout=player.dropout,
    minibatch=look_up(MINIBATCHES, tricks.minibatch, 'config.tricks.minibatch'),
    conditioning=conditioning,
  )


# What a network may declare in `takes`: the key that asks for it, and the values that ask for nothing.
_OF_BOTH: dict[str, tuple[Any, ...]] = {
  'strides': ('{}.strides', None),
  'kernel_size': ('{}.kernel_size', 4),
  'norm': ('{}.normalization', 'batch', 'none'),
  'bias': ('{}.bias', True),
  'conditioning': ('tricks.{}_labels', 'none', 'conditional_batch'),
  'initialization': ('initialization', 'dcgan'),
  'dtype': ('precision', 'float32'),
  'spectral_norm': ('tricks.spectral_norm',),
}
_KEYS = {
  'generator': _OF_BOTH
  | {
    'widths': ('{}.widths', (256, 128, 64)),
    'activation': ('{}.negative_slope', 0.0),
    'norm_before_reshape': ('{}.norm_before_reshape', False),
    'conv': ('tricks.upsampling', 'transposed'),
  },
  'discriminator': _OF_BOTH
  | {
    'widths': ('{}.widths', (64, 128, 256)),
    'activation': ('{}.negative_slope', 0.2),
    'dropout': ('{}.dropout', 0.0),
    'minibatch': ('tricks.minibatch', 'none'),
  },
}


def _network(table: Mapping[str, Any], config: ConfigDict, player: str, **options: Any) -> nn.Module:
  """A network of the table with the options that its class declares; refuses what is asked of it beyond them."""
  name, widths = config[player].name, tuple(config[player].widths)
  make = look_up(table, name, f'config.{player}.name')
  options |= {
    'widths': widths,
    'strides': strides_of(widths, config[player].strides),
    'kernel_size': config[player].kernel_size,
    # A slope of 0 is ReLU.
    'activation': functools.partial(nn.leaky_relu, negative_slope=config[player].negative_slope),
    'bias': config[player].bias,
    'initialization': look_up(INITIALIZATIONS, config.initialization, 'config.initialization'),
    'spectral_norm': player in config.tricks.spectral_norm,
    'dtype': look_up(PRECISIONS, config.precision, 'config.precision'),
  }
  takes = getattr(make, 'takes', ())
  if not takes or not set(takes) <= options.keys():
    raise ConfigError(
      f"The {player} '{name}' does not declare what it takes; give its class `takes`, a tuple of some of "
      f'{", ".join(sorted(options))}'
    )
  for option, key, value in _asked(config, player):
    if option not in takes:
      keys = sorted(_KEYS[player][taken][0].format(player) for taken in takes if taken != 'shape')
      able = [f"'{other}'" for other, network in table.items() if option in getattr(network, 'takes', ())]
      raise ConfigError(
        f"config.{key} is {value!r}, which the {player} '{name}' cannot do; it takes {', '.join(keys)}. Leave "
        f'config.{key} as in configs/cifar10.py, or set config.{player}.name to {" or ".join(able) or "another"}'
      )
  return make(**{option: options[option] for option in takes})


def _asked(config: ConfigDict, player: str) -> Iterator[tuple[str, str, Any]]:
  """Each option for which a config asks more of a network than configs/cifar10.py, with its key and value."""
  flat = dict(flatten(config.to_dict()))
  for option, (key, *idle) in _KEYS[player].items():
    value = flat[key := key.format(player)]
    if (player in value) if option == 'spectral_norm' else (value not in idle):
      yield option, key, value
  if player == 'generator' and config.tricks.generator_labels == 'conditional_batch':
    yield 'norm', 'tricks.generator_labels', 'conditional_batch'


def _norm(config: ConfigDict, player: ConfigDict, name: str) -> Callable | None:
  norm = look_up(NORMALIZATIONS, player.normalization, f'config.{name}.normalization')
  options = {
    'epsilon': config.batch_norm.epsilon,
    'gains': look_up(INITIALIZATIONS, config.initialization, 'config.initialization').gains,
    'dtype': look_up(PRECISIONS, config.precision, 'config.precision'),
  }
  if player.normalization == 'batch':
    options |= {'decay': config.batch_norm.decay, 'axis_name': parallel.AXIS}
  if player.normalization == 'virtual_batch':
    options |= {'reference_size': _REFERENCE_SIZE}
  return norm and functools.partial(norm, **options)


def _optimizer(
  config: ConfigDict, optimizer: ConfigDict, *, steps: int, weight_clip: float | None = None
) -> optax.GradientTransformation:
  tricks = config.tricks
  rate = optimizers.learning_rate_schedule(
    optimizer.learning_rate,
    decay=look_up(DECAYS, tricks.decay, 'config.tricks.decay'),
    steps=steps,
    warm_up=tricks.warm_up,
  )
  make = look_up(OPTIMIZERS, optimizer.name, 'optimizer')
  return optimizers.constrain(
    make(rate, b1=optimizer.b1, b2=optimizer.b2, epsilon=optimizer.epsilon, weight_decay=tricks.weight_decay),
    clip_value=tricks.gradient_clip_value,
    clip_norm=tricks.gradient_clip_norm,
    weight_clip=weight_clip,
  )
