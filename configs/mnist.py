"""DCGAN on MNIST at 28 x 28: 7 x 7 twice doubled.

    python launch.py --config configs/mnist.py --workdir runs/mnist

Variant `tensorflow`: the networks and settings of the TensorFlow DCGAN tutorial, with dropout in the discriminator.
"""

from configs import cifar10


def get_config(variant=''):
  config = cifar10.reference()
  config.steps = 20_000
  config.data.source = 'tfds:mnist'
  config.data.image_size = 28
  config.generator.widths = (128, 64)
  config.discriminator.widths = (64, 128)
  VARIANTS[variant](config)
  return config


def tensorflow(config):
  config.steps = 11_700  # 50 epochs
  config.batch_size = 256
  config.initialization = 'keras'
  config.batch_norm.update(decay=0.99, epsilon=1e-3)
  config.reuse_fakes = True
  config.generator.update(
    widths=(256, 128, 64), strides=(1, 2, 2), kernel_size=5, negative_slope=0.3, norm_before_reshape=True, bias=False
  )
  config.discriminator.update(kernel_size=5, negative_slope=0.3, normalization='none', dropout=0.3)
  for player in (config.generator, config.discriminator):
    player.optimizer.update(learning_rate=1e-4, b1=0.9, epsilon=1e-7)


VARIANTS = {'': lambda config: None, 'tensorflow': tensorflow}
