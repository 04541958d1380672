"""GANState: everything that a run needs to resume, and its initialization."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.training.train_state import TrainState


class Player(TrainState):
  """A network with its optimizer: a TrainState that also carries batch statistics ({} without batch normalization)."""

  batch_stats: Any

  @property
  def variables(self) -> dict[str, Any]:
    """The variables that `apply_fn` takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


class GANState(struct.PyTreeNode):
  """Players and moving averages by name; ordinary shapes, the same on every device.

  step: updates done so far, int32 [].
  players: parameters, optimizer state and batch statistics of each network.
  ema: exponential moving averages of some players, {'params', 'batch_stats'} each.
  """

  step: jax.Array
  players: dict[str, Player]
  ema: dict[str, dict[str, Any]]

  @property
  def variables(self) -> dict[str, Any]:
    """The variables to use after training, by player: the average where there is one."""
    return {name: player.variables for name, player in self.players.items()} | self.ema


class ExportedState(NamedTuple):
  """The part of a GANState that an export holds.

  step: updates done.
  variables: as GANState's; {'generator'} alone where no discriminator was exported.
  """

  step: int
  variables: dict[str, Any]


def create_state(
  key: jax.Array,
  *,
  networks: Mapping[str, nn.Module],
  optimizers: Mapping[str, optax.GradientTransformation],
  inputs: Mapping[str, Mapping[str, Any]],
  averaged: tuple[str, ...] = ('generator',),
) -> GANState:
  """Initializes the state before the first update; a function of the key alone.

  Args:
    key: random key of the run.
    networks: network of each player.
    optimizers: optimizer of each player.
    inputs: named inputs of each network, a batch of one.
    averaged: players of which a moving average is kept.
  """
  keys = dict(zip(networks, jax.random.split(key, len(networks)), strict=True))
  players = {
    name: _create_player(network, optimizers[name], network.init(keys[name], **inputs[name], train=False))
    for name, network in networks.items()
  }
  # Copies: the update donates its argument, and a buffer can be donated only once.
  ema = {name: jax.tree.map(jnp.copy, players[name].variables) for name in averaged}
  return GANState(step=jnp.zeros((), jnp.int32), players=players, ema=ema)


def _create_player(network: nn.Module, optimizer: optax.GradientTransformation, variables: Any) -> Player:
  return Player.create(
    apply_fn=network.apply,
    tx=optimizer,
    params=variables['params'],
    batch_stats=variables.get('batch_stats', {}),
    # A Python int would be weakly typed and compile the update a second time after a restore.
  ).replace(step=jnp.zeros((), jnp.int32))
