"""Faults injected for real into the program in fresh processes, and what is left afterwards."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from program import HANGS, TINY, launch, start

import dcgan_jax
from benchmarks import kills

pytestmark = [pytest.mark.faults, pytest.mark.slow]
RUN = [*TINY, '--config.steps=24', '--config.logging.checkpoint_every=6', '--config.evaluation.features=self']
RUN += ['--config.evaluation.every=8', '--config.evaluation.num=200']
# Each is run before the program, and ends it in the middle of what its name says, the `last` time that it does it.
KILL = """
import os, signal
from dcgan_jax.drawing import sample
from dcgan_jax.kinds import image as images
from dcgan_jax.training import checkpoint, hooks, record
from dcgan_jax.training import session
from dcgan_jax.metrics import evaluate
calls, last = 0, 2
def second(then):
  global calls
  calls += 1
  if calls == last:
    then()
    os.kill(os.getpid(), signal.SIGKILL)
"""
MOMENTS = {
  'while saving': """
save = checkpoint.ocp.CheckpointManager.save
def patched(self, *arguments, **options):
  result = save(self, *arguments, **options)  # Orbax goes on in the background
  second(lambda: None)
  return result
checkpoint.ocp.CheckpointManager.save = patched
""",
  'while saving, before anything is written': """
check = checkpoint.Checkpoints.check_space
checkpoint.Checkpoints.check_space = lambda *arguments: (second(lambda: None), check(*arguments))
""",
  'between steps': """
watch = hooks.FiniteCheck.watch
hooks.FiniteCheck.watch = lambda *arguments: (second(lambda: None), watch(*arguments))
""",
  'while evaluating': """
measure = evaluate.Evaluator.measure
evaluate.Evaluator.measure = lambda *arguments, **options: (second(lambda: None), measure(*arguments, **options))[1]
""",
  'while writing a grid': """
save = images.save_png
def patched(path, image, **options):
  second(lambda: path.with_name(f'.{path.name}.part').write_bytes(b'half'))
  save(path, image, **options)
images.save_png = patched
""",
  'while writing a line': """
add = record.Lines.add
def patched(self, line):
  def half():
    self._file.write('{"step": 8, "generator/lo')
    self._file.flush()
  second(half)
  add(self, line)
record.Lines.add = patched
""",
  'before the last evaluation': """
measure = evaluate.Evaluator.measure
last = 3
evaluate.Evaluator.measure = lambda *arguments, **options: (second(lambda: None), measure(*arguments, **options))[1]
""",
  'between the best state and its line': """
sync = record.Lines.add
def patched(self, line):
  if 'near_duplicates' in line:
    second(lambda: None)
  sync(self, line)
last = 1
record.Lines.add = patched
""",
  'between a line and its successor': """
keep = checkpoint.Checkpoints.keep
def patched(self, steps):
  if len(self.steps()) > 1:
    second(lambda: None)
  keep(self, steps)
last = 1
checkpoint.Checkpoints.keep = patched
""",
  'before the last grid': """
save = hooks.save_samples
def patched(*arguments, **options):
  act = save(*arguments, **options)
  def patched_act(step, state):
    if step == 24:
      build_checkpoints.wait()
      second(lambda: None)
    act(step, state)
  return patched_act
def opened(*arguments, **options):
  global build_checkpoints
  build_checkpoints = arguments[0]
  return check(*arguments, **options)
check = hooks.save_checkpoint
last = 1
hooks.save_checkpoint, hooks.save_samples = opened, patched
""",
  'while writing the animation': """
save = images.save_gif
def patched(path, *arguments, **options):
  second(lambda: path.with_name(f'.{path.name}.part').write_bytes(b'half'))
last = 1
images.save_gif = patched
""",
}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nothing stopped. All have one name, which pictures tell."""
  directory = tmp_path_factory.mktemp('whole') / 'run'
  launch('--workdir', directory, *RUN)
  return directory


def _leaves(directory):
  return jax.tree.leaves_with_path(dcgan_jax.load(directory).state)


def _assert_same_run(directory, whole):
  """All that two runs leave is equal: states, lines, best states, pictures and TensorBoard's values."""
  differences, compared = kills.compare(whole, directory)
  assert differences == []
  assert compared > 100


