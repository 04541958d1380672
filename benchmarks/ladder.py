"""What each idea is worth: a ladder of CIFAR-10 runs from plain DCGAN upwards, every number made by this script.

    python benchmarks/ladder.py --weights INCEPTION.npz                    # at a size a CPU can afford
    python benchmarks/ladder.py --size full --features 2048 --out DIR      # on a GPU
    python benchmarks/ladder.py --table                                    # only the table and the figure

Runs are trained by launch.py in --workdir and measured at several checkpoints; a JSON for each goes to --out. Started
again, it goes on where it was stopped: a run whose JSON exists is done, another one continues from its checkpoint.
"""

import argparse
import json
import multiprocessing
import pathlib
import subprocess
import sys
from concurrent import futures

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import contest  # noqa: E402

from configs import cifar10  # noqa: E402

# Twice the widths of the reference, and about as many parameters as `best` in G.
DCGAN = {'generator.widths': (512, 256, 128), 'discriminator.widths': (128, 256, 512)}
# `divisor` is of all widths.
SIZES = {
  'cpu': {'steps': 5000, 'samples': 2000, 'divisor': 4, 'common': {'batch_size': 64, 'logging.samples_every': 1000}},
  'full': {'steps': None, 'samples': 50_000, 'divisor': 1, 'common': {}},
}
AVERAGED = {'generator.averaging.half_life': 50_000.0}
FAST = {f'{player}.optimizer.learning_rate': 4e-4 for player in ('generator', 'discriminator')}
LINEAR = FAST | {'tricks.decay': 'linear'}
WIDE = {'discriminator.widths': (256, 512, 1024)}
SPECTRAL = {'tricks.spectral_norm': ('discriminator',)}
TAPERED = {'generator.widths': (512, 256, 128, 64)}
# A run: the config's variant, and what it changes.
RUNS = {
  'best': ('best', {}),
  'tapered': ('best', TAPERED),
  'tapered_augmented': ('best', TAPERED | {'data.flip': True, 'tricks.augment': ('translation',)}),
  'plain': ('plain', DCGAN),
  'wide': ('plain', DCGAN | WIDE),
  'minibatch': ('plain', {**DCGAN, 'tricks.minibatch': 'discrimination'}),
  'noise': ('plain', {**DCGAN, 'tricks.instance_noise': 0.3, 'tricks.instance_noise_steps': 5000}),
  'relativistic': ('plain', {**DCGAN, 'loss': 'relativistic_average'}),
  'sn_hinge': ('plain', {**DCGAN, **FAST, 'loss': 'hinge', **SPECTRAL}),
  'linear': ('plain', DCGAN | LINEAR),
  'linear_minibatch': ('plain', {**DCGAN, **LINEAR, 'tricks.minibatch': 'standard_deviation'}),
  'linear_flip': ('plain', {**DCGAN, **LINEAR, 'data.flip': True}),
  'linear_diffaugment': ('plain', {**DCGAN, **LINEAR, 'tricks.augment': ('color', 'translation', 'cutout')}),
  'linear_sn': ('plain', {**DCGAN, **LINEAR, **SPECTRAL}),
  'sngan_cnn': ('sngan_cnn', AVERAGED),
  'best_conditional': ('best_conditional', {}),
  'tapered_conditional': ('best_conditional', TAPERED),
}  # fmt: skip
# In this order, so that what matters most is there first.
ORDER = [(name, seed) for seed in (0, 1, 2) for name in ('sngan_cnn', 'best', 'tapered', 'wide', 'plain', 'linear')]
ORDER += [('tapered_augmented', 2)]
ORDER += [(name, 0) for name in RUNS if name not in dict(ORDER)]
MEASURED_AT = (2, 3, 4)  # quarters of the steps


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--size', choices=SIZES, default='cpu', help='of networks, batches and runs (%(default)s)')
  parser.add_argument('--data', default='tfds:cifar10', help='as config.data.source (%(default)s)')
  parser.add_argument('--features', default='768', help="Inception's (%(default)s)")
  parser.add_argument('--weights', help="Inception's, a .pth or .npz; default: downloaded once")
  parser.add_argument('--reference', default='test', help='split of the real images (%(default)s)')
  parser.add_argument('--steps', type=int, help="of every run; default: the size's, or the config's")
  parser.add_argument('--samples', type=int, help="for each measurement; default: the size's")
  parser.add_argument('--runs', nargs='*', choices=RUNS, help='only these')
  parser.add_argument('--seeds', nargs='*', type=int, help='only these')
  parser.add_argument('--quarters', nargs='*', type=int, default=MEASURED_AT, help='of the steps, to measure at')
  parser.add_argument('--generators', nargs='*', default=('live', 'averaged'), help='to measure (%(default)s)')
  parser.add_argument('--workdir', type=pathlib.Path, default=pathlib.Path('runs/ladder'), help='of the runs')
  parser.add_argument('--out', type=pathlib.Path, default=ROOT / 'benchmarks/results/ladder_cpu', help='of the JSONs')
  parser.add_argument('--figure', type=pathlib.Path, help='a .png of the final distances; needs matplotlib')
  parser.add_argument('--table', action='store_true', help='train nothing: only the table and the figure')
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  for name, seed in [] if args.table else ORDER:
    path = args.out / f'{name}_{seed}.json'
    wanted = name in (args.runs or RUNS) and seed in (args.seeds or [seed])
    if wanted and not path.exists():
      report = make_run(name, seed, args)
      part = path.with_suffix('.part')
      part.write_text(json.dumps(report, indent=2) + '\n')
      part.replace(path)
      print(table(args.out), flush=True)
  print(table(args.out))
  if args.figure:
    draw(args.out, args.figure)


