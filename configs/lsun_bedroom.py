"""DCGAN on LSUN bedrooms at 64 x 64, the paper's own data set and networks.

    python launch.py --config configs/lsun_bedroom.py --workdir runs/lsun_bedroom

Three million images: 46 GB to download, streamed from disk. Preparing them needs tensorflow_io, which exists for
Python up to 3.12 only; configs/folder.py trains the same from a folder of images.
"""

from configs import celeb_a


def get_config():
  config = celeb_a.get_config('paper')
  config.steps = 24_000  # one epoch; the paper shows one and five
  config.data.source = 'tfds:lsun/bedroom'
  config.data.crop = None
  return config
