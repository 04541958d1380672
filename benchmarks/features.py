"""Inception features up to 768 of 32x32 images: this package against the same network in PyTorch.

  python benchmarks/features.py --weights FILE

Both sides run the same folded layers on the same random uint8 images, resize included, in turns within one process, so
that what else the machine does hits both; PyTorch in both of its memory layouts. The product of two matrices, in turns
with them, tells what the machine gave at that time; on a busy one the rates per second of processor time say more.
Needs PyTorch, which the package itself does not.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dcgan_jax.metrics import inception, inception_weights  # noqa: E402

IMAGE_SIZE = 32
MATRIX_SIZE = 2048


class TorchInception:
  """The layers of `dcgan_jax.metrics.inception` up to 768 in PyTorch, [B, 3, H, W] -> [B, 768]."""

  def __init__(self, params, memory_format):
    self.memory_format = memory_format
    self.layers = {
      name: (
        torch.tensor(layer['kernel'].transpose(3, 2, 0, 1).copy()).contiguous(memory_format=memory_format),
        torch.tensor(layer['bias']),
      )
      for name, layer in params.items()
    }

  @torch.inference_mode()
  def __call__(self, images):
    x = (self.resize(self.resize(images.float(), 3), 2) - 128) / 128
    x = x.contiguous(memory_format=self.memory_format)
    x = self.convolve(x, 'conv', stride=2, padding=0)
    x = self.convolve(self.convolve(x, 'conv_1', padding=0), 'conv_2')
    x = self.convolve(functional.max_pool2d(x, 3, 2), 'conv_3')
    x = functional.max_pool2d(self.convolve(x, 'conv_4', padding=0), 3, 2)
    for block in ('mixed', 'mixed_1', 'mixed_2'):
      x = self.block(x, block, (2, 3))
    direct = self.convolve(x, 'mixed_3_conv', stride=2, padding=0)
    tower = self.convolve(self.tower(x, 'mixed_3_tower', 2), 'mixed_3_tower_conv_2', stride=2, padding=0)
    x = torch.cat([direct, tower, functional.max_pool2d(x, 3, 2)], 1)
    for block in ('mixed_4', 'mixed_5', 'mixed_6', 'mixed_7'):
      x = self.block(x, block, (3, 5))
    return x.mean((2, 3))

  def resize(self, x, axis):
    position = torch.arange(inception.SIZE) * torch.tensor(x.shape[axis] / inception.SIZE)
    low = position.long()
    share = (position - low).view([-1 if i == axis else 1 for i in range(4)])
    below, above = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp_max(x.shape[axis] - 1))
    return below + (above - below) * share

  def block(self, x, block, lengths):
    pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    branches = [
      self.convolve(x, f'{block}_conv'),
      self.tower(x, f'{block}_tower', lengths[0]),
      self.tower(x, f'{block}_tower_1', lengths[1]),
      self.convolve(pooled, f'{block}_tower_2_conv'),
    ]
    return torch.cat(branches, 1)

  def tower(self, x, tower, length):
    for i in range(length):
      x = self.convolve(x, f'{tower}_conv_{i}' if i else f'{tower}_conv')
    return x

  def convolve(self, x, name, *, stride=1, padding='same'):
    return functional.relu_(functional.conv2d(x, *self.layers[name], stride=stride, padding=padding))


def multiplications_per_image() -> int:
  """Of the convolutions up to 768, from shapes alone."""
  sides = {'conv': 149, 'conv_1': 147, 'conv_2': 147, 'conv_3': 73, 'conv_4': 71, 'mixed_3_conv': 17}
  sides['mixed_3_tower_conv_2'] = 17
  total = 0
  for group in inception.layers_up_to('768'):
    for name, shape in group.items():
      side = sides.get(name) or (17 if name.startswith(('mixed_4', 'mixed_5', 'mixed_6', 'mixed_7')) else 35)
      total += side**2 * int(np.prod(shape))
  return total


def contestants(params, images):
  """Name -> (function to time, work per call, unit)."""
  apply = jax.jit(lambda params, images: inception.InceptionV3('768').apply({'params': params}, images)['768'])
  on_device = jax.device_put(params)
  torch_images = torch.tensor(images.transpose(0, 3, 1, 2).copy())
  plain = TorchInception(params, torch.contiguous_format)
  channels_last = TorchInception(params, torch.channels_last)
  ours, theirs = np.asarray(apply(on_device, images)), channels_last(torch_images).numpy()
  difference = float(np.abs(ours - theirs).max() / theirs.max())
  assert difference < 1e-4, f'the two networks differ by {difference}'

  matrix = np.random.default_rng(0).standard_normal((MATRIX_SIZE, MATRIX_SIZE), np.float32)
  jax_matrix, torch_matrix = jnp.asarray(matrix), torch.tensor(matrix)
  product = jax.jit(jnp.matmul)
  gigaflops = 2 * MATRIX_SIZE**3 / 1e9
  count = len(images)
  return {
    'dcgan_jax': (lambda: apply(on_device, images).block_until_ready(), count, 'images/s'),
    'torch channels_last': (lambda: channels_last(torch_images), count, 'images/s'),
    'torch': (lambda: plain(torch_images), count, 'images/s'),
    'product, jax': (lambda: product(jax_matrix, jax_matrix).block_until_ready(), gigaflops, 'GFLOP/s'),
    'product, torch': (lambda: torch_matrix @ torch_matrix, gigaflops, 'GFLOP/s'),
  }


def measure(functions, rounds):
  """Work per second of every contestant, and per second of processor time, one of each per round, in turns."""
  rates = {name: ([], []) for name in functions}
  for i in range(rounds + 1):
    for name, (function, work, _) in functions.items():
      begin, begin_cores = time.perf_counter(), time.process_time()
      function()
      if i:  # The first round warms up.
        rates[name][0].append(work / (time.perf_counter() - begin))
        rates[name][1].append(work / (time.process_time() - begin_cores))
  return rates


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--weights', required=True, help='a .pth or .npz that reaches 768')
  parser.add_argument('--batch-size', type=int, default=32)
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--threads', type=int, default=os.cpu_count(), help="PyTorch's (%(default)s)")
  parser.add_argument('--output', type=pathlib.Path, default=ROOT / 'benchmarks' / 'results' / 'features.json')
  args = parser.parse_args()
  torch.set_num_threads(args.threads)
  weights = inception_weights.load_weights(args.weights)
  weights.require('768')
  images = np.random.default_rng(0).integers(0, 256, (args.batch_size, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)

  load = [os.getloadavg()[0]]
  functions = contestants(weights.params, images)
  rates = measure(functions, args.rounds)
  load.append(os.getloadavg()[0])

  table = {
    name: {
      'unit': functions[name][2],
      'median': float(np.median(rate)),
      'min': min(rate),
      'max': max(rate),
      'median_per_core_second': float(np.median(core_rate)),
    }
    for name, (rate, core_rate) in rates.items()
  }
  best = max(table[name]['median'] for name in ('torch', 'torch channels_last'))
  result = {
    'what': f'Inception features up to 768 of {IMAGE_SIZE}x{IMAGE_SIZE}x3 images, batch {args.batch_size}',
    'rates': table,
    'ratio_to_best_torch': table['dcgan_jax']['median'] / best,
    'gflop_per_image': 2 * multiplications_per_image() / 1e9,
    'rounds': args.rounds,
    'load_average_before_and_after': load,
    'machine': {'cores': os.cpu_count(), 'processor': platform.machine(), 'device': jax.devices()[0].device_kind},
    'versions': {'jax': jax.__version__, 'torch': torch.__version__, 'python': platform.python_version()},
  }
  print(f'{result["what"]}; {args.rounds} rounds in turns, load {load[0]:.1f} to {load[1]:.1f}')
  for name, row in table.items():
    spread = f'({row["min"]:.1f} to {row["max"]:.1f}; {row["median_per_core_second"]:.1f} per core)'
    print(f'  {name:20s} {row["median"]:8.1f} {row["unit"]}  {spread}')
  ours = table['dcgan_jax']['median'] * result['gflop_per_image']
  print(f'  {result["ratio_to_best_torch"]:.0%} of the better PyTorch; {ours:.0f} GFLOP/s')
  args.output.parent.mkdir(parents=True, exist_ok=True)
  args.output.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
  main()