def make_run(name, seed, args):
  """Trains a run, measures its checkpoints, and returns what its JSON says."""
  variant, changes = RUNS[name]
  size = SIZES[args.size]
  config = cifar10.get_config(variant)
  config.update_from_flattened_dict(changes)
  overrides = {'seed': seed, 'data.source': args.data, **size['common'], **changes}
  for player in ('generator', 'discriminator'):
    overrides[f'{player}.widths'] = tuple(width // size['divisor'] for width in config[player].widths)
  steps = args.steps or size['steps'] or config.steps
  quarter = steps // 4
  overrides |= {'steps': 4 * quarter, 'logging.checkpoint_every': quarter, 'logging.checkpoints_kept': 4}
  directory = args.workdir / f'{args.size}_{name}_{seed}'
  command = [f'configs/cifar10.py:{variant}', *(f'--config.{key}={value}' for key, value in overrides.items())]
  train = [sys.executable, str(ROOT / 'launch.py'), '--workdir', str(directory), '--config', str(ROOT / command[0])]
  subprocess.run([*train, *command[1:]], check=True)
  # In a process of its own: one that has touched a GPU keeps most of its memory from the next training.
  with futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
    measured = process.submit(measure, directory, [quarter * i for i in args.quarters], args).result()
  return {
    'run': name,
    'seed': seed,
    'size': args.size,
    'command': f'python launch.py --config {" ".join(command)}',
    **measured,
  }


def measure(directory, steps, args):
  """Metrics of each checkpoint and generator, and the machine."""
  import jax

  import dcgan_jax
  from dcgan_jax.building import evaluation as build_evaluation

  run = dcgan_jax.load(directory)
  evaluator = build_evaluation.build_evaluator(
    run.config, features=args.features, weights=args.weights, reference=args.reference
  )
  measurements = []
  for step in steps:
    run = dcgan_jax.load(directory, step=step)
    for generator in args.generators:
      samples = run.sample(args.samples or SIZES[args.size]['samples'], live=generator == 'live')
      metrics = evaluator.measure(samples, seed=0)
      metrics |= {'mean_color': samples.mean((0, 1, 2)).round(1).tolist(), 'overfitting': overfitting(run, samples)}
      measurements.append({'step': step, 'generator': generator, **metrics})
      print(directory.name, step, generator, next(iter(metrics.items())), flush=True)
  return {'machine': contest.machine() | {'device': jax.devices()[0].device_kind}, 'measurements': measurements}


def overfitting(run, samples, num=2000):
  """How much more D believes training images than images of the test split, as a share of what it believes them more
  than samples: 0 where it treats both alike, 1 where it takes unseen images for samples (r_v of Karras et al. 2020,
  section 3.1). By D's running statistics.

  Args:
    run: of any data with a split 'test'.
    samples: of its generator, uint8 [N, H, W, C], as `run.sample` draws them.
    num: images of each kind.
  """
  from dcgan_jax.kinds import image as images

  def believe(examples, labels):
    return float(run.discriminator(run.variables['discriminator'], images.to_float(examples), labels)[0].mean())

  train, test = (believe(*run.examples(split=split, num=num)) for split in ('train', 'test'))
  fake = believe(samples[:num], run.labels(len(samples[:num])))
  return (train - test) / (train - fake)


def rows(folder):
  """(run, generator) -> for every seed the distances by step, {seed: {step: distance}}."""
  found = {}
  for path in sorted(folder.glob('*.json')):
    report = json.loads(path.read_text())
    for line in report['measurements']:
      metric = next(key for key in line if key.startswith('fid'))
      seeds = found.setdefault((report['run'], line['generator']), {})
      seeds.setdefault(report['seed'], {})[line['step']] = line[metric]
  return dict(sorted(found.items(), key=lambda item: (list(RUNS).index(item[0][0]), item[0][1] != 'live')))


def table(folder):
  """Markdown: best and final distance of every run, mean and range over its seeds."""
  lines = ['| run | generator | seeds | best | final |', '|---|---|---|---|---|']
  for (run, generator), seeds in rows(folder).items():
    best = [min(distances.values()) for distances in seeds.values()]
    final = [distances[max(distances)] for distances in seeds.values()]
    cells = [_mean_and_range(values) for values in (best, final)]
    lines.append(f'| `{run}` | {generator} | {len(seeds)} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def _mean_and_range(values):
  spread = f' ({min(values):.3f} to {max(values):.3f})' if len(values) > 1 else ''
  return f'{sum(values) / len(values):.3f}{spread}'


def draw(folder, path):
  """The final distance of every run, a dot for each seed."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  found = rows(folder)
  figure, axis = pyplot.subplots(figsize=(7, 1.2 + 0.22 * len(found)), layout='constrained')
  for height, ((_, generator), seeds) in enumerate(found.items()):
    final = [distances[max(distances)] for distances in seeds.values()]
    axis.plot(final, [height] * len(final), 'o', color='C0' if generator == 'averaged' else 'C1', alpha=0.8)
  axis.set_yticks(range(len(found)), [f'{run}, {generator}' for run, generator in found], fontsize='small')
  axis.invert_yaxis()
  axis.grid(axis='x', alpha=0.3)
  axis.set(xlabel='Fréchet distance at the last step, a dot for each seed', xlim=(0, None))
  figure.savefig(path, dpi=110)


if __name__ == '__main__':
  main()
