"""Images from a trained generator: a function of (seed, index), whatever the batch size."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from flax import linen as nn

from dcgan_jax.errors import ConfigError, counted
from dcgan_jax.kinds import image as images

# Pixels of the side of a grid; a GIF takes 65,535 with what lies between images, and viewers less.
_LONGEST_SIDE = 16_384


def compile_generate(generator: nn.Module) -> Callable:
  """Makes generate(variables, z [B, Z], labels [B] or None) -> examples in [-1, 1], [B, *shape].

  Normalisation is by the moving statistics.
  """
  return jax.jit(lambda variables, z, labels=None: generator.apply(variables, z, labels, train=False))


def draw_latents(latents: Callable, *, num: int, seed: int, first: int = 0) -> np.ndarray:
  """z of samples first .. first + num - 1, [num, Z]: sample i depends on the seed and i alone.

  Args:
    latents: keys [B] -> z [B, Z].
    num: how many.
    seed: of the draw, from 0.
    first: index of the first.
  """
  indices = np.arange(first, first + num).astype(np.uint32)
  return np.asarray(latents(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), indices)))


def no_labels(indices: np.ndarray) -> None:
  """Of an unconditional generator's samples."""
  del indices


def every_class(indices: np.ndarray, *, num_classes: int) -> np.ndarray:
  """Each class in turn: sample i has label i mod num_classes, int32."""
  return (indices % num_classes).astype(np.int32)


def one_class(indices: np.ndarray, *, label: int) -> np.ndarray:
  """The same label for all samples, int32."""
  return np.full(indices.shape, label, np.int32)


def in_proportion(counts: np.ndarray, num: int) -> np.ndarray:
  """Labels of samples 0 .. num - 1 that take each class as often as a data set has it, int32 [num].

  Example k of class c comes at the time (k + 1/2) / counts[c]; times that are equal follow the number of the class.
  So a label depends on the index and the counts alone, no class is ever far from its share, and equal counts give each
  class in turn, as `every_class` does.

  Args:
    counts: number of examples of each class, [K], not all 0.
    num: number of labels.
  """
  share = counts / counts.sum()
  enough = np.where(counts > 0, np.floor(share * (num + len(counts))).astype(int) + 2, 0)
  labels = np.repeat(np.arange(len(counts)), enough)
  places = np.arange(len(labels)) - np.repeat(np.cumsum(enough) - enough, enough)
  return labels[np.lexsort((labels, (places + 0.5) / counts[labels]))][:num].astype(np.int32)


def given(indices: np.ndarray, *, labels: np.ndarray) -> np.ndarray:
  """The labels of a list, int32; past its end, where a batch is filled up, the last one."""
  return labels[np.minimum(indices, len(labels) - 1)]


def draw(
  generate: Callable,
  variables: dict,
  latents: Callable,
  *,
  num: int,
  seed: int,
  labels: Callable[[np.ndarray], np.ndarray | None] = no_labels,
  batch_size: int = 64,
) -> np.ndarray:
  """Samples, uint8 [num, *shape].

  Args:
    generate: as `compile_generate` makes it.
    variables: of the generator.
    latents: keys [B] -> z [B, Z].
    num: how many.
    seed: of the draw, from 0.
    labels: indices of samples [B] -> their labels, int32 [B].
    batch_size: examples at a time; changes the result by rounding alone. The last batch is filled up, so that one
      program is compiled.
  """
  batches = []
  for first in range(0, num, batch_size):
    z = draw_latents(latents, num=batch_size, seed=seed, first=first)
    batches.append(images.to_uint8(generate(variables, z, labels(np.arange(first, first + batch_size)))))
  return np.concatenate(batches)[:num]


def is_image(shape: tuple[int, ...]) -> bool:
  """Whether an example of this shape is a grey or an RGB image: [H, W, 1 or 3]."""
  return len(shape) == 3 and shape[-1] in (1, 3)


def is_picture(shape: tuple[int, ...]) -> bool:
  """Whether an example of this shape can be drawn: [H, W, 1, 3 or 4], where 4 is RGB and opacity."""
  return len(shape) == 3 and shape[-1] in (1, 3, 4)


def columns(
  num_classes: int | None, num: int, shape: tuple[int, ...], names: Sequence[str] | None = None
) -> int | Sequence[str] | None:
  """Columns of a grid of samples whose classes come in turn: one for each class where these and the rows fit.

  Args:
    num_classes: None of an unconditional generator.
    num: of samples.
    shape: of an example.
    names: of the classes, to be drawn over the columns.

  Returns:
    What `images.grid` takes; None for a grid as square as it can be.
  """
  if num_classes is None or num_classes > num or not is_picture(shape):
    return None
  sides = shape[0] * math.ceil(num / num_classes), shape[1] * num_classes
  return (names or num_classes) if max(sides) <= _LONGEST_SIDE else None


def check_destination(path: pathlib.Path, shape: tuple[int, ...], *, num: int) -> None:
  """Raises ConfigError where `save` could not write `num` examples of a shape, or would mix them with other images.

  Args:
    path: as of `save`; a folder may hold images that the new ones replace, and no others.
    shape: shape of an example.
    num: number of examples.
  """
  if path.suffix not in ('.png', '.npz', ''):
    raise ConfigError(f"Cannot write samples as '{path.suffix}'; --out is a .png (grid), an .npz or a folder of PNGs")
  if path.suffix != '.npz' and not is_picture(shape):
    raise ConfigError(f'Examples of shape {shape} are no images; write them to an .npz')
  if path.suffix or not path.is_dir():
    return
  own = {_file_name(i) for i in range(num)}
  others = sorted(p.name for p in path.iterdir() if p.suffix.lower() in images.SUFFIXES and p.name not in own)
  if others:
    raise ConfigError(
      f'{path} holds {counted(len(others), "other image")}, such as {others[0]}; expected a new or empty folder, '
      f'or one of {counted(num, "earlier sample")} to replace; give another --out, or remove the images first'
    )


def _file_name(index: int) -> str:
  return f'{index:06d}.png'


def save(
  path: pathlib.Path,
  examples: np.ndarray,
  *,
  columns: int | Sequence[str] | None = None,
  origin: Mapping[str, str] | None = None,
) -> None:
  """Writes uint8 examples [N, *shape] as the path says: a PNG grid, an .npz ('images'), or a folder of PNGs.

  Args:
    path: its suffix says which.
    examples: uint8 [N, *shape].
    columns: of a grid, or their titles; None makes it as square as it can be.
    origin: what pictures say of themselves, as `images.origin` makes it; those of a folder also say their 'sample',
      which is their index. None: nothing.

  Raises:
    ConfigError: a suffix that is none of these, pictures asked of examples that are no images, or a folder that holds
      other images.
  """
  check_destination(path, examples.shape[1:], num=len(examples))
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == '.npz':
    np.savez_compressed(path, images=examples)
  elif path.suffix == '.png':
    images.save_png(path, images.grid(examples, columns=columns), origin=origin)
  else:
    path.mkdir(exist_ok=True)
    for i, example in enumerate(examples):
      images.save_png(path / _file_name(i), example, origin=origin and {**origin, 'sample': str(i)})
