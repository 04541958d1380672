"""Kills a run at random moments, resumes it each time, and compares what it leaves with an uninterrupted run.

python benchmarks/kills.py --kills 40 --seed 0 --out kills_0.json
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto.event_pb2 import Event

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = [
  '--config', 'digits', '--config.batch_size=8', '--config.data.image_size=8', '--config.generator.widths=(4,)',
  '--config.discriminator.widths=(4,)', '--config.generator.latent_size=8', '--config.steps_per_call=4',
  '--config.logging.scalars_every=2', '--config.logging.samples_every=6', '--config.logging.num_samples=16',
  '--config.logging.checkpoint_every=5', '--config.evaluation.every=4', '--config.evaluation.features=self',
  '--config.evaluation.num=128',
]  # fmt: skip
# Runs the program, which dies a given number of CPU-seconds after it begins with training, or after its first step.
PROGRAM = """
import os, signal, sys, threading, time
from dcgan_jax import cli
from dcgan_jax.training import loop
from dcgan_jax.metrics import kernel
distance = kernel.kernel_distance
kernel.kernel_distance = lambda *arguments, **options: distance(*arguments, **{**options, 'num_subsets': 2})  # quick
when, seconds, train, show = sys.argv.pop(1), float(sys.argv.pop(1)), loop.train, loop._show
started = {name: threading.Event() for name in ('training', 'step')}
def die():
  started[when].wait()
  end = time.process_time() + seconds
  while time.process_time() < end:
    time.sleep(0.002)
  os.kill(os.getpid(), signal.SIGKILL)
def patched(*arguments, **options):
  started['training'].set()
  return train(*arguments, **options)
def patched_show(watchers, unseen):
  show(watchers, unseen)
  if unseen is not None:
    started['step'].set()
if when in started:
  threading.Thread(target=die, daemon=True).start()
loop.train, loop._show = patched, patched_show
sys.exit(cli.main())
"""
HISTORY = ('starts',)  # What of run.json says how often the run was started.


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--kills', type=int, default=40, help='number of kills (%(default)s)')
  parser.add_argument('--seed', type=int, default=0, help='seed of the run and of the moments (%(default)s)')
  parser.add_argument('--steps', type=int, default=100, help='steps of the run (%(default)s)')
  parser.add_argument('--seconds', type=float, default=4.0, help='most CPU-seconds from there to a kill (%(default)s)')
  parser.add_argument('--out', type=pathlib.Path, help='a .json for the figures')
  args = parser.parse_args(argv)
  with tempfile.TemporaryDirectory() as root:
    # Both have one name, which the pictures tell.
    whole, killed = (pathlib.Path(root) / name / 'run' for name in ('whole', 'killed'))
    flags = [*FLAGS, f'--config.steps={args.steps}', f'--config.seed={args.seed}']
    _launch(whole, flags)
    moments, kills = random.Random(args.seed), []
    while len(kills) < args.kills:
      when = moments.choice(['training', 'step', 'step', 'step'])
      if _launch(killed, flags, when=when, seconds=moments.uniform(0, args.seconds)) == 0:
        break
      kills.append(_state(killed))
      print(f'kill {len(kills)}: {kills[-1]}', flush=True)
    _launch(killed, flags)
    differences, compared = compare(whole, killed)
  figures = {'seed': args.seed, 'steps': args.steps, 'kills': len(kills), 'at': kills}
  figures |= {'compared': compared, 'differences': differences}
  print(f'{len(kills)} kills, {compared} files and values compared, differences: {differences or "none"}')
  if args.out:
    args.out.write_text(json.dumps(figures, indent=2) + '\n')
  return int(bool(differences))


def _launch(directory, flags, *, when='never', seconds=0):
  """The exit code, 0 or that of SIGKILL."""
  command = [sys.executable, '-c', PROGRAM, when, str(seconds), '--workdir', str(directory), *flags]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  if result.returncode not in (0, -signal.SIGKILL):
    raise SystemExit(result.stderr)
  return result.returncode


def _state(directory):
  """What a killed run has got to."""
  steps = lambda name: sorted(int(path.name) for path in (directory / name).glob('*') if path.name.isdecimal())
  return {
    'checkpoints': steps('checkpoints'),
    'best': steps('best'),
    'lines': len(_lines(directory / 'metrics.jsonl')),
    'unfinished': sorted(path.name for path in directory.rglob('*') if 'tmp' in path.name or '.part' in path.name),
  }


def _lines(path):
  return path.read_bytes().splitlines() if path.exists() else []


def compare(whole, other):
  """What differs between two runs, in words, and how many files and values were compared."""
  differences, compared = [], 0
  files = [_files(directory) for directory in (whole, other)]
  differences += [f'only one has {name}' for name in sorted(files[0] ^ files[1])]
  for name in sorted(name for name in files[0] & files[1] if (whole / name).is_file()):
    one, two = ((directory / name).read_bytes() for directory in (whole, other))
    if name == 'run.json':
      one, two = ({k: v for k, v in json.loads(text).items() if k not in HISTORY} for text in (one, two))
    compared += 1
    differences += [name] * (one != two)
  for name in ('checkpoints', 'best'):
    for path in (whole / name).glob('*'):
      one, two = (_values(directory / name / path.name) for directory in (whole, other))
      compared += len(one)
      differences += [f'{name}/{path.name}'] * (one != two)
  one, two = (_events(directory) for directory in (whole, other))
  compared += len(one)
  differences += ['tensorboard'] * (one != two)
  return differences, compared


def _files(directory):
  """Names of the files whose bytes are compared, and of the checkpoints."""
  names = {path.relative_to(directory) for path in directory.rglob('*') if path.is_file()}
  inside = lambda name: name.parts[0] in ('checkpoints', 'best', 'tensorboard') or name.name == '.lock'
  steps = {f'{name.parts[0]}/{name.parts[1]}/' for name in names if name.parts[0] in ('checkpoints', 'best')}
  return {str(name) for name in names if not inside(name)} | steps


def _values(directory):
  """Bytes of the tensors of a checkpoint by name; its files also hold when they were written."""
  with ocp.StandardCheckpointer() as checkpointer:
    tree = checkpointer.restore(directory / 'state')
  return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in jax.tree.leaves_with_path(tree)}


def _events(directory):
  """Every (step, tag, value) of the TensorBoard files in order, each as often as it is there."""
  found = []
  for path in (directory / 'tensorboard').iterdir():
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
      length = int.from_bytes(data[at : at + 8], 'little')
      if at + 16 + length > len(data):
        break  # A kill cut it short.
      event = Event.FromString(data[at + 12 : at + 12 + length])
      found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
      at += 16 + length
  return sorted(found)


if __name__ == '__main__':
  sys.exit(main())
