"""DCGAN on Fashion-MNIST at 28 x 28.

python launch.py --config configs/fashion_mnist.py --workdir runs/fashion_mnist
"""

from configs import mnist


def get_config():
  config = mnist.get_config()
  config.data.source = 'tfds:fashion_mnist'
  return config
