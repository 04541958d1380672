"""Several processes that train one network, as on a cluster; here on one machine over the loopback."""

import pathlib
import re
import signal
import socket
import time

import jax
import numpy as np
import pytest
from program import HANGS, TINY, launch, start

import dcgan_jax

pytestmark = pytest.mark.slow
SMALL = [flag for flag in TINY if 'checkpoint_every' not in flag] + ['--config.logging.checkpoint_every=5']


def start_both(directory, *arguments, of_each=((), ())):
  """Two processes of two devices each; the second has a work directory of its own, as on another machine."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{listener.getsockname()[1]}'
  return [
    start('--workdir', path, *SMALL, *arguments, *own, '--distributed', f'{address},{process},2', devices=2)
    for process, (path, own) in enumerate(zip((directory, f'{directory}_other'), of_each, strict=True))
  ]


def finish(processes, code=0):
  outputs = [process.communicate(timeout=HANGS) for process in processes]
  assert [process.returncode for process in processes] == [code, code], outputs
  return outputs


def leaves(directory, step=None):
  return jax.tree.leaves(dcgan_jax.load(directory, step=step).state)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """One process with the four devices."""
  directory = tmp_path_factory.mktemp('alone') / 'run'
  launch('--workdir', directory, *SMALL, '--config.steps=9', devices=4)
  return directory


@pytest.mark.parametrize('megabytes', [2000, 0], ids=['resident', 'streamed'])
def test_two_processes_train_the_network_of_one(alone, megabytes, tmp_path):
  flags = ['--config.steps=9', f'--config.data.resident_megabytes={megabytes}']
  (output, _), (other, _) = finish(start_both(tmp_path / 'run', *flags))
  assert 'batches of 16 on 4 cpu devices' in output
  assert 'Training' not in other
  assert not pathlib.Path(f'{tmp_path / "run"}_other').exists()
  for step in (5, 9):
    for ours, theirs in zip(leaves(tmp_path / 'run', step), leaves(alone, step), strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_signal_to_one_process_stops_all_of_them_and_they_go_on(alone, tmp_path):
  processes = start_both(tmp_path / 'run', '--config.steps=100000')
  while not (tmp_path / 'run' / 'samples' / '00000006.png').exists():
    assert processes[0].poll() is None
    time.sleep(0.1)
  processes[1].send_signal(signal.SIGTERM)
  (_, error), _ = finish(processes, 143)
  saved = int(re.search(r'Stopped and saved at step (\d+); to go on: python launch.py --workdir', error)[1])
  output, _ = finish(start_both(tmp_path / 'run', f'--config.steps={saved + 3}'))[0]
  assert f'Resuming {tmp_path / "run"} at step {saved:,}' in output
  assert dcgan_jax.load(tmp_path / 'run').step == saved + 3


def test_processes_of_different_configs_are_refused(tmp_path):
  processes = start_both(tmp_path / 'run', of_each=(['--config.seed=1'], ['--config.seed=2']))
  for _, error in finish(processes, 2):
    assert 'launch.py: The processes have different configs; start the same command on each' in error


@pytest.mark.parametrize(
  'value, message',
  [
    ('yes', "'yes' is neither auto nor HOST:PORT,PROCESS,PROCESSES"),
    ('127.0.0.1:9,2,2', 'process 2 of 2; they are numbered from 0'),
    ('auto', 'the processes cannot be joined'),
  ],
)
def test_what_joins_no_processes_is_one_line(value, message, tmp_path):
  result = launch('--workdir', tmp_path / 'run', *SMALL, '--distributed', value, check=False)
  assert result.returncode == 2
  assert message in result.stderr
  assert result.stderr.count('\n') == 1
