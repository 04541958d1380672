"""Progress in a terminal and in a file."""

import io
import sys

import numpy as np

from dcgan_jax import progress
from dcgan_jax.training import hooks


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _show(monkeypatch, stream, **options):
  monkeypatch.setattr(sys, 'stderr', stream)
  monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0.0)
  with progress.bar(total=4, desc='Samples', mininterval=0.0, **options) as bar:
    for _ in range(4):
      bar.update()
  return stream.getvalue()


def test_progress_in_a_file_is_lines(monkeypatch):
  written = _show(monkeypatch, io.StringIO())
  assert '\r' not in written
  assert '\x1b' not in written
  lines = written.split('\n')
  assert lines[0].startswith('Samples: 0% 0/4 [')
  assert lines[-2].startswith('Samples: 100% 4/4 [')
  assert all(line.startswith('Samples: ') for line in lines[:-1])


def test_a_bar_that_goes_when_it_is_done_leaves_lines_and_no_blanks(monkeypatch):
  written = _show(monkeypatch, io.StringIO(), leave=False)
  assert '\r' not in written
  assert '' not in written.split('\n')[:-1]


def test_progress_in_a_terminal_is_a_bar(monkeypatch):
  assert '\r' in _show(monkeypatch, _Terminal())


def test_what_a_run_says_in_a_file_is_a_line_between_those_of_its_progress(monkeypatch):
  stream = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', stream)
  monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0.0)
  shown = hooks.Progress(step=0, steps=4, batch_size=8)
  for first in (0, 2):
    shown.watch(first, {'generator/loss': np.ones(2), 'discriminator/loss': np.ones(2)})
    shown.say('WARNING: full')
  shown.close()
  lines = stream.getvalue().splitlines()
  assert '\r' not in stream.getvalue()
  assert lines.count('WARNING: full') == 2
  assert next(line for line in lines if 'step=4, D=1, G=1]' in line).startswith('100% 32.0/32.0 [')
