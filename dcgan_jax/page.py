"""Pieces of a page: text, tables, pictures, players, sections, and the page itself, which fetches nothing.

Whatever is given as a value is escaped here; what is called HTML was made here, or by plots.py.
"""

import base64
import hashlib
import html
import pathlib
import string
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax import images

# Lossy, but a fifth of a PNG; the exact pixels are those of the run's own files.
WEBP_QUALITY = 90
# Pictures are shown this wide, or as near to it as whole pixels come.
_SHOWN_WIDTH = 600


class Section(NamedTuple):
  """A part of a page: its heading, HTML, and whether it may stand beside another half."""

  title: str
  body: str
  half: bool = False


class Named(NamedTuple):
  """A name with what it means, below it in small letters."""

  name: str
  meaning: str


class Frame(NamedTuple):
  """One of a player's pictures: where the slider is then, and uint8 [H, W, 1 or 3]."""

  at: str
  image: np.ndarray


def text(value: Any) -> str:
  """A value as people write it: numbers with four digits that matter or commas between thousands, lists in a row."""
  if isinstance(value, Named):
    return f'{text(value.name)}<small>{text(value.meaning)}</small>'
  if isinstance(value, (list, tuple)):
    return ', '.join(map(text, value))
  if isinstance(value, float):
    return f'{value:,.0f}' if 10_000 <= abs(value) < 1e15 else f'{value:.4g}'
  return html.escape(f'{value:,}' if type(value) is int else str(value))


def anchor(title: str) -> str:
  """A name for the part of the page that has this title."""
  return html.escape(title.lower().replace(' ', '-'))


def paragraph(words: str, *, kind: str = 'said') -> str:
  return f'<p class="{kind}">{html.escape(words)}</p>'


def commands(*lines: str) -> str:
  """Lines to be typed; those too long for the page scroll."""
  return f'<pre tabindex="0"><code>{html.escape(chr(10).join(lines))}</code></pre>'


def missing(words: str, command: str) -> str:
  """What is not there, and the command that makes it."""
  return paragraph(words, kind='missing') + commands(command)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, name: str) -> str:
  """A table in a box of its own that scrolls where the page is too narrow.

  Args:
    head: titles of the columns; empty shows none.
    rows: the first of each names it; numbers stand on the right.
    name: of the table, for those who do not see it.
  """
  rows = [tuple(row) for row in rows]
  classes = [
    'number' if all(isinstance(cell, (int, float)) for cell in column) else 'text' for column in zip(*rows, strict=True)
  ]
  titles = ''.join(f'<th scope="col" class="{c}">{text(t)}</th>' for t, c in zip(head, classes, strict=False))
  lines = ''.join(
    f'<tr><th scope="row">{text(row[0])}</th>'
    + ''.join(f'<td class="{c}">{text(cell)}</td>' for cell, c in zip(row[1:], classes[1:], strict=True))
    + '</tr>'
    for row in rows
  )
  head_row = f'<thead><tr>{titles}</tr></thead>' if head else ''
  return (
    f'<div class="box" tabindex="0" role="region" aria-label="{html.escape(name)}">'
    f'<table>{head_row}<tbody>{lines}</tbody></table></div>'
  )


def details(summary: str, body: str, *, shown: bool = False) -> str:
  """HTML that is folded behind a line."""
  return f'<details{" open" * shown}><summary>{html.escape(summary)}</summary>{body}</details>'


def picture(image: np.ndarray, alt: str, *, quality: int | None = WEBP_QUALITY, attributes: str = '') -> str:
  """An image element that holds its own pixels.

  Args:
    image: uint8 [H, W, 1 or 3].
    alt: what is to be seen.
    quality: of lossy WebP; None keeps every pixel.
    attributes: HTML, more of the element.
  """
  height, width, _ = image.shape
  scale = max(1, round(_SHOWN_WIDTH / width))
  data = base64.b64encode(images.webp_bytes(image, quality=quality)).decode()
  size = f'width="{scale * width}" height="{scale * height}"'
  return f'<img src="data:image/webp;base64,{data}" alt="{html.escape(alt)}" {size} {attributes}>'


def player(frames: Sequence[Frame], *, what: str, label: str, milliseconds: int, endless: bool, caption: str) -> str:
  """Pictures of which one is shown, a slider that says which, and a button; without JavaScript the last picture.

  Args:
    frames: at least one.
    what: is to be seen.
    label: of the slider.
    milliseconds: that each is shown.
    endless: after the last comes the first.
    caption: below.
  """
  last, slider = len(frames) - 1, f'{anchor(what)}-slider'
  shown = ''.join(
    picture(frame.image, f'{what}, {label} {frame.at}', attributes=f'data-at="{html.escape(frame.at)}"{hidden}')
    for frame, hidden in zip(frames, [' hidden'] * last + [''], strict=True)
  )
  at = html.escape(frames[-1].at)
  data = f'data-milliseconds="{milliseconds}"{" data-endless" * endless}'
  return f"""<figure class="player" aria-label="{html.escape(what)}" {data}>{shown}
<div class="controls"><button type="button">Play</button><label for="{slider}">{html.escape(label.capitalize())}</label>
<input id="{slider}" type="range" min="0" max="{last}" value="{last}" autocomplete="off">
<output for="{slider}" aria-live="off">{at}</output></div>
<figcaption>{html.escape(caption)}</figcaption></figure>"""


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
  """Names and values in large letters."""
  rows = ''.join(f'<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>' for name, value in pairs)
  return f'<dl class="facts">{rows}</dl>'


def render(title: str, *, head: str, sections: Sequence[Section], footer: str) -> str:
  """A page that lets a browser run its own script and show its own pictures, and fetch nothing.

  Args:
    title: of the page.
    head: HTML below the title.
    sections: the rest.
    footer: words below all.
  """
  template, script = (pathlib.Path(__file__).with_name(f'page.{kind}').read_text() for kind in ('html', 'js'))
  return string.Template(template).substitute(
    title=html.escape(title),
    head=head,
    contents=''.join(f'<li><a href="#{anchor(title)}">{html.escape(title)}</a></li>' for title, *_ in sections),
    sections='\n'.join(map(_section, sections)),
    footer=html.escape(footer),
    script=script,
    script_hash=f'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}',
  )


def _section(section: Section) -> str:
  name = anchor(section.title)
  heading = f'<h2 id="{name}">{html.escape(section.title)}</h2>'
  kind = ' class="half"' * section.half
  return f'<section{kind} aria-labelledby="{name}">{heading}\n{section.body}\n</section>'
