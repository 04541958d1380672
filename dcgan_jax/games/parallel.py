"""The only file that says pmap: axis name, mesh, sharding, averaging.

Law: pmap is the outermost transform, and the state has ordinary shapes everywhere: it enters and leaves un-stacked, the
same on every device.
"""

import functools
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dcgan_jax.errors import ConfigError, look_up, say

AXIS = 'devices'
JOIN_SECONDS = 60  # Within which process 0 has to listen.


def start_processes(coordinator: str | None, process: int | None, processes: int | None) -> None:
  """Makes this process one of several that train together; to be called before anything else is asked of JAX.

  Args:
    coordinator: HOST:PORT of process 0; None, with the other two, where SLURM, Open MPI or a TPU pod tells.
    process: number of this one, from 0.
    processes: how many there are.

  Raises:
    ConfigError: the processes did not find each other.
  """
  if coordinator is not None:
    _check_address(coordinator, is_first=process == 0)
    say(f'Process {process} of {processes}: joining the others at {coordinator}', sys.stderr)
  try:
    jax.distributed.initialize(coordinator, processes, process)
  except (RuntimeError, ValueError) as error:
    reason = str(error).splitlines()[0]
    raise ConfigError(
      f'--distributed: the processes cannot be joined ({reason}); outside SLURM, Open MPI and TPU pods '
      'give HOST:PORT,PROCESS,PROCESSES'
    ) from error


def _check_address(coordinator: str, *, is_first: bool) -> None:
  """Raises ConfigError where the first process cannot listen at HOST:PORT, or another one does not find it there."""
  host, _, port = coordinator.rpartition(':')
  address, last = (host.strip('[]'), int(port)), time.monotonic() + JOIN_SECONDS
  if is_first:
    try:
      socket.getaddrinfo(*address)
      with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(('', address[1]))
    except OSError as error:
      raise ConfigError(
        f'--distributed: process 0 cannot listen at {coordinator} ({error.strerror}); give an address of this machine '
        'and a free port'
      ) from error
    return
  said = False
  while True:
    try:
      socket.create_connection(address, timeout=5).close()
      return
    except OSError as error:  # It may start later, and its name be known later.
      if time.monotonic() > last:
        raise ConfigError(
          f'--distributed: no process 0 answers at {coordinator} ({error.strerror or error}); start it, or give the '
          'address that it was given'
        ) from error
      if not said:
        say(f'Waiting for process 0 at {coordinator}, at most {JOIN_SECONDS} s', sys.stderr)
      said = True
      time.sleep(1)


def check_platform() -> None:
  """Raises ConfigError where JAX finds no devices of the platform that the environment asks for."""
  try:
    jax.local_devices()
  except (AssertionError, RuntimeError) as error:  # Of a platform without devices JAX asserts, and says no word.
    asked = os.environ.get('JAX_PLATFORMS', '')
    raise ConfigError(
      f"JAX finds no devices (JAX_PLATFORMS is '{asked}'); unset it, or install the jax that fits this machine's GPU "
      'or TPU and its driver'
    ) from error


def is_first_process() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


def share_of_batch(batch_size: int) -> slice:
  """This process's part of the global batch."""
  size = batch_size // jax.process_count()
  return slice(jax.process_index() * size, (jax.process_index() + 1) * size)


def any_process(value: bool) -> bool:
  """Whether the value is true in any process; all of them must ask."""
  if jax.process_count() == 1:
    return value
  return bool(multihost_utils.process_allgather(np.array(value)).any())


def check_same_everywhere(text: str, what: str) -> None:
  """Raises ConfigError where the processes do not all hold the same text; all of them must ask."""
  if jax.process_count() > 1:
    digests = multihost_utils.process_allgather(np.array(zlib.crc32(text.encode()), np.uint32))
    if len(set(digests.tolist())) > 1:
      raise ConfigError(f'The processes have different {what}; start the same command on each')


def of_first_process(tree: Any) -> Any:
  """The first process's values in every process, on its own devices; all must ask, with trees of the same shapes."""
  if jax.process_count() == 1:
    return tree
  return replicate(multihost_utils.broadcast_one_to_all(jax.device_get(tree)), jax.local_devices())


def average_over_devices(tree: Any) -> Any:
  """The mean of each leaf over all devices: the one place where gradients, statistics and scalars meet."""
  return lax.pmean(tree, AXIS)


def own_copy(params: Any) -> Any:
  """Parameters to differentiate with respect to, so that gradients are those of this device's examples alone.

  pmap's gradients always are; shard_map would add them over all devices, since all hold the same parameters.
  """
  if AXIS not in jax.sharding.get_abstract_mesh().manual_axes:
    return params
  # JAX 0.7 has pvary, and later versions pcast in its place.
  return lax.pcast(params, AXIS, to='varying') if hasattr(lax, 'pcast') else lax.pvary(params, AXIS)  # pyright: ignore


def gather_from_devices(x: jax.Array) -> jax.Array:
  """The whole batch [B, ...] in the order of its examples, of which this device has x [b, ...]."""
  return lax.all_gather(x, AXIS, tiled=True)


def global_example_indices(examples_per_device: int) -> jax.Array:
  """Positions of this device's examples in the global batch, int32 [examples_per_device]."""
  return lax.axis_index(AXIS) * examples_per_device + jnp.arange(examples_per_device)


def sharding(devices: list[jax.Device]) -> NamedSharding:
  """The same value on each of these devices."""
  return NamedSharding(_mesh(devices), PartitionSpec())


