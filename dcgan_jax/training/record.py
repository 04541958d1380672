"""Files that grow as a run trains: lines of JSON and TensorBoard events, without a gap or a repeat after a resume.

The only module that imports tensorboardX.
"""

import json
import os
import pathlib
import struct
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from dcgan_jax.errors import printable, say
from dcgan_jax.training import workdir


class Lines:
  """A file of JSON lines, one for a step, that a run appends to.

  lines: those that the file had when it was opened.
  """

  def __init__(self, path: pathlib.Path, *, step: int):
    """Opens the file of a run at `step`; later lines, which a stopped run wrote and has to repeat, are dropped."""
    self.lines = cut(path, step)
    self._file = path.open('a', encoding='utf-8')

  def add(self, line: dict[str, Any]) -> None:
    """Appends a line; it is on its way to the disk after `flush`, and there after `sync`."""
    self._file.write(json.dumps(line) + '\n')

  def flush(self) -> None:
    self._file.flush()

  def sync(self) -> None:
    """Waits until all lines are on the disk, where a power cut leaves them."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def close(self) -> None:
    self._file.close()


def cut(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
  """Drops the lines of later steps from a file of JSON lines, if there is one; returns the others."""
  lines = [line for line in read_lines(path) if line['step'] <= step]
  if path.exists():
    workdir.write_whole(path, ''.join(json.dumps(line) + '\n' for line in lines))
  return lines


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a file of JSON lines that are of a step.

  Others are left out, and one line on stderr says so. The last line is left out in silence if a kill cut it short.
  """
  *whole, torn = path.read_bytes().split(b'\n') if path.exists() else [b'']
  lines = [_parse(line) for line in whole]
  bad = [number for number, line in enumerate(lines, 1) if line is None]
  if bad:
    more = f' and {len(bad) - 3} more' if bad[3:] else ''
    which = f'{printable(str(path))}: line {", ".join(map(str, bad[:3]))}{more}'
    say(f'WARNING: {which} cannot be read and is left out; expected JSON with a step', sys.stderr)
  last = _parse(torn)
  return [line for line in [*lines, last] if line is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
  try:
    parsed = json.loads(line)
  except (ValueError, RecursionError):
    return None
  is_of_a_step = isinstance(parsed, dict) and type(parsed.get('step')) is int and parsed['step'] >= 0
  return parsed if is_of_a_step else None


class Events:
  """A TensorBoard event file, written at once: tensorboardX's own thread waits for ever on a full disk."""

  def __init__(self, workdir: pathlib.Path, *, step: int, measured: Collection[int] = ()):
    """Opens a file for a run at `step`, and drops from earlier files what a stopped run wrote and has to repeat.

    Args:
      workdir: the run's directory.
      step: step of the run.
      measured: steps whose metrics are kept.
    """
    directory = workdir / 'tensorboard'
    directory.mkdir(exist_ok=True)

    def keep(event: Any) -> bool:
      is_metric = any(value.tag.startswith('metrics/') for value in event.summary.value)
      return event.step in measured if is_metric and event.step == step else event.step <= step

    for path in directory.glob('events.out.tfevents.*'):
      _filter_events(path, keep)
    self._writer = EventsWriter(str(directory / 'events'), f'.{step}')
    if step:
      # A TensorBoard that is open forgets the later events, too.
      self._writer.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

  def add(self, step: int, values: dict[str, float]) -> None:
    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


def _filter_events(path: pathlib.Path, keep: Callable[[Any], bool]) -> None:
  """Drops events from a file; what cannot be read, as the last event of a killed process, stays as it is."""
  part = path.with_name(f'.{path.name}.part')
  dropped = False
  with path.open('rb') as file, part.open('wb') as kept:
    while True:
      # A record is its length, a sum of that, the event, and a sum of it.
      head = file.read(12)
      length = struct.unpack('<Q', head[:8])[0] if len(head) == 12 else 0
      body = file.read(length + 4) if 0 < length < 2**31 else b''
      event = _parse_event(body[:-4]) if len(body) == length + 4 else None
      if event is None:
        kept.write(head + body + file.read())
        break
      if keep(event):
        kept.write(head + body)
      else:
        dropped = True
  if dropped:
    part.replace(path)
  else:
    part.unlink()


def _parse_event(data: bytes) -> Any:
  try:
    return Event.FromString(data)
  except Exception:  # protobuf's DecodeError; the package is tensorboardX's dependency, not this one's.
    return None
