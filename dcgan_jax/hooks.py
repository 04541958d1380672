"""What happens while a run trains: progress, scalars, finite check; sample grids and checkpoints every n steps."""

import json
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TextIO

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from dcgan_jax import images, sample
from dcgan_jax.checkpoint import Checkpoints
from dcgan_jax.errors import CheckpointError, DivergenceError
from dcgan_jax.state import GANState

LOSS_OF_A_COLLAPSE = 1e-3
STEPS_OF_A_COLLAPSE = 100  # Steps in a row with such a loss; a single batch that is told apart is no collapse.
DUPLICATES_OF_A_COLLAPSE = 0.5


class Watcher(Protocol):
  """Sees the scalars of every step."""

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    """Takes the scalars [n] of the updates after which `first + 1` ... `first + n` are done."""


class Hook(NamedTuple):
  """An action on the state at multiples of `every` steps and after the last one."""

  every: int
  act: Callable[[int, GANState], None]


class Progress:
  """A progress bar with images per second, time left and the latest losses."""

  def __init__(self, *, step: int, steps: int, batch_size: int):
    self._batch_size = batch_size
    self._notes: dict[str, float] = {}
    # Where the output is a file, a line every ten seconds is enough.
    interval = 0.5 if sys.stderr.isatty() else 10.0
    self._bar = tqdm.tqdm(
      total=steps * batch_size,
      initial=step * batch_size,
      unit=' images',
      unit_scale=True,
      mininterval=interval,
      dynamic_ncols=True,
      smoothing=0.1,
    )

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    count = len(scalars['generator/loss'])
    latest = {'D': scalars['discriminator/loss'][-1], 'G': scalars['generator/loss'][-1], **self._notes}
    values = {name: f'{value:.3g}' for name, value in latest.items()}
    self._bar.set_postfix({'step': first + count, **values}, refresh=False)
    self._bar.update(count * self._batch_size)

  def note(self, name: str, value: float) -> None:
    """Shows a value until it is noted again."""
    self._notes[name] = value

  def say(self, line: str) -> None:
    """Prints a line above the bar."""
    self._bar.write(line, file=sys.stderr)

  def close(self) -> None:
    self._bar.close()


class Events:
  """A TensorBoard event file, written at once: tensorboardX's own thread waits for ever on a full disk."""

  def __init__(self, workdir: pathlib.Path, *, step: int, suffix: str = ''):
    """Opens a file for a run at `step`; what a killed run wrote of later steps is not shown."""
    (workdir / 'tensorboard').mkdir(exist_ok=True)
    self._writer = EventsWriter(str(workdir / 'tensorboard' / 'events'), f'.{step}{suffix}')
    if step:
      self._writer.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

  def add(self, step: int, values: dict[str, float]) -> None:
    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


class Scalars:
  """Writes every n-th step's scalars to scalars.jsonl and to TensorBoard event files."""

  def __init__(self, workdir: pathlib.Path, *, every: int, step: int):
    """Opens both for a run at `step`."""
    self._every = every
    self._file = _open_lines(workdir / 'scalars.jsonl', step)
    self._events = Events(workdir, step=step)

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    for i in range(len(scalars['generator/loss'])):
      step = first + i + 1
      if step % self._every == 0:
        values = {name: float(all_steps[i]) for name, all_steps in scalars.items()}
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        self._events.add(step, values)
    self._file.flush()
    self._events.flush()

  def close(self) -> None:
    self._file.close()
    self._events.close()


class FiniteCheck:
  """Stops the run at the first step whose losses or parameters are not finite."""

  def __init__(self, checkpoints: Checkpoints | None):
    """Takes the run's checkpoints, which only the first of several processes has."""
    self._checkpoints = checkpoints

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    finite = np.logical_and.reduce([np.isfinite(values) for values in scalars.values()])
    if finite.all():
      return
    i = int(np.argmin(finite))
    names = [name for name, values in scalars.items() if not np.isfinite(values[i])]
    raise DivergenceError(self.message(first + i + 1, ', '.join(f'{name} is {scalars[name][i]}' for name in names)))

  def message(self, step: int, what: str) -> str:
    kept = self._checkpoints and self._checkpoints.latest_step()
    good = 'no checkpoint was written yet' if kept is None else f'the checkpoint of step {kept} is good'
    return (
      f'Training diverged at step {step}: {what}; {good}. '
      'Try smaller learning rates in another --workdir, or another seed'
    )


