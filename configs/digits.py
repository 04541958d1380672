"""Handwritten digits at 16 x 16, which come with scikit-learn: nothing to download, minutes on a laptop.

python launch.py
"""

from configs import cifar10


def get_config():
  config = cifar10.get_config()
  config.steps = 2000
  config.batch_size = 64
  config.data.source = 'digits'
  config.data.image_size = 16
  config.generator.widths = (128, 64)
  config.discriminator.widths = (64, 128)
  config.generator.averaging.half_life = 10_000.0  # images; the run sees 128,000
  config.logging.samples_every = 50
  config.logging.checkpoint_every = 500
  return config
