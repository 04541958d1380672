"""Optimisers, schedules and bounds against formulas in NumPy, and the averaging rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.games import optimizers
from dcgan_jax.games.optimizers import ema_decay

STEPS = jnp.arange(0, 5000, 7)
PARAMS = {'kernel': np.array([[0.5, -2.0], [1.0, 0.0]], np.float32), 'bias': np.array([3.0], np.float32)}
OPTIMIZERS = [optimizers.adam, optimizers.adamw, optimizers.rmsprop, optimizers.sgd]
UNBOUNDED = dict(clip_value=None, clip_norm=None, weight_clip=None)


def gradients(step):
  rng = np.random.default_rng(step)
  return {name: rng.normal(0, 1, value.shape).astype(np.float32) for name, value in PARAMS.items()}


def trained(optimizer, steps=4):
  """Parameters after a few updates with gradients(0), gradients(1), ..."""
  params, state = PARAMS, optimizer.init(PARAMS)
  for step in range(steps):
    updates, state = optimizer.update(gradients(step), state, params)
    params = optax.apply_updates(params, updates)
  return params


def by_hand(update, steps=4):
  """The same by `update`: (parameter, gradient, memory dict of this parameter, step) -> parameter, in float64."""
  params = {}
  for name, value in PARAMS.items():
    param, memory = value.astype(np.float64), {'m': 0.0, 'v': 0.0}
    for step in range(steps):
      param = update(param, gradients(step)[name].astype(np.float64), memory, step)
    params[name] = param
  return params


def adamw_by_hand(weight_decay, param, gradient, memory, step):
  memory['m'] = 0.5 * memory['m'] + 0.5 * gradient
  memory['v'] = 0.9 * memory['v'] + 0.1 * gradient**2
  m, v = memory['m'] / (1 - 0.5 ** (step + 1)), memory['v'] / (1 - 0.9 ** (step + 1))
  return param - 0.01 * (m / (np.sqrt(v) + 1e-3) + weight_decay * param)


def rmsprop_by_hand(momentum, param, gradient, memory, step):
  memory['v'] = 0.9 * memory['v'] + 0.1 * gradient**2
  memory['m'] = momentum * memory['m'] + gradient / (np.sqrt(memory['v']) + 1e-3)
  return param - 0.01 * memory['m']


def sgd_by_hand(momentum, param, gradient, memory, step):
  memory['m'] = momentum * memory['m'] + gradient
  return param - 0.01 * memory['m']


@pytest.mark.parametrize(
  ('make', 'b1', 'weight_decay', 'update'),
  [
    (optimizers.adam, 0.5, 0.0, functools.partial(adamw_by_hand, 0.0)),
    (optimizers.adamw, 0.5, 0.2, functools.partial(adamw_by_hand, 0.2)),
    (optimizers.rmsprop, 0.0, 0.0, functools.partial(rmsprop_by_hand, 0.0)),
    (optimizers.rmsprop, 0.7, 0.0, functools.partial(rmsprop_by_hand, 0.7)),
    (optimizers.sgd, 0.0, 0.0, functools.partial(sgd_by_hand, 0.0)),
    (optimizers.sgd, 0.7, 0.0, functools.partial(sgd_by_hand, 0.7)),
  ],
  ids=['adam', 'adamw', 'rmsprop', 'rmsprop_momentum', 'sgd', 'sgd_momentum'],
)
def test_optimizers_follow_their_formulas(make, b1, weight_decay, update):
  params = trained(make(0.01, b1, 0.9, 1e-3, weight_decay))
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-6), params, by_hand(update))


def test_adam_is_the_adam_of_optax_state_and_all():
  ours, optaxs = optimizers.adam(2e-4, 0.5, 0.999, 1e-8, 0.0), optax.adam(2e-4, b1=0.5, b2=0.999, eps=1e-8)
  states = [optimizer.init(PARAMS) for optimizer in (ours, optaxs)]
  assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
  jax.tree.map(assert_array_equal, trained(ours), trained(optaxs))


@pytest.mark.parametrize('make', OPTIMIZERS)
def test_optimizers_follow_a_schedule(make):
  """A rate that is 0 from the second update on leaves what the first one did."""
  schedule = lambda count: jnp.where(count < 1, 0.01, 0.0)
  params = trained(make(schedule, 0.0, 0.9, 1e-3, 0.0), steps=3)
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-6), params, trained(make(0.01, 0.0, 0.9, 1e-3, 0.0), steps=1))


def rates(decay, warm_up, counts):
  schedule = optimizers.learning_rate_schedule(0.8, decay=decay, steps=100, warm_up=warm_up)
  return [float(schedule(jnp.int32(count))) for count in counts]


def test_linear_rate_falls_from_the_peak_to_zero_and_stays():
  assert_allclose(rates(optimizers.linear, 0, [0, 25, 50, 99, 100, 1000]), [0.8, 0.6, 0.4, 0.008, 0, 0], atol=1e-7)


def test_cosine_rate_falls_from_the_peak_to_zero_and_stays():
  quarter = 0.4 * (1 + np.cos(np.pi / 4))
  assert_allclose(rates(optimizers.cosine, 0, [0, 25, 50, 100, 1000]), [0.8, quarter, 0.4, 0, 0], atol=1e-6)


@pytest.mark.parametrize('decay', [optimizers.constant, optimizers.linear, optimizers.cosine])
def test_warm_up_rises_from_its_first_share_to_the_peak(decay):
  """The first update already moves, the twentieth has the peak, and so has the next: there the decay begins."""
  assert_allclose(rates(decay, 20, [0, 1, 9, 19, 20]), [0.04, 0.08, 0.4, 0.8, 0.8], rtol=1e-5)


def test_warm_up_of_one_update_is_none():
  assert_allclose(rates(optimizers.constant, 1, [0, 1, 2]), [0.8, 0.8, 0.8], rtol=1e-6)


def test_decay_after_a_warm_up_ends_with_the_training():
  assert_allclose(rates(optimizers.linear, 20, [60, 100, 1000]), [0.4, 0, 0], atol=1e-6)
  assert_allclose(rates(optimizers.cosine, 20, [60, 100, 1000]), [0.4, 0, 0], atol=1e-6)
  assert_allclose(rates(optimizers.constant, 20, [60, 100, 1000]), [0.8, 0.8, 0.8], rtol=1e-6)


def test_a_rate_that_never_changes_is_a_number():
  rate = optimizers.learning_rate_schedule(0.8, decay=optimizers.constant, steps=100, warm_up=0)
  assert rate == 0.8 and isinstance(rate, float)


def test_no_bounds_leave_the_optimizer_itself():
  optimizer = optimizers.adam(1e-3, 0.5, 0.9, 1e-8, 0.0)
  assert optimizers.constrain(optimizer, **UNBOUNDED) is optimizer


def test_gradient_elements_are_clipped_to_their_magnitude():
  optimizer = optimizers.constrain(optax.sgd(1.0), **UNBOUNDED | dict(clip_value=0.3))
  expected = {name: value - np.clip(gradients(0)[name], -0.3, 0.3) for name, value in PARAMS.items()}
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-6), trained(optimizer, 1), expected)


@pytest.mark.parametrize('bound', [0.1, 100.0])
def test_gradients_keep_their_direction_and_at_most_the_norm(bound):
  optimizer = optimizers.constrain(optax.sgd(1.0), **UNBOUNDED | dict(clip_norm=bound))
  norm = np.sqrt(sum((value.astype(np.float64) ** 2).sum() for value in gradients(0).values()))
  expected = {name: value - gradients(0)[name] * min(1.0, bound / norm) for name, value in PARAMS.items()}
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5), trained(optimizer, 1), expected)


def test_gradients_are_bounded_by_element_before_by_norm():
  optimizer = optimizers.constrain(optax.sgd(1.0), clip_value=0.3, clip_norm=0.1, weight_clip=None)
  clipped = {name: np.clip(value, -0.3, 0.3) for name, value in gradients(0).items()}
  norm = np.sqrt(sum((value**2).sum() for value in clipped.values()))
  expected = {name: value - clipped[name] * 0.1 / norm for name, value in PARAMS.items()}
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5), trained(optimizer, 1), expected)


@pytest.mark.parametrize('make', OPTIMIZERS)
def test_clipped_weights_are_those_of_the_update_moved_into_the_bound(make):
  free = make(0.01, 0.0, 0.9, 1e-3, 0.0)
  clipped = trained(optimizers.constrain(free, **UNBOUNDED | dict(weight_clip=0.7)), 1)
  expected = jax.tree.map(lambda x: np.clip(x, -0.7, 0.7), trained(free, 1))
  jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-7), clipped, expected)


def test_weights_stay_within_the_bound_at_every_step():
  optimizer = optimizers.constrain(optax.sgd(0.5), **UNBOUNDED | dict(weight_clip=0.01))
  for steps in range(1, 8):
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(trained(optimizer, steps))])
    assert np.abs(weights).max() <= 0.01 * (1 + 1e-5)


def test_a_generator_weighs_one_half_after_its_half_life_of_images():
  decay = ema_decay(20, half_life=1000.0, ramp_up=0.05)
  assert_allclose(decay(jnp.int32(10**6)) ** (1000 / 20), 0.5, rtol=1e-5)


def test_early_on_the_half_life_is_a_share_of_the_images_seen():
  """After 100 steps of 20 images, a twentieth of 2000 images is 5 steps."""
  decay = ema_decay(20, half_life=1e9, ramp_up=0.05)
  assert_allclose(decay(jnp.int32(100)) ** 5, 0.5, rtol=1e-5)


def test_first_step_keeps_nothing_of_the_untrained_generator():
  assert ema_decay(128, half_life=50_000.0, ramp_up=0.05)(jnp.int32(0)) == 0.0


def test_decay_rises_to_the_full_one_and_never_above():
  decays = ema_decay(64, half_life=5000.0, ramp_up=0.05)(STEPS)
  full = 0.5 ** (64 / 5000)
  assert (np.diff(decays) >= 0).all()
  assert_allclose(decays[-1], full, rtol=1e-6)
  assert decays.max() <= np.float32(full) * (1 + 1e-6)
