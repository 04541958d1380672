"""The adversarial losses: laws, and NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import softplus
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.objectives import adversarial

LOGITS = np.array([-1e3, -9.0, -2.5, -0.1, 0.0, 0.7, 8.0, 1e3], np.float32)
SMOOTH = adversarial.targets(real=0.9, fake=0.2)
LOSSES = {
  'non_saturating': adversarial.non_saturating(adversarial.targets()),
  'saturating': adversarial.saturating(adversarial.targets()),
  'least_squares': adversarial.least_squares(adversarial.targets()),
  'smooth': adversarial.non_saturating(SMOOTH),
  'smooth_least_squares': adversarial.least_squares(SMOOTH),
  'hinge': adversarial.hinge(),
  'wasserstein': adversarial.wasserstein(),
  'relativistic': adversarial.relativistic_average(jnp.mean),
}
ALL = pytest.mark.parametrize('name', LOSSES)


def keys(number):
  return jax.random.split(jax.random.key(3), number)


def discriminator_loss(name, real, fake):
  return LOSSES[name].discriminator(keys(len(real)), real, fake)


def generator_loss(name, fake, real=LOGITS):
  return LOSSES[name].generator(fake, lambda: real)


def plus(x):
  """softplus in float64: -log sigmoid(-x)."""
  return np.logaddexp(0.0, np.asarray(x, np.float64))


def expected_losses(name, r, f):
  """(D's losses, G's losses) of real logits r and fake logits f, as the papers write them, in float64."""
  r, f = np.asarray(r, np.float64), np.asarray(f, np.float64)
  return {
    'non_saturating': lambda: (plus(-r) + plus(f), plus(-f)),
    'saturating': lambda: (plus(-r) + plus(f), -plus(f)),
    'least_squares': lambda: ((r - 1) ** 2 / 2 + f**2 / 2, (f - 1) ** 2 / 2),
    'smooth': lambda: (0.9 * plus(-r) + 0.1 * plus(r) + 0.2 * plus(-f) + 0.8 * plus(f), plus(-f)),
    'smooth_least_squares': lambda: ((r - 0.9) ** 2 / 2 + (f - 0.2) ** 2 / 2, (f - 1) ** 2 / 2),
    'hinge': lambda: (np.maximum(0, 1 - r) + np.maximum(0, 1 + f), -f),
    'wasserstein': lambda: (f - r, -f),
    'relativistic': lambda: (
      plus(-(r - f.mean())) + plus(f - r.mean()),
      plus(-(f - r.mean())) + plus(r - f.mean()).mean(),
    ),
  }[name]()


@ALL
@pytest.mark.parametrize('shift', [0, 3])
def test_losses_are_the_formulas_of_the_papers(name, shift):
  real, fake = LOGITS, np.roll(LOGITS, shift)[::-1]
  of_discriminator, of_generator = expected_losses(name, real, fake)
  assert_allclose(discriminator_loss(name, real, fake), of_discriminator, rtol=1e-5, atol=1e-6)
  assert_allclose(generator_loss(name, fake, real), of_generator, rtol=1e-5, atol=1e-6)


@ALL
def test_gradients_are_the_finite_differences_of_the_formulas(name):
  """Of the mean loss, by every real and fake logit."""
  real, fake = np.array([-2.0, 0.3, 1.7], np.float32), np.array([0.2, -1.4, 3.0], np.float32)
  of_discriminator = jax.grad(lambda x: discriminator_loss(name, *x).mean())((real, fake))
  of_generator = jax.grad(lambda f: generator_loss(name, f, real).mean())(fake)

  def slopes(player, move):
    return [(np.mean(player(*move(step))) - np.mean(player(*move(-step)))) / 2e-5 for step in 1e-5 * np.eye(3)]

  of_players = [lambda r, f, i=i: expected_losses(name, r, f)[i] for i in (0, 1)]
  by_real = slopes(of_players[0], lambda s: (real + s, fake))
  by_fake = [slopes(player, lambda s: (real, fake + s)) for player in of_players]
  assert_allclose(of_discriminator, [by_real, by_fake[0]], rtol=1e-4, atol=1e-6)
  assert_allclose(of_generator, by_fake[1], rtol=1e-4, atol=1e-6)


@ALL
def test_losses_and_gradients_of_huge_logits_are_finite(name):
  huge = jnp.array([-1e4, -1e3, 1e3, 1e4])
  functions = (
    lambda x: discriminator_loss(name, x, -x),
    lambda x: discriminator_loss(name, x, x),
    lambda x: generator_loss(name, x),
    lambda x: generator_loss(name, x, huge),
  )
  for function in functions:
    values, gradients = function(huge), jax.grad(lambda x, f=function: f(x).sum())(huge)
    assert jnp.isfinite(values).all() and jnp.isfinite(gradients).all()


@ALL
def test_losses_are_one_value_per_example(name):
  x = jnp.arange(3.0)
  assert discriminator_loss(name, x, x).shape == generator_loss(name, x).shape == (3,)


@pytest.mark.parametrize('name', ['non_saturating', 'saturating', 'relativistic'])
def test_discriminator_loss_of_undecided_logits_is_two_log_two(name):
  assert_allclose(discriminator_loss(name, jnp.zeros(3), jnp.zeros(3)), np.full(3, 2 * np.log(2)), rtol=1e-6)


@pytest.mark.parametrize('compiled', [False, True])
def test_hard_targets_give_the_plain_cross_entropy_and_its_gradients_bit_for_bit(compiled):
  rng = np.random.default_rng(0)
  logits = [np.concatenate([LOGITS, rng.normal(0, 5, 500)]).astype(np.float32) for _ in range(2)]
  losses = (functools.partial(discriminator_loss, 'non_saturating'), lambda r, f: softplus(-r) + softplus(f))
  found, plain = (jax.value_and_grad(lambda x, f=f: f(*x).mean()) for f in losses)
  if compiled:
    found, plain = jax.jit(found), jax.jit(plain)
  assert_array_equal(discriminator_loss('non_saturating', *logits), losses[1](*logits))
  jax.tree.map(assert_array_equal, found(logits), plain(logits))


@pytest.mark.parametrize('name', ['non_saturating', 'saturating', 'hinge', 'wasserstein', 'relativistic'])
def test_discriminator_loss_never_rises_as_either_judgement_improves(name):
  x, zeros = np.linspace(-5.0, 5.0, 21, dtype=np.float32), np.zeros(21, np.float32)
  assert (np.diff(discriminator_loss(name, x, zeros)) <= 0).all()
  assert (np.diff(discriminator_loss(name, zeros, x)) >= 0).all()


@pytest.mark.parametrize('name', ['non_saturating', 'saturating', 'hinge', 'wasserstein', 'relativistic'])
def test_generator_loss_falls_as_the_discriminator_is_fooled(name):
  assert (np.diff(generator_loss(name, np.linspace(-5.0, 5.0, 21, dtype=np.float32))) < 0).all()


def test_generator_gradients_share_sign_and_add_up_to_minus_one_wherever_the_discriminator_stands():
  """d/dx of -log D and of log(1 - D) are -(1 - D) and -D: strong on recognised fakes, and strong on fooling ones."""
  names = ('non_saturating', 'saturating')
  gradients = [jax.grad(lambda x, n=name: generator_loss(n, x).sum())(LOGITS) for name in names]
  share = np.exp(-plus(-LOGITS))
  assert_allclose(gradients, [share - 1, -share], rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize('name', [name for name in LOSSES if name != 'relativistic'])
def test_generators_that_need_no_real_logits_do_not_pay_for_them(name):
  def real_logits():
    raise AssertionError

  LOSSES[name].generator(LOGITS, real_logits)


def test_smoothing_sets_the_logits_where_the_loss_is_least():
  """D(x) = 0.9 on real and 0.2 on fakes."""
  best = [np.float32(np.log(p / (1 - p))) * np.ones(1, np.float32) for p in (0.9, 0.2)]
  gradients = jax.grad(lambda x: discriminator_loss('smooth', *x).sum())(best)
  assert_allclose(gradients, np.zeros((2, 1)), atol=1e-6)


def test_labels_are_flipped_as_often_as_asked_and_of_real_and_fake_independently():
  number, share = 4000, 0.2
  real, fake = adversarial.targets(real=0.9, fake=0.1, flipped=share)(keys(number))
  flips = np.stack([real == np.float32(0.1), fake == np.float32(0.9)])
  assert_array_equal(real, np.where(flips[0], np.float32(0.1), np.float32(0.9)))
  assert_array_equal(fake, np.where(flips[1], np.float32(0.9), np.float32(0.1)))
  # Four standard errors.
  assert_allclose(flips.mean(1), share, atol=4 * (share * (1 - share) / number) ** 0.5)
  assert_allclose(flips.all(0).mean(), share**2, atol=4 * (share**2 * (1 - share**2) / number) ** 0.5)


def test_a_flip_belongs_to_the_key_wherever_in_the_batch_it_stands():
  noisy = adversarial.targets(flipped=0.5)
  whole, part = noisy(keys(20)), noisy(keys(20)[5:][::-1])
  assert_array_equal(part, np.stack(whole)[:, 5:][:, ::-1])


@pytest.mark.parametrize('make', [adversarial.non_saturating, adversarial.saturating, adversarial.least_squares])
def test_a_loss_whose_labels_are_all_flipped_takes_real_for_fake(make):
  flipped, plain = make(adversarial.targets(flipped=1.0)), make(adversarial.targets())
  expected = plain.discriminator(keys(8), LOGITS[::-1], LOGITS)
  assert_array_equal(flipped.discriminator(keys(8), LOGITS, LOGITS[::-1]), expected)


def test_relativistic_generator_takes_another_number_of_real_logits():
  real, fake = np.array([0.3, -1.2, 2.0, 0.5], np.float32), np.array([1.5, -0.7], np.float32)
  expected = plus(-(fake - real.mean())) + plus(real - fake.mean()).mean()
  assert_allclose(generator_loss('relativistic', fake, real), expected, rtol=1e-5)


def relativistic_losses(mean):
  """(weights, real [b, 3], fake [b, 3]) -> losses [2, b] of D and G, for a discriminator of three weights."""
  loss = adversarial.relativistic_average(mean)

  def losses(weights, real, fake):
    real_logits, fake_logits = jnp.tanh(real @ weights), jnp.tanh(fake @ weights)
    return jnp.stack(
      [
        loss.discriminator(keys(len(real)), real_logits, fake_logits),
        loss.generator(fake_logits, lambda: real_logits),
      ]
    )

  return losses


def values_and_gradient(mean, weights, real, fake):
  losses = relativistic_losses(mean)
  values = losses(weights, real, fake)
  return values, jax.jacrev(lambda w: losses(w, real, fake).mean(1))(weights)


@pytest.mark.parametrize('mapped', [jax.vmap, jax.pmap], ids=['vmap', 'pmap'])
def test_relativistic_losses_and_gradients_do_not_depend_on_the_number_of_devices(mapped):
  """A device's gradients, averaged over devices, are those of the whole batch: the means carry gradients across."""
  weights, real, fake = (np.random.default_rng(0).normal(0, 1, s).astype(np.float32) for s in ((3,), (8, 3), (8, 3)))
  mean = lambda logits: lax.pmean(logits.mean(), 'devices')
  run = mapped(functools.partial(values_and_gradient, mean), axis_name='devices', in_axes=(None, 0, 0))
  values, gradients = run(weights, real.reshape(4, 2, 3), fake.reshape(4, 2, 3))
  expected_values, expected_gradient = values_and_gradient(jnp.mean, weights, real, fake)
  assert_allclose(np.moveaxis(values, 1, 0).reshape(2, 8), expected_values, rtol=1e-5)
  assert_allclose(gradients.mean(0), expected_gradient, rtol=1e-4, atol=1e-6)
  assert np.abs(expected_gradient).min() > 1e-3
