"""Where the program keeps what it can make or download again."""

import functools
import pathlib
import tempfile

import platformdirs


def directory() -> pathlib.Path:
  """Directory of what this program can make or download again: ~/.cache/dcgan_jax on Linux, or in XDG_CACHE_HOME.

  Where the user has no home, as in some containers, it is a temporary directory that ends with the process.
  """
  try:
    found = platformdirs.user_cache_path('dcgan_jax', appauthor=False)
  except RuntimeError:  # Later versions of platformdirs raise it, earlier ones leave the '~'.
    found = pathlib.Path('~')
  return temporary() if found.parts[0] == '~' else found


def temporary() -> pathlib.Path:
  """A directory that ends with the process."""
  return pathlib.Path(_temporary().name)


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
  return tempfile.TemporaryDirectory(prefix='dcgan_jax_')