class StopSignals:
  """While entered, notes SIGINT and SIGTERM so that the run can end after its block; a second one ends it at once.

  received: the signal's number, or None.
  """

  def __init__(self):
    self.received: int | None = None
    self._handlers: dict[int, Any] = {}

  def __enter__(self) -> 'StopSignals':
    # Python lets only the main thread handle signals.
    if threading.current_thread() is threading.main_thread():
      self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
    return self

  def __exit__(self, *_: Any) -> None:
    for number, handler in self._handlers.items():
      signal.signal(number, handler)

  def _note(self, number: int, _: Any) -> None:
    if self.received is not None:
      os._exit(128 + number)
    self.received = number
    print('\nStopping after this block of steps; once more stops at once', file=sys.stderr)


def save_checkpoint(checkpoints: Checkpoints, finite_check: FiniteCheck) -> Callable[[int, GANState], None]:
  """An action that saves the state, unless something in it is not finite."""
  are_finite = jax.jit(lambda state: jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]))

  def act(step: int, state: GANState) -> None:
    finite = np.asarray(are_finite(state))
    if not finite.all():
      paths = [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in jax.tree.leaves_with_path(state)]
      names = [path for path, good in zip(paths, finite, strict=True) if not good]
      more = f' and {len(names) - 3} more' if names[3:] else ''
      raise DivergenceError(finite_check.message(step, f'{", ".join(names[:3])}{more} not finite'))
    checkpoints.save(step, state)

  return act


def going_on(act: Callable, progress: 'Progress') -> Callable:
  """The same action or watcher, but what it cannot write is said once, until it can, and training goes on."""
  said = False

  def attempt(*arguments: Any) -> None:
    nonlocal said
    try:
      act(*arguments)
      said = False
    except (OSError, CheckpointError) as error:
      if not said:
        progress.say(f'WARNING: {" ".join(str(error).split())}; training goes on')
      said = True

  return attempt


def save_samples(
  directory: pathlib.Path,
  draw: Callable[[dict], np.ndarray],
  shape: tuple[int, ...],
  *,
  columns: int | None,
  origin: Callable[..., dict[str, str] | None],
) -> Callable[[int, GANState], None]:
  """An action that draws from the averaged generator, always from the same latents, into <step>.png (or .npz).

  Args:
    directory: of the pictures.
    draw: variables of the generator -> samples, uint8 [N, *shape].
    shape: of an example.
    columns: of the grid; None makes it as square as it can be.
    origin: `step=` -> what the picture says of itself.
  """
  suffix = 'png' if sample.is_image(shape) else 'npz'

  def act(step: int, state: GANState) -> None:
    path = directory / f'{step:08d}.{suffix}'
    sample.save(path, draw(state.averaged), columns=columns, origin=origin(step=step))

  return act