def _mesh(devices: list[jax.Device]) -> Mesh:
  return Mesh(np.array(devices), (AXIS,))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
  """Puts each leaf whole on every device; shapes stay as they are."""
  return jax.device_put(tree, sharding(devices))


def check_batch_size(batch_size: int, devices: list[jax.Device]) -> None:
  """Raises ConfigError where the devices cannot share the global batch equally."""
  count = len(devices)
  if batch_size % count:
    lower = batch_size // count * count
    choices = f'{lower} or {lower + count}' if lower else f'{count}'
    raise ConfigError(
      f'config.batch_size is {batch_size}, which {count} devices cannot share equally; '
      f'use a multiple of {count}, for example {choices}'
    )


def memory_of(device: jax.Device) -> int:
  """Bytes that a device may fill; a CPU's are those of the machine, and where the system does not tell, no limit."""
  limit = (device.memory_stats() or {}).get('bytes_limit')
  if limit:
    return limit
  try:
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  except (AttributeError, ValueError):  # Windows has no sysconf, and other systems other names.
    return sys.maxsize


def compile_update(
  train_step: Callable,
  gather: Callable,
  *,
  steps_per_call: int,
  devices: list[jax.Device],
  transform: str | None = None,
) -> Callable:
  """Makes the update: several training steps on all devices in one compiled call.

  Args:
    train_step: (state, batch, key) -> (state, scalars), on one device's share of the batch.
    gather: (data, row) -> batch, what the feeder of the data says.
    steps_per_call: K, the most steps of one call.
    devices: those to run on, of all processes.
    transform: 'pmap', or 'shard_map', which runs in one process and refuses, as it is traced, an output that may differ
      from device to device. By default the environment variable DCGAN_JAX_TRANSFORM, or else pmap.

  Returns:
    update(state, rows, steps, data, key) -> (state, scalars): `rows` as the feeder's block, leaves [K, B, ...] with
    this process's share of the batch, of which the first `steps` are used; the returned scalars are [K], of which the
    first `steps` count. State, data and key are on this process's devices; the state is donated.
  """

  def block(state, rows, shared):
    def one(i, carry):
      state, scalars = carry
      batch = gather(shared['data'], jax.tree.map(lambda leaf: leaf[i], rows))
      state, new = train_step(state, batch, shared['key'])
      return state, jax.tree.map(lambda all_steps, value: all_steps.at[i].set(value), scalars, new)

    batch = gather(shared['data'], jax.tree.map(lambda leaf: leaf[0], rows))
    _, shapes = jax.eval_shape(train_step, state, batch, shared['key'])
    scalars = jax.tree.map(lambda leaf: jnp.zeros((steps_per_call,), leaf.dtype), shapes)
    # Like lax.scan, but the number of steps is an argument: a shorter last block, or one that ends where a checkpoint
    # is due, runs the very same program, so nothing compiles twice and a resumed run stays equal bit for bit.
    return lax.fori_loop(0, shared['steps'], one, (state, scalars))

  transform = transform or os.environ.get('DCGAN_JAX_TRANSFORM', 'pmap')
  mapped, split = look_up(_TRANSFORMS, transform, 'DCGAN_JAX_TRANSFORM')(block, devices)

  def update(state, rows, steps, data, key):
    return mapped(state, jax.tree.map(split, rows), {'data': data, 'key': key, 'steps': np.int32(steps)})

  # For tests and benchmarks, which read the program: rows as they are split, pmap's [devices, K, B / devices, ...].
  update.lower = mapped.lower
  return update


def _pmap(block: Callable, devices: list[jax.Device]) -> tuple[Callable, Callable]:
  """The compiled block of steps, and how rows [K, B, ...] are split for it."""
  here = sum(device.process_index == jax.process_index() for device in devices)
  mapped = jax.pmap(block, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0, devices=devices)
  return mapped, functools.partial(_split_batch, devices=here)


def _shard_map(block: Callable, devices: list[jax.Device]) -> tuple[Callable, Callable]:
  """As `_pmap`, by the transform that JAX advises; it splits rows [K, B, ...] itself."""
  if jax.process_count() > 1:
    raise ConfigError('DCGAN_JAX_TRANSFORM=shard_map works in one process; leave it out where several train together')
  same, split = PartitionSpec(), PartitionSpec(None, AXIS)
  mapped = jax.shard_map(block, mesh=_mesh(devices), in_specs=(same, split, same), out_specs=same)
  return jax.jit(mapped, donate_argnums=0), lambda leaf: leaf


_TRANSFORMS = {'pmap': _pmap, 'shard_map': _shard_map}


def compile_map(function: Callable, *, devices: list[jax.Device]) -> Callable:
  """Makes a function of batches run on all devices.

  Args:
    function: (shared, batch) -> outputs, of a device's share of the batch; every leaf of batch and outputs is [b, ...].
    devices: those to run on.

  Returns:
    The same function of the whole batch: leaves [B, ...], B a multiple of the number of devices. `shared` should have
    been replicated.
  """
  mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), out_axes=0, devices=devices)

  def run(shared: Any, batch: Any) -> Any:
    split = jax.tree.map(lambda leaf: leaf.reshape(len(devices), -1, *leaf.shape[1:]), batch)
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), mapped(shared, split))

  return run


def _split_batch(leaf: np.ndarray, devices: int) -> np.ndarray:
  """[K, B, ...] -> [devices, K, B / devices, ...]."""
  steps, batch_size, *rest = leaf.shape
  return leaf.reshape(steps, devices, batch_size // devices, *rest).swapaxes(0, 1)
