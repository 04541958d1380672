"""The loop: which blocks it runs, and when hooks and watchers see them. The update is a counter here."""

import jax.numpy as jnp
import numpy as np

from dcgan_jax.games.state import GANState
from dcgan_jax.training.hooks import Hook
from dcgan_jax.training.loop import train


class Recorder:
  """Stands for everything the loop drives, and notes what happens in which order."""

  def __init__(self):
    self.events = []

  def block(self, step, count, capacity):
    return step, count, capacity

  def update(self, state, rows, count):
    step, _, capacity = rows
    self.events.append(('update', step, count))
    scalars = {'generator/loss': np.arange(step + 1, step + 1 + capacity, dtype=np.float32)}
    return state.replace(step=state.step + count), scalars

  def watch(self, first, scalars):
    self.events.append(('watch', first, scalars['generator/loss'].tolist()))

  def act(self, step, state):
    assert int(state.step) == step
    self.events.append(('act', step))

  def save(self, step, state):
    assert int(state.step) == step
    self.events.append(('save', step))

  def run(self, *, start, steps, steps_per_call, hooks, saving=(), **options):
    state = GANState(step=jnp.int32(start), players={}, ema={})
    train(
      state,
      update=self.update,
      block=self.block,
      steps=steps,
      steps_per_call=steps_per_call,
      watchers=[self],
      hooks=[Hook(every, self.save, when_stopped=True) for every in saving]
      + [Hook(every, self.act) for every in hooks],
      **options,
    )
    return self.events


def test_blocks_end_where_a_hook_is_due_and_at_the_last_step():
  events = Recorder().run(start=0, steps=11, steps_per_call=4, hooks=[5])
  updates = [event[1:] for event in events if event[0] == 'update']
  assert updates == [(0, 4), (4, 1), (5, 4), (9, 1), (10, 1)]
  assert [event[1] for event in events if event[0] == 'act'] == [5, 10, 11]


def test_every_step_is_watched_once_and_in_order():
  events = Recorder().run(start=3, steps=20, steps_per_call=4, hooks=[7])
  watched = [value for event in events if event[0] == 'watch' for value in event[2]]
  assert watched == list(range(4, 21))


def test_scalars_are_fetched_after_the_next_block_was_dispatched():
  events = Recorder().run(start=0, steps=8, steps_per_call=4, hooks=[100])
  assert [event[:2] for event in events] == [('update', 0), ('update', 4), ('watch', 0), ('watch', 4), ('act', 8)]


def test_all_scalars_are_watched_before_a_hook_acts_on_the_state():
  events = Recorder().run(start=0, steps=8, steps_per_call=4, hooks=[4])
  assert [event[0] for event in events] == ['update', 'watch', 'act'] * 2


def test_a_finished_run_is_not_updated_and_does_what_was_due():
  assert Recorder().run(start=8, steps=8, steps_per_call=4, hooks=[5]) == [('act', 8)]
  assert Recorder().run(start=9, steps=8, steps_per_call=4, hooks=[5]) == []


def test_a_run_that_goes_on_does_what_was_due_at_its_first_step_and_a_new_one_does_not():
  assert _acts(Recorder().run(start=10, steps=12, steps_per_call=4, hooks=[5])) == [('act', 10), ('act', 12)]
  assert _acts(Recorder().run(start=0, steps=2, steps_per_call=4, hooks=[5])) == [('act', 2)]


def _acts(events):
  return [event for event in events if event[0] in ('act', 'save')]


def test_a_run_that_is_told_to_stop_ends_after_its_block_and_is_saved_alone():
  answers = iter([False, True])
  events = Recorder().run(start=0, steps=100, steps_per_call=4, hooks=[50], saving=[25], stopping=lambda: next(answers))
  assert [event[:2] for event in events] == [('update', 0), ('update', 4), ('watch', 0), ('watch', 4), ('save', 8)]


def test_what_is_due_where_a_run_is_stopped_is_left_to_the_resumed_run():
  stopped = Recorder().run(start=0, steps=100, steps_per_call=4, hooks=[4], saving=[10], stopping=lambda: True)
  assert _acts(stopped) == [('save', 4)]
  resumed = Recorder().run(start=4, steps=8, steps_per_call=4, hooks=[4], saving=[10])
  assert _acts(resumed) == [('act', 4), ('save', 8), ('act', 8)]


def test_a_stop_in_an_action_saves_the_state_and_ends_the_run_there():
  answers = iter([False, True])
  events = Recorder().run(
    start=0, steps=100, steps_per_call=4, hooks=[4, 4], saving=[10], stopping=lambda: next(answers)
  )
  assert _acts(events) == [('act', 4), ('save', 4)]
  assert len([event for event in events if event[0] == 'update']) == 1


def test_a_stop_in_what_a_resumed_run_makes_up_for_ends_it_before_its_first_block():
  events = Recorder().run(start=4, steps=100, steps_per_call=4, hooks=[4], saving=[10], stopping=lambda: True)
  assert events == [('act', 4), ('save', 4)]
