"""GANState: everything a run needs to go on, and its initialisation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.training.train_state import TrainState


class NetworkState(TrainState):
  """A TrainState that also carries the moving statistics of batch normalisation ({} without any)."""

  batch_stats: Any

  @property
  def variables(self) -> dict[str, Any]:
    """What `apply_fn` takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


class GANState(struct.PyTreeNode):
  """Both players and the averaged generator; ordinary shapes, the same on every device.

  step: updates done so far, int32 [].
  generator, discriminator: parameters, optimiser state and batch statistics.
  averaged: {'params', 'batch_stats'}, the moving average of the generator's.
  """

  step: jax.Array
  generator: NetworkState
  discriminator: NetworkState
  averaged: dict[str, Any]

  @property
  def variables(self) -> dict[str, Any]:
    """What uses of a trained run need: 'generator', the averaged one, and 'discriminator'."""
    return {'generator': self.averaged, 'discriminator': self.discriminator.variables}


class ExportedState(NamedTuple):
  """What is left of a GANState in an export.

  step: updates it has seen.
  variables: as GANState's; {'generator'} alone where no discriminator was exported.
  """

  step: int
  variables: dict[str, Any]


def create_state(
  key: jax.Array,
  *,
  generator: nn.Module,
  discriminator: nn.Module,
  optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
  latent_size: int,
  shape: tuple[int, ...],
) -> GANState:
  """The state before the first update; a function of the key alone.

  Args:
    key: random key of the run.
    generator, discriminator: the networks.
    optimizers: the generator's and the discriminator's.
    latent_size: Z.
    shape: of an example, (*spatial, C).
  """
  generator_key, discriminator_key = jax.random.split(key)
  z, x, labels = jnp.zeros((1, latent_size)), jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32)
  players = [
    _network_state(generator, optimizers[0], generator.init(generator_key, z, labels, train=False)),
    _network_state(
      discriminator,
      optimizers[1],
      discriminator.init(discriminator_key, x, labels, train=False, keys=discriminator_key[None]),
    ),
  ]
  return GANState(
    step=jnp.zeros((), jnp.int32),
    generator=players[0],
    discriminator=players[1],
    # A copy: the update donates its argument, and a buffer can be donated once only.
    averaged=jax.tree.map(jnp.copy, players[0].variables),
  )


def _network_state(network: nn.Module, optimizer: optax.GradientTransformation, variables: dict) -> NetworkState:
  return NetworkState.create(
    apply_fn=network.apply,
    tx=optimizer,
    params=variables['params'],
    batch_stats=variables.get('batch_stats', {}),
    # A Python int would be weakly typed and compile the update a second time after a restore.
  ).replace(step=jnp.zeros((), jnp.int32))
