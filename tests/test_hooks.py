"""Scalars, the finite check, sample grids and the animation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dcgan_jax import build_game, hooks, images
from dcgan_jax.errors import DivergenceError
from dcgan_jax.objectives import adversarial
from dcgan_jax.state import GANState


class _Checkpoints:
  def __init__(self, latest=None):
    self._latest, self.saved = latest, []

  def latest_step(self):
    return self._latest

  def save(self, step, state):
    self.saved.append(step)

  def close(self):
    pass


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
  with pytest.raises(DivergenceError, match='at step 2: a, c/d not finite; no checkpoint was written'):
    act(2, {'a': np.array([1.0, np.inf]), 'b': np.ones(1), 'c': {'d': np.array([np.nan])}})
  assert checkpoints.saved == [1]


def test_the_animation_shows_the_grids_in_order_of_their_steps(tmp_path):
  for step in (2, 10, 1):
    images.save_png(tmp_path / f'{step:08d}.png', np.full((4, 4, 3), step * 20, np.uint8))
  path = hooks.save_animation(tmp_path, origin=lambda step: images.origin(run='a', step=step))
  assert path == tmp_path / 'training.gif'
  assert abs(int(images.read(path).mean()) - 20) < 3
  with Image.open(path) as gif:
    assert b'run a, step 1 to 10' in gif.info['comment']


def test_without_grids_there_is_no_animation(tmp_path):
  assert hooks.save_animation(tmp_path, origin=lambda step: None) is None


class _Progress:
  def __init__(self):
    self.lines, self.notes = [], {}

  def note(self, name, value):
    self.notes[name] = value

  def say(self, line):
    self.lines.append(line)


def _evaluation(tmp_path, values, *, step=0, stop=False, near_duplicates=0.0, best=None, has_floor=True):
  metrics = iter([{'fid': value, 'near_duplicates': near_duplicates} for value in values])
  return hooks.Evaluation(
    tmp_path,
    measure=lambda variables: next(metrics),
    best=best or _Checkpoints(),
    progress=_Progress(),
    step=step,
    stop_on_collapse=stop,
    loss_has_floor=has_floor,
  )


_STATE = GANState(step=0, generator=None, discriminator=None, averaged={})


def test_the_best_state_is_kept_and_resuming_remembers_it(tmp_path):
  best = _Checkpoints()
  evaluation = _evaluation(tmp_path, [5.0, 3.0, 4.0], best=best)
  for step in (1, 2, 3):
    evaluation.act(step, _STATE)
  evaluation.close()
  assert best.saved == [1, 2]
  resumed = _evaluation(tmp_path, [3.5, 2.5], step=3, best=best)
  for step in (3, 4, 5):  # step 3 is measured already
    resumed.act(step, _STATE)
  resumed.close()
  assert best.saved == [1, 2, 5]
  lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert [(line['step'], line['fid']) for line in lines] == [(1, 5.0), (2, 3.0), (3, 4.0), (4, 3.5), (5, 2.5)]


def test_a_metric_up_by_half_is_said_in_words(tmp_path):
  evaluation = _evaluation(tmp_path, [10.0, 14.9, 15.1])
  for step in (1, 2, 3):
    evaluation.act(step, _STATE)
  assert evaluation._progress.lines == [
    'Step 3: this run seems to collapse: fid is 15.1, up from 10 at its best, which best/ keeps'
  ]
  assert evaluation._progress.notes == {'fid': 15.1}
  evaluation.close()


def test_repeated_samples_are_said_in_words(tmp_path):
  evaluation = _evaluation(tmp_path, [10.0], near_duplicates=0.6)
  evaluation.act(1, _STATE)
  assert '60% of the samples have a near-copy' in evaluation._progress.lines[0]
  evaluation.close()


def _watched(tmp_path, losses, *, block, has_floor=True):
  """What is said of the discriminator's losses in blocks of steps."""
  evaluation = _evaluation(tmp_path, [], has_floor=has_floor)
  for first in range(0, len(losses), block):
    evaluation.watch(first, {'discriminator/loss': np.array(losses[first : first + block])})
  evaluation.close()
  return evaluation._progress.lines


@pytest.mark.parametrize('block', [1, 7, 100, 500])
def test_a_discriminator_that_tells_every_fake_is_said_once_at_a_step_that_no_block_changes(tmp_path, block):
  losses = [1e-4] * 99 + [0.5] * 4 + [1e-4] * 250
  assert _watched(tmp_path, losses, block=block) == [
    "Step 203: this run seems to collapse: the discriminator's loss is below 0.001 in 100 steps in a row: "
    'it tells every fake'
  ]


def _least(loss):
  """The least of the discriminator's losses over pairs of logits."""
  logits = [np.full(2, value, np.float32) for value in (-40, -1, 0, 1, 40)]
  keys = jax.random.split(jax.random.key(0), 2)
  return np.min([loss.discriminator(keys, real, fake) for real in logits for fake in logits])


@pytest.mark.parametrize('name', build_game.LOSSES)
def test_a_low_loss_is_a_collapse_only_where_the_loss_has_a_floor(tmp_path, monkeypatch, name):
  monkeypatch.setattr(build_game, '_mean', jnp.mean)
  loss = build_game.LOSSES[name](adversarial.targets())
  least = _least(loss)
  assert loss.has_floor == (name != 'wasserstein') == (least >= 0)
  lines = _watched(tmp_path, [float(least)] * 150, block=50, has_floor=loss.has_floor)
  assert len(lines) == loss.has_floor


def test_a_collapse_can_stop_the_run(tmp_path):
  evaluation = _evaluation(tmp_path, [1.0, 2.0], stop=True)
  evaluation.act(1, _STATE)
  with pytest.raises(DivergenceError, match='stopped, as config.evaluation.stop_on_collapse says'):
    evaluation.act(2, _STATE)
  evaluation.close()
