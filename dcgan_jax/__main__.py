"""`python -m dcgan_jax` is `python launch.py`."""

import sys

from dcgan_jax.cli import main

if __name__ == '__main__':
  sys.exit(main())
