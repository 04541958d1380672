"""Shows each way a GAN fails on the digits, and what a trick makes of it: two runs, a number and a picture for each.

    python benchmarks/symptoms.py --out benchmarks/results/symptoms_cpu.json --pictures docs/images

docs/recipes.md is written from what this prints. Started again, it goes on where it was stopped.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import dcgan_jax  # noqa: E402
from dcgan_jax.kinds import image as images  # noqa: E402

SAMPLES = 1000
# Symptom: what provokes it, and what else the second run has.
SYMPTOMS = {
  'discriminator_wins': (
    {'loss': 'saturating', 'discriminator.optimizer.learning_rate': 2e-3},
    {'loss': 'non_saturating', 'tricks.instance_noise': 0.5, 'tricks.instance_noise_steps': 2000},
  ),
  'repeated_samples': (
    {f'{player}.normalization': 'none' for player in ('generator', 'discriminator')}
    | {'generator.optimizer.learning_rate': 5e-3, 'generator.optimizer.b1': 0.9}
    | {'discriminator.optimizer.learning_rate': 2e-4},
    {'tricks.minibatch': 'discrimination'},
  ),
  'checkerboard': ({'steps': 25}, {'tricks.upsampling': 'nearest', 'generator.kernel_size': 3}),
  'not_a_number': (
    {'generator.optimizer.name': 'sgd', 'discriminator.optimizer.name': 'sgd'}
    | {f'{player}.optimizer.learning_rate': 30.0 for player in ('generator', 'discriminator')},
    {'tricks.gradient_clip_norm': 0.01},
  ),
}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--workdir', type=pathlib.Path, default=pathlib.Path('runs/symptoms'), help='of the runs')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='a .json')
  parser.add_argument('--pictures', type=pathlib.Path, help='a folder for a PNG for each symptom')
  parser.add_argument(
    '--steps', type=int, default=1000, help='of every run that has no number of its own (%(default)s)'
  )
  parser.add_argument('--only', nargs='*', choices=SYMPTOMS)
  args = parser.parse_args()
  results = json.loads(args.out.read_text()) if args.out.exists() else {}
  for symptom, (provocation, cure) in SYMPTOMS.items():
    if symptom in results or symptom not in (args.only or SYMPTOMS):
      continue
    runs = {'with': provocation, 'cured': provocation | cure}
    results[symptom] = {
      name: run(f'{symptom}_{name}', {'steps': args.steps, 'logging.scalars_every': 5} | keys, args)
      for name, keys in runs.items()
    }
    args.out.write_text(json.dumps(results, indent=2) + '\n')
    print(symptom, json.dumps(results[symptom], indent=2), flush=True)
    if args.pictures:
      show(symptom, args)


def run(name, keys, args):
  """Trains and measures one run."""
  directory = args.workdir / name
  command = ['--config', 'configs/digits.py', *(f'--config.{key}={value}' for key, value in keys.items())]
  trained = subprocess.run(
    [sys.executable, 'launch.py', '--workdir', str(directory), *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
  )
  result = {'command': f'python launch.py {" ".join(command)}', 'exit_code': trained.returncode}
  if trained.returncode:
    return result | {'said': trained.stderr.strip().splitlines()[-1]}
  lines = [json.loads(line) for line in (directory / 'scalars.jsonl').read_text().splitlines()]
  loaded = dcgan_jax.load(directory)
  metrics, _ = loaded.evaluate(SAMPLES, features='self')
  return result | {
    'discriminator_loss': float(np.mean([line['discriminator/loss'] for line in lines[-3:]])),
    # Of the generator itself: after few steps its average is still that of the first weights.
    'checkerboard': checkerboard(loaded.sample(SAMPLES, live=True)),
    'checkerboard_of_data': checkerboard(loaded.labelled(split='train')[0]),
    **{
      key: metrics[key] for key in metrics if key.startswith(('fid', 'pr', 'near', 'effective')) and key != 'protocol'
    },
  }


def checkerboard(examples):
  """Share of the images' variance that alternates from each pixel to the next along a row or a column."""
  spectrum = np.abs(np.fft.fft2(examples.astype(np.float64).mean(axis=-1), norm='ortho')) ** 2
  half = spectrum.shape[1] // 2
  alternating = spectrum[:, half].sum() + spectrum[:, :, half].sum() - spectrum[:, half, half].sum()
  return float(alternating / (spectrum.sum() - spectrum[:, 0, 0].sum()))


def show(symptom, args):
  """A picture: 32 samples of the provoked run, and 32 of the other, where they exist."""
  sheets = []
  for name in ('with', 'cured'):
    directory = args.workdir / f'{symptom}_{name}'
    if list(directory.glob('checkpoints/[0-9]*')):
      live = symptom == 'checkerboard'
      sheets.append(images.grid(dcgan_jax.load(directory).sample(32, live=live), columns=8))
  if sheets:
    gap = np.full((sheets[0].shape[0], 12, sheets[0].shape[2]), 255, np.uint8)
    sheet = np.concatenate([part for sheet in sheets for part in (gap, sheet)][1:], axis=1)
    images.save_png(args.pictures / f'symptom_{symptom}.png', np.repeat(np.repeat(sheet, 2, 0), 2, 1))


if __name__ == '__main__':
  main()
