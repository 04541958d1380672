"""The functions of a training step that a config asks for: losses, penalties, what the discriminator sees, turns."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dcgan_jax.building.model import Model
from dcgan_jax.errors import look_up
from dcgan_jax.games import adversarial, augment, parallel, step
from dcgan_jax.games.optimizers import ema_decay
from dcgan_jax.kinds import image as images
from dcgan_jax.objectives import adversarial as losses
from dcgan_jax.objectives import consistency, feature_matching, gradient_penalty
from dcgan_jax.objectives.classification import classification

LOSSES = {
  'non_saturating': losses.non_saturating,
  'saturating': losses.saturating,
  'least_squares': losses.least_squares,
  'hinge': lambda targets: losses.hinge(),
  'wasserstein': lambda targets: losses.wasserstein(),
  'relativistic_average': lambda targets: losses.relativistic_average(_mean),
}
AUGMENTATIONS = {
  'flip': augment.flip,
  'color': augment.color,
  'translation': augment.translation,
  'cutout': augment.cutout,
}


def build_loss(config: ConfigDict) -> losses.AdversarialLoss:
  """The adversarial loss that a config names, with its targets."""
  tricks = config.tricks
  targets = losses.targets(real=tricks.real_target, fake=tricks.fake_target, flipped=tricks.flipped_labels)
  return look_up(LOSSES, config.loss, 'config.loss')(targets)


def build_game(config: ConfigDict, model: Model) -> step.Game:
  """The game of a config."""
  tricks = config.tricks
  flip = augment.flip if config.data.flip else augment.unchanged
  loss = build_loss(config)
  play = adversarial.Adversarial(
    latents=model.latents,
    augment=_augmentation(config),
    discriminator_loss=_discriminator_loss(config, loss),
    penalty=_penalty(config),
    generator_loss=_generator_loss(config, loss),
    conditional=model.num_classes is not None,
    discriminator_steps=tricks.discriminator_turns,
    reuse_fakes=config.reuse_fakes,
    generator_batch_multiplier=tricks.generator_batches,
  )
  decay = ema_decay(
    config.batch_size, half_life=config.generator.averaging.half_life, ramp_up=config.generator.averaging.ramp_up
  )
  return step.Game(
    play,
    uses=adversarial.USES,
    prepare=lambda keys, batch: {'example': flip(keys, images.to_float(batch['images'])), 'label': batch.get('labels')},
    ema_decay=decay,
  )


def _augmentation(config: ConfigDict) -> Callable:
  parts = [look_up(AUGMENTATIONS, name, 'config.tricks.augment') for name in config.tricks.augment]
  parts = [_at_any_step(part) for part in parts]
  if config.tricks.instance_noise:
    parts.append(augment.fading_noise(config.tricks.instance_noise, steps=config.tricks.instance_noise_steps))
  return augment.sequence(parts)


def _at_any_step(part: Callable) -> Callable:
  return lambda keys, examples, step: part(keys, examples)


def _discriminator_loss(config: ConfigDict, loss: losses.AdversarialLoss) -> Callable:
  if config.tricks.discriminator_labels != 'auxiliary':
    return lambda keys, real, fake, labels: loss.discriminator(keys, real.logits, fake.logits)

  def with_classes(keys, real, fake, labels):
    classes = classification(real.class_logits, labels) + classification(fake.class_logits, labels)
    return loss.discriminator(keys, real.logits, fake.logits) + config.tricks.auxiliary_weight * classes

  return with_classes


def _generator_loss(config: ConfigDict, loss: losses.AdversarialLoss) -> Callable:
  parts = [lambda fake, real, labels: loss.generator(fake.logits, lambda: real().logits)]
  if config.tricks.discriminator_labels == 'auxiliary':
    weight = config.tricks.auxiliary_weight
    parts.append(lambda fake, real, labels: weight * classification(fake.class_logits, labels))
  if config.tricks.feature_matching:

    def matching(fake, real, labels):
      distance = feature_matching.feature_matching(fake.features, real().features, mean=parallel.average_over_devices)
      return jnp.broadcast_to(config.tricks.feature_matching * distance, fake.logits.shape)

    parts.append(matching)
  return lambda fake, real, labels: sum(part(fake, real, labels) for part in parts)


def _penalty(config: ConfigDict) -> Callable:
  tricks = config.tricks
  transform = augment.sequence([augment.flip, augment.translation])
  terms = [
    (tricks.r1, gradient_penalty.r1),
    (tricks.r2, gradient_penalty.r2),
    (tricks.gradient_penalty, gradient_penalty.wgan_gp),
    (tricks.dragan, functools.partial(gradient_penalty.dragan, mean=parallel.average_over_devices)),
    (tricks.consistency_real, functools.partial(consistency.real_consistency, transform=transform)),
    (tricks.consistency_fake, functools.partial(consistency.fake_consistency, transform=transform)),
  ]
  terms = [(weight, term) for weight, term in terms if weight]
  return gradient_penalty.weighted(terms, every=tricks.penalty_every) if terms else gradient_penalty.none


def _mean(values: jax.Array) -> jax.Array:
  """Over all examples of all devices, []."""
  return parallel.average_over_devices(values.mean())
