"""Images that a command is given: files, folders, or so many of a split of the run's data."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from dcgan_jax.errors import DataError

FORMS = 'FILE|FOLDER|SPLIT:NUM'


def add_images(parser: argparse.ArgumentParser) -> None:
  """Adds --image, whose values are those that `read` takes, and --data-dir for the last kind of them."""
  parser.add_argument(
    '--image', action='append', required=True, metavar=FORMS, dest='sources',
    help="images, cut and resized to the run's shape; or that many of a split of its data, drawn by --seed, such as "
    'test:8; may be repeated',
  )  # fmt: skip
  parser.add_argument(
    '--data-dir',
    help='directory of TensorFlow Datasets, or path of the folder or .npz, where it has moved; for --image SPLIT:NUM',
  )


def check(sources: Sequence[str]) -> None:
  """Raises DataError where one is neither a file, nor a folder, nor SPLIT:NUM."""
  for source in sources:
    if _split(source) is None and not pathlib.Path(source).exists():
      raise DataError(
        f'There is no image file or folder {source}; images of a split are given as SPLIT:NUM, such as train:4'
      )


def read(restored: Any, sources: list[str], seed: int):
  """Images of all sources, uint8 [N, *shape], and their names; files that cannot be read are left out and named."""
  from dcgan_jax.kinds import image as images

  found = [item for source in sources for item in _find(restored, source, seed)]
  x, found = images.read_readable(
    found, lambda item: restored.read_images([item[0]])[0] if item[1] is None else item[1]
  )
  return x, [str(name) for name, _ in found]


def _split(source: str) -> tuple[str, int] | None:
  """('test', 8) of 'test:8', or None; a file of that name is a file."""
  split, colon, number = source.rpartition(':')
  is_split = colon and number.isdecimal() and int(number) > 0 and not pathlib.Path(source).exists()
  return (split, int(number)) if is_split else None


def _find(restored: Any, source: str, seed: int) -> list[tuple[Any, Any]]:
  """Pairs of a path and None, of a file or a folder, or of a name and an image, uint8 [*shape], of a split."""
  from dcgan_jax.kinds import image as images

  wanted = _split(source)
  if wanted is None:
    return [(path, None) for path in images.find([pathlib.Path(source)])]
  split, number = wanted
  x, _ = restored.examples(split=split, num=number, seed=seed)
  if len(x) < number:
    raise DataError(f'Split {split!r} holds {len(x):,} examples, fewer than the {number:,} asked for')
  return [(f'{split} image {i}', image) for i, image in enumerate(x)]