@pytest.mark.parametrize('moment', MOMENTS)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole, tmp_path, moment):
  code = f'{KILL}{MOMENTS[moment]}\nimport sys\nfrom dcgan_jax.cli import main\nsys.exit(main(sys.argv[1:]))'
  killed = start('--workdir', tmp_path / 'run', *RUN, code=code)
  killed.communicate(timeout=HANGS)
  assert killed.returncode == -signal.SIGKILL
  error = launch('--workdir', tmp_path / 'run', *RUN).stderr
  assert re.search(r'was left by process \d+ on \S+ \(since 20.*\) without a word; taking it over', error)
  _assert_same_run(tmp_path / 'run', whole)


def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_is_not(tmp_path):
  # benchmarks/kills.py has the long form.
  assert kills.main(['--kills', '4', '--steps', '40', '--seconds', '2', '--out', str(tmp_path / 'kills.json')]) == 0
  figures = json.loads((tmp_path / 'kills.json').read_text())
  assert figures['kills'] == 4
  assert figures['compared'] > 100


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'])
def test_a_stop_signal_leaves_nothing_in_the_record(whole, tmp_path, name):
  number = getattr(signal, name)
  # At step 7, where nothing is due.
  code = f"""{KILL}
import sys
signal.signal({int(number)}, signal.SIG_DFL)  # nohup may have told the tests to ignore it
watch = hooks.Progress.watch
def patched(self, first, scalars):
  watch(self, first, scalars)
  if first + len(scalars['generator/loss']) == 7:
    os.kill(os.getpid(), {int(number)})
hooks.Progress.watch = patched
from dcgan_jax.cli import main
sys.exit(main(sys.argv[1:]))"""
  process = start('--workdir', tmp_path / 'run', *RUN, '--config.steps_per_call=1', code=code)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 128 + number, error
  assert 'Stopped and saved at step 7; to go on' in error or 'Stopped and saved at step 8; to go on' in error
  assert {path.name for path in (tmp_path / 'run' / 'samples').iterdir()} == {'00000006.png'}
  assert (tmp_path / 'run' / 'metrics.jsonl').read_text() == ''
  assert not list((tmp_path / 'run' / 'best').iterdir())
  launch('--workdir', tmp_path / 'run', *RUN)
  _assert_same_run(tmp_path / 'run', whole)


def test_a_directory_that_is_removed_while_a_run_trains_in_it_is_one_line(tmp_path):
  process = start('--workdir', tmp_path / 'run', *TINY, '--config.steps=1000000')
  while not (tmp_path / 'run' / 'samples' / '00000006.png').exists():
    assert process.poll() is None
    time.sleep(0.1)
  shutil.rmtree(tmp_path / 'run')
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 2
  assert error.splitlines()[-1] == (
    f'launch.py: {tmp_path}/run was removed while the run trained in it; the same command starts anew'
  )
  assert 'Traceback' not in error


def test_a_second_signal_ends_at_once(tmp_path):
  process = start('--workdir', tmp_path / 'run', *TINY, '--config.steps=1000000', '--config.steps_per_call=20000')
  while process.poll() is None and not (tmp_path / 'run' / 'scalars.jsonl').exists():
    time.sleep(0.1)
  time.sleep(3)  # now it is within a block
  process.send_signal(signal.SIGTERM)
  time.sleep(0.5)
  process.send_signal(signal.SIGTERM)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 143
  assert 'Stopped and saved' not in error


def test_a_second_process_in_one_workdir_is_refused(tmp_path):
  first = start('--workdir', tmp_path / 'run', *TINY, '--config.steps=1000000')
  while not (tmp_path / 'run' / '.process.json').exists():
    assert first.poll() is None
    time.sleep(0.1)
  second = launch('--workdir', tmp_path / 'run', *TINY, '--config.steps=1000000', check=False)
  assert second.returncode == 2
  expected = rf'launch.py: {tmp_path}/run is in use by process {first.pid} on \S+ \(since 20\S+\); wait for it, .*\n'
  assert re.search(expected, second.stderr)
  first.send_signal(signal.SIGTERM)
  first.communicate(timeout=HANGS)
  assert not (tmp_path / 'run' / '.process.json').exists()


