"""Draws what `launch.py evaluate` wrote at several steps as curves. Needs matplotlib.

python benchmarks/plot_metrics.py benchmarks/results/cifar10_evaluations --out docs/images/metrics.png
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot

PANELS = {'Fréchet distance': ('fid',), 'kernel distance': ('kid',), 'shares': ('_precision', '_recall', '_coverage')}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', type=pathlib.Path, help='with the JSON files of one run and protocol')
  parser.add_argument('--out', type=pathlib.Path, required=True, help='a .png')
  args = parser.parse_args()
  reports = [json.loads(path.read_text()) for path in sorted(args.folder.glob('*.json'))]
  steps = [report['protocol']['step'] for report in reports]
  names = [name for name in reports[0] if not name.endswith('_deviation')]

  figure, axes = pyplot.subplots(1, len(PANELS), figsize=(10, 3), layout='constrained')
  for axis, (title, parts) in zip(axes, PANELS.items(), strict=True):
    for name in [name for name in names if any(part in name for part in parts)]:
      axis.plot(steps, [report[name] for report in reports], marker='o', label=name)
    axis.set(title=title, xlabel='step', ylim=(0, None))
    axis.legend(fontsize='x-small')
  figure.savefig(args.out, dpi=110)


if __name__ == '__main__':
  main()
