"""The distributions of z."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from dcgan_jax.drawing import latents

BOTH = pytest.mark.parametrize('draw', [latents.normal, latents.uniform])


@BOTH
def test_z_belongs_to_its_key_wherever_in_the_batch_it_stands(draw, key):
  keys = jax.random.split(key, 6)
  z = draw(keys, latent_size=4)
  assert_array_equal(draw(keys[3:][::-1], latent_size=4), z[3:][::-1])
  assert len(np.unique(z)) == 6 * 4


# Of 100,000 draws; the tolerances of the moments are over four standard errors.
@pytest.mark.parametrize('draw, variance, fourth', [(latents.normal, 1.0, 3.0), (latents.uniform, 1 / 3, 1 / 5)])
def test_moments_are_those_of_the_distribution(draw, variance, fourth, key):
  z = np.asarray(draw(jax.random.split(key, 1000), latent_size=100), np.float64)
  assert_allclose((z.mean(), z.var(), (z**4).mean()), (0.0, variance, fourth), atol=0.02 * (1 + 5 * (fourth > 1)))


def test_uniform_latents_fill_minus_one_to_one(key):
  z = latents.uniform(jax.random.split(key, 1000), latent_size=100)
  assert -1.0 <= z.min() < -0.999
  assert 0.999 < z.max() < 1.0


@pytest.mark.parametrize('between', [latents.lerp, latents.slerp])
def test_a_way_begins_and_ends_where_it_should(between, key):
  a, b = np.asarray(latents.normal(jax.random.split(key, 6), latent_size=7)).reshape(2, 3, 7)
  assert_allclose(between(a, b, 0.0), a, atol=1e-6)
  assert_allclose(between(a, b, 1.0), b, atol=1e-6)


def test_a_great_circle_turns_evenly_and_keeps_the_length():
  a, b = np.array([2.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])
  points = latents.slerp(a, b, np.linspace(0, 1, 4)[:, None])
  assert_allclose(np.linalg.norm(points, axis=1), 2.0)
  assert_allclose(np.arctan2(points[:, 1], points[:, 0]), np.linspace(0, np.pi / 2, 4), atol=1e-12)


def test_where_there_is_no_great_circle_the_way_is_straight():
  a = np.array([1.0, 2.0])
  for b in (a, -a, 0 * a):
    assert_allclose(latents.slerp(a, b, 0.25), latents.lerp(a, b, 0.25))


def test_a_walk_is_closed_and_passes_every_station_at_an_even_pace():
  stations = np.eye(3, 4)
  way = latents.walk(stations, frames=12)
  assert_allclose(way[[0, 4, 8]], stations, atol=1e-7)
  steps = np.linalg.norm(np.diff(np.concatenate([way, way[:1]]), axis=0), axis=1)
  assert_allclose(steps, steps[0], rtol=1e-5)


def test_truncation_keeps_the_order_and_gives_the_truncated_distribution(key):
  z = latents.normal(jax.random.split(key, 500), latent_size=100)
  truncated = np.asarray(latents.truncate(z, 0.8))
  assert abs(truncated).max() <= 0.8
  assert_array_equal(np.argsort(truncated[0]), np.argsort(z[0]))
  assert_allclose(truncated.var(), scipy.stats.truncnorm(-0.8, 0.8).var(), rtol=0.02)
  assert_allclose(latents.truncate(z, 8.0), z, atol=1e-2)
  assert_allclose(latents.truncate(np.array([-1.0, 0.5]), 0.5, limit=1.0), [-0.5, 0.25])


def test_a_traversal_changes_one_dimension_at_a_time():
  points = latents.traverse(np.zeros(4), [2, 0], [-1.0, 1.0, 3.0])
  assert points.shape == (2, 3, 4)
  assert_array_equal(points[0], [[0, 0, v, 0] for v in (-1, 1, 3)])
  assert_array_equal(points[1], [[v, 0, 0, 0] for v in (-1, 1, 3)])


def test_arithmetic_is_of_means():
  a, b, c = np.random.default_rng(0).normal(size=(3, 3, 5))
  assert_allclose(latents.combine([a, c], [b]), a.mean(0) - b.mean(0) + c.mean(0), rtol=1e-5)


def _distance(z, context):
  return ((z - context) ** 2).sum(axis=1)


def test_a_search_finds_each_rows_own_lowest_point_within_the_limit():
  goals = np.random.default_rng(0).uniform(-2, 2, (6, 3)).astype(np.float32)
  z, losses = latents.minimise(_distance, jnp.zeros((6, 3)), goals, steps=400, learning_rate=0.1)
  assert_allclose(z, goals, atol=1e-2)
  assert_allclose(losses, _distance(z, goals), atol=1e-6)
  z, _ = latents.minimise(_distance, jnp.zeros((6, 3)), goals, steps=400, learning_rate=0.1, limit=1.0)
  assert_allclose(z, goals.clip(-1, 1), atol=1e-2)


def test_a_row_is_searched_the_same_whatever_rows_are_beside_it():
  goals = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  start = jnp.ones((6, 3))
  together, _ = latents.minimise(_distance, start, goals, steps=20, learning_rate=0.1)
  alone, _ = latents.minimise(_distance, start[:2], goals[:2], steps=20, learning_rate=0.1)
  assert_allclose(together[:2], alone, rtol=1e-6)


def test_a_search_keeps_the_best_point_that_it_met():
  # Adam's first steps are as long as its rate, however near the lowest point is.
  start = jnp.full((1, 1), 0.01)
  z, loss = latents.minimise(_distance, start, jnp.zeros((1, 1)), steps=2, learning_rate=5.0)
  assert_allclose((z[0, 0], loss[0]), (0.01, 0.0001), rtol=1e-5)
