"""Orbax save and restore of a GANState. The only module that imports Orbax.

Orbax writes a checkpoint whole or not at all, but reads one with a flipped byte as if it were sound. So each carries a
manifest: dtype, shape and sha256 of every tensor, checked when it is restored.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from dcgan_jax.errors import CheckpointError, say
from dcgan_jax.games.state import GANState

_ITEMS = ('state', 'manifest', 'about')
_OVERHEAD = 500_000  # Bytes of names, shapes and manifest, and to spare.


class Checkpoints:
  """The checkpoints of a run: `<directory>/<step>/`, written asynchronously, each whole or absent."""

  def __init__(self, directory: pathlib.Path, *, kept: int | None = 1, every: int = 1, read_only: bool = False):
    """Opens a directory of checkpoints.

    Args:
      directory: where they are; created unless `read_only`.
      kept: number of the latest checkpoints that stay; None keeps all.
      every: steps whose multiples are saved. A checkpoint of another step, which a stop leaves, goes with the next one.
      read_only: restore only; nothing is created or removed.
    """
    # Orbax takes a relative path without a word and then loses the first checkpoint.
    self.directory = directory.absolute()
    self._read_only = read_only
    # Of several processes only the first has checkpoints; Orbax would wait for the others.
    alone = {}
    if jax.process_count() > 1:
      self.directory.mkdir(exist_ok=True)
      own = jax.process_index()
      options = {'primary_host': own, 'active_processes': {own}, 'barrier_sync_key_prefix': self.directory.name}
      alone = {'multiprocessing_options': ocp.options.MultiprocessingOptions(**options)}
    # That a directory is opened to be read only is no news to who asked for it.
    with _errors_only(logging.getLogger('absl')):
      options = ocp.CheckpointManagerOptions(
        preservation_policy=None if read_only or kept is None else _LatestMultiples(kept, every),
        cleanup_tmp_directories=not read_only,
        create=not read_only and not alone,
        read_only=read_only,
        **alone,
      )
      self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=_ITEMS)
    self._copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, or None."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """Steps of all checkpoints, in order; the newest may still be being written."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: GANState) -> None:
    """Starts to write the state of a step; a step that is there already stays as it is.

    Raises:
      CheckpointError: the disk is too full for it, or this one or the one before could not be written.
    """
    if not self.directory.is_dir():
      raise CheckpointError(f'{self.directory} was removed while the run wrote to it; start the run again')
    if step in self._manager.all_steps():
      return
    self.check_space(state)
    # The next update reuses the state's buffers while Orbax still writes in the background.
    copy = self._copy(state) if jax.process_count() == 1 else jax.device_get(state)
    tree = serialization.to_state_dict(copy)
    manifest = _manifest(tree)
    about = {'step': step, 'manifest_sha256': _digest(manifest)}
    items = {'state': ocp.args.StandardSave(tree), 'manifest': ocp.args.JsonSave(manifest)}
    items['about'] = ocp.args.JsonSave(about)
    try:
      saved = self._manager.save(step, args=ocp.args.Composite(**items), force=True)
    except Exception as error:
      self._remove_unfinished()
      raise CheckpointError(f'Cannot save step {step} in {self.directory} ({_one_line(error)})') from error
    if not saved:
      raise CheckpointError(f'Orbax did not save step {step} in {self.directory}; is a later step there already?')

  def restore(self, abstract: GANState, *, sharding: jax.sharding.Sharding, step: int | None = None) -> GANState:
    """Reads a checkpoint, whatever devices wrote it.

    A newest checkpoint that is damaged is named on stderr and the one before it is read. It is never deleted: unless
    `read_only`, it is set aside as `<step>.damaged`, so that the run can save that step again.

    Args:
      abstract: a GANState of shapes and dtypes, as `jax.eval_shape` gives it.
      sharding: where the values shall live.
      step: which; None is the newest that is sound.

    Raises:
      CheckpointError: there is none, all are damaged, or it holds other networks or optimisers.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    if not steps:
      raise CheckpointError(f'No checkpoint in {self.directory}; train first, or give the right --workdir')
    if step is not None and step not in steps:
      known = ', '.join(map(str, reversed(steps)))
      raise CheckpointError(f'No checkpoint of step {step} in {self.directory}; there are {known}')
    # Explicit shardings: without them Orbax asks for the very devices that wrote the checkpoint.
    target = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
      serialization.to_state_dict(abstract),
    )
    damaged, problems = [], []
    for candidate in steps if step is None else [step]:
      try:
        tree = self._read(candidate, target)
      except _DamagedError as error:
        damaged.append(candidate)
        problems.append(error)
        continue
      self._set_aside(damaged, problems, candidate)
      return serialization.from_state_dict(abstract, tree)
    others = f'; nor is any other of {", ".join(map(str, damaged[1:]))}' if damaged[1:] else ''
    raise CheckpointError(
      f'The checkpoint of step {damaged[0]} in {self.directory} cannot be used ({problems[0]}){others}'
    ) from problems[0]

  def _read(self, step: int, target: dict) -> dict:
    """The state of a step as nested dicts; raises CheckpointError for other networks and _DamagedError."""
    path = self.directory / str(step)
    has_manifest = (path / 'manifest').exists()
    try:
      # Checkpoints of earlier versions have no manifest, or nothing about themselves.
      written = json.loads((path / '_CHECKPOINT_METADATA').read_text(encoding='utf-8'))['item_handlers']
      about = self._read_json(step, 'about') if 'about' in written else {}
      manifest = self._read_json(step, 'manifest') if has_manifest else None
      if manifest is not None:
        self._check_networks(step, _described(target), {path: line[:2] for path, line in manifest.items()})
      tree = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))['state']
      found, saved_as = _manifest(tree), int(about.get('step', tree['step']))
    except CheckpointError:
      raise
    except Exception as error:  # Orbax, TensorStore and JAX each raise their own.
      what = 'damaged' if has_manifest else 'damaged, or of other networks'
      raise _DamagedError(f'{what}: {_one_line(error)}') from error
    changed = [path for path, line in found.items() if manifest is not None and line != manifest[path]]
    if changed:
      raise _DamagedError(f'damaged: {", ".join(changed[:3])}{" ..." * (len(changed) > 3)} not as written')
    if about.get('manifest_sha256', _digest(found)) != _digest(found):
      raise _DamagedError('damaged: its values are not those that were written')
    if saved_as != step:
      raise _DamagedError(f'renamed or copied: it holds step {saved_as}')
    return tree

  def _read_json(self, step: int, item: str) -> dict[str, Any]:
    return self._manager.restore(step, args=ocp.args.Composite(**{item: ocp.args.JsonRestore()}))[item]

  def _check_networks(self, step: int, asked: dict[str, list], found: dict[str, list]) -> None:
    differ = [path for path in sorted(asked.keys() | found.keys()) if asked.get(path) != found.get(path)]
    if differ:
      show = lambda tensor: 'absent' if tensor is None else f'{tensor[0]} {tensor[1]}'
      lines = [f'{path} {show(found.get(path))} -> {show(asked.get(path))}' for path in differ[:3]]
      more = f' and {len(differ) - 3} more' if differ[3:] else ''
      raise CheckpointError(
        f'The checkpoint of step {step} in {self.directory} is of other networks or optimizers '
        f'({", ".join(lines)}{more}); restore it with the config that trained it'
      )

  def _set_aside(self, damaged: list[int], problems: list[Exception], used: int) -> None:
    for step, problem in zip(damaged, problems, strict=True):
      kept = self.directory / str(step) if self._read_only else self._rename(step, 'damaged')
      line = f'WARNING: the checkpoint of step {step} cannot be used ({problem}); going on from that of step {used}.'
      say(f'{line} Nothing was deleted: it is {kept}', sys.stderr)

  def set_aside(self, step: int) -> None:
    """Takes a checkpoint out of the run, as `<step>.diverged`."""
    self._rename(step, 'diverged')

  def drop_after(self, step: int) -> None:
    """Deletes the checkpoints of later steps, which a run that went back has not reached again."""
    self.keep([found for found in self._manager.all_steps() if found <= step])

  def keep(self, steps: Collection[int]) -> None:
    """Deletes the checkpoints of all other steps."""
    for other in set(self._manager.all_steps()) - set(steps):
      self._manager.delete(other)

  def copy_from(self, other: 'Checkpoints', step: int) -> None:
    """Takes over a checkpoint as it is."""
    part = self.directory / f'{step}.orbax-checkpoint-tmp-copy'  # One that a kill leaves goes as Orbax's own do.
    shutil.copytree(other.directory / str(step), part)
    part.rename(self.directory / str(step))
    self._manager.reload()

  def _rename(self, step: int, why: str) -> pathlib.Path:
    path = self.directory / str(step)
    names = (f'{step}.{why}{i or ""}' for i in range(10**6))
    kept = next(kept for name in names if not (kept := path.with_name(name)).exists())
    path.rename(kept)
    self._manager.reload()
    return kept

  def check_space(self, state: GANState) -> None:
    """Raises CheckpointError where the disk is too full for one more checkpoint."""
    # Orbax writes the values, then gathers them in another file before the first goes.
    needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD
    free = shutil.disk_usage(self.directory).free
    if free < needed:
      raise CheckpointError(
        f'The disk of {self.directory} is full: a checkpoint needs {needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are '
        'free; make room, then the same command goes on from the last checkpoint'
      )

  def _remove_unfinished(self) -> None:
    """Removes what a failed save left behind, which would keep a full disk full."""
    for path in self.directory.glob('*.orbax-checkpoint-tmp*'):
      shutil.rmtree(path, ignore_errors=True)

  def wait(self) -> None:
    """Waits until everything is written; raises CheckpointError if it could not be."""
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      self._remove_unfinished()
      raise CheckpointError(f'Cannot finish saving in {self.directory} ({_one_line(error)})') from error

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
    # What went wrong first says more than what went wrong for it.
    with contextlib.suppress(*() if kind is None else (CheckpointError,)):
      self.close()

  def close(self) -> None:
    """Waits as `wait` does and ends."""
    try:
      self.wait()
    finally:
      self._manager.close()


class _DamagedError(Exception):
  """A checkpoint that is not what was written."""


@dataclasses.dataclass
class _LatestMultiples(ocp.checkpoint_managers.PreservationPolicy):
  """Keeps the latest `kept` of the checkpoints at multiples of `every` steps and the newest.

  So what is kept does not depend on where a run was stopped.
  """

  kept: int
  every: int

  def should_preserve(
    self, checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo], *, context: Any
  ) -> list[bool]:
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    latest = [step for step in sorted(steps) if step % self.every == 0 or step == max(steps)][-self.kept :]
    return [step in latest for step in steps]


def _described(tree: dict) -> dict[str, list]:
  """Path of every tensor -> [dtype, shape]."""
  leaves = jax.tree.leaves_with_path(tree)
  return {jax.tree_util.keystr(p, simple=True, separator='/'): [str(x.dtype), list(x.shape)] for p, x in leaves}


def _manifest(tree: dict) -> dict[str, list]:
  """Path of every tensor -> [dtype, shape, sha256]."""
  digests = [hashlib.sha256(np.ascontiguousarray(leaf)).hexdigest() for leaf in jax.tree.leaves(tree)]
  return {path: [*line, digest] for (path, line), digest in zip(_described(tree).items(), digests, strict=True)}


def _digest(manifest: dict[str, list]) -> str:
  return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _errors_only(logger: logging.Logger) -> Iterator[None]:
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


def _one_line(error: Any) -> str:
  text = ' '.join(str(error).split())
  return text if len(text) <= 300 else f'{text[:300]}...'
