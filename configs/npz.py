"""DCGAN on arrays of your own: an .npz with `images`, uint8 [N, H, W, C], and perhaps `labels` [N].

    python launch.py --config configs/npz.py --config.data.source=npz:/data/cells.npz --workdir runs/cells

Other shapes train as well, such as sound [N, 16384, 1] or video [N, 16, 64, 64, 3]: one width for each halving.
"""

from configs import cifar10


def get_config():
  config = cifar10.reference()
  config.data.source = 'npz:data/images.npz'
  config.data.image_size = None  # as the arrays are
  return config
