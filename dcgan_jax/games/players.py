"""What games are made of: running a player, and one optimizer step of some players on the mean of a loss.

Law: gradients, batch statistics and scalars of all devices are averaged here, and nowhere else.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key, PyTree, Scalar

from dcgan_jax.games.parallel import average_over_devices, own_copy
from dcgan_jax.games.state import Player

Players = dict[str, Player]
Scalars = dict[str, Scalar]


class GeneratorOutput(NamedTuple):
  """Examples [B, *shape], the batch statistics after the pass, and its VJP with respect to the parameters."""

  examples: Float[Array, 'B ...']
  batch_stats: PyTree
  pullback: Callable


class DiscriminatorOutput(NamedTuple):
  """Logits [B, ...], activations of each layer [B, ..., F], and logits of the classes [B, classes] or None."""

  logits: Float[Array, 'B ...']
  features: tuple[Float[Array, 'B ...'], ...]
  class_logits: Float[Array, 'B classes'] | None


def generate(generator: Player, inputs: Mapping[str, Array | None]) -> GeneratorOutput:
  """Runs a generator in training mode on named inputs, [B, ...] each."""

  def run(params):
    variables = {'params': params, 'batch_stats': generator.batch_stats}
    examples, updated = generator.apply_fn(variables, **inputs, train=True, mutable=['batch_stats'])
    return examples, updated.get('batch_stats', {})

  examples, pullback, batch_stats = jax.vjp(run, own_copy(generator.params), has_aux=True)
  return GeneratorOutput(examples, batch_stats, pullback)


def discriminate(
  discriminator: Player, examples: Float[Array, 'B ...'], labels: Int[Array, ' B'] | None, keys: Key[Array, ' B']
) -> tuple[DiscriminatorOutput, Player]:
  """Runs a discriminator in training mode; also returns it with its updated batch statistics."""
  (logits, features), updated = discriminator.apply_fn(
    discriminator.variables, examples, labels, train=True, keys=keys, mutable=['batch_stats', 'auxiliary']
  )
  class_logits = updated.get('auxiliary', {}).get('classifier', {}).get('class_logits')
  output = DiscriminatorOutput(logits, features, class_logits)
  return output, discriminator.replace(batch_stats=updated.get('batch_stats', {}))


def descend(
  players: Players, moving: tuple[str, ...], loss: Callable[[Players], tuple[Float[Array, 'B ...'], Players, Scalars]]
) -> tuple[Players, Scalars]:
  """Takes one optimizer step of the players named in `moving`.

  Args:
    players: all players.
    moving: names of those whose parameters change.
    loss: players -> (loss of each example [B, ...], players after the pass, scalars []).

  Returns:
    All players, and the scalars averaged over devices; 'loss' is the mean loss unless `loss` itself returns one.
  """

  def mean_loss(params):
    playing = players | {name: players[name].replace(params=params[name]) for name in moving}
    values, after, scalars = loss(playing)
    mean = values.mean()
    return mean, ({name: after[name].batch_stats for name in moving}, {'loss': mean} | scalars)

  results = jax.grad(mean_loss, has_aux=True)(own_copy({name: players[name].params for name in moving}))
  gradients, (batch_stats, scalars) = average_over_devices(results)
  return players | {
    name: players[name].apply_gradients(grads=gradients[name], batch_stats=batch_stats[name]) for name in moving
  }, scalars


def descend_through(
  generator: Player, output: GeneratorOutput, loss: Callable[[Float[Array, 'B ...']], Float[Array, 'B ...']]
) -> tuple[Player, Scalars]:
  """Takes one optimizer step of a generator whose pass is done already, so that two updates can share it.

  Args:
    generator: the player that made the output.
    output: what `generate` returned.
    loss: examples [B, *shape] -> loss of each example [B, ...].

  Returns:
    The generator, and the scalar 'loss' averaged over devices.
  """
  mean, example_gradients = jax.value_and_grad(lambda examples: loss(examples).mean())(output.examples)
  results = output.pullback(example_gradients)[0], output.batch_stats, {'loss': mean}
  gradients, batch_stats, scalars = average_over_devices(results)
  return generator.apply_gradients(grads=gradients, batch_stats=batch_stats), scalars
