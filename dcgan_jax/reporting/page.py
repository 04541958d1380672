"""The page of a run: how page.html shows values, names and pictures. It fetches nothing and escapes every value."""

import base64
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dcgan_jax.kinds import image as images
from dcgan_jax.reporting import templates

# Pictures are shown this wide, or as near to it as whole pixels come.
_SHOWN_WIDTH = 600


def text(value: Any) -> str:
  """A value as people write it: numbers with four digits that matter or commas between thousands, lists in a row."""
  if isinstance(value, (list, tuple)):
    return ', '.join(map(text, value))
  if isinstance(value, float):
    return f'{value:,.0f}' if 10_000 <= abs(value) < 1e15 else f'{value:.4g}'
  return f'{value:,}' if type(value) is int else str(value)


def anchor(title: str) -> str:
  """A name for the part of the page that has this title."""
  return title.lower().replace(' ', '-')


def render(values: Mapping[str, Any]) -> str:
  """A page that lets a browser run its own script and show its own pictures, and fetch nothing.

  Args:
    values: by their names in page.html.
  """
  script = pathlib.Path(__file__).with_name('page.js').read_text(encoding='utf-8')
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  filters = {'anchor': anchor, 'column_classes': _column_classes, 'text': text, 'webp': _webp}
  return templates.render(
    'reporting/page.html', {**values, 'script': script, 'script_hash': f'sha256-{digest}'}, filters=filters
  )


def _column_classes(rows: Sequence[Sequence[Any]]) -> list[str]:
  """The CSS class of each column: numbers stand on the right."""
  is_number = lambda cell: isinstance(cell, (int, float))
  return ['number' if all(map(is_number, column)) else 'text' for column in zip(*rows, strict=True)]


def _webp(pixels: np.ndarray, quality: int | None) -> dict[str, Any]:
  """uint8 [H, W, 1 or 3] as a WebP file in base64, and how large it is shown; quality None keeps every pixel."""
  height, width, _ = pixels.shape
  scale = max(1, round(_SHOWN_WIDTH / width))
  data = base64.b64encode(images.webp_bytes(pixels, quality=quality)).decode()
  return {'data': data, 'width': scale * width, 'height': scale * height}
