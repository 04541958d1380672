"""What an update costs: images per second and peak memory against batch, size, devices and where the data live.

  python benchmarks/curves.py [--device cpu|gpu] [--quick]

One thing is varied at a time from 32 x 32, widths 256-128-64, batches of 128. Every point is a process of its own, one
after the other, with a product of two matrices before and after each, which says what the machine gave just then.
Writes benchmarks/results/curves_DEVICE.json and, with matplotlib, docs/images/curves_DEVICE.png.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

import contest
import throughput

FOLDER = pathlib.Path(__file__).resolve().parent
# Fewer steps in a call where they are long, so that a round ends in time.
IMAGES_PER_CALL = 1280
BATCHES = (16, 32, 64, 128, 256, 512, 1024)
# Pixels -> widths and batch: the networks of the presets, and one more doubling.
SIZES = {28: ((256, 128), 128), 32: ((256, 128, 64), 128), 64: ((512, 256, 128, 64), 64)}
SIZES[128] = ((1024, 512, 256, 128, 64), 16)
DEVICES = (1, 2, 4, 8)


def tasks(device):
  """Yields (curve, point, task, number of devices)."""
  for batch_size in BATCHES:
    yield 'batch', batch_size, _task(32, batch_size), 1
  for size, (_, batch_size) in SIZES.items():
    yield 'size', size, _task(size, batch_size), 1
  for number in DEVICES if device == 'cpu' else ():
    yield 'devices', number, _task(32, 128), number
  for place in ('resident', 'streamed'):
    yield 'data', place, {**_task(32, 128), 'streamed': place == 'streamed'}, 1


def _task(size, batch_size):
  widths = SIZES[size][0]
  steps_per_call = max(1, min(10, IMAGES_PER_CALL // batch_size))
  return throughput.task_of(size, batch_size, widths=widths, steps_per_call=steps_per_call)


def measure(task, number, args):
  """Rate and memory of one point, and the product's rate around it."""
  platform = {'cpu': 'cpu', 'gpu': 'cuda'}[args.device]
  env = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'JAX_PLATFORMS': platform}
  product = {'name': 'product', 'kind': 'product', 'dtype': 'float32'}
  flags = {'XLA_FLAGS': f'--xla_force_host_platform_device_count={number}'}
  contestants = [
    contest.Contestant(throughput.__file__, product, env),
    contest.Contestant(throughput.__file__, {'name': 'ours', 'kind': 'ours', 'task': task}, {**env, **flags}),
  ]
  rates = contest.interleave(contestants, rounds=args.rounds, seconds=args.seconds)
  return {'images_per_second': rates['ours'], 'product_gigaflops': rates['product']['median']}


def plot(points, path):
  """Draws rates and memory of all curves side by side."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  curves = list(dict.fromkeys(point['curve'] for point in points))
  figure, axes = pyplot.subplots(2, len(curves), figsize=(3.2 * len(curves), 5), sharex='col', layout='constrained')
  labels = {'batch': 'batch size', 'size': 'pixels', 'devices': 'devices on the same 2 cores', 'data': 'data'}
  for column, curve in enumerate(curves):
    chosen = [point for point in points if point['curve'] == curve]
    names = [str(point['point']) for point in chosen]
    axes[0, column].bar(names, [point['images_per_second']['median'] for point in chosen])
    axes[1, column].bar(names, [point['images_per_second']['peak_memory_megabytes'] for point in chosen], color='C1')
    axes[1, column].set_xlabel(labels[curve])
  axes[0, 0].set_ylabel('images/s')
  axes[1, 0].set_ylabel('peak memory, MB')
  figure.savefig(path, dpi=80)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--quick', action='store_true', help='one short round')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--seconds', type=float, default=2.0, help='of a round')
  parser.add_argument('--curves', nargs='*', help='batch size devices data; all by default')
  parser.add_argument('--output', type=pathlib.Path)
  args = parser.parse_args()
  if args.quick:
    args.rounds, args.seconds = 1, 0.5
  os.environ['JAX_PLATFORMS'] = 'cpu'
  result = {'machine': contest.machine(), 'rounds': args.rounds, 'seconds_per_round': args.seconds, 'points': []}
  command = ' '.join(['python', *sys.argv])
  output = args.output or FOLDER / 'results' / f'curves_{args.device}.json'
  output.parent.mkdir(parents=True, exist_ok=True)
  if args.curves and output.exists():  # The other curves stay as they were measured.
    old = json.loads(output.read_text())['points']
    result['points'] = [row for row in old if row['curve'] not in args.curves]
  for curve, point, task, number in tasks(args.device):
    if args.curves and curve not in args.curves:
      continue
    row = {'curve': curve, 'point': point, 'batch_size': task['batch_size'], 'command': command}
    row |= measure(task, number, args)
    result['points'].append(row)
    rate = row['images_per_second']
    print(
      f'{curve:8s} {point!s:10s} {rate["median"]:8.1f} images/s ({rate["min"]:.1f} to {rate["max"]:.1f})  '
      f'{rate["peak_memory_megabytes"]} MB, first call {rate["seconds_to_first_call"]} s; '
      f'product {row["product_gigaflops"]:.0f} GFLOP/s', flush=True,
    )  # fmt: skip
    output.write_text(json.dumps(result, indent=2) + '\n')
  products = [row['product_gigaflops'] for row in result['points']]
  print(
    f'product over the whole run: {min(products):.0f} to {max(products):.0f}, median {statistics.median(products):.0f}'
  )
  plot(result['points'], FOLDER.parent / 'docs' / 'images' / f'curves_{args.device}.png')


if __name__ == '__main__':
  main()