@pytest.fixture
def small_disk(tmp_path):
  """A disk of 6 MB, where this process may mount one."""
  disk = tmp_path / 'disk'
  disk.mkdir()
  mount = shutil.which('mount')
  if (
    not mount or subprocess.run([mount, '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk], capture_output=True).returncode
  ):
    pytest.skip('mounting a small disk takes rights that this process lacks')
  yield disk
  subprocess.run(['umount', '--lazy', disk], check=True)


def _fill(disk, leave):
  # Unbuffered, a disk that a run fills at the same time takes what it can, or nothing.
  with (disk / 'filler').open('wb', buffering=0) as file, contextlib.suppress(OSError):
    file.write(bytes(shutil.disk_usage(disk).free - leave))


FULL = r'launch.py: The disk of \S+ is full: a checkpoint needs [\d.]+ MB and [\d.]+ MB are free; make room, then .*\n'


def test_a_full_disk_ends_a_run_and_leaves_its_checkpoints(small_disk, whole):
  many = [*TINY, '--config.steps=600', '--config.logging.checkpoint_every=20', '--config.logging.checkpoints_kept=90']
  result = launch('--workdir', small_disk / 'run', *many, check=False)
  assert result.returncode == 2
  assert re.search(FULL, result.stderr)
  assert 'Traceback' not in result.stderr
  kept = sorted(int(path.name) for path in (small_disk / 'run' / 'checkpoints').iterdir())
  assert len(kept) >= 2
  assert dcgan_jax.load(small_disk / 'run').step == kept[-1]


def test_a_full_disk_is_said_before_anything_compiles(small_disk):
  _fill(small_disk, leave=100_000)
  result = launch('--workdir', small_disk / 'run', *TINY, '--config.steps=4', check=False)
  assert result.returncode == 2
  assert re.search(FULL, result.stderr)


def test_a_run_may_go_on_while_its_disk_is_full(small_disk):
  flags = [*TINY, '--config.steps=100000', '--config.logging.checkpoint_every=20', '--config.logging.scalars_every=100']
  flags += ['--config.logging.samples_every=200', '--go-on-unsaved']
  process = start('--workdir', small_disk / 'run', *flags)
  while not (small_disk / 'run' / 'samples' / '00000200.png').exists():
    assert process.poll() is None
    time.sleep(0.1)
  _fill(small_disk, leave=0)
  # Where the disk fills up while a checkpoint is being written, Orbax's own threads print, too.
  said = itertools.takewhile(lambda line: not re.search(r'WARNING: .*; training goes on', line), process.stderr)
  assert len(list(said)) < 1000
  assert process.poll() is None
  (small_disk / 'filler').unlink()
  time.sleep(2)
  process.send_signal(signal.SIGTERM)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 143, error
  step = dcgan_jax.load(small_disk / 'run').step
  assert f'Stopped and saved at step {step}' in error
  steps = [json.loads(line)['step'] for line in (small_disk / 'run' / 'scalars.jsonl').read_text().splitlines()]
  assert steps == sorted(set(steps))


def test_a_quota_that_runs_out_is_one_line_and_costs_no_checkpoint(tmp_path):
  # No quota can be set up here without a file system of its own; the system's answer is given in its place.
  code = f"""{KILL}
import errno, sys
watch = hooks.Scalars.watch
def patched(*arguments):
  watch(*arguments)
  if calls == 2:
    raise OSError(errno.EDQUOT, 'Disk quota exceeded', 'scalars.jsonl')
hooks.Scalars.watch = patched
save = checkpoint.Checkpoints.save
def counted(*arguments, **options):
  global calls
  save(*arguments, **options)
  calls += 1
checkpoint.Checkpoints.save = counted
from dcgan_jax.cli import main
sys.exit(main(sys.argv[1:]))"""
  process = start('--workdir', tmp_path / 'run', *RUN, code=code)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 2, error
  assert re.search(r'launch.py: Cannot write in \S+/run \(Disk quota exceeded\); make room, then the same', error)
  assert 'Traceback' not in error
  assert dcgan_jax.load(tmp_path / 'run').step == 6


def test_a_workdir_that_cannot_be_written_is_one_line(small_disk):
  subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
  result = launch('--workdir', small_disk / 'run', *TINY, '--config.steps=4', check=False)
  assert result.returncode == 2
  assert re.fullmatch(
    r'launch.py: Cannot write in \S+ \(Read-only file system\); give a path that is not read-only\n', result.stderr
  )


def test_a_diverged_run_is_rescued_at_half_the_rates_and_remembers_it(tmp_path):
  unstable = [*TINY, '--config.generator.optimizer.name=sgd', '--config.discriminator.optimizer.name=sgd']
  unstable += [f'--config.{player}.optimizer.learning_rate=15' for player in ('generator', 'discriminator')]
  unstable += ['--config.steps=12', '--config.logging.checkpoint_every=3']
  rescued = launch('--workdir', tmp_path / 'run', *unstable, '--rescues', '9')
  rescues = json.loads((tmp_path / 'run' / 'run.json').read_text())['rescues']
  assert 1 <= len(rescues) <= 9
  assert rescues[0]['reason'].startswith('Training diverged at step')
  line = f'{rescues[0]["reason"]}. Back to step {rescues[0]["step"]} at half the learning rates, rescue 1 of 9'
  assert line in rescued.stderr
  assert dcgan_jax.load(tmp_path / 'run').step == 12
  # The rates stay what they became.
  launch('--workdir', tmp_path / 'run', *unstable, '--config.steps=13', '--rescues', '9')
  assert json.loads((tmp_path / 'run' / 'run.json').read_text())['rescues'][: len(rescues)] == rescues


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(whole, tmp_path):
  shutil.copytree(whole, tmp_path / 'run')
  for path in (tmp_path / 'run' / 'checkpoints' / '24' / 'state' / 'd').iterdir():
    os.truncate(path, 10)
  result = launch('--workdir', tmp_path / 'run', *RUN)
  assert 'WARNING: the checkpoint of step 24 cannot be used (damaged' in result.stderr
  assert 'Resuming' in result.stdout
  shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '24.damaged')
  _assert_same_run(tmp_path / 'run', whole)


def test_what_needs_a_checkpoint_says_that_there_is_none_yet(tmp_path):
  (tmp_path / 'run').mkdir()
  for command in (['sample'], ['evaluate', '--features', 'self'], ['probe']):
    result = launch(*command, '--workdir', tmp_path / 'run', check=False)
    assert result.returncode == 2
    assert 'config.json is missing); to start one there' in result.stderr
  launch('--workdir', tmp_path / 'run', *TINY, '--config.steps=2')
  shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  for command in (['sample'], ['evaluate', '--features', 'self'], ['probe']):
    result = launch(*command, '--workdir', tmp_path / 'run', check=False)
    assert result.returncode == 2
    assert result.stderr.startswith('launch.py: No checkpoint in')
    assert result.stderr.count('\n') == 1


def test_fewer_steps_than_are_done_is_said(whole):
  result = launch('--workdir', whole, *RUN, '--config.steps=7')
  assert 'is at step 24, beyond config.steps 7; give more than 24 to go on' in result.stdout


def test_a_hostile_environment_changes_nothing(whole, tmp_path):
  # No home to write to, a locale without UTF-8, 40 columns, a clock that goes back, no terminal.
  readonly = tmp_path / 'home'
  readonly.write_text('a file where folders are wanted')
  variables = {'HOME': str(readonly), 'XDG_CACHE_HOME': str(readonly / 'cache'), 'LC_ALL': 'C', 'COLUMNS': '40'}
  code = """
import sys, time, itertools
count = itertools.count()
clock = time.time
time.time = lambda: clock() - 3600 * next(count)
sys.modules['tensorflow'] = sys.modules['tensorboard'] = None
from dcgan_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""
  plain = [flag for flag in RUN if 'evaluation' not in flag]
  process = start('--workdir', tmp_path / 'run', *plain, code=code, **variables)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 0, error
  assert 'Traceback' not in error
  for (_, expected), (_, value) in zip(_leaves(whole), _leaves(tmp_path / 'run'), strict=True):
    np.testing.assert_array_equal(expected, value)
  assert pathlib.Path(readonly).is_file()
