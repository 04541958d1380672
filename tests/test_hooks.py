"""Scalars, the finite check, sample grids and the animation."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dcgan_jax.building import game as build_game
from dcgan_jax.errors import DivergenceError
from dcgan_jax.games.state import GANState
from dcgan_jax.kinds import image as images
from dcgan_jax.objectives import adversarial
from dcgan_jax.training import hooks, stopping
from dcgan_jax.training.record import Events


class _Checkpoints:
  """Checkpoints in memory: `saved` are all that were, `steps` those that are."""

  def __init__(self, *steps):
    self._steps, self.saved = set(steps), []

  def latest_step(self):
    return max(self._steps, default=None)

  def steps(self):
    return sorted(self._steps)

  def save(self, step, state):
    self._steps.add(step)
    self.saved.append(step)

  def keep(self, steps):
    self._steps &= set(steps)

  def drop_after(self, step):
    self.keep([found for found in self._steps if found <= step])

  def copy_from(self, other, step):
    assert step in other.steps()
    self._steps.add(step)

  def wait(self):
    pass

  def close(self):
    pass


def _scalars(*losses):
  values = np.array(losses, np.float32)
  return {'generator/loss': values, 'discriminator/loss': values + 1}


def _lines(tmp_path):
  return [json.loads(line) for line in (tmp_path / 'scalars.jsonl').read_text().splitlines()]


def _open_scalars(tmp_path, *, step):
  return hooks.Scalars(tmp_path, every=2, step=step, events=Events(tmp_path, step=step))


def test_every_nth_step_becomes_a_line_and_an_event(tmp_path):
  scalars = _open_scalars(tmp_path, step=0)
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
  scalars = _open_scalars(tmp_path, step=3)
  scalars.watch(3, _scalars(7.0))
  scalars.close()
  assert [line['step'] for line in _lines(tmp_path)] == [2, 4]
  assert _lines(tmp_path)[1]['generator/loss'] == 7.0


def test_finite_scalars_pass():
  hooks.FiniteCheck(_Checkpoints()).watch(0, _scalars(1.0, -2.0))


def test_the_first_step_that_is_not_finite_is_named_with_what_is_not():
  check = hooks.FiniteCheck(_Checkpoints(10))
  with pytest.raises(
    DivergenceError, match='diverged at step 12: generator/loss is nan, discriminator/loss is nan; the'
  ):
    check.watch(10, _scalars(1.0, np.nan, np.inf))


def test_a_state_that_is_not_finite_is_not_saved():
  checkpoints = _Checkpoints()
  act = hooks.save_checkpoint(checkpoints, hooks.FiniteCheck(checkpoints))
  act(1, {'a': np.ones(3)})
  with pytest.raises(DivergenceError, match='at step 2: a, c/d not finite; the checkpoint of step 1 is good'):
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


def test_a_grid_that_cannot_be_read_costs_its_frame_alone_and_is_named(tmp_path, capsys):
  for step in (1, 2, 3):
    images.save_png(tmp_path / f'{step:08d}.png', np.full((4, 4, 3), step * 60, np.uint8))
  (tmp_path / '00000002.png').write_bytes(b'no picture')
  path = hooks.save_animation(tmp_path, origin=lambda step: None)
  with Image.open(path) as gif:
    assert gif.n_frames == 2
  error = capsys.readouterr().err
  assert error.startswith(f'WARNING: {path} lacks a frame: Cannot read {tmp_path / "00000002.png"} as an image')
  assert error.count('\n') == 1
  for step in (1, 3):
    (tmp_path / f'{step:08d}.png').write_bytes(b'')
  assert hooks.save_animation(tmp_path, origin=lambda step: None) is None


def test_a_run_that_goes_back_repeats_its_later_grids_and_the_animation(tmp_path):
  names = ['00000002.png', '00000004.png', '00000004.npz', '.00000002.png', '.00000004.png', 'training.gif', 'my.png']
  for name in names:
    (tmp_path / name).write_bytes(b'x')
  hooks.drop_samples(tmp_path, 2)
  assert {path.name for path in tmp_path.iterdir()} == {'00000002.png', 'my.png'}


def test_a_grid_that_is_there_is_not_drawn_again(tmp_path):
  drawn = []

  def draw(variables):
    drawn.append(variables)
    return np.zeros((4, 8, 8, 3), np.uint8)

  act = hooks.save_samples(tmp_path / 'samples', draw, (8, 8, 3), columns=None, origin=lambda step: None)
  act(3, _STATE)
  act(3, _STATE)
  assert len(drawn) == 1
  assert [path.name for path in (tmp_path / 'samples').iterdir()] == ['00000003.png']


def test_of_grids_that_are_larger_than_a_gif_there_is_no_animation(tmp_path, monkeypatch):
  images.save_png(tmp_path / '00000001.png', np.zeros((4, 9, 3), np.uint8))
  monkeypatch.setattr(images, 'LONGEST_SIDE_OF_GIF', 8)
  assert hooks.save_animation(tmp_path, origin=lambda step: None) is None


def test_without_grids_there_is_no_animation(tmp_path):
  assert hooks.save_animation(tmp_path, origin=lambda step: None) is None


class _Progress:
  def __init__(self):
    self.lines, self.notes = [], {}

  def note(self, name, value):
    self.notes[name] = value

  def say(self, line):
    self.lines.append(line)


def _evaluation(
  tmp_path,
  values,
  *,
  step=0,
  stop=False,
  near_duplicates=0.0,
  best=None,
  checkpoints=None,
  has_floor=True,
  signals=None,
):
  metrics = iter([{'fid': value, 'near_duplicates': near_duplicates} for value in values])
  events = Events(tmp_path, step=step)
  evaluation = hooks.Evaluation(
    tmp_path,
    measure=lambda variables: next(metrics),
    best=best or _Checkpoints(),
    checkpoints=checkpoints or _Checkpoints(),
    events=events,
    progress=_Progress(),
    signals=signals or stopping.StopSignals(),
    step=step,
    stop_on_collapse=stop,
    loss_has_floor=has_floor,
  )
  close = evaluation.close
  evaluation.close = lambda: (close(), events.close())  # In a run the scalars close the events that both write.
  return evaluation


_STATE = GANState(step=0, players={}, ema={'generator': {}})


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


def test_a_best_state_stays_until_no_checkpoint_is_older_than_its_successor(tmp_path):
  best, checkpoints = _Checkpoints(), _Checkpoints()
  evaluation = _evaluation(tmp_path, [5.0, 3.0, 4.0, 2.0, 2.5], best=best, checkpoints=checkpoints)
  kept = []
  for step, saved in ((2, []), (4, [3]), (6, [3]), (8, [5, 7]), (10, [7, 9])):
    checkpoints.__init__(*saved)
    evaluation.act(step, _STATE)
    kept.append(best.steps())
  # Of the checkpoints at 5 and 7 the best state is that of step 4; of the one at 9, that of step 8.
  assert kept == [[2], [2, 4], [2, 4], [4, 8], [4, 8]]
  evaluation.close()


def _went_back(tmp_path, *, to, best, checkpoints):
  """Opens evaluations of a run whose lines are (2, 5.0), (4, 3.0), (6, 2.0), at an earlier step."""
  lines = [{'step': step, 'fid': fid, 'near_duplicates': 0.0} for step, fid in ((2, 5.0), (4, 3.0), (6, 2.0))]
  (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return _evaluation(tmp_path, [4.0, 3.5, 9.0], step=to, best=best, checkpoints=checkpoints)


def test_a_run_that_went_back_has_the_best_state_of_the_lines_that_remain(tmp_path):
  best = _Checkpoints(4, 6)
  evaluation = _went_back(tmp_path, to=5, best=best, checkpoints=_Checkpoints(5))
  assert best.steps() == [4]
  evaluation.act(6, _STATE)
  assert best.steps() == [4]
  assert evaluation._progress.lines == []
  evaluation.close()


def test_a_best_state_that_is_gone_comes_from_the_checkpoints(tmp_path):
  best = _Checkpoints(6)
  evaluation = _went_back(tmp_path, to=5, best=best, checkpoints=_Checkpoints(4, 5))
  assert best.steps() == [4]
  assert evaluation._progress.lines == []
  evaluation.close()


def test_a_best_state_that_is_gone_for_good_is_said_and_best_begins_anew(tmp_path):
  best = _Checkpoints(6)
  evaluation = _went_back(tmp_path, to=5, best=best, checkpoints=_Checkpoints(5))
  said = 'best/ lacks the state of step 4, the best so far (fid 3); it begins anew'
  assert evaluation._progress.lines == [said]
  for step in (6, 8, 10):
    evaluation.act(step, _STATE)
  assert best.saved == [6, 8]
  # What it is compared with is what best/ keeps: 3.5, and not the 3.0 that is gone.
  assert evaluation._progress.lines[1:] == [
    'Step 10: this run seems to collapse: fid is 9, up from 3.5 at its best, which best/ keeps'
  ]
  evaluation.close()
  again = _evaluation(tmp_path, [], step=10, best=best)
  assert again._progress.lines == [said.replace('it begins anew', 'it has that of step 8')]
  again.close()


def test_a_best_state_is_on_the_disk_before_its_line_and_a_lost_line_is_written_again(tmp_path):
  best = _Checkpoints()

  def die():
    raise KeyboardInterrupt

  best.wait = die
  evaluation = _evaluation(tmp_path, [5.0], best=best)
  with pytest.raises(KeyboardInterrupt):
    evaluation.act(2, _STATE)
  evaluation.close()
  assert (tmp_path / 'metrics.jsonl').read_text() == '' or not (tmp_path / 'metrics.jsonl').exists()
  assert best.steps() == [2]
  best.wait = lambda: None
  resumed = _evaluation(tmp_path, [5.0], step=2, best=best)
  resumed.act(2, _STATE)
  resumed.close()
  assert json.loads((tmp_path / 'metrics.jsonl').read_text())['step'] == 2
  assert best.steps() == [2]


def test_a_metric_that_is_no_number_is_never_the_best(tmp_path):
  best = _Checkpoints()
  evaluation = _evaluation(tmp_path, [float('nan'), 5.0, float('nan'), 4.0], best=best)
  for step in (1, 2, 3, 4):
    evaluation.act(step, _STATE)
  evaluation.close()
  assert best.saved == [2, 4]


def test_a_signal_ends_a_measurement_without_a_line(tmp_path):
  with stopping.StopSignals() as signals:
    best = _Checkpoints()
    evaluation = _evaluation(tmp_path, [5.0], best=best, signals=signals)
    evaluation._measure = lambda variables: os.kill(os.getpid(), signal.SIGTERM) or {'fid': 1.0}
    evaluation.act(2, _STATE)
    assert signals.received == signal.SIGTERM
  evaluation.close()
  assert (tmp_path / 'metrics.jsonl').read_text() == ''
  assert best.saved == []


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
