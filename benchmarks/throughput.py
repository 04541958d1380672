"""Images per second of the whole update: this package against PyTorch, and both against the machine's limits.

  python benchmarks/throughput.py [--device cpu|gpu] [--quick]

First checks that both compute the same: equal parameter counts, and equal losses and gradients from the same weights
and inputs to 1e-4. Then every contestant, in a process of its own, works in turns with the others, and with a product
of two matrices and a copy, which say what the machine could give in those minutes. Medians with minimum and maximum go
to a table and to benchmarks/results/throughput_DEVICE.json. Needs PyTorch, which the package itself does not.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

import contest
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
MATRIX_SIZE = 2048
COPY_MEGABYTES = 256
TOLERANCE = 1e-4
PARITY_BATCH, PARITY_DRAWS = 4, 8

WIDTHS = {32: (256, 128, 64), 64: (512, 256, 128, 64), 128: (1024, 512, 256, 128, 64)}
CPU_SIZES = ((32, 128), (64, 64))
GPU_SIZES = ((32, 128), (32, 1024), (64, 128), (64, 1024), (128, 128), (128, 1024))
TORCH_MODES = {
  'torch eager': {},
  'torch channels_last': {'channels_last': True},
  'torch channels_last compile': {'channels_last': True, 'compiled': True},
}


def task_of(size, batch_size, precision='float32', *, widths=None, **options):
  """What one row of the table trains."""
  widths = widths or WIDTHS[size]
  networks = {'generator_widths': widths, 'discriminator_widths': widths[::-1], 'latent_size': 100}
  return {'size': size, 'channels': 3, 'batch_size': batch_size, 'precision': precision, **networks, **options}


def check_parity(task):
  """Raises SystemExit unless both sides have the same parameters, losses and gradients; returns what was compared.

  Rounding decides which way a ReLU falls whose input lies within it of zero, and a gradient then differs by a whole
  activation: likely somewhere among a million of them, so a few draws of z are tried. Different mathematics agree on
  none.
  """
  for seed in range(PARITY_DRAWS):
    result = _differences(task, seed)
    if max(result['largest_difference'].values()) < TOLERANCE:
      return result | {'draw': seed}
  raise SystemExit(f'The two sides differ in {PARITY_DRAWS} draws, at last by {result}')


def _differences(task, seed):
  import jax
  import jax_dcgan
  import optax
  import torch_dcgan

  from dcgan_jax.building import game as build_game
  from dcgan_jax.building import model as build_model
  from dcgan_jax.games import parallel, step
  from dcgan_jax.kinds import image as images

  config = jax_dcgan.config_of(task)
  examples = jax_dcgan.random_images(task, task['batch_size'])
  z = np.random.default_rng(seed).standard_normal((task['batch_size'], task['latent_size']), np.float32)
  model = build_model.build_model(config, examples.shape[1:])
  state = model.create(jax.random.key(0))
  # An optimiser that changes nothing and keeps the gradients as its state.
  keep = optax.GradientTransformation(
    optax.tree.zeros_like, lambda grads, state, params: (optax.tree.zeros_like(grads), grads)
  )
  players = {'generator': state.players['generator'], 'discriminator': state.players['discriminator']}
  state = state.replace(**{k: p.replace(tx=keep, opt_state=keep.init(p.params)) for k, p in players.items()})

  game = build_game.build_game(config, model)
  game = dataclasses.replace(game, latents=lambda keys: jax.numpy.asarray(z))
  update = parallel.compile_update(
    lambda *args: step.train_step(*args, game=game),
    lambda data, row: {'images': row},
    steps_per_call=1,
    devices=jax.local_devices()[:1],
  )
  params = jax.device_get({name: player.params for name, player in players.items()})
  new, scalars = update(state, examples[None], 1, {}, jax.random.key(1))
  ours = jax.device_get({'generator': new.generator.opt_state, 'discriminator': new.discriminator.opt_state})

  trainer = torch_dcgan.Trainer(task, images=examples, device='cpu')
  torch_dcgan.load_linen(trainer, params)
  real = np.asarray(images.to_float(examples)).transpose(0, 3, 1, 2)
  losses = [loss.item() for loss in trainer.gradients(*map(torch_dcgan.torch.tensor, (real.copy(), z)))[:2]]
  theirs = torch_dcgan.gradients_as_linen(trainer)

  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  ours_count = {name: count(tree) for name, tree in params.items()}
  theirs_count = {name: torch_dcgan.count_parameters(getattr(trainer, name)) for name in params}
  distance = lambda a, b: float(np.abs(a - b).max() / np.abs(b).max())
  gradients = max(jax.tree.leaves(jax.tree.map(distance, ours, theirs)))
  pairs = zip(('discriminator/loss', 'generator/loss'), losses, strict=True)
  loss = max(abs(float(scalars[name][0]) - value) / abs(value) for name, value in pairs)
  if ours_count != theirs_count:
    raise SystemExit(f'The two sides have different parameters: {ours_count} and {theirs_count}')
  return {'parameters': ours_count, 'largest_difference': {'losses': loss, 'gradients': gradients}}


def make_work(work):
  """What a worker does: (call, wait, amount, facts) as `contest.serve` wants them."""
  return MAKERS[work['kind']](work)


def _make_ours(work):
  import jax_dcgan

  trainer = jax_dcgan.Trainer(work['task'], images=jax_dcgan.random_images(work['task']))
  return trainer.step, trainer.wait, trainer.per_call * work['task']['batch_size'], {}


def _make_loop(work):
  import jax_dcgan

  loop = jax_dcgan.Loop(work['task'], images=jax_dcgan.random_images(work['task']))
  return loop.step, loop.wait, loop.blocks * loop.per_call * work['task']['batch_size'], {}


def _make_torch(work):
  import jax_dcgan
  import torch
  import torch_dcgan

  torch.set_num_threads(work['threads'])
  torch.set_float32_matmul_precision('high')  # TF32 on a GPU, as XLA's default; a CPU has none.
  torch.backends.cudnn.benchmark = True
  images = jax_dcgan.random_images(work['task'])
  trainer = torch_dcgan.Trainer(work['task'], images=images, device=work['device'], **work['mode'])
  return trainer.step, trainer.wait, work['task']['batch_size'], {'calls_in_flight': 10}


def _make_product(work):
  import jax
  import jax.numpy as jnp

  x = jax.random.normal(jax.random.key(0), (MATRIX_SIZE, MATRIX_SIZE), jnp.dtype(work['dtype']))
  return _timed_jax(lambda x: x @ x / MATRIX_SIZE**0.5, x, 2 * MATRIX_SIZE**3 / 1e9)


def _make_copy(work):
  import jax.numpy as jnp

  x = jnp.zeros((COPY_MEGABYTES * 250_000,), jnp.float32)
  return _timed_jax(lambda x: x + 1, x, 2 * COPY_MEGABYTES / 1e3)


def _timed_jax(function, x, amount):
  import jax

  # In place, or fresh pages for every result would be most of what is measured.
  function = jax.jit(function, donate_argnums=0)
  last = [x]

  def call():
    last[0] = function(last[0])

  return call, lambda: jax.block_until_ready(last), amount, {'calls_in_flight': 10}


MAKERS = {'ours': _make_ours, 'loop': _make_loop, 'torch': _make_torch, 'product': _make_product, 'copy': _make_copy}


def compare(task, args):
  """Runs one row of the table; returns rates by contestant and what they mean."""
  shared = {'task': task, 'device': 'cuda' if args.device == 'gpu' else 'cpu', 'threads': os.cpu_count()}
  kinds = [
    {'name': 'dcgan_jax', 'kind': 'ours'},
    {'name': 'dcgan_jax, the loop of launch.py', 'kind': 'loop'},
    {'name': 'dcgan_jax, new fakes for G', 'kind': 'ours', 'task': {**task, 'reuse_fakes': False}},
    *({'name': name, 'kind': 'torch', 'mode': mode} for name, mode in TORCH_MODES.items()),
    {'name': 'product, GFLOP/s', 'kind': 'product', 'dtype': task['precision']},
    {'name': 'copy, GB/s', 'kind': 'copy'},
  ]
  env = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'JAX_PLATFORMS': 'cuda' if args.device == 'gpu' else 'cpu'}
  contestants = [contest.Contestant(__file__, {**shared, **kind}, env) for kind in kinds]
  rates = contest.interleave(contestants, rounds=args.rounds, seconds=args.seconds)

  import jax_dcgan

  best = max(TORCH_MODES, key=lambda name: rates[name]['median'])
  gigaflops = 2 * jax_dcgan.multiplications_per_image(task) / 1e9
  ours = rates['dcgan_jax']['median']
  return {
    'task': task,
    'rates': rates,
    'gigaflop_per_image': round(gigaflops, 4),
    'best_torch': best,
    'ratio_to_best_torch': round(ours / rates[best]['median'], 3),
    'share_of_bare_update_in_the_loop': round(rates['dcgan_jax, the loop of launch.py']['median'] / ours, 3),
    'share_of_product_rate': round(ours * gigaflops / rates['product, GFLOP/s']['median'], 3),
  }


def print_row(row):
  task = row['task']
  print(
    f'\n{task["size"]} px, batch {task["batch_size"]}, {task["precision"]}: {row["gigaflop_per_image"]} GFLOP/image'
  )
  for name, rate in row['rates'].items():
    spread = f'({rate["min"]:.1f} to {rate["max"]:.1f})'
    print(f'  {name:32s} {rate["median"]:10.1f} {spread:22s} {rate["peak_memory_megabytes"]:6d} MB', flush=True)
  share = f'{row["share_of_product_rate"]:.0%} of the product rate'
  loop = f'the loop keeps {row["share_of_bare_update_in_the_loop"]:.1%}'
  print(f'  dcgan_jax is {row["ratio_to_best_torch"]:.2f} x {row["best_torch"]}; {share}; {loop}')


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true', help='three short rounds, to see that it works')
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument('--seconds', type=float, default=3.0, help='of a round')
  parser.add_argument('--sizes', type=int, nargs='*', help='pixels; all by default')
  parser.add_argument('--output', type=pathlib.Path)
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.worker:
    contest.serve(lambda: make_work(json.loads(args.worker)))
    return
  if args.quick:
    args.rounds, args.seconds = 3, 0.5
  precisions = ('float32', 'bfloat16') if args.device == 'gpu' else ('float32',)
  sizes = [
    pair for pair in (GPU_SIZES if args.device == 'gpu' else CPU_SIZES) if not args.sizes or pair[0] in args.sizes
  ]
  os.environ['JAX_PLATFORMS'] = 'cpu'  # Here, where only the parity is computed.
  result = {'command': ' '.join(['python', *sys.argv]), 'machine': contest.machine(), 'rounds': args.rounds}
  result |= {'seconds_per_round': args.seconds, 'parity': {}, 'rows': []}
  output = args.output or FOLDER / 'results' / f'throughput_{args.device}.json'
  output.parent.mkdir(parents=True, exist_ok=True)
  for size in sorted({size for size, _ in sizes}):
    result['parity'][size] = check_parity(task_of(size, PARITY_BATCH))
    print(f'{size} px: the same losses and gradients, {result["parity"][size]}', flush=True)
  for precision in precisions:
    for size, batch_size in sizes:
      row = compare(task_of(size, batch_size, precision), args)
      result['rows'].append(row)
      print_row(row)
      output.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
  main()
