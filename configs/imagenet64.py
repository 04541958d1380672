"""DCGAN on ImageNet at 64 x 64.

    python launch.py --config configs/imagenet64.py --workdir runs/imagenet64

1,281,167 images, 15.7 GB as pixels: streamed, unless the device has the memory and `data.resident_megabytes` says so.
"""

from configs import celeb_a


def get_config():
  config = celeb_a.get_config('paper')
  config.steps = 100_000  # ten epochs
  config.data.source = 'tfds:imagenet_resized/64x64'
  config.data.crop = None
  return config
