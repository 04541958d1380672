"""Orbax save and restore of a GANState. The only module that imports Orbax."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import serialization

from dcgan_jax.errors import CheckpointError
from dcgan_jax.state import GANState


class Checkpoints:
  """The checkpoints of a run: `<directory>/<step>/`, written asynchronously, each whole or absent."""

  def __init__(self, directory: pathlib.Path, *, kept: int = 1, read_only: bool = False):
    """Opens a directory of checkpoints.

    Args:
      directory: where they are; created unless `read_only`.
      kept: how many of the latest stay.
      read_only: restore only; nothing is created or removed.
    """
    # Orbax takes a relative path without a word and then loses the first checkpoint.
    self.directory = directory.absolute()
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
        preservation_policy=None if read_only else ocp.checkpoint_managers.LatestN(kept),
        cleanup_tmp_directories=not read_only,
        create=not read_only and not alone,
        read_only=read_only,
        **alone,
      )
      self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state',))
    self._copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: GANState) -> None:
    """Starts to write the state of a step; a step that is there already stays as it is."""
    if step in self._manager.all_steps():
      return
    # The next update reuses the state's buffers while Orbax still writes in the background.
    copy = self._copy(state) if jax.process_count() == 1 else jax.device_get(state)
    tree = serialization.to_state_dict(copy)
    try:
      saved = self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(tree)), force=True)
    except Exception as error:
      raise CheckpointError(f'Cannot save step {step} in {self.directory} ({_one_line(error)})') from error
    if not saved:
      raise CheckpointError(f'Orbax did not save step {step} in {self.directory}; is a later step there already?')

  def restore(self, abstract: GANState, *, sharding: jax.sharding.Sharding, step: int | None = None) -> GANState:
    """Reads a checkpoint, whatever devices wrote it.

    Args:
      abstract: a GANState of shapes and dtypes, as `jax.eval_shape` gives it.
      sharding: where the values shall live.
      step: which; None is the newest.

    Raises:
      CheckpointError: there is none, it is damaged, or it holds other networks or optimisers.
    """
    steps = sorted(self._manager.all_steps())
    if not steps:
      raise CheckpointError(f'No checkpoint in {self.directory}; train first, or give the right --workdir')
    if step is not None and step not in steps:
      raise CheckpointError(f'No checkpoint of step {step} in {self.directory}; there are {", ".join(map(str, steps))}')
    # Explicit shardings: without them Orbax asks for the very devices that wrote the checkpoint.
    target = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
      serialization.to_state_dict(abstract),
    )
    step = steps[-1] if step is None else step
    try:
      args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
      tree = self._manager.restore(step, args=args)['state']
    except Exception as error:  # Orbax, TensorStore and JAX each raise their own.
      raise CheckpointError(
        f'The checkpoint of step {step} in {self.directory} is damaged or of other networks ({_one_line(error)})'
      ) from error
    return serialization.from_state_dict(abstract, tree)

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def close(self) -> None:
    """Waits until everything is written; raises CheckpointError if it could not be."""
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise CheckpointError(f'Cannot finish saving in {self.directory} ({_one_line(error)})') from error
    finally:
      self._manager.close()


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
