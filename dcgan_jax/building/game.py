"""The functions of a training step that a config asks for: losses, penalties, what the discriminator sees, turns."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dcgan_jax.building.model import Model
from dcgan_jax.errors import look_up
from dcgan_jax.games import augment, parallel, step
from dcgan_jax.games.optimizers import averaging_decay
from dcgan_jax.kinds import image as images
from dcgan_jax.objectives import adversarial, consistency, feature_matching, gradient_penalty
from dcgan_jax.objectives.classification import classification

LOSSES = {
  'non_saturating': adversarial.non_saturating,
  'saturating': adversarial.saturating,
  'least_squares': adversarial.least_squares,
  'hinge': lambda targets: adversarial.hinge(),
  'wasserstein': lambda targets: adversarial.wasserstein(),
  'relativistic_average': lambda targets: adversarial.relativistic_average(_mean),
}
AUGMENTATIONS = {
  'flip': augment.flip,
  'color': augment.color,
  'translation': augment.translation,
  'cutout': augment.cutout,
}


def build_loss(config: ConfigDict) -> adversarial.AdversarialLoss:
  """The adversarial loss that a config names, with its targets."""
  tricks = config.tricks
  targets = adversarial.targets(real=tricks.real_target, fake=tricks.fake_target, flipped=tricks.flipped_labels)
  return look_up(LOSSES, config.loss, 'config.loss')(targets)


def build_game(config: ConfigDict, model: Model) -> step.Game:
  """The functions a training step is made of."""
  tricks = config.tricks
  flip = augment.flip if config.data.flip else augment.unchanged
  loss = build_loss(config)
  conditional = model.num_classes is not None
  return step.Game(
    latents=model.latents,
    prepare=lambda keys, examples: flip(keys, images.to_float(examples)),
    labels=(lambda batch: batch['labels']) if conditional else (lambda batch: None),
    augment=_augmentation(config),
    discriminator_loss=_discriminator_loss(config, loss),
    penalty=_penalty(config),
    generator_loss=_generator_loss(config, loss),
    turns=step.one_turn
    if tricks.discriminator_turns == 1
    else functools.partial(step.several_turns, turns=tricks.discriminator_turns),
    generator_fakes=step.reuse_fakes if config.reuse_fakes else step.redraw_fakes,
    generator_share=step.same_share
    if tricks.generator_batches == 1
    else functools.partial(step.larger_share, times=tricks.generator_batches),
    averaging_decay=averaging_decay(
      config.batch_size,
      half_life=config.generator.averaging.half_life,
      ramp_up=config.generator.averaging.ramp_up,
    ),
  )


def _augmentation(config: ConfigDict) -> Callable:
  parts = [look_up(AUGMENTATIONS, name, 'config.tricks.augment') for name in config.tricks.augment]
  parts = [_at_any_step(part) for part in parts]
  if config.tricks.instance_noise:
    parts.append(augment.fading_noise(config.tricks.instance_noise, steps=config.tricks.instance_noise_steps))
  return augment.sequence(parts)


def _at_any_step(part: Callable) -> Callable:
  return lambda keys, examples, step: part(keys, examples)


def _discriminator_loss(config: ConfigDict, loss: adversarial.AdversarialLoss) -> Callable:
  if config.tricks.discriminator_labels != 'auxiliary':
    return lambda keys, real, fake, labels: loss.discriminator(keys, real.logits, fake.logits)

  def with_classes(keys, real, fake, labels):
    classes = classification(real.class_logits, labels) + classification(fake.class_logits, labels)
    return loss.discriminator(keys, real.logits, fake.logits) + config.tricks.auxiliary_weight * classes

  return with_classes


def _generator_loss(config: ConfigDict, loss: adversarial.AdversarialLoss) -> Callable:
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
