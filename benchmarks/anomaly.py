"""One class held as normal, every class of MNIST and Fashion-MNIST: AUROC of AnoGAN and of what needs no GAN.

    python benchmarks/anomaly.py --data mnist=mnist.npz fashion_mnist=fashion_mnist.npz \
      --out benchmarks/results/anomaly_cpu.json --picture docs/images/anomaly.png

An .npz holds uint8 `train_images` and `test_images`, [N, 28, 28, 1], with `train_labels` and `test_labels`. For each
class a small DCGAN is trained on 5,000 images of it, and all methods see those alone; the test is of 250 images of the
class against 250 of the other nine. docs/anomaly.md is written from what this prints. Started again, it goes on where
it was stopped.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dcgan_jax import flags  # noqa: E402

flags.prepare_libraries()

import dcgan_jax  # noqa: E402
from configs import mnist  # noqa: E402
from dcgan_jax.applications import anomaly  # noqa: E402
from dcgan_jax.kinds import image as images  # noqa: E402
from dcgan_jax.training import session  # noqa: E402

CLASSES = 10
NUM_TRAIN, NUM_EACH, BATCH_SIZE = 5000, 250, 64
NEIGHBOURS = 5
TOTAL, RESIDUAL, FEATURES = 'AnoGAN', 'its residual alone', 'its features alone'


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--data', nargs='+', required=True, metavar='NAME=FILE', help='data sets, each an .npz')
  parser.add_argument('--workdir', type=pathlib.Path, default=pathlib.Path('runs/anomaly'), help='of the runs')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='a .json')
  parser.add_argument('--classes', type=int, nargs='+', default=range(CLASSES), help='held as normal (all ten)')
  parser.add_argument('--picture', type=pathlib.Path, help='a .png of one class of each data set')
  parser.add_argument('--picture-class', type=int, default=3, help='which (%(default)s)')
  parser.add_argument('--steps', type=int, default=1000, help='of training (%(default)s)')
  parser.add_argument('--search-steps', type=int, default=100, help='of a search of z (%(default)s)')
  parser.add_argument('--restarts', type=int, default=2, help='searches per image (%(default)s)')
  parser.add_argument(
    '--widths',
    type=int,
    nargs=2,
    default=(32, 16),
    help="of the generator; the discriminator's are the same, turned round",
  )
  args = parser.parse_args()
  protocol = {
    'steps': args.steps, 'batch_size': BATCH_SIZE, 'widths': list(args.widths), 'num_train': NUM_TRAIN,
    'num_normal': NUM_EACH, 'num_anomalous': NUM_EACH, 'search_steps': args.search_steps, 'restarts': args.restarts,
    'feature_weight': anomaly.FEATURE_WEIGHT, 'neighbours': NEIGHBOURS, 'seed': 0,
  }  # fmt: skip
  results = json.loads(args.out.read_text()) if args.out.exists() else {'protocol': protocol}
  if results['protocol'] != protocol:
    raise SystemExit(f'{args.out} was made by another protocol, {results["protocol"]}; give another --out')
  pictures = []
  for name, file in (entry.split('=', 1) for entry in args.data):
    done = results.setdefault(name, {})
    with np.load(file) as arrays:
      data = {split: (arrays[f'{split}_images'], arrays[f'{split}_labels']) for split in ('train', 'test')}
    for normal in args.classes:
      if str(normal) in done:
        continue
      run, known = train(args.workdir / f'{name}_{normal}', data['train'], normal, args)
      done[str(normal)] = measure(run, known, *draw(data['test'], normal), args)
      args.out.parent.mkdir(parents=True, exist_ok=True)
      args.out.write_text(json.dumps(results, indent=2) + '\n')
      print(name, normal, json.dumps(done[str(normal)]), flush=True)
    print(table(name, done), flush=True)
    if args.picture:
      pictures.append(picture(args.workdir / f'{name}_{args.picture_class}', data['test'], args))
  if args.picture:
    images.save_png(args.picture, np.concatenate(pictures))


def train(directory, data, normal, args):
  """The run that knows one class, and the examples it knows, uint8 [NUM_TRAIN, 28, 28, 1]."""
  examples, labels = data
  # As many of every class, so that one program is compiled.
  rows = np.random.default_rng(0).permutation(np.flatnonzero(labels == normal))[:NUM_TRAIN]
  known = examples[rows]
  file = directory.with_suffix('.npz')
  file.parent.mkdir(parents=True, exist_ok=True)
  np.savez(file, images=known)
  config = mnist.get_config()
  config.steps, config.batch_size = args.steps, BATCH_SIZE
  config.data.source = f'npz:{file}'
  config.generator.widths, config.discriminator.widths = tuple(args.widths), tuple(args.widths)[::-1]
  # Of one class there are few images: the discriminator learns slower, as in configs/digits.py.
  config.generator.optimizer.learning_rate, config.discriminator.optimizer.learning_rate = 4e-4, 1e-4
  config.logging.update(samples_every=args.steps, checkpoint_every=args.steps)
  session.run_training(config.lock(), directory)
  return dcgan_jax.load(directory), known


def draw(data, normal):
  """Test examples of the class and of the others, as many of each, and which are anomalies."""
  examples, labels = data
  order = np.random.default_rng(0).permutation(len(labels))
  rows = np.concatenate([order[(labels[order] == normal) == same][:NUM_EACH] for same in (True, False)])
  return examples[rows], labels[rows] != normal


def measure(run, known, examples, anomalous, args):
  """AUROC by method, and the seconds that the searches took."""
  start = time.monotonic()
  found = search(run, examples, args)
  seconds = time.monotonic() - start
  scores = {TOTAL: found.score, RESIDUAL: found.residual, FEATURES: found.features}
  scores[f"D's features, {NEIGHBOURS} nearest"] = anomaly.feature_scores(run.features, known, examples, k=NEIGHBOURS)[0]
  scores |= anomaly.baselines(known, examples, k=NEIGHBOURS)
  return {method: round(anomaly.auroc(values, anomalous), 4) for method, values in scores.items()} | {
    'search_seconds': round(seconds, 1)
  }


def picture(directory, data, args):
  """Six images of the class and six of the others as `launch.py anomaly --out` shows them, enlarged."""
  run = dcgan_jax.load(directory)
  examples, anomalous = draw(data, args.picture_class)
  rows = np.concatenate([np.flatnonzero(anomalous == kind)[:6] for kind in (False, True)])
  found = search(run, examples[rows], args)
  sheet = anomaly.sheet(examples[rows], found.nearest, found.score)
  return sheet.repeat(2, axis=0).repeat(2, axis=1)


def search(run, examples, args):
  anogan = anomaly.AnoGAN(run.generator, run.discriminator, run.variables, limit=run.latent_limit)
  return anogan.search(examples, run.latents(args.restarts, seed=0), steps=args.search_steps)


def table(name, done):
  """Markdown: a row per method, a column per class, and the mean."""
  methods = [method for method in next(iter(done.values())) if method != 'search_seconds']
  lines = [f'| {name} | {" | ".join(done)} | mean |', '|---' * (len(done) + 2) + '|']
  for method in methods:
    values = [result[method] for result in done.values()]
    lines.append(f'| {method} | {" | ".join(f"{value:.3f}" for value in [*values, np.mean(values)])} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
