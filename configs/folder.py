"""DCGAN on a folder of your own images at 64 x 64.

    python launch.py --config configs/folder.py --config.data.source=folder:/data/faces --workdir runs/faces

Searches sub-folders; cuts the central square out of each image and resizes it. For 128 x 128 add a width to each
network: --config.data.image_size=128 --config.generator.widths='(1024, 512, 256, 128, 64)'
--config.discriminator.widths='(64, 128, 256, 512, 1024)'.
"""

from configs import cifar10


def get_config():
  config = cifar10.get_config('pytorch')
  config.data.source = 'folder:data/images'
  config.data.flip = True  # photographs rarely mind; letters and digits do
  return config
