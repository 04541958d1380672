"""Signals that ask a run to stop."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dcgan_jax.training.stopping import StopSignals

NAMES = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']


@pytest.mark.parametrize('name', NAMES)
def test_a_signal_is_noted_and_said(name, capsys):
  number = getattr(signal, name)
  at_first = signal.signal(number, signal.default_int_handler)  # nohup may have told the tests to ignore it.
  try:
    with StopSignals() as signals:
      assert signals.received is None
      os.kill(os.getpid(), number)
      assert signals.received == number
    assert 'Stopping after this block of steps; once more stops at once' in capsys.readouterr().err
    assert signal.getsignal(number) == signal.default_int_handler
  finally:
    signal.signal(number, at_first)


def test_a_signal_that_nohup_has_ignored_stays_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with StopSignals() as signals:
      os.kill(os.getpid(), signal.SIGHUP)
      assert signals.received is None
  finally:
    signal.signal(signal.SIGHUP, before)


def test_a_system_without_some_signals_has_the_others(monkeypatch):
  for name in ('SIGHUP', 'SIGUSR1', 'SIGUSR2'):
    monkeypatch.delattr(signal, name)
  with StopSignals() as signals:
    os.kill(os.getpid(), signal.SIGTERM)
  assert signals.received == signal.SIGTERM


def test_another_thread_handles_no_signals():
  errors = []

  def enter():
    try:
      with StopSignals():
        pass
    except Exception as error:
      errors.append(error)

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert errors == []


def test_long_work_is_given_up_when_a_signal_comes_and_not_outside_of_it(capsys):
  done = []
  with StopSignals() as signals:
    with signals.giving_up():
      done.append('before')
      os.kill(os.getpid(), signal.SIGUSR1)
      done.append('after')
    done.append('next')
  assert done == ['before', 'next']
  with StopSignals() as signals:
    with signals.giving_up():
      done.append('whole')
    os.kill(os.getpid(), signal.SIGUSR1)
    done.append('outside')
  assert done[2:] == ['whole', 'outside']


def test_a_second_signal_ends_the_process_with_its_own_code():
  code = """
import os, signal
from dcgan_jax.training.stopping import StopSignals
with StopSignals():
  os.kill(os.getpid(), signal.SIGTERM)
  os.kill(os.getpid(), signal.SIGUSR1)
"""
  assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 128 + signal.SIGUSR1