class Evaluation:
  """Measures the averaged generator, keeps the best state apart, and says when the run seems to collapse."""

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    measure: Callable[[dict], dict[str, float]],
    best: Checkpoints,
    progress: Progress,
    step: int,
    stop_on_collapse: bool,
    loss_has_floor: bool,
  ):
    """Opens the evaluations of a run at `step`.

    Args:
      workdir: of the run; a line an evaluation goes to its metrics.jsonl.
      measure: variables of the generator -> metrics, of which the first is the one to be made small.
      best: checkpoints of the best state alone.
      progress: shows the metric, and what there is to say.
      step: of the run.
      stop_on_collapse: end the run where it would only be warned of.
      loss_has_floor: whether a discriminator's loss near 0 means that it tells every fake.
    """
    self._measure = measure
    self._best = best
    self._progress = progress
    self._stop = stop_on_collapse
    self._loss_has_floor = loss_has_floor
    self._low_steps = 0
    self._file = _open_lines(workdir / 'metrics.jsonl', step)
    self._seen = read_lines(workdir / 'metrics.jsonl')
    self._events = Events(workdir, step=step, suffix='.metrics')

  def act(self, step: int, state: GANState) -> None:
    if any(line['step'] == step for line in self._seen):
      return
    metrics = self._measure(state.averaged)
    name, value = next(iter(metrics.items()))
    best = min((line[name] for line in self._seen if name in line), default=None)
    if best is None or value < best:
      self._best.save(step, state)
    line = {'step': step, **metrics}
    self._seen.append(line)
    self._file.write(json.dumps(line) + '\n')
    self._file.flush()
    self._events.add(step, {f'metrics/{key}': n for key, n in metrics.items() if not isinstance(n, list)})
    self._events.flush()
    self._progress.note(name, value)
    if best is not None and value > 1.5 * best:
      self.warn(step, f'{name} is {value:.4g}, up from {best:.4g} at its best, which best/ keeps')
    if metrics['near_duplicates'] > DUPLICATES_OF_A_COLLAPSE:
      self.warn(step, f'{metrics["near_duplicates"]:.0%} of the samples have a near-copy, of real images 1 %')

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    if not self._loss_has_floor:
      return
    for step, loss in enumerate(scalars['discriminator/loss'], first + 1):
      self._low_steps = self._low_steps + 1 if loss < LOSS_OF_A_COLLAPSE else 0
      if self._low_steps == STEPS_OF_A_COLLAPSE:
        what = f'below {LOSS_OF_A_COLLAPSE} in {STEPS_OF_A_COLLAPSE} steps in a row: it tells every fake'
        self.warn(step, f"the discriminator's loss is {what}")

  def warn(self, step: int, what: str) -> None:
    """Says in words that a run collapses, or ends it."""
    message = f'Step {step}: this run seems to collapse: {what}'
    if self._stop:
      raise DivergenceError(f'{message}; stopped, as config.evaluation.stop_on_collapse says')
    self._progress.say(message)

  def close(self) -> None:
    self._file.close()
    self._events.close()
    self._best.close()


def save_animation(directory: pathlib.Path, *, origin: Callable[..., dict[str, str] | None]) -> pathlib.Path | None:
  """Turns the grids of a run into training.gif; None without grids.

  Args:
    directory: of the grids.
    origin: `step=` -> what the picture says of itself.
  """
  grids = sorted(directory.glob('[0-9]' * 8 + '.png'))
  if not grids:
    return None
  path = directory / 'training.gif'
  # More frames than this make a file that is large and not clearer.
  chosen = [grids[i] for i in np.unique(np.linspace(0, len(grids) - 1, 60).astype(int))]
  frames = [images.read(grid) for grid in chosen]
  frames = [frame for frame in frames if frame.shape == frames[-1].shape]
  steps = f'{int(chosen[0].stem)} to {int(chosen[-1].stem)}'
  images.save_gif(path, frames, milliseconds=120, rest=1200, origin=origin(step=steps))
  return path


def _open_lines(path: pathlib.Path, step: int) -> TextIO:
  """Opens a file of JSON lines for a run at `step`; later lines, which a killed run left behind, are dropped."""
  kept = [line for line in read_lines(path) if line['step'] <= step]
  part = path.with_name(f'.{path.name}.part')
  part.write_text(''.join(json.dumps(line) + '\n' for line in kept), encoding='utf-8')
  part.replace(path)
  return path.open('a', encoding='utf-8')


def read_lines(path: pathlib.Path) -> list[dict]:
  """The whole lines of a file of JSON lines; a torn last one is left out."""
  lines = []
  for line in path.read_text(encoding='utf-8').splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(line))
    except ValueError:
      break
  return lines
