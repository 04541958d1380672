"""The files that grow as a run trains: what of them is read, what a resumed run drops, and what a power cut leaves."""

import json
import os

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from dcgan_jax.training import record


def _steps(path):
  return [line['step'] for line in record.read_lines(path)]


@pytest.mark.parametrize(
  'bad',
  [
    b'', b'   ', b'{"step": 3', b'garbage', b'\xff\xfe{"step": 3}', b'{"a": "\xe9"}', b'{"loss": 1.0}', b'[1, 2]', b'7',
    b'null', b'{"step": "3"}', b'{"step": 3.5}', b'{"step": true}', b'{"step": null}', b'{"step": -1}', b'[' * 100_000,
    b'\0' * 50, b'{"step": ' + b'9' * 5000 + b'}',
  ],
  ids=range(18),
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named_once_and_costs_no_other_line(tmp_path, capsys, bad):
  path = tmp_path / 'scalars.jsonl'
  path.write_bytes(b'{"step": 2}\n' + bad + b'\n{"step": 4}\n{"step": 6}\n')
  assert _steps(path) == [2, 4, 6]
  error = capsys.readouterr().err
  assert error == f'WARNING: {path}: line 2 cannot be read and is left out; expected JSON with a step\n'
  # A resumed run keeps the others, and has nothing to say any more.
  lines = record.Lines(path, step=4)
  lines.add({'step': 6, 'a': 1})
  lines.close()
  capsys.readouterr()
  assert _steps(path) == [2, 4, 6]
  assert capsys.readouterr().err == ''


def test_many_lines_that_cannot_be_read_are_one_warning(tmp_path, capsys):
  path = tmp_path / 'scalars.jsonl'
  path.write_bytes(b'x\n' * 9 + b'{"step": 4}\n')
  assert _steps(path) == [4]
  assert 'line 1, 2, 3 and 6 more cannot be read' in capsys.readouterr().err


def test_a_line_that_a_kill_cut_short_is_dropped_in_silence(tmp_path, capsys):
  path = tmp_path / 'scalars.jsonl'
  path.write_bytes(b'{"step": 2}\n{"step": 4, "lo')
  assert _steps(path) == [2]
  assert capsys.readouterr().err == ''
  path.write_bytes(b'{"step": 2}\n{"step": 4}')  # whole, without its end
  assert _steps(path) == [2, 4]


def test_a_line_that_is_synced_is_on_the_disk(tmp_path, monkeypatch):
  synced = []
  monkeypatch.setattr(os, 'fsync', lambda descriptor: synced.append(os.path.getsize(f'/proc/self/fd/{descriptor}')))
  lines = record.Lines(tmp_path / 'metrics.jsonl', step=0)
  lines.add({'step': 1})
  lines.sync()
  lines.close()
  assert synced[-1] == len(json.dumps({'step': 1})) + 1


def _values(directory):
  """(step, tag, value) of all events in a folder, with those that ask for earlier ones to be forgotten."""
  found = []
  for path in directory.iterdir():
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
      end = at + 16 + int.from_bytes(data[at : at + 8], 'little')
      if end > len(data):
        break
      event = Event.FromString(data[at + 12 : end - 4])
      found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
      found += [(event.step, 'START', 0.0)] * event.HasField('session_log')
      at = end
  return sorted(found)


@pytest.fixture
def killed(tmp_path, monkeypatch):
  """What a killed run left: losses of steps 2, 4 and 6, metrics of steps 4 and 6, and half an event."""
  events = record.Events(tmp_path, step=0)
  for step in (2, 4, 6):
    events.add(step, {'loss': step / 2})
    if step > 2:
      events.add(step, {'metrics/fid': float(step)})
  events.close()
  (path,) = (tmp_path / 'tensorboard').iterdir()
  path.write_bytes(path.read_bytes() + b'\x20\0\0\0\0\0\0\0half')
  path.rename(path.with_name('events.out.tfevents.1.host.0'))
  return tmp_path


def test_a_resumed_run_drops_events_of_later_steps(killed):
  events = record.Events(killed, step=4, measured=[4])
  events.add(6, {'loss': 3.0})
  events.close()
  assert _values(killed / 'tensorboard') == [
    (2, 'loss', 1.0), (4, 'loss', 2.0), (4, 'metrics/fid', 4.0), (5, 'START', 0.0), (6, 'loss', 3.0),
  ]  # fmt: skip


def test_metrics_without_their_line_are_dropped_since_they_are_measured_again(killed):
  record.Events(killed, step=4, measured=[]).close()
  assert _values(killed / 'tensorboard') == [(2, 'loss', 1.0), (4, 'loss', 2.0), (5, 'START', 0.0)]


def test_an_event_file_without_later_steps_and_a_foreign_one_stay_as_they_are(killed):
  foreign = killed / 'tensorboard' / 'events.out.tfevents.2.host'
  foreign.write_bytes(b'\xff' * 100)
  before = {path: path.read_bytes() for path in (killed / 'tensorboard').iterdir()}
  record.Events(killed, step=6, measured=[4, 6]).close()
  assert {path: path.read_bytes() for path in before} == before
  assert not list((killed / 'tensorboard').glob('.*'))


def test_an_event_file_of_tensorboardx_is_read_whole(tmp_path):
  writer = EventsWriter(str(tmp_path / 'events'))
  writer.write_event(Event(step=9, wall_time=1.0))
  writer.close()
  (path,) = tmp_path.iterdir()
  record._filter_events(path, lambda event: event.step < 9)
  assert 0 < path.stat().st_size < 60
