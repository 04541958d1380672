"""Scalars, the finite check, sample grids and the animation."""

import json

import numpy as np
import pytest

from dcgan_jax import hooks, images
from dcgan_jax.errors import DivergenceError


class _Checkpoints:
  def __init__(self, latest=None):
    self._latest, self.saved = latest, []

  def latest_step(self):
    return self._latest

  def save(self, step, state):
    self.saved.append(step)


def _scalars(*losses):
  values = np.array(losses, np.float32)
  return {'generator/loss': values, 'discriminator/loss': values + 1}


def _lines(tmp_path):
  return [json.loads(line) for line in (tmp_path / 'scalars.jsonl').read_text().splitlines()]


def test_every_nth_step_becomes_a_line_and_an_event(tmp_path):
  scalars = hooks.Scalars(tmp_path, every=2, step=0)
  scalars.watch(0, _scalars(0.0, 0.5, 0.25))
  scalars.watch(3, _scalars(0.125))
  scalars.close()
  assert _lines(tmp_path) == [
    {'step': 2, 'generator/loss': 0.5, 'discriminator/loss': 1.5},
    {'step': 4, 'generator/loss': 0.125, 'discriminator/loss': 1.125},
  ]
  (events,) = (tmp_path / 'tensorboard').iterdir()
  assert events.read_bytes().count(b'discriminator/loss') == 2


def test_lines_after_the_restored_step_and_torn_lines_are_dropped(tmp_path):
  (tmp_path / 'scalars.jsonl').write_text('{"step": 2, "a": 1}\n{"step": 4, "a": 1}\n{"step": 6, "a')
  scalars = hooks.Scalars(tmp_path, every=2, step=3)
  scalars.watch(3, _scalars(7.0))
  scalars.close()
  assert [line['step'] for line in _lines(tmp_path)] == [2, 4]
  assert _lines(tmp_path)[1]['generator/loss'] == 7.0


def test_finite_scalars_pass():
  hooks.FiniteCheck(_Checkpoints()).watch(0, _scalars(1.0, -2.0))


def test_the_first_step_that_is_not_finite_is_named_with_what_is_not():
  check = hooks.FiniteCheck(_Checkpoints(latest=10))
  with pytest.raises(
    DivergenceError, match='diverged at step 12: generator/loss is nan, discriminator/loss is nan; the'
  ):
    check.watch(10, _scalars(1.0, np.nan, np.inf))


def test_a_state_that_is_not_finite_is_not_saved():
  checkpoints = _Checkpoints()
  act = hooks.save_checkpoint(checkpoints, hooks.FiniteCheck(checkpoints))
  act(1, {'a': np.ones(3)})
  with pytest.raises(
    DivergenceError, match='at step 2: parameters or moments are not finite; no checkpoint was written'
  ):
    act(2, {'a': np.array([1.0, np.inf])})
  assert checkpoints.saved == [1]


def test_the_animation_shows_the_grids_in_order_of_their_steps(tmp_path):
  for step in (2, 10, 1):
    images.save_png(tmp_path / f'{step:08d}.png', np.full((4, 4, 3), step * 20, np.uint8))
  path = hooks.save_animation(tmp_path)
  assert path == tmp_path / 'training.gif'
  assert abs(int(images.read(path).mean()) - 20) < 3


def test_without_grids_there_is_no_animation(tmp_path):
  assert hooks.save_animation(tmp_path) is None
