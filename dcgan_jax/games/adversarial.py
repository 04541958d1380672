"""The adversarial game: D learns to tell real examples from G's, G learns to pass for real. Read this file first.

References: Goodfellow et al. 2014, algorithm 1.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from dcgan_jax.games.players import (
  DiscriminatorOutput,
  GeneratorOutput,
  Players,
  Scalars,
  descend,
  descend_through,
  discriminate,
  generate,
)
from dcgan_jax.games.state import Player

USES = ('latents', 'new_latents', 'augment_real', 'augment_fake', 'augment_generator')
USES += ('real', 'fake', 'generator', 'loss', 'penalty', 'critic')


class Shard(NamedTuple):
  """This device's examples: real in [-1, 1] [B, *shape], labels int32 [B] or None, random keys [B] of each use."""

  real: Float[Array, 'B ...']
  labels: Int[Array, ' B'] | None
  keys: dict[str, Key[Array, ' B']]


@dataclasses.dataclass(frozen=True)
class Adversarial:
  """The game, and what can be changed in it. Keys come one per example, [B].

  latents: keys -> z [B, Z].
  augment: (keys, examples, step) -> examples; D sees real and generated examples through it.
  discriminator_loss: (keys, output of real, output of fake, labels) -> [B, ...].
  penalty: (keys, step, critic, real, fake) -> [B], where critic maps augmented examples to logits.
  generator_loss: (output of fake, real_output, labels) -> [B, ...]; real_output() is D's output of real examples.
  conditional: whether the players see labels.
  discriminator_steps: D's updates for each of G's.
  reuse_fakes: G's update takes the examples that D's update drew, which saves a pass; with one D step only.
  generator_batch_multiplier: examples in G's update, as a multiple of the batch.
  """

  latents: Callable
  augment: Callable
  discriminator_loss: Callable
  penalty: Callable
  generator_loss: Callable
  conditional: bool = False
  discriminator_steps: int = 1
  reuse_fakes: bool = False
  generator_batch_multiplier: int = 1

  def __call__(
    self, players: Players, batch: dict[str, Array | None], keys: dict[str, Key[Array, ' B']], step: Int[Array, '']
  ) -> tuple[Players, dict[str, Scalars]]:
    """Updates D `discriminator_steps` times, then G once against the new D; returns the scalars by player."""
    generator, discriminator = players['generator'], players['discriminator']
    shard = Shard(batch['example'], batch['label'] if self.conditional else None, keys)

    def draw(shard: Shard, use: str) -> GeneratorOutput:
      return generate(generator, {'z': self.latents(shard.keys[use]), 'labels': shard.labels})

    def update_discriminator(
      discriminator: Player, shard: Shard, fake: Float[Array, 'B ...']
    ) -> tuple[Player, Scalars]:
      real, labels, keys = shard
      real, fake = self.augment(keys['augment_real'], real, step), self.augment(keys['augment_fake'], fake, step)

      def loss(players: Players) -> tuple[Float[Array, ' B'], Players, Scalars]:
        # Each pass has its own batch statistics.
        on_real, player = discriminate(players['discriminator'], real, labels, keys['real'])
        on_fake, player = discriminate(player, fake, labels, keys['fake'])
        critic = lambda examples: discriminate(player, examples, labels, keys['critic'])[0].logits
        values = _per_example(self.discriminator_loss(keys['loss'], on_real, on_fake, labels))
        penalty = self.penalty(keys['penalty'], step, critic, real, fake)
        scalars = {'real_logits': on_real.logits.mean(), 'fake_logits': on_fake.logits.mean()}
        scalars |= {'loss': values.mean(), 'penalty': penalty.mean()}
        return values + penalty, {'discriminator': player}, scalars

      moved, scalars = descend({'discriminator': discriminator}, ('discriminator',), loss)
      return moved['discriminator'], scalars

    if self.discriminator_steps == 1:
      drawn = draw(shard, 'latents')
      discriminator, discriminator_scalars = update_discriminator(discriminator, shard, drawn.examples)
    else:
      several = split(shard, self.discriminator_steps)
      turn = lambda player, shard: update_discriminator(player, shard, draw(shard, 'latents').examples)
      discriminator, discriminator_scalars = lax.scan(turn, discriminator, several)
      discriminator_scalars = jax.tree.map(jnp.mean, discriminator_scalars)
      shard = jax.tree.map(lambda leaf: leaf[-1], several)

    own = repeat(shard, self.generator_batch_multiplier)
    if not self.reuse_fakes:
      drawn = draw(own, 'new_latents')

    def real_output() -> DiscriminatorOutput:
      real = self.augment(shard.keys['augment_real'], shard.real, step)
      return discriminate(discriminator, real, shard.labels, shard.keys['real'])[0]

    def fool(fake: Float[Array, 'B ...']) -> Float[Array, 'B ...']:
      # D's batch statistics of this pass are discarded.
      fake = self.augment(own.keys['augment_generator'], fake, step)
      on_fake, _ = discriminate(discriminator, fake, own.labels, own.keys['generator'])
      return self.generator_loss(on_fake, real_output, own.labels)

    generator, generator_scalars = descend_through(generator, drawn, fool)
    players = players | {'generator': generator, 'discriminator': discriminator}
    return players, {'generator': generator_scalars, 'discriminator': discriminator_scalars}


def _per_example(values: Float[Array, 'B ...']) -> Float[Array, ' B']:
  """The mean loss of each example, [B], of values [B, ...]: a discriminator of patches has many."""
  return values.mean(axis=tuple(range(1, values.ndim)))


def split(shard: Shard, count: int) -> Shard:
  """Equal parts, leaves [count, B / count, ...], of the same examples on any number of devices."""
  return jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]).swapaxes(0, 1), shard)


def repeat(shard: Shard, times: int) -> Shard:
  """Each label `times` times, with a key of its own each time; the real examples stay."""
  if times == 1:
    return shard
  fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
  keys = {use: fold(keys, jnp.arange(times, dtype=jnp.uint32)).reshape(-1) for use, keys in shard.keys.items()}
  return shard._replace(labels=jax.tree.map(lambda leaf: jnp.repeat(leaf, times), shard.labels), keys=keys)
