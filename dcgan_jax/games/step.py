"""One adversarial update as a pure function; the file to read first."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dcgan_jax.games.parallel import average_over_devices, global_example_indices, own_copy
from dcgan_jax.games.state import GANState, NetworkState


class Fakes(NamedTuple):
  """What the generator drew: images [B, *shape], its statistics afterwards, and the way back to its parameters."""

  images: jax.Array
  batch_stats: Any
  pullback: Callable


class Judgement(NamedTuple):
  """What the discriminator says: logits [B], activations of its layers, and logits of classes [B, classes] or None."""

  logits: jax.Array
  features: tuple[jax.Array, ...]
  class_logits: jax.Array | None


class Share(NamedTuple):
  """Part of the batch that one update plays with: real images [B, *shape], labels [B] or None, keys [B] by use."""

  real: jax.Array
  labels: jax.Array | None
  keys: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Game:
  """The functions a step is made of. Keys come one per example, [B], and belong to it on any number of devices.

  latents: keys -> z [B, Z].
  prepare: (keys, uint8 [B, *shape]) -> real images in [-1, 1].
  labels: batch -> int32 [B], or None where the networks do not ask for them.
  augment: (keys, images, step) -> images, what the discriminator sees of real and fake alike.
  discriminator_loss: (keys, real judgement, fake judgement, labels) -> [B].
  penalty: (keys, step, critic, real, fake) -> [B], where critic maps images as augmented to logits [B].
  generator_loss: (fake judgement, judge_real, labels) -> [B], where judge_real() is a judgement of real images.
  turns: (update, discriminator, share) -> (discriminator, (fakes, scalars), share of the last): one turn or several.
  generator_fakes: (fakes, draw) -> fakes, those of the generator's update: the discriminator's or newly drawn ones.
  generator_share: share -> share, whose keys and labels are those of the generator's fakes.
  averaging_decay: step -> share of the averaged generator that is kept.
  """

  latents: Callable
  prepare: Callable
  labels: Callable
  augment: Callable
  discriminator_loss: Callable
  penalty: Callable
  generator_loss: Callable
  turns: Callable
  generator_fakes: Callable
  generator_share: Callable
  averaging_decay: Callable


def train_step(state: GANState, batch: dict, key: jax.Array, *, game: Game) -> tuple[GANState, dict]:
  """Updates the discriminator, then the generator once, on this device's share of the batch.

  Args:
    state: both networks and the averaged generator, the same on every device.
    batch: {'images': uint8 [B, *shape]} and perhaps 'labels' int32 [B], different on every device.
    key: the run's key, the same on every device and at every step.
    game: what the players play.

  Returns:
    The next state and a dict of float32 scalars, both the same on every device.
  """
  keys = step_keys(key, state.step, batch['images'].shape[0])
  share = Share(game.prepare(keys['prepare'], batch['images']), game.labels(batch), keys)

  # Update the discriminator on real and fake images, each pass with its own batch statistics.
  def update_discriminator(discriminator, share):
    real, labels, keys = share
    fakes = draw_fakes(state.generator, game.latents(keys['latents']), labels)

    def discriminator_loss(params):
      network = discriminator.replace(params=params)
      seen = [game.augment(keys['augment_real'], real, state.step)]
      seen += [game.augment(keys['augment_fake'], fakes.images, state.step)]
      on_real, network = judge(network, seen[0], labels, keys['real'])
      on_fake, network = judge(network, seen[1], labels, keys['fake'])
      critic = lambda images: judge(network, images, labels, keys['critic'])[0].logits
      loss = game.discriminator_loss(keys['loss'], on_real, on_fake, labels).mean()
      penalty = game.penalty(keys['penalty'], state.step, critic, *seen).mean()
      scalars = {'loss': loss, 'real_logits': on_real.logits.mean(), 'fake_logits': on_fake.logits.mean()}
      return loss + penalty, (network.batch_stats, scalars | {'penalty': penalty})

    results = jax.grad(discriminator_loss, has_aux=True)(own_copy(discriminator.params))
    gradients, (batch_stats, scalars) = average_over_devices(results)
    return discriminator.apply_gradients(grads=gradients, batch_stats=batch_stats), (fakes, scalars)

  discriminator, (fakes, discriminator_scalars), share = game.turns(update_discriminator, state.discriminator, share)

  # Update the generator against the new discriminator, whose statistics of this pass are discarded.
  _, labels, keys = game.generator_share(share)
  fakes = game.generator_fakes(fakes, lambda: draw_fakes(state.generator, game.latents(keys['new_latents']), labels))

  def judge_real():
    seen = game.augment(share.keys['augment_real'], share.real, state.step)
    return judge(discriminator, seen, share.labels, share.keys['real'])[0]

  def generator_loss(images):
    seen = game.augment(keys['augment_generator'], images, state.step)
    return game.generator_loss(judge(discriminator, seen, labels, keys['generator'])[0], judge_real, labels).mean()

  loss, image_gradients = jax.value_and_grad(generator_loss)(fakes.images)
  results = fakes.pullback(image_gradients)[0], fakes.batch_stats, {'loss': loss}
  gradients, batch_stats, generator_scalars = average_over_devices(results)
  generator = state.generator.apply_gradients(grads=gradients, batch_stats=batch_stats)

  # Average the generator's weights and statistics.
  kept = game.averaging_decay(state.step)
  averaged = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, state.averaged, generator.variables)

  scalars = {f'generator/{name}': value for name, value in generator_scalars.items()}
  scalars |= {f'discriminator/{name}': value for name, value in discriminator_scalars.items()}
  scalars['generator/parameter_norm'] = optax.tree.norm(generator.params)
  scalars['discriminator/parameter_norm'] = optax.tree.norm(discriminator.params)
  return GANState(state.step + 1, generator, discriminator, averaged), scalars


def reuse_fakes(fakes: Fakes, draw: Callable[[], Fakes]) -> Fakes:
  """Both updates use the same fakes: one forward pass of the generator fewer."""
  del draw
  return fakes


def redraw_fakes(fakes: Fakes, draw: Callable[[], Fakes]) -> Fakes:
  """The generator's update draws its own fakes."""
  del fakes
  return draw()


