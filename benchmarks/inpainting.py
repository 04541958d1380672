"""What a run's inpainting is worth: PSNR and SSIM inside the hole, beside fillings that need no network.

    python benchmarks/inpainting.py --workdir RUN [--data-dir TFDS] [--num 64] [--name cifar10]

Held-out images of the run's data, their test split unless --split says another, with three masks: the central square of
half the side, the left half, and 80 % of the pixels. The fillings:

  best, best unblended       the completion of lowest loss, with and without Poisson blending
  best of 4 by the truth     of the four completions the one nearest to the truth, which nobody knows who has a hole
  mean                       of the known pixels of the image
  harmonic                   Poisson blending of nothing: what of the first row is not the generator's
  biharmonic                 scikit-image's inpaint_biharmonic
  bicubic                    SciPy's piecewise cubic interpolation, the nearest known pixel outside their hull
  nearest, nearest blended   the training image nearest in the known pixels, of all of them

Everything but the training images is a function of the seed. Writes benchmarks/results/inpainting_NAME_cpu.json and
docs/images/inpainting_NAME.png.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
from scipy.interpolate import griddata
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import inpaint_biharmonic

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import contest  # noqa: E402

import dcgan_jax  # noqa: E402
from dcgan_jax.applications import inpainting  # noqa: E402
from dcgan_jax.kinds import image as images  # noqa: E402

SHOWN = ('best', 'best unblended', 'second', 'third', 'biharmonic', 'nearest blended')
ROWS = 4
COMPLETIONS = 4


def mean(x, missing):
  """The mean colour of the known pixels, [N, H, W, C]."""
  return np.stack([np.broadcast_to(y[~m].mean(axis=0), y.shape) for y, m in zip(x, missing, strict=True)])


def harmonic(x, missing):
  """The membrane stretched over the hole."""
  return np.stack([inpainting.blend(*parts) for parts in zip(x, np.zeros_like(x), missing, strict=True)])


def biharmonic(x, missing):
  """The smoothest surface through the known pixels."""
  fill = lambda y, m: 255 * inpaint_biharmonic(np.where(m[..., None], 0, y) / 255, m.copy(), channel_axis=-1)
  return np.stack([fill(y, m) for y, m in zip(x, missing, strict=True)])


def bicubic(x, missing):
  """Cubic triangles (Clough and Tocher) between the known pixels."""

  def fill(y, m):
    known, hole = np.argwhere(~m), np.argwhere(m)
    inside, outside = (griddata(known, y[~m].astype(float), hole, method=method) for method in ('cubic', 'nearest'))
    filled = y.astype(float)
    filled[m] = np.where(np.isnan(inside), outside, inside)
    return filled

  return np.stack([fill(y, m) for y, m in zip(x, missing, strict=True)])


def nearest(x, missing, train, *, block=5000):
  """The training images with the smallest squared distance in the known pixels."""
  known = np.broadcast_to(~missing[..., None], x.shape).reshape(len(x), -1).astype(np.float32)
  masked = known * x.reshape(len(x), -1)
  distances = []
  for first in range(0, len(train), block):
    rows = train[first : first + block].reshape(-1, known.shape[1]).astype(np.float32)
    # |x - t|^2 over the known pixels, less what does not depend on t.
    distances.append(known @ (rows**2).T - 2 * masked @ rows.T)
  return train[np.concatenate(distances, axis=1).argmin(axis=1)]


def scores(x, filled, missing):
  """PSNR in dB, at most 60, and the mean of the SSIM map, both inside the hole, of each image, [N, 2]."""
  rows = []
  for y, f, m in zip(x, filled, missing, strict=True):
    _, ssim = structural_similarity(y, f, channel_axis=-1, full=True, data_range=255)
    with np.errstate(divide='ignore'):  # Holes in black are filled without any error.
      psnr = peak_signal_noise_ratio(y[m], f[m], data_range=255)
    rows.append((min(psnr, 60), ssim[m].mean()))
  return np.array(rows)


def fillings(run, x, missing, train, args):
  """By name, the filled images, uint8 [N, H, W, C], and the processor seconds that each took."""
  filled, seconds = {}, {}

  def timed(name, function):
    start = time.process_time()
    result = function()
    seconds[name] = round(time.process_time() - start, 1)
    return result

  into_hole = lambda filling: np.where(missing[..., None], np.clip(np.round(filling), 0, 255), x).astype(np.uint8)
  found = timed('best', lambda: inpainting.inpaint(
    run, x, missing, completions=COMPLETIONS, restarts=args.restarts, steps=args.steps, seed=args.seed
  ))  # fmt: skip
  filled |= {'best': found.images[:, 0], 'best unblended': found.unblended[:, 0]}
  psnr = np.stack([scores(x, found.images[:, k], missing)[:, 0] for k in range(COMPLETIONS)], axis=1)
  filled['best of 4 by the truth'] = found.images[np.arange(len(x)), psnr.argmax(axis=1)]
  for function in (mean, harmonic, biharmonic, bicubic):
    name = function.__name__
    filled[name] = into_hole(timed(name, lambda function=function: function(x, missing)))
  neighbours = timed('nearest', lambda: nearest(x, missing, train))
  filled['nearest'] = into_hole(neighbours)
  blended = [inpainting.blend(*parts) for parts in zip(x, neighbours, missing, strict=True)]
  filled['nearest blended'] = into_hole(np.stack(blended))
  return filled, seconds, {'second': found.images[:, 1], 'third': found.images[:, 2]}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--data-dir')
  parser.add_argument('--split', default='test')
  parser.add_argument('--num', type=int, default=64)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--restarts', type=int, default=8)
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--name', default='cifar10')
  args = parser.parse_args()
  run = dcgan_jax.load(args.workdir, data_dir=args.data_dir)
  x, _ = run.labelled(split=args.split, num=args.num, seed=args.seed)
  train, _ = run.labelled(split='train')
  masks = {name: np.broadcast_to(mask(run.shape), x.shape[:3]) for name, mask in inpainting.MASKS.items()}
  masks['random:0.8'] = inpainting.random(run.shape, len(x), share=0.8, seed=args.seed)
  # Where the data lie is this machine's affair.
  config = {key: value for key, value in run.config.to_dict().items() if key != 'data'}
  result = {'command': ' '.join(['python', *sys.argv]), 'machine': contest.machine(), 'config': config}
  result |= {'step': run.step, 'num': args.num, 'seed': args.seed, 'restarts': args.restarts, 'steps': args.steps}
  result['masks'], sheet = {}, []
  for mask, missing in masks.items():
    filled, seconds, others = fillings(run, x, missing, train, args)
    rows = {name: scores(x, filling, missing) for name, filling in filled.items()}
    result['masks'][mask] = {
      name: {
        **dict(zip(('psnr', 'ssim'), values.mean(axis=0).round(3).tolist(), strict=True)),
        **dict(zip(('psnr_error', 'ssim_error'), _standard_error(values), strict=True)),
        **({'processor_seconds': seconds[name]} if name in seconds else {}),
      }
      for name, values in rows.items()
    }
    for name, row in result['masks'][mask].items():
      print(f'{mask:<12}{name:<24}{row["psnr"]:6.2f} dB {row["ssim"]:6.3f}', flush=True)
    shown = np.stack([(filled | others)[name][:ROWS] for name in SHOWN], axis=1)
    sheet.append(inpainting.sheet(x[:ROWS], missing[:ROWS], shown))
  (ROOT / 'benchmarks' / 'results' / f'inpainting_{args.name}_cpu.json').write_text(json.dumps(result, indent=2) + '\n')
  picture = np.concatenate(sheet)
  # Twice the size, so that a page shows them.
  images.save_png(ROOT / 'docs' / 'images' / f'inpainting_{args.name}.png', picture.repeat(2, 0).repeat(2, 1))


def _standard_error(values):
  return (values.std(axis=0, ddof=1) / np.sqrt(len(values))).round(3).tolist()


if __name__ == '__main__':
  main()
