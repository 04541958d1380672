"""The command line of dcgan_jax; `python launch.py --help` says what it can do."""

import sys

from dcgan_jax.cli import main

if __name__ == '__main__':
  sys.exit(main())
