"""One adversarial update as a pure function; the file to read first."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcgan_jax.objectives.adversarial import AdversarialLoss
from dcgan_jax.parallel import average_over_devices, global_example_indices
from dcgan_jax.state import GANState, NetworkState


class Fakes(NamedTuple):
  """What the generator drew: images [B, *shape], its statistics afterwards, and the way back to its parameters."""

  images: jax.Array
  batch_stats: Any
  pullback: Callable


@dataclasses.dataclass(frozen=True)
class Game:
  """The functions a step is made of. Keys come one per example, [B], and belong to it on any number of devices.

  latents: keys -> z [B, Z].
  prepare: (keys, uint8 [B, *shape]) -> real images in [-1, 1].
  augment: (keys, images) -> images, what the discriminator sees of real and fake alike.
  loss: what the players minimise.
  generator_fakes: (fakes, draw) -> fakes, those of the generator's update: the discriminator's or newly drawn ones.
  averaging_decay: step -> share of the averaged generator that is kept.
  """

  latents: Callable
  prepare: Callable
  augment: Callable
  loss: AdversarialLoss
  generator_fakes: Callable
  averaging_decay: Callable


def reuse_fakes(fakes: Fakes, draw: Callable[[], Fakes]) -> Fakes:
  """Both updates use the same fakes: one forward pass of the generator fewer."""
  del draw
  return fakes


def redraw_fakes(fakes: Fakes, draw: Callable[[], Fakes]) -> Fakes:
  """The generator's update draws its own fakes."""
  del fakes
  return draw()


def train_step(state: GANState, batch: dict, key: jax.Array, *, game: Game) -> tuple[GANState, dict]:
  """One discriminator update, then one generator update, on this device's share of the batch.

  Args:
    state: both networks and the averaged generator, the same on every device.
    batch: {'images': uint8 [B, *shape]}, different on every device.
    key: the run's key, the same on every device and at every step.
    game: what the players play.

  Returns:
    The next state and a dict of float32 scalars, both the same on every device.
  """
  keys = step_keys(key, state.step, batch['images'].shape[0])
  real = game.prepare(keys['prepare'], batch['images'])
  fakes = draw_fakes(state.generator, game.latents(keys['latents']))

  # Update the discriminator on real and fake images, each pass with its own batch statistics.
  def discriminator_loss(params):
    network = state.discriminator.replace(params=params)
    seen = game.augment(keys['augment_real'], real)
    real_logits, network = judge(network, seen, keys['real'])
    seen = game.augment(keys['augment_fake'], fakes.images)
    fake_logits, network = judge(network, seen, keys['fake'])
    loss = game.loss.discriminator(real_logits, fake_logits).mean()
    scalars = {'loss': loss, 'real_logits': real_logits.mean(), 'fake_logits': fake_logits.mean()}
    return loss, (network.batch_stats, scalars)

  results = jax.grad(discriminator_loss, has_aux=True)(state.discriminator.params)
  gradients, (batch_stats, discriminator_scalars) = average_over_devices(results)
  discriminator = state.discriminator.apply_gradients(grads=gradients, batch_stats=batch_stats)

  # Update the generator against the new discriminator, whose statistics of this pass are discarded.
  fakes = game.generator_fakes(fakes, lambda: draw_fakes(state.generator, game.latents(keys['new_latents'])))

  def generator_loss(images):
    seen = game.augment(keys['augment_generator'], images)
    fake_logits, _ = judge(discriminator, seen, keys['generator'])
    return game.loss.generator(fake_logits).mean()

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


def draw_fakes(generator: NetworkState, z: jax.Array) -> Fakes:
  """Runs the generator in training mode on z [B, Z]."""

  def generate(params):
    variables = {'params': params, 'batch_stats': generator.batch_stats}
    images, updated = generator.apply_fn(variables, z, train=True, mutable=['batch_stats'])
    return images, updated.get('batch_stats', {})

  images, pullback, batch_stats = jax.vjp(generate, generator.params, has_aux=True)
  return Fakes(images, batch_stats, pullback)


def judge(discriminator: NetworkState, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, NetworkState]:
  """Logits [B] of images in training mode, and the discriminator with its moving statistics brought up to date."""
  (logits, _), updated = discriminator.apply_fn(
    discriminator.variables, images, train=True, keys=keys, mutable=['batch_stats']
  )
  return logits, discriminator.replace(batch_stats=updated.get('batch_stats', {}))


def step_keys(key: jax.Array, step: jax.Array, examples_per_device: int) -> dict[str, jax.Array]:
  """Random keys [B] of this step's examples for each use: a function of (run, step, global example index)."""
  uses = ('prepare', 'latents', 'new_latents', 'augment_real', 'augment_fake', 'augment_generator')
  uses += ('real', 'fake', 'generator')
  key = jax.random.fold_in(key, step)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, global_example_indices(examples_per_device))
  return {use: jax.vmap(jax.random.fold_in, (0, None))(keys, jnp.uint32(i)) for i, use in enumerate(uses)}
