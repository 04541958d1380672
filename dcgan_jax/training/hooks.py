"""What happens while a run trains: progress, scalars, finite check; sample grids and checkpoints every n steps."""

import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax import progress
from dcgan_jax.drawing import sample
from dcgan_jax.errors import CheckpointError, DataError, DivergenceError, printable, say
from dcgan_jax.games.state import GANState
from dcgan_jax.kinds import image as images
from dcgan_jax.training.checkpoint import Checkpoints
from dcgan_jax.training.record import Events, Lines
from dcgan_jax.training.stopping import StopSignals

LOSS_OF_A_COLLAPSE = 1e-3
STEPS_OF_A_COLLAPSE = 100  # Steps in a row with such a loss; a single batch that is told apart is no collapse.
DUPLICATES_OF_A_COLLAPSE = 0.5


class Watcher(Protocol):
  """Sees the scalars of every step."""

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    """Takes the scalars [n] of the updates after which `first + 1` ... `first + n` are done."""


class Hook(NamedTuple):
  """An action on the state at multiples of `every` steps and after the last one.

  every: steps.
  act: takes the step and the state. It does nothing where what it makes of that step is there already.
  when_stopped: whether it also acts where a run is stopped; the others then leave their work to the resumed run.
  """

  every: int
  act: Callable[[int, GANState], None]
  when_stopped: bool = False


class Progress:
  """A progress bar with images per second, time left and the latest losses."""

  def __init__(self, *, step: int, steps: int, batch_size: int):
    self._batch_size = batch_size
    self._notes: dict[str, float] = {}
    self._bar = progress.bar(
      total=steps * batch_size,
      initial=step * batch_size,
      unit=' images',
      unit_scale=True,
      mininterval=0.5,
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
    """Prints a line, in a terminal above the bar."""
    self._bar.write(printable(line), file=sys.stderr)

  def close(self) -> None:
    self._bar.close()


class Scalars:
  """Writes every n-th step's scalars to scalars.jsonl and to TensorBoard."""

  def __init__(self, workdir: pathlib.Path, *, every: int, step: int, events: Events):
    """Opens scalars.jsonl for a run at `step`; closes `events` with it."""
    self._every = every
    self._file = Lines(workdir / 'scalars.jsonl', step=step)
    self._events = events

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    for i in range(len(scalars['generator/loss'])):
      step = first + i + 1
      if step % self._every == 0:
        values = {name: float(all_steps[i]) for name, all_steps in scalars.items()}
        self._file.add({'step': step, **values})
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
  columns: int | Sequence[str] | None,
  origin: Callable[..., dict[str, str] | None],
) -> Callable[[int, GANState], None]:
  """An action that draws from the averaged generator, always from the same latents, into <step>.png (or .npz).

  Args:
    directory: folder of the pictures.
    draw: variables of the generator -> samples, uint8 [N, *shape].
    shape: of an example.
    columns: of the grid, or their titles; None makes it as square as it can be.
    origin: `step=` -> what the picture says of itself.
  """

  def act(step: int, state: GANState) -> None:
    path = samples_path(directory, step, shape)
    if path.exists():
      return
    directory.mkdir(exist_ok=True)  # Without its parents: a run whose directory was removed ends.
    part = path.with_name(f'.{path.name}')
    sample.save(part, draw(state.ema['generator']), columns=columns, origin=origin(step=step))
    part.replace(path)

  return act


def samples_path(directory: pathlib.Path, step: int, shape: tuple[int, ...]) -> pathlib.Path:
  """Where the samples of a step are."""
  return directory / f'{step:08d}.{"png" if sample.is_picture(shape) else "npz"}'


def drop_samples(directory: pathlib.Path, step: int) -> None:
  """Removes the samples of later steps, which a run at `step` repeats, and the animation, which its end makes."""
  for path in directory.glob('*'):
    name, _, suffix = path.name.lstrip('.').partition('.')
    is_part = path.name.startswith('.') and name.isdecimal()
    is_later = suffix in ('png', 'npz') and name.isdecimal() and int(name) > step
    if is_part or is_later or path.name == 'training.gif':
      path.unlink()


