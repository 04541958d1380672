"""One training step of any game: random keys, prepared examples, the game itself, moving averages, scalars."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import optax
from jaxtyping import Array, Int, Key

from dcgan_jax.games.parallel import global_example_indices
from dcgan_jax.games.players import Players, Scalars
from dcgan_jax.games.state import GANState
from dcgan_jax.keys import fold


@runtime_checkable
class Play(Protocol):
  """Moves all players on this device's examples; a file of this room defines each."""

  def __call__(
    self, players: Players, batch: dict[str, Array | None], keys: dict[str, Key[Array, ' B']], step: Int[Array, '']
  ) -> tuple[Players, dict[str, Scalars]]:
    """Returns the players after the step, and scalars by player.

    Args:
      players: by name, the same on every device.
      batch: prepared fields by name, [B, ...].
      keys: random keys [B] of each use.
      step: updates done so far, [].
    """
    ...


@dataclasses.dataclass(frozen=True)
class Game:
  """Everything that a training step needs besides its arguments.

  play: moves the players.
  uses: names of the random keys that `play` takes.
  prepare: (keys [B], stored fields) -> fields as the players see them.
  ema_decay: step -> decay of the moving averages, in [0, 1).
  """

  play: Play
  uses: tuple[str, ...]
  prepare: Callable[[Key[Array, ' B'], dict[str, Array]], dict[str, Array | None]]
  ema_decay: Callable[[Int[Array, '']], Array]


def train_step(
  state: GANState, batch: dict[str, Array], key: Key[Array, ''], *, game: Game
) -> tuple[GANState, Scalars]:
  """Updates every player on this device's shard of the batch.

  Args:
    state: players and moving averages, the same on every device.
    batch: stored fields by name, [B, ...], different on every device.
    key: random key of the run, the same on every device and at every step.
    game: what is played.

  Returns:
    The next state and float32 scalars named 'PLAYER/NAME', both the same on every device.
  """
  keys = step_keys(key, state.step, len(jax.tree.leaves(batch)[0]), uses=('prepare', *game.uses))
  batch = game.prepare(keys['prepare'], batch)
  players, scalars = game.play(state.players, batch, keys, state.step)
  decay = game.ema_decay(state.step)
  ema = {
    name: jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, players[name].variables)
    for name, average in state.ema.items()
  }
  scalars = {f'{player}/{name}': value for player, own in scalars.items() for name, value in own.items()}
  scalars |= {f'{name}/parameter_norm': optax.tree.norm(player.params) for name, player in players.items()}
  return GANState(state.step + 1, players, ema), scalars


def step_keys(
  key: Key[Array, ''], step: Int[Array, ''], examples: int, *, uses: tuple[str, ...]
) -> dict[str, Key[Array, ' B']]:
  """Random keys [B] of each use: functions of (run, step, global example index), on any number of devices.

  Args:
    key: random key of the run.
    step: updates done so far, [].
    examples: number of examples on this device, B.
    uses: names; the position of a name decides its keys.
  """
  key = jax.random.fold_in(key, step)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, global_example_indices(examples))
  return {use: fold(keys, i) for i, use in enumerate(uses)}
