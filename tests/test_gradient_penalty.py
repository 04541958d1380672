"""Gradient penalties: critics whose gradients are known, NumPy, and several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.objectives import gradient_penalty

NUMBER, SHAPE = 4, (2, 3, 2)
RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.uniform(-1, 1, (NUMBER, *SHAPE)).astype(np.float32) for _ in range(2))
WEIGHTS = RNG.normal(0, 1, SHAPE).astype(np.float32)
KEYS = jax.random.split(jax.random.key(5), NUMBER)
DRAGAN = functools.partial(gradient_penalty.dragan, mean=lambda x: x)
TERMS = {
  'r1': gradient_penalty.r1,
  'r2': gradient_penalty.r2,
  'wgan_gp': gradient_penalty.wgan_gp,
  'dragan': DRAGAN,
}
ALL = pytest.mark.parametrize('name', TERMS)


def linear(x):
  """A critic with gradient WEIGHTS everywhere."""
  return (x * WEIGHTS[None]).sum((1, 2, 3)) + 3.0


def square(x):
  """A critic whose gradient at an image is twice that image; one_centered is (2 |x| - 1)^2."""
  return (x**2).sum((1, 2, 3))


def cubes(x):
  """A critic with another gradient at every point, 3 x^2 WEIGHTS."""
  return (x**3 * WEIGHTS[None]).sum((1, 2, 3))


def shown(term):
  """The images at which a one-centred term takes the gradient, read off its penalties a pixel i at a time."""
  images = np.zeros_like(REAL)
  for index in np.ndindex(SHAPE):
    # The gradient of (x_i + 5)^2 / 2 is x_i + 5 > 1, so the penalty is (x_i + 4)^2.
    critic = lambda x, i=(slice(None), *index): 0.5 * (x[i] + 5) ** 2
    images[(slice(None), *index)] = np.sqrt(term(KEYS, critic, REAL, FAKE)) - 4
  return images


@pytest.mark.parametrize('name', ['r1', 'r2'])
def test_r1_and_r2_of_a_linear_critic_are_half_the_squared_norm_of_its_weights(name):
  assert_allclose(TERMS[name](KEYS, linear, REAL, FAKE), np.full(NUMBER, (WEIGHTS**2).sum() / 2), rtol=1e-5)


@pytest.mark.parametrize('name', ['wgan_gp', 'dragan'])
def test_one_centered_penalties_of_a_linear_critic_are_the_distance_of_its_norm_from_one(name):
  expected = (np.sqrt((WEIGHTS.astype(np.float64) ** 2).sum()) - 1) ** 2
  assert_allclose(TERMS[name](KEYS, linear, REAL, FAKE), np.full(NUMBER, expected), rtol=1e-5)


def test_r1_looks_at_real_images_and_r2_at_fakes():
  """Half of |2 x|^2."""
  for term, images in ((gradient_penalty.r1, REAL), (gradient_penalty.r2, FAKE)):
    assert_allclose(term(KEYS, square, REAL, FAKE), 2 * (images**2).sum((1, 2, 3)), rtol=1e-5)


def test_penalty_is_that_of_finite_differences_in_float64():
  weights, images = WEIGHTS.astype(np.float64), REAL.astype(np.float64)
  critic = lambda x: (np.sin(x) * weights).sum()
  squared = np.zeros(NUMBER)
  for n in range(NUMBER):
    for index in np.ndindex(SHAPE):
      step = np.zeros(SHAPE)
      step[index] = 1e-6
      squared[n] += ((critic(images[n] + step) - critic(images[n] - step)) / 2e-6) ** 2
  network = lambda x: (jnp.sin(x) * WEIGHTS[None]).sum((1, 2, 3))
  assert_allclose(gradient_penalty.zero_centered(network, REAL), squared / 2, rtol=1e-4)
  assert_allclose(gradient_penalty.one_centered(network, REAL), (np.sqrt(squared) - 1) ** 2, rtol=1e-4, atol=1e-6)


@ALL
def test_a_penalty_belongs_to_its_example(name):
  whole = TERMS[name](KEYS, cubes, REAL, FAKE)
  alone = [gradient_penalty_of_one(name, n) for n in range(NUMBER)]
  assert len(set(whole.tolist())) == NUMBER
  if name != 'dragan':  # Its noise is scaled by the deviation of the whole batch.
    assert_allclose(whole, alone, rtol=1e-5)


def gradient_penalty_of_one(name, n):
  return TERMS[name](KEYS[n : n + 1], cubes, REAL[n : n + 1], FAKE[n : n + 1])[0]


def test_wgan_gp_looks_at_one_point_between_each_real_image_and_its_fake():
  shares = (shown(gradient_penalty.wgan_gp) - REAL) / (FAKE - REAL)
  of_examples = shares.reshape(NUMBER, -1).mean(1)
  assert_allclose(shares, np.broadcast_to(of_examples[:, None, None, None], shares.shape), atol=1e-4)
  assert (of_examples > 0).all() and (of_examples < 1).all() and np.ptp(of_examples) > 0.1


def test_dragan_brightens_real_images_by_up_to_half_their_deviation_times_one_share_per_example():
  noise = (shown(DRAGAN) - REAL) / (0.5 * REAL.astype(np.float64).std())
  assert (noise > -1e-4).all() and (noise < 1 + 1e-4).all()
  # Another value for every pixel, and shares that differ between examples.
  assert (noise.reshape(NUMBER, -1).std(1) > 1e-3).all()


def test_dragan_noise_and_shares_are_uniform():
  """A product of two independent U(0, 1): mean 1/4, mean square 1/9; over examples the share is the larger part."""
  number = 2000
  real = np.tile(np.array([[[[-1.0], [1.0]]]], np.float32), (number, 1, 1, 1))  # Mean 0, deviation 1.
  keys = jax.random.split(jax.random.key(0), number)
  seen = [np.sqrt(DRAGAN(keys, lambda x, i=i: 0.5 * (x[:, 0, i, 0] + 5) ** 2, real, real)) - 4 for i in (0, 1)]
  noise = 2 * (np.stack(seen, 1) - real[:, 0, :, 0])
  # Four standard errors; the product of the two pixels' noise has mean E[share^2] / 4 = 1/12.
  assert_allclose(noise.mean(), 1 / 4, atol=4 * 0.25 / number**0.5)
  assert_allclose((noise**2).mean(), 1 / 9, atol=4 * 0.25 / number**0.5)
  assert_allclose(noise.prod(1).mean(), 1 / 12, atol=4 * 0.25 / number**0.5)


@pytest.mark.parametrize('devices', [2, 4])
def test_dragan_does_not_depend_on_the_number_of_devices(devices):
  """Images of rising contrast, so that each device's own deviation would be another."""
  real = REAL * np.arange(1.0, NUMBER + 1, dtype=np.float32)[:, None, None, None] + 0.3
  term = functools.partial(gradient_penalty.dragan, mean=functools.partial(lax.pmean, axis_name='devices'))
  split = lambda x: x.reshape(devices, -1, *x.shape[1:])
  run = jax.vmap(lambda keys, real: term(keys, cubes, real, real), axis_name='devices')
  assert_allclose(run(split(KEYS), split(real)).reshape(-1), DRAGAN(KEYS, cubes, real, real), rtol=1e-4)


