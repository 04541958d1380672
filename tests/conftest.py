"""Eight fake CPU devices, quick compilation, a limit on CPU time, and the smallest game that has every part."""

import functools
import os

import environment  # noqa: F401  Before JAX is imported.

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dcgan_jax.drawing import latents
from dcgan_jax.games import adversarial, augment, step
from dcgan_jax.games.optimizers import ema_decay
from dcgan_jax.games.parallel import AXIS
from dcgan_jax.games.state import create_state
from dcgan_jax.kinds import image as images
from dcgan_jax.models import dcgan, initializers, normalization
from dcgan_jax.objectives import adversarial as losses
from dcgan_jax.objectives import gradient_penalty

# Halves the time that compiling a training step takes.
jax.config.update('jax_disable_most_optimizations', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')

# A test that takes more, or whose fixtures do, is marked slow: CPU time hardly depends on what else the machine does.
CPU_SECONDS = 5.0
SHAPE = (16, 16, 3)
LATENT_SIZE = 5
BATCH_SIZE = 8


_STARTED = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
  return (yield from _started(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
  return (yield from _started(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
  report = yield
  if call.when != 'teardown' and report.passed and not item.get_closest_marker('slow'):
    seconds, limit = _cpu_seconds() - item.stash[_STARTED], CPU_SECONDS * _slowness()
    if seconds > limit:
      report.outcome = 'failed'
      report.longrepr = f'took {seconds:.1f} CPU-seconds, more than {limit:.1f}; make it quicker or mark it slow'
  return report


@functools.cache
def _slowness():
  """How many times as long as a core of an AMD EPYC with AVX-512 this one takes; 1 for faster ones."""
  start = _cpu_seconds()
  sum(i * i for i in range(6_000_000))
  return max(1.0, (_cpu_seconds() - start) / 0.2)


def _started(item):
  item.stash[_STARTED] = _cpu_seconds()
  return (yield)


def _cpu_seconds():
  """CPU-seconds of this process and of its children that have ended."""
  return sum(os.times()[:4])


@pytest.fixture(scope='session')
def key():
  return jax.random.key(7)


@pytest.fixture(scope='session')
def tiny_generator():
  return dcgan.Generator(shape=SHAPE, widths=(8, 4), norm_before_reshape=False, **_layers(nn.relu))


@pytest.fixture(scope='session')
def tiny_discriminator():
  activation = functools.partial(nn.leaky_relu, negative_slope=0.2)
  return dcgan.Discriminator(widths=(4, 8), dropout=0.25, **_layers(activation))


@pytest.fixture(scope='session')
def create_tiny_state(tiny_generator, tiny_discriminator):
  """key -> GANState."""
  create = functools.partial(
    create_state,
    networks={'generator': tiny_generator, 'discriminator': tiny_discriminator},
    optimizers={'generator': optax.adam(2e-3, b1=0.5), 'discriminator': optax.adam(1e-3, b1=0.5)},
    inputs={
      'generator': {'z': jnp.zeros((1, LATENT_SIZE)), 'labels': None},
      'discriminator': {'x': jnp.zeros((1, *SHAPE)), 'labels': None, 'keys': jax.random.split(jax.random.key(0), 1)},
    },
  )
  return jax.jit(create)


@pytest.fixture(scope='session')
def tiny_state(create_tiny_state, key):
  return create_tiny_state(key)


@pytest.fixture(scope='session')
def tiny_game():
  """Everything that uses randomness is on: dropout, flips of real images, flips before the discriminator."""
  loss = losses.non_saturating(losses.targets())
  play = adversarial.Adversarial(
    latents=functools.partial(latents.normal, latent_size=LATENT_SIZE),
    augment=lambda keys, images, step: augment.flip(keys, images),
    discriminator_loss=lambda keys, real, fake, labels: loss.discriminator(keys, real.logits, fake.logits),
    penalty=gradient_penalty.none,
    generator_loss=lambda fake, real, labels: loss.generator(fake.logits, lambda: real().logits),
  )
  return step.Game(
    play,
    uses=adversarial.USES,
    prepare=lambda keys, batch: {'example': augment.flip(keys, images.to_float(batch['images']))},
    ema_decay=ema_decay(BATCH_SIZE, half_life=100.0, ramp_up=0.5),
  )


@pytest.fixture(scope='session')
def tiny_batch():
  return {'images': np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, *SHAPE), np.uint8)}


def _layers(activation):
  """What both networks share, normalised as build_model.py does it."""
  norm = functools.partial(
    normalization.batch,
    decay=0.9,
    epsilon=1e-5,
    axis_name=AXIS,
    gains=initializers.DCGAN.gains,
    dtype=jnp.float32,
  )
  return {
    'strides': (2, 2),
    'kernel_size': 4,
    'activation': activation,
    'norm': norm,
    'bias': True,
    'initialization': initializers.DCGAN,
  }
