"""Pixels: uint8 <-> [-1, 1], read, fit, grid, PNG, GIF, WebP, and their origin. The only importer of Pillow."""

import collections
import functools
import io
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from dcgan_jax.errors import ConfigError, DataError, say
from dcgan_jax.kinds.pixel_budget import PixelBudget

SUFFIXES = ('.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
# Decoders of formats nobody asked for are where Pillow's security holes have been.
_FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
# The suffixes of formats whose pixels may have more.
DEEP_SUFFIXES = ('.pgm', '.png', '.ppm', '.tif', '.tiff')
SET_RANGE = (
  'save it with 8 bits, or train with config.data.range set to the values of black and white, such as (0, 4095)'
)
# Decoding takes up to 12 bytes a pixel, so all threads together take about 2 GB at most.
_budget = PixelBudget(2 * 89_478_485)
LONGEST_SIDE_OF_GIF = 65_535  # pixels
# Of the titles of columns: pixels, and characters.
_TITLE_HEIGHT, _LONGEST_TITLE = 12, 20
_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}
# IPTC's terms for what a trained model has made, and for what it has made beside or in real images.
_SYNTHETIC = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'
_COMPOSITE = 'http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia'
_XMP = (
  '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
  '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
  'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
  '<xmp:CreatorTool>dcgan_jax</xmp:CreatorTool><Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>'
  '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def to_float(examples):
  """Scales uint8 examples [...] to float32 in [-1, 1]; NumPy and JAX arrays alike."""
  return examples.astype('float32') / 127.5 - 1.0


def to_uint8(examples) -> np.ndarray:
  """Rounds examples in [-1, 1], [...], to uint8; values outside are clipped."""
  return np.round((np.clip(np.asarray(examples, np.float32), -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)


def find(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """The files that are named, and all images under the folders that are, by their suffixes and in order.

  Raises:
    DataError: no such file or folder, or no images under a folder.
  """
  files = []
  for path in paths:
    if not (path.exists() or path.is_symlink()):
      raise DataError(f'There is no image file or folder {path}')
    found = sorted(p for p in path.rglob('*') if p.is_file()) if path.is_dir() else []
    inside = [p for p in found if p.suffix.lower() in SUFFIXES] if path.is_dir() else [path]
    if not inside:
      raise DataError(f'No images in {path}; expected files named {" ".join(SUFFIXES)}')
    files += inside
    warn_of_others(path, [p.name for p in found])
  return files


def warn_of_others(folder: pathlib.Path, names: Iterable[str]) -> None:
  """Says on stderr, once, how many of the files in a folder are not read, by suffix; hidden ones do not count."""
  suffixes = [pathlib.PurePath(name).suffix.lower() for name in names if not name.startswith('.')]
  counts = collections.Counter(suffix or 'no suffix' for suffix in suffixes if suffix not in SUFFIXES)
  if counts:
    kinds = ', '.join(
      f'{suffix if suffix.isprintable() else ascii(suffix)} {number:,}' for suffix, number in counts.most_common(5)
    )
    more = ', ...' * (len(counts) > 5)
    warn_once(f'WARNING: {counts.total():,} other files in {folder} are left out ({kinds}{more})')


@functools.cache
def warn_once(line: str) -> None:
  """Prints a line on stderr, unless it was."""
  say(line, sys.stderr)


def read(
  file: pathlib.Path | bytes,
  *,
  channels: int = 3,
  size: int | tuple[int, int] | None = None,
  crop: int | None = None,
  ground: str = 'white',
  value_range: tuple[float, float] | None = None,
) -> np.ndarray:
  """Decodes an image file.

  Args:
    file: a path, or the bytes of an encoded image. Of an animation the first frame is read.
    channels: 1 for grey, 3 for RGB; other colour modes are converted, transparency is laid on the ground. 4 for RGB and
      opacity.
    size: side, or height and width, that the image is cut and resized to, as `fit` does; None leaves it as it is.
    crop: as of `fit`.
    ground: color behind transparent pixels, a name of CSS or #rrggbb.
    value_range: values of black and white in images of more than 8 bits a channel, or of floats; those of 8 bits stay
      as they are. None refuses such images.

  Returns:
    uint8 [H, W, channels], turned upright as the file's EXIF orientation says.

  Raises:
    DataError: not an image of a known format, truncated, larger than Pillow's bomb limit, or of more than 8 bits and no
      value_range.
  """
  try:
    with _open(file) as image, _budget.holding(math.prod(image.size)):
      image.load()
      image = ImageOps.exif_transpose(image)
      if _has_levels(image):
        image = Image.fromarray(_to_8_bits(np.asarray(image), value_range))
      if channels != 4 and image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, ground_color(ground)), image)
      array = np.asarray(image.convert(_MODES[channels])).reshape(image.height, image.width, channels)
      return array if size is None else fit(array, size, crop=crop)
  except Exception as error:  # Decoders raise what they like at damaged bytes.
    raise _unreadable(file, error) from error


def _open(file: pathlib.Path | bytes) -> Image.Image:
  """Opens an image, whose pixels are not read yet."""
  if isinstance(file, pathlib.Path) and file.exists() and not file.is_file():
    raise ValueError('it is no regular file')  # Reading a pipe would wait without end.
  image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=_FORMATS)
  # Pillow itself lets twice as many pass, with a warning.
  if math.prod(image.size) > Image.MAX_IMAGE_PIXELS:
    image.close()
    raise ValueError(f'{image.width} x {image.height} pixels could be a decompression bomb')
  return image


def _unreadable(file: pathlib.Path | bytes, error: Exception) -> DataError:
  where = 'these bytes' if isinstance(file, bytes) else f'{file}'
  return DataError(f'Cannot read {where} as an image ({" ".join(str(error).split())}).')


def _has_levels(image: Image.Image) -> bool:
  """Whether the pixels are floats, or integers of more than 8 bits, which Pillow would clip at 255."""
  return image.mode == 'F' or image.mode.startswith('I')


def _to_8_bits(values: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
  """Scales values so that the range becomes 0 to 255; values outside are clipped."""
  if value_range is None:
    bits = 'floats' if np.issubdtype(values.dtype, np.floating) else 'of more than 8 bits'
    raise ValueError(f'its pixels are {bits}, {values.min():g} to {values.max():g}; {SET_RANGE}')
  if not np.isfinite(values).all():
    raise ValueError('some of its pixels are no finite numbers')
  low, high = value_range
  if low >= high:
    raise ValueError(f'all of its pixels are {low:g}')
  return np.round((values.astype(np.float64) - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)


def depth(file: pathlib.Path) -> str:
  """What the pixels of an image are, by its header: 'floats', 'levels' (integers of more than 8 bits), 'colors' (of 16
  bits a channel, of which Pillow reads the high bytes alone), or 'bytes', also where it cannot be read."""
  try:
    with _open(file) as image:
      if image.mode == 'F':
        return 'floats'
      if _has_levels(image):
        return 'levels'
      tiles = image.tile  # pyright: ignore[reportAttributeAccessIssue]
      return 'colors' if any(';16' in str(tile.args) for tile in tiles) else 'bytes'
  except Exception:  # Whoever reads it says what is wrong with it.
    return 'bytes'


def range_of(file: pathlib.Path) -> tuple[float, float] | None:
  """The lowest and the highest value of an image of 'levels'; None of any other, and where it is unreadable."""
  if depth(file) != 'levels':
    return None
  try:
    with _open(file) as image, _budget.holding(math.prod(image.size)):
      values = np.asarray(image)
      return float(values.min()), float(values.max())
  except Exception:
    return None


def ground_color(name: str) -> tuple[int, int, int]:
  """The RGB values of a color behind transparent pixels.

  Raises:
    ConfigError: no name of a color.
  """
  try:
    return ImageColor.getrgb(name)[:3]
  except ValueError as error:
    raise ConfigError(f"config.data.ground is '{name}'; expected a color such as white, black or '#808080'") from error


def read_readable(paths: Sequence[Any], read_one: Callable[[Any], np.ndarray]) -> tuple[np.ndarray, list[Any]]:
  """Reads files, and names on stderr those that cannot be read.

  Args:
    paths: of the files, or whatever `read_one` takes; at least one.
    read_one: path -> image.

  Returns:
    The images, [N, ...], and their paths.

  Raises:
    DataError: no file can be read; the reason is that of the first.
  """
  found, read, errors = [], [], []
  for path in paths:
    try:
      found.append(read_one(path))
      read.append(path)
    except DataError as error:
      errors.append(error)
  if not found:
    raise errors[0]
  for error in errors:
    say(f'WARNING: {error} It is left out.', sys.stderr)
  return np.stack(found), read


def to_grey(examples: np.ndarray) -> np.ndarray:
  """RGB images, uint8 [..., H, W, 3], as grey ones, [..., H, W, 1], by the weights with which files are converted."""
  grey = Image.fromarray(examples.reshape(-1, *examples.shape[-2:])).convert('L')
  return np.asarray(grey).reshape(*examples.shape[:-1], 1)


def fit(image: np.ndarray, size: int | tuple[int, int], *, crop: int | None = None) -> np.ndarray:
  """Cuts the central part of the wanted proportions out of an image and resizes it.

  Args:
    image: uint8 [H, W, C], C 1 or 3.
    size: side of the result in pixels, or its height and width.
    crop: side of the central square in pixels (108 is customary for CelebA); None takes the largest part.

  Returns:
    uint8 [height, width, C], by Pillow's antialiased bicubic filter; the image itself where nothing changes.
  """
  height, width, channels = image.shape
  rows, columns = (size, size) if isinstance(size, int) else size
  top, left, tall, wide = central_part(height, width, (rows, columns), crop=crop)
  part = image[top : top + tall, left : left + wide]
  if (tall, wide) == (rows, columns):
    return part
  resized = Image.fromarray(part.squeeze(-1) if channels == 1 else part).resize(
    (columns, rows), Image.Resampling.BICUBIC
  )
  return np.asarray(resized).reshape(rows, columns, channels)


def central_part(
  height: int, width: int, size: tuple[int, int], *, crop: int | None = None
) -> tuple[int, int, int, int]:
  """Top, left, height and width of what `fit` cuts out of an image for a size: the largest part of its proportions."""
  rows, columns = size
  if rows == columns:
    tall = wide = min(height, width, crop or max(height, width))
  elif height * columns <= width * rows:
    tall, wide = height, max(1, round(height * columns / rows))
  else:
    tall, wide = max(1, round(width * rows / columns)), width
  return (height - tall) // 2, (width - wide) // 2, tall, wide


def grid(examples: np.ndarray, *, columns: int | Sequence[str] | None = None, gap: int = 2) -> np.ndarray:
  """Lays images out in rows on grey.

  Args:
    examples: uint8 [N, H, W, C] with N at least 1.
    columns: images in a row, or the titles of the columns; None makes the grid as square as it can be.
    gap: pixels between images and around them.

  Returns:
    uint8 [rows * (H + gap) + gap, columns * (W + gap) + gap, C], and higher by what the titles take.
  """
  number, height, width, channels = examples.shape
  titles = [] if columns is None or isinstance(columns, int) else columns
  columns = len(titles) or columns or math.ceil(math.sqrt(number))
  rows = math.ceil(number / columns)
  cells = np.full((rows * columns, height + gap, width + gap, channels), 128, np.uint8)
  cells[:number, gap:, gap:] = examples
  cells = cells.reshape(rows, columns, *cells.shape[1:]).transpose(0, 2, 1, 3, 4)
  sheet = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
  sheet = np.pad(sheet, ((0, gap), (0, gap), (0, 0)), constant_values=128)
  return np.concatenate([_heading(titles, width + gap, sheet.shape), sheet]) if titles else sheet


def _heading(titles: Sequence[str], step: int, shape: tuple[int, ...]) -> np.ndarray:
  """Titles over columns that are `step` pixels apart, uint8 [h, *shape[1:]]; upwards where they do not fit across."""
  font = ImageFont.load_default()
  texts = [title.encode('ascii', 'replace').decode()[:_LONGEST_TITLE] for title in titles]
  longest = math.ceil(max(font.getlength(text) for text in texts)) + 2
  heading = Image.new('L', (shape[1], _TITLE_HEIGHT if longest <= step else longest), 128)
  for i, text in enumerate(texts):
    drawn = Image.new('L', (longest, _TITLE_HEIGHT), 128)
    ImageDraw.Draw(drawn).text((1, 0), text, fill=255, font=font)
    if longest > step:
      drawn = drawn.rotate(90, expand=True, fillcolor=128)
    heading.paste(drawn.crop((0, 0, min(step, drawn.width), drawn.height)), (i * step + 2, 0))
  opaque = np.full((*heading.size[::-1], shape[2]), 255, np.uint8)
  opaque[..., :3] = np.asarray(heading)[..., np.newaxis]
  return opaque


def origin(*, run: str, step: int | str, seed: int | None = None, real: str | None = None) -> dict[str, str]:
  """What a picture of a generator's samples says of itself: that it is synthetic, and from where.

  The same arguments make the same words: there is no date in them, nor a path.

  Args:
    run: name of the run, which is that of its work directory, without the path to it.
    step: of the run; or words for several.
    seed: of the draw; None where there was none.
    real: what in the picture is real, in words; None where nothing is.

  Returns:
    Text by keyword, for `save_png` and `save_gif`: the PNG standard's Software, Source and Description, 'run', 'step'
    and 'seed', and IPTC's DigitalSourceType as an XMP packet.

  References: PNG 3, section 11.3.3 (keywords); XMP, part 3; IPTC's NewsCodes, Digital Source Type.
  """
  run = run.encode('utf-8', 'replace').decode()  # A file's name may be no text.
  places = {'run': run, 'step': str(step)} | ({} if seed is None else {'seed': str(seed)})
  source = ', '.join(f'{name} {value}' for name, value in places.items())
  kind, what = (_SYNTHETIC, 'Synthetic') if real is None else (_COMPOSITE, f'In part synthetic, real is {real}')
  return {
    'Software': 'dcgan_jax',
    'Source': f'generative adversarial network, {source}',
    'Description': f'{what}: drawn by a generative adversarial network, {source}. Digital source type: {kind}',
    **places,
    'XML:com.adobe.xmp': _XMP.format(kind),
  }


def save_png(path: pathlib.Path, image: np.ndarray, *, origin: Mapping[str, str] | None = None) -> None:
  """Writes a PNG; the file appears whole or not at all.

  Args:
    path: of the file.
    image: uint8 [H, W, C], C 1, 3 or 4.
    origin: as `origin` makes it, a text chunk for each keyword; None writes none.
  """
  chunks = PngImagePlugin.PngInfo()
  for keyword, text in (origin or {}).items():
    # Readers of XMP look for it in an iTXt chunk alone; other texts are one only where Latin-1 does not do.
    add = chunks.add_itxt if keyword == 'XML:com.adobe.xmp' else chunks.add_text
    add(keyword, text)
  part = path.with_name(f'.{path.name}.part')
  _pillow(image).save(part, 'PNG', pnginfo=chunks)
  part.replace(path)


def save_gif(
  path: pathlib.Path,
  frames: Sequence[np.ndarray],
  *,
  milliseconds: int,
  rest: int | None = None,
  origin: Mapping[str, str] | None = None,
) -> None:
  """Writes an endless GIF; the file appears whole or not at all.

  Args:
    path: of the file.
    frames: uint8 [H, W, C] of one size.
    milliseconds: that each is shown.
    rest: milliseconds of the last; None: as the others.
    origin: as `origin` makes it, whose Description becomes a comment; None writes none.
  """
  first, *others = [_pillow(frame) for frame in frames]
  durations = [milliseconds] * len(others) + [rest or milliseconds]
  comment = {'comment': origin['Description'].encode()} if origin else {}
  part = path.with_name(f'.{path.name}.part')
  first.save(part, 'GIF', save_all=True, append_images=others, duration=durations, loop=0, **comment)
  part.replace(path)


def webp_bytes(image: np.ndarray, *, quality: int | None) -> bytes:
  """Encodes uint8 [H, W, C], C 1 or 3, as WebP: of a quality of 0 to 100, or lossless where it is None."""
  stream = io.BytesIO()
  _pillow(image).save(stream, 'WEBP', lossless=quality is None, quality=75 if quality is None else quality)
  return stream.getvalue()


def _pillow(image: np.ndarray) -> Image.Image:
  return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