def test_parameter_gradients_of_penalties_are_the_analytic_ones():
  """d/dw |w|^2 / 2 = w, and d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
  loss = lambda term, w: term(lambda x: (x * w[None]).sum((1, 2, 3)), REAL).mean()
  norm = np.sqrt((WEIGHTS.astype(np.float64) ** 2).sum())
  assert_allclose(jax.grad(loss, 1)(gradient_penalty.zero_centered, WEIGHTS), WEIGHTS, rtol=1e-4)
  expected = 2 * (norm - 1) * WEIGHTS / norm
  assert_allclose(jax.grad(loss, 1)(gradient_penalty.one_centered, WEIGHTS), expected, rtol=1e-4)


@pytest.mark.parametrize('size', [0.0, 1e-30, 1e-18, 1e-10])
def test_one_centered_penalty_of_a_flat_critic_is_one_with_finite_gradients(size):
  penalty = lambda w: gradient_penalty.one_centered(lambda x: (x**2 * w[None]).sum((1, 2, 3)), REAL).sum()
  value, gradient = jax.value_and_grad(penalty)(jnp.full(SHAPE, size))
  assert_allclose(value, NUMBER, rtol=1e-5)
  assert jnp.isfinite(gradient).all()
  assert jnp.isfinite(jax.hessian(penalty)(jnp.zeros(SHAPE))).all()


def test_no_penalty_is_zero():
  assert_array_equal(gradient_penalty.none(KEYS, jnp.int32(3), linear, REAL, FAKE), np.zeros(NUMBER, np.float32))


def test_weighted_adds_up_its_terms():
  penalty = gradient_penalty.weighted([(10.0, gradient_penalty.r1), (0.5, gradient_penalty.r2)], every=1)
  expected = 20 * (REAL**2).sum((1, 2, 3)) + (FAKE**2).sum((1, 2, 3))
  assert_allclose(penalty(KEYS, jnp.int32(7), square, REAL, FAKE), expected, rtol=1e-5)


def test_terms_draw_independently_of_one_another():
  """The same term twice, with opposite weights, would cancel."""
  terms = [(1.0, gradient_penalty.wgan_gp), (-1.0, gradient_penalty.wgan_gp)]
  difference = gradient_penalty.weighted(terms, every=1)(KEYS, jnp.int32(0), cubes, REAL, FAKE)
  assert (np.abs(difference) > 1e-3).all()


def lazy_and_plain():
  terms = [(2.0, gradient_penalty.wgan_gp), (0.1, gradient_penalty.r1)]
  return (gradient_penalty.weighted(terms, every=every) for every in (4, 1))


def test_lazy_penalty_and_its_parameter_gradients_have_the_mean_of_the_plain_one():
  def mean_over_steps(penalty):
    critic = lambda w: lambda x: (x**3 * w[None]).sum((1, 2, 3))
    loss = lambda w, step: penalty(KEYS, step, critic(w), REAL, FAKE).mean()
    return jax.tree.map(lambda x: x.mean(0), jax.lax.map(lambda i: jax.value_and_grad(loss)(WEIGHTS, i), jnp.arange(8)))

  lazy, plain = (mean_over_steps(penalty) for penalty in lazy_and_plain())
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5), lazy, plain)


def test_lazy_penalty_is_zero_between_its_steps():
  lazy, plain = lazy_and_plain()
  for step in range(9):
    expected = 4 * plain(KEYS, jnp.int32(step), cubes, REAL, FAKE) * (step % 4 == 0)
    assert_allclose(lazy(KEYS, jnp.int32(step), cubes, REAL, FAKE), expected, rtol=1e-5)


def test_steps_between_do_not_pay_even_for_gradients():
  calls = []

  def term(keys, critic, real, fake):
    jax.debug.callback(lambda: calls.append(1))
    return gradient_penalty.r1(keys, critic, real, fake)

  penalty = gradient_penalty.weighted([(1.0, term)], every=4)
  loss = lambda w, step: penalty(KEYS, step, lambda x: (x * w[None]).sum((1, 2, 3)), REAL, FAKE).sum()
  update = jax.jit(jax.grad(loss))
  jax.block_until_ready([update(WEIGHTS, jnp.int32(step)) for step in range(9)])
  jax.effects_barrier()
  assert len(calls) == 3


def test_every_step_needs_no_condition():
  trace = lambda penalty: str(jax.make_jaxpr(penalty, static_argnums=2)(KEYS, jnp.int32(0), cubes, REAL, FAKE))
  lazy, plain = (' cond[' in trace(penalty) for penalty in lazy_and_plain())
  assert (lazy, plain) == (True, False)


@pytest.mark.parametrize('shape', [(5,), (16, 1), (2, 3, 4, 1)])
@ALL
def test_images_may_have_any_number_of_dimensions(name, shape):
  x = jnp.ones((3, *shape))
  critic = lambda x: x.reshape(3, -1).sum(1)
  assert TERMS[name](KEYS[:3], critic, x, -x).shape == (3,)
