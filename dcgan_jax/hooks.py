"""What happens while a run trains: progress, scalars, finite check; sample grids and checkpoints every n steps."""

import json
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import tensorboardX
import tqdm

from dcgan_jax import images, sample
from dcgan_jax.checkpoint import Checkpoints
from dcgan_jax.errors import DivergenceError
from dcgan_jax.state import GANState


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
    losses = {name: f'{scalars[name][-1]:.3f}' for name in ('discriminator/loss', 'generator/loss')}
    count = len(scalars['generator/loss'])
    self._bar.set_postfix(
      {'step': first + count, 'D': losses['discriminator/loss'], 'G': losses['generator/loss']}, refresh=False
    )
    self._bar.update(count * self._batch_size)

  def close(self) -> None:
    self._bar.close()


class Scalars:
  """Writes every n-th step's scalars to scalars.jsonl and to TensorBoard event files."""

  def __init__(self, workdir: pathlib.Path, *, every: int, step: int):
    """Opens both for a run at `step`; lines of later steps, which a killed run left behind, are dropped."""
    self._every = every
    path = workdir / 'scalars.jsonl'
    kept = [line for line in _lines(path) if line['step'] <= step]
    part = path.with_name('.scalars.jsonl.part')
    part.write_text(''.join(json.dumps(line) + '\n' for line in kept))
    part.replace(path)
    self._file = path.open('a')
    self._events = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'), purge_step=step + 1 if step else None)

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    for i in range(len(scalars['generator/loss'])):
      step = first + i + 1
      if step % self._every == 0:
        values = {name: float(all_steps[i]) for name, all_steps in scalars.items()}
        self._file.write(json.dumps({'step': step, **values}) + '\n')
        for name, value in values.items():
          self._events.add_scalar(name, value, step)
    self._file.flush()

  def close(self) -> None:
    self._file.close()
    self._events.close()


class FiniteCheck:
  """Stops the run at the first step whose losses or parameters are not finite."""

  def __init__(self, checkpoints: Checkpoints):
    self._checkpoints = checkpoints

  def watch(self, first: int, scalars: dict[str, np.ndarray]) -> None:
    finite = np.logical_and.reduce([np.isfinite(values) for values in scalars.values()])
    if finite.all():
      return
    i = int(np.argmin(finite))
    names = [name for name, values in scalars.items() if not np.isfinite(values[i])]
    raise DivergenceError(self.message(first + i + 1, ', '.join(f'{name} is {scalars[name][i]}' for name in names)))

  def message(self, step: int, what: str) -> str:
    kept = self._checkpoints.latest_step()
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
  is_finite = jax.jit(lambda state: jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]).all())

  def act(step: int, state: GANState) -> None:
    if not is_finite(state):
      raise DivergenceError(finite_check.message(step, 'parameters or moments are not finite'))
    checkpoints.save(step, state)

  return act


def save_samples(
  directory: pathlib.Path, draw: Callable[[dict], np.ndarray], shape: tuple[int, ...]
) -> Callable[[int, GANState], None]:
  """An action that draws from the averaged generator, always from the same latents, into <step>.png (or .npz)."""
  suffix = 'png' if sample.is_image(shape) else 'npz'

  def act(step: int, state: GANState) -> None:
    sample.save(directory / f'{step:08d}.{suffix}', draw(state.averaged))

  return act


def save_animation(directory: pathlib.Path) -> pathlib.Path | None:
  """Turns the grids of a run into training.gif, two seconds for the first to the last; None without grids."""
  grids = sorted(directory.glob('[0-9]' * 8 + '.png'))
  if not grids:
    return None
  path = directory / 'training.gif'
  # More frames than this make a file that is large and not clearer.
  chosen = [grids[i] for i in np.unique(np.linspace(0, len(grids) - 1, 60).astype(int))]
  frames = [images.read(grid) for grid in chosen]
  images.save_gif(path, [frame for frame in frames if frame.shape == frames[-1].shape], milliseconds=120)
  return path


def _lines(path: pathlib.Path) -> list[dict]:
  """The whole lines of a scalars.jsonl; a torn last one is left out."""
  lines = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(line))
    except ValueError:
      break
  return lines
