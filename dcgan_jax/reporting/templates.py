"""Renders the package's templates, with every value escaped. The only module that imports Jinja2.

In HTML (page.html) a value is text. In Markdown (model_card.md) a string is shown as code, where nothing of it can
become a heading, a link or HTML; numbers are shown as they are. `value | safe` is what the program itself has made.
"""

import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
import markupsafe

from dcgan_jax.errors import printable


def render(name: str, values: Mapping[str, Any], *, filters: Mapping[str, Callable] | None = None) -> str:
  """Renders the template of a file.

  Args:
    name: file, relative to the package; a name that ends in .md is Markdown, any other is HTML.
    values: by their names in the template, where a name without a value is an error.
    filters: functions of a value, by their names in the template.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent.parent),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    finalize=_as_code if name.endswith('.md') else None,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters |= filters or {}
  return environment.get_template(name).render(values)


def _as_code(value: Any) -> Any:
  """A code span of Markdown, also inside a table; numbers and what is marked as safe stay as they are."""
  if value is None or isinstance(value, (int, float, markupsafe.Markup, jinja2.Undefined)):
    return value
  # A span ends at as many backticks as it began with, and a cell at a bar that is not escaped.
  text = printable(str(value)).replace('|', '\\|')
  fence = '`' * (1 + max(map(len, re.findall('`+', text)), default=0))
  edge = ' ' if '`' in text or not text else ''
  return markupsafe.Markup(f'{fence}{edge}{text}{edge}{fence}')
