"""The loop: next block of steps, then what is due; nothing else."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from dcgan_jax.games.state import GANState
from dcgan_jax.training.hooks import Hook, Watcher


def train(
  state: GANState,
  *,
  update: Callable[[GANState, Any, int], tuple[GANState, dict]],
  block: Callable[[int, int, int], Any],
  steps: int,
  steps_per_call: int,
  watchers: Sequence[Watcher],
  hooks: Sequence[Hook],
  stopping: Callable[[], bool] = lambda: False,
) -> GANState:
  """Updates the state until `steps` updates are done in all, or `stopping` says to stop.

  What was due at the step of the given state comes first: a run that was killed may have saved the state without it.

  Args:
    state: where to begin; donated to the first update.
    update: (state, rows, count) -> (state, scalars [steps_per_call]), as `parallel.compile_update` makes it.
    block: (step, count, capacity) -> rows of the next `count` steps, as a feeder makes them.
    steps: of the whole run, those before `state` included.
    steps_per_call: the most steps of one call. Blocks end where a hook is due, whatever this is.
    watchers: see the scalars of every step, in order.
    hooks: act on the state at multiples of their interval and after the last step, in order. Once `stopping` says yes,
      those act that do so `when_stopped`, and no others.
    stopping: asked after every block and after every action.
  """
  step, stopped = int(state.step), False
  unseen = None
  try:
    if 0 < step <= steps:
      stopped = _act(hooks, step, step == steps, state, stopping, stopped)
    while step < steps and not stopped:
      count = min(steps_per_call, steps - step, *(hook.every - step % hook.every for hook in hooks))
      state, scalars = update(state, block(step, count, steps_per_call), count)
      # Fetch a block's scalars only when the next one is under way, so that the device never waits for Python.
      _show(watchers, unseen)
      unseen = step, count, scalars
      step += count
      stopped = stopping()
      if stopped or _due(hooks, step, step == steps):
        _show(watchers, unseen)
        unseen = None
      stopped = _act(hooks, step, step == steps, state, stopping, stopped)
  except BaseException:
    # Python must not exit under a block that still runs: XLA's CPU client then ends in a segmentation fault.
    with contextlib.suppress(RuntimeError):
      jax.block_until_ready(state)
    raise
  return state


def _due(hooks: Sequence[Hook], step: int, last: bool) -> list[Hook]:
  return [hook for hook in hooks if last or step % hook.every == 0]


def _act(
  hooks: Sequence[Hook], step: int, last: bool, state: GANState, stopping: Callable[[], bool], stopped: bool
) -> bool:
  """Does what is due, until the run is to stop; returns whether it is."""
  for hook in _due(hooks, step, last):
    if not stopped:
      hook.act(step, state)
      stopped = stopping()
  for hook in hooks:
    if stopped and hook.when_stopped:
      hook.act(step, state)
  return stopped


def _show(watchers: Sequence[Watcher], unseen: tuple[int, int, dict] | None) -> None:
  if unseen is None:
    return
  first, count, scalars = unseen
  scalars = {name: values[:count] for name, values in jax.device_get(scalars).items()}
  for watcher in watchers:
    watcher.watch(first, scalars)
