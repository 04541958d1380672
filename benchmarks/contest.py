"""Contestants that run in turns: each lives in a process of its own, warmed, and works only when told to.

Two libraries in one process share its thread pools and disturb each other; in turns within one run both meet the same
noise of the machine.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent


class Contestant:
  """A worker process that runs rounds of one kind of work."""

  def __init__(self, script, work, env=None):
    """Starts `python script --worker WORK`, which must call `serve`.

    Args:
      script: path of a benchmark.
      work: JSON of what the worker shall do.
      env: environment variables to add.
    """
    self.name = work['name']
    self.rates = []
    self._process = subprocess.Popen(
      [sys.executable, str(script), '--worker', json.dumps(work)],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
    )  # fmt: skip
    self.facts = self._hear()

  def run(self, seconds):
    """One round; keeps and returns its rate."""
    self._process.stdin.write(f'{seconds}\n')
    self._process.stdin.flush()
    rate = self._hear()['rate']
    self.rates.append(rate)
    return rate

  def close(self):
    """Ends the worker and keeps its greatest memory."""
    self._process.stdin.close()
    self.facts |= self._hear()
    self._process.wait()

  def summary(self):
    values = {'median': statistics.median(self.rates), 'min': min(self.rates), 'max': max(self.rates)}
    return {name: round(value, 2) for name, value in values.items()} | self.facts

  def _hear(self):
    for line in self._process.stdout:
      if line.startswith('{'):
        return json.loads(line)
    raise SystemExit(f'{self.name} ended without an answer')


def serve(make):
  """The worker's side: prepares, then answers every round with its rate.

  Args:
    make: () -> (call, wait, amount, facts): `call` starts some work of `amount`, `wait` ends when all of it is done.
  """
  begin = time.perf_counter()
  call, wait, amount, facts = make()
  call()
  wait()
  facts['seconds_to_first_call'] = round(time.perf_counter() - begin, 2)
  # The second call may compile again, and the third tells how long one takes.
  call()
  wait()
  _say(facts)
  for line in sys.stdin:
    seconds, calls = float(line), 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
      # A few calls may be under way, as in training; waiting now and then keeps the clock honest.
      for _ in range(facts.get('calls_in_flight', 1)):
        call()
        calls += 1
      wait()
    _say({'rate': calls * amount / (time.perf_counter() - begin)})
  _say({'peak_memory_megabytes': _peak_memory()})


def interleave(contestants, *, rounds, seconds):
  """Runs all in turns, the order turning round every time; returns {name: summary}."""
  try:
    for i in range(rounds):
      for contestant in contestants if i % 2 == 0 else contestants[::-1]:
        contestant.run(seconds)
  finally:
    for contestant in contestants:
      contestant.close()
  return {contestant.name: contestant.summary() for contestant in contestants}


def machine():
  """What the numbers were measured on."""
  import importlib.metadata as metadata

  model = ''
  if pathlib.Path('/proc/cpuinfo').exists():
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    model = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), '')
  versions = {'python': platform.python_version()}
  for name in ('jax', 'jaxlib', 'flax', 'optax', 'torch'):
    try:
      versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      versions[name] = None
  return {'cores': os.cpu_count(), 'processor': model, 'load': round(os.getloadavg()[0], 2), 'versions': versions}


def _peak_memory():
  """Of this process, in MB, where the system tells; not `ru_maxrss`, which a child inherits from its parent."""
  status = pathlib.Path('/proc/self/status')
  lines = status.read_text().splitlines() if status.exists() else []
  return next((int(line.split()[1]) // 1024 for line in lines if line.startswith('VmHWM')), None)


def _say(message):
  print(json.dumps(message), flush=True)
