"""Latent geometry: the distributions z is drawn from, ways between points, and the search for a z."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def normal(keys: jax.Array, *, latent_size: int) -> jax.Array:
  """z ~ N(0, 1), [B, Z], from one key per example, [B]."""
  return _draw(functools.partial(jax.random.normal, shape=(latent_size,)), keys)


def uniform(keys: jax.Array, *, latent_size: int) -> jax.Array:
  """z ~ U(-1, 1), [B, Z], from one key per example, [B]. Radford et al. 2016, section 4."""
  return _draw(functools.partial(jax.random.uniform, shape=(latent_size,), minval=-1.0, maxval=1.0), keys)


def _draw(draw_one: Callable, keys: jax.Array) -> jax.Array:
  return jax.vmap(draw_one)(keys)


def truncate(z: Any, threshold: float, *, limit: float | None = None) -> jax.Array:
  """The same z, drawn closer to the middle: more typical and less varied samples.

  N(0, 1) becomes N(0, 1) under the condition |z| < threshold, by its quantiles, so that one z at several thresholds is
  one picture; U(-limit, limit) becomes U(-threshold, threshold).

  Args:
    z: [..., Z].
    threshold: above 0.
    limit: of the latents, as `Run.latent_limit`; None: z is normal.

  References: Brock et al. 2019, section 3.1, which redraws what lies outside.
  """
  z = jnp.asarray(z)
  if limit is not None:
    return z * min(threshold, limit) / limit
  tail = jax.scipy.stats.norm.cdf(-threshold)
  return jax.scipy.stats.norm.ppf(tail + jax.scipy.stats.norm.cdf(z) * (1 - 2 * tail))


def lerp(start: Any, end: Any, t: Any) -> np.ndarray:
  """Straight line from `start` [..., Z] at t = 0 to `end` [..., Z] at t = 1."""
  return np.asarray(start) * (1 - t) + np.asarray(end) * t


def slerp(start: Any, end: Any, t: Any) -> np.ndarray:
  """Great circle from `start` [..., Z] at t = 0 to `end` [..., Z] at t = 1; opposite or zero vectors take the line.

  A straight line between two normal z passes closer to 0 than samples of G's training ever lay.

  References: White 2016, "Sampling generative networks", section 3.1.
  """
  start, end = np.asarray(start), np.asarray(end)
  lengths = np.linalg.norm(start, axis=-1, keepdims=True) * np.linalg.norm(end, axis=-1, keepdims=True)
  cosine = (start * end).sum(-1, keepdims=True) / np.where(lengths == 0, 1, lengths)
  angle = np.arccos(np.clip(cosine, -1, 1))
  flat = (np.sin(angle) < 1e-4) | (lengths == 0)
  sine = np.where(flat, 1, np.sin(angle))
  return np.where(flat, lerp(start, end, t), (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / sine)


def walk(stations: Any, *, frames: int, between: Callable = slerp) -> np.ndarray:
  """A closed way through all stations and back to the first.

  Args:
    stations: [K, Z].
    frames: points on the way, evenly spread over its K legs.
    between: `slerp` or `lerp`.

  Returns:
    [frames, Z]; the first is the first station, and one step after the last is the first again.
  """
  stations = np.asarray(stations)
  legs, t = np.divmod(np.arange(frames) * len(stations) / frames, 1)
  starts = legs.astype(int)
  return between(stations[starts], stations[(starts + 1) % len(stations)], t[:, None]).astype(np.float32)


def traverse(z: Any, dimensions: Sequence[int], values: Sequence[float]) -> np.ndarray:
  """Copies of z [Z] in which one dimension takes each value, [len(dimensions), len(values), Z]."""
  points = np.tile(np.asarray(z, np.float32), (len(dimensions), len(values), 1))
  for row, dimension in enumerate(dimensions):
    points[row, :, dimension] = values
  return points


def combine(plus: Sequence[Any], minus: Sequence[Any]) -> np.ndarray:
  """Sums and differences of concepts, each the mean of several z [N, Z] that show it: [Z].

  References: Radford et al. 2016, section 6.3.2 and figure 7, with three samples a concept.
  """
  mean = lambda concept: np.asarray(concept, np.float32).mean(axis=0)
  return sum(map(mean, plus)) - sum(map(mean, minus))


@functools.partial(jax.jit, static_argnames=('loss', 'steps', 'learning_rate', 'limit'))
def minimise(
  loss: Callable, z: jax.Array, context: Any = None, *, steps: int, learning_rate: float, limit: float | None = None
) -> tuple[jax.Array, jax.Array]:
  """Searches by Adam, from each row of z on its own, for a z of low loss; the rate falls to 0 as a cosine.

  Args:
    loss: (z [B, Z], context) -> [B], each of its own row alone. A program is compiled per function, so hand over the
      same one each time, and what changes as `context`.
    z: where to begin, [B, Z].
    context: any tree of arrays.
    steps: of Adam.
    learning_rate: of Adam, at first.
    limit: z stays within [-limit, limit]; None: no limit.

  Returns:
    Of each row the best z met, [B, Z], and its loss, [B].
  """
  adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
  clip = (lambda z: z) if limit is None else (lambda z: jnp.clip(z, -limit, limit))

  def value_and_gradient(z):
    losses, pull = jax.vjp(lambda z: loss(z, context), z)
    return losses, pull(jnp.ones_like(losses))[0]

  def keep_best(best, z, losses):
    better = losses < best[1]
    return jnp.where(better[:, None], z, best[0]), jnp.where(better, losses, best[1])

  def advance(carry, _):
    z, state, best = carry
    losses, gradient = value_and_gradient(z)
    best = keep_best(best, z, losses)
    updates, state = adam.update(gradient, state)
    return (clip(z + updates), state, best), None

  start = (z, adam.init(z), (z, jnp.full(len(z), jnp.inf)))
  (z, _, best), _ = jax.lax.scan(advance, start, length=steps)
  return keep_best(best, z, loss(z, context))