def one_turn(update: Callable, discriminator: NetworkState, share: Share) -> tuple[NetworkState, tuple, Share]:
  """One update of the discriminator on the whole share."""
  return *update(discriminator, share), share


def several_turns(
  update: Callable, discriminator: NetworkState, share: Share, *, turns: int
) -> tuple[NetworkState, tuple, Share]:
  """Updates the discriminator `turns` times, each time on another equal part of the share; scalars are their means."""
  # Every turns-th example, so that a turn has the same examples on any number of devices.
  parts = jax.tree.map(lambda leaf: leaf.reshape(-1, turns, *leaf.shape[1:]).swapaxes(0, 1), share)

  def turn(discriminator, part):
    discriminator, (_, scalars) = update(discriminator, part)
    return discriminator, scalars

  discriminator, scalars = lax.scan(turn, discriminator, parts)
  last = jax.tree.map(lambda leaf: leaf[-1], parts)
  return discriminator, (None, jax.tree.map(jnp.mean, scalars)), last


def same_share(share: Share) -> Share:
  """As many fakes in the generator's update as real images."""
  return share


def larger_share(share: Share, *, times: int) -> Share:
  """`times` as many fakes in the generator's update as real images: each label and key stands for several."""
  draws = jnp.arange(times, dtype=jnp.uint32)
  several = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
  keys = {use: several(keys, draws).reshape(-1) for use, keys in share.keys.items()}
  return share._replace(labels=jax.tree.map(lambda leaf: jnp.repeat(leaf, times), share.labels), keys=keys)


def draw_fakes(generator: NetworkState, z: jax.Array, labels: jax.Array | None) -> Fakes:
  """Runs the generator in training mode on z [B, Z] and labels [B]."""

  def generate(params):
    variables = {'params': params, 'batch_stats': generator.batch_stats}
    images, updated = generator.apply_fn(variables, z, labels, train=True, mutable=['batch_stats'])
    return images, updated.get('batch_stats', {})

  images, pullback, batch_stats = jax.vjp(generate, own_copy(generator.params), has_aux=True)
  return Fakes(images, batch_stats, pullback)


def judge(
  discriminator: NetworkState, images: jax.Array, labels: jax.Array | None, keys: jax.Array
) -> tuple[Judgement, NetworkState]:
  """What it says of images in training mode, and the discriminator with its moving statistics brought up to date."""
  (logits, features), updated = discriminator.apply_fn(
    discriminator.variables, images, labels, train=True, keys=keys, mutable=['batch_stats', 'auxiliary']
  )
  class_logits = updated.get('auxiliary', {}).get('classifier', {}).get('class_logits')
  judgement = Judgement(logits, features, class_logits)
  return judgement, discriminator.replace(batch_stats=updated.get('batch_stats', {}))


def step_keys(key: jax.Array, step: jax.Array, examples_per_device: int) -> dict[str, jax.Array]:
  """Random keys [B] of this step's examples for each use: a function of (run, step, global example index)."""
  uses = ('prepare', 'latents', 'new_latents', 'augment_real', 'augment_fake', 'augment_generator')
  uses += ('real', 'fake', 'generator', 'loss', 'penalty', 'critic')
  key = jax.random.fold_in(key, step)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, global_example_indices(examples_per_device))
  return {use: jax.vmap(jax.random.fold_in, (0, None))(keys, jnp.uint32(i)) for i, use in enumerate(uses)}