class Evaluation:
  """Measures the averaged generator, keeps the best state apart, and says when the run seems to collapse.

  A best state is on the disk before its line is, and the one before it stays for as long as a checkpoint is older than
  its successor: wherever a run resumes, best/ has the best state of the lines up to there.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    measure: Callable[[dict], dict[str, float]],
    best: Checkpoints,
    checkpoints: Checkpoints,
    events: Events,
    progress: Progress,
    signals: StopSignals,
    step: int,
    stop_on_collapse: bool,
    loss_has_floor: bool,
  ):
    """Opens the evaluations of a run at `step`.

    Args:
      workdir: directory of the run; each evaluation adds a line to its metrics.jsonl.
      measure: variables of the generator -> metrics, of which the first is the one to be made small.
      best: checkpoints of the best states.
      checkpoints: checkpoints of the run, from which it may be resumed.
      events: TensorBoard's file.
      progress: shows the metric, and what there is to say.
      signals: a signal to stop ends a measurement; the resumed run repeats it.
      step: step of the run.
      stop_on_collapse: end the run where it would only be warned of.
      loss_has_floor: whether a discriminator's loss near 0 means that it tells every fake.
    """
    self._measure = measure
    self._best = best
    self._checkpoints = checkpoints
    self._events = events
    self._progress = progress
    self._signals = signals
    self._stop = stop_on_collapse
    self._loss_has_floor = loss_has_floor
    self._low_steps = 0
    self._file = Lines(workdir / 'metrics.jsonl', step=step)
    self._lines = {line['step']: line for line in self._file.lines}
    best.drop_after(step)
    self._find_best()

  def _find_best(self) -> None:
    """Sees that best/ has the best state of the lines, or says what it has."""
    latest = self._lines[max(self._lines)] if self._lines else {}
    name = next((key for key in latest if key != 'step'), '')
    measured = {step: line[name] for step, line in self._lines.items() if _is_finite(line.get(name))}
    if not measured:
      return
    step = min(measured, key=measured.__getitem__)
    kept = self._best.steps()
    if step in kept:
      return
    if step in self._checkpoints.steps() and not any(other > step for other in kept):
      self._best.copy_from(self._checkpoints, step)
      return
    instead = self._kept_line()
    what = f'it has that of step {instead["step"]}' if instead else 'it begins anew'
    self._progress.say(f'best/ lacks the state of step {step}, the best so far ({name} {measured[step]:.4g}); {what}')

  def _kept_line(self) -> dict[str, Any] | None:
    """The line of the best state that is kept."""
    measured = [step for step in self._best.steps() if step in self._lines]
    return self._lines[max(measured)] if measured else None

  def act(self, step: int, state: GANState) -> None:
    if step in self._lines:
      return
    metrics = None
    with self._signals.giving_up():
      metrics = self._measure(state.ema['generator'])
    if metrics is None:
      return
    name, value = next(iter(metrics.items()))
    line = self._kept_line() or {}
    best = line[name] if _is_finite(line.get(name)) else None
    is_best = _is_finite(value) and (best is None or value < best)
    if is_best:
      self._best.save(step, state)
      self._best.wait()
    self._events.add(step, {f'metrics/{key}': n for key, n in metrics.items() if not isinstance(n, list)})
    self._events.flush()
    self._lines[step] = {'step': step, **metrics}
    self._file.add(self._lines[step])
    self._file.sync()
    kept = [kept for kept in self._best.steps() if kept != step or is_best]
    resumable = [max((best for best in kept if best <= saved), default=None) for saved in self._checkpoints.steps()]
    self._best.keep({*resumable, *kept[-1:]})
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
    self._best.close()


def _is_finite(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def save_animation(directory: pathlib.Path, *, origin: Callable[..., dict[str, str] | None]) -> pathlib.Path | None:
  """Turns the grids of a run into training.gif, without those that cannot be read; None without grids.

  Args:
    directory: folder of the grids.
    origin: `step=` -> what the picture says of itself.
  """
  grids = sorted(directory.glob('[0-9]' * 8 + '.png'))
  if not grids:
    return None
  path = directory / 'training.gif'
  # More frames than this make a file that is large and not clearer.
  chosen = [grids[i] for i in np.unique(np.linspace(0, len(grids) - 1, 60).astype(int))]
  frames = []
  for grid in chosen:
    try:
      frames.append(images.read(grid))
    except DataError as error:
      say(f'WARNING: {path} lacks a frame: {error}', sys.stderr)
  if not frames:
    return None
  frames = [frame for frame in frames if frame.shape == frames[-1].shape]
  if max(frames[-1].shape[:2]) > images.LONGEST_SIDE_OF_GIF:
    return None
  steps = f'{int(chosen[0].stem)} to {int(chosen[-1].stem)}'
  images.save_gif(path, frames, milliseconds=120, rest=1200, origin=origin(step=steps))
  return path
