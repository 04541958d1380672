"""DCGAN on CelebA at 64 x 64, the networks of the PyTorch example.

    python launch.py --config configs/celeb_a.py --workdir runs/celeb_a

TensorFlow Datasets fetches the images from Google Drive, whose quota is often used up; configs/folder.py trains the
same from `img_align_celeba/`. Variant `paper`: the networks of Radford et al. 2016.
"""

from configs import cifar10


def get_config(variant=''):
  config = cifar10.get_config('pytorch')
  config.steps = 80_000  # 25 epochs
  config.data.source = 'tfds:celeb_a'
  config.data.crop = 160  # of 218 x 178: the face with some hair
  config.data.resident_megabytes = 4000  # 162,770 images of 64 x 64 are 2.0 GB
  VARIANTS[variant](config)
  return config


def paper(config):
  config.steps = 32_000  # 25 epochs of batches of 128
  config.batch_size = 128
  config.reuse_fakes = False
  cifar10.paper(config)
  config.generator.widths = (1024, 512, 256, 128)
  config.discriminator.widths = (128, 256, 512, 1024)


VARIANTS = {'': lambda config: None, 'paper': paper}
