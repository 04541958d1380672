"""How Sphinx builds these pages, from the root: python -m sphinx -W -n docs docs/_build/html. Needs no network."""

import re
import textwrap

import dcgan_jax

project = 'dcgan_jax'
version = release = dcgan_jax.__version__
html_title = f'dcgan_jax {version}'
extensions = [
  'myst_parser',
  'sphinx.ext.autodoc',
  'sphinx.ext.autosummary',
  'sphinx.ext.napoleon',
  'sphinx.ext.viewcode',
]
templates_path = ['_templates']
exclude_patterns = ['_build']
html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['tables.css']
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3  # Links to headings are then those that work on GitHub.

autodoc_default_options = {'members': True, 'member-order': 'bysource', 'special-members': '__call__'}
autodoc_inherit_docstrings = False  # Flax has long ones.
autodoc_preserve_defaults = True
autoclass_content = 'both'  # The arguments are in the docstring of __init__.
default_role = 'code'
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# One line may be about several arguments, 'real, fake: images', which Sphinx's own fields take for a type and a name.
napoleon_use_param = False
napoleon_custom_sections = [('Attributes', 'params_style')]
# Types of other libraries have no page here.
nitpick_ignore_regex = [('py:.*', r'(?!dcgan_jax\.).*')]


def spell_out(app, what, name, obj, options, lines):
  """Gives Napoleon the sections it knows, and reStructuredText the docstring's plain characters."""
  text = '\n'.join(lines)
  # In a module, what is indented is laid out as it should be seen.
  if what == 'module':
    text = re.sub(r'\n\n((?: +.+\n)+)', r'\n\n::\n\n\1', text)
  # In a class, a paragraph of 'name: text' lines is about its attributes.
  if what in ('class', 'exception'):
    fields = r'(?<=\n\n)(?:[a-z_]+(?:, [a-z_]+)*: .*(?:\n +.*)*(?:\n|$))+'
    text = re.sub(fields, lambda match: 'Attributes:\n' + textwrap.indent(match[0], '  '), text)
  text = re.sub(r'^(Args|Returns|Raises|References): (.+(?:\n +.*)*)', _section, text, flags=re.MULTILINE)
  # Napoleon would take what stands before a colon for the type.
  results = r'^Returns:\n((?: +.*(?:\n|$))+)'
  text = re.sub(results, lambda match: f':returns: {match[1].strip()}\n', text, flags=re.MULTILINE)
  # 'N.' would begin a list.
  text = re.sub(r': ([A-Z])\.$', r': \1\\.', text, flags=re.MULTILINE)
  parts = re.split(r'(`[^`]*`)', text)
  parts[::2] = [re.sub(r'(?<!\*)[*|](?!\*)|_(?=\W|$)', r'\\\g<0>', part) for part in parts[::2]]
  lines[:] = ''.join(parts).split('\n')


def _section(match):
  """A section that was written in one line: arguments two spaces apart, errors apart by semicolons."""
  kind, text = match[1], re.sub(r'\n +', ' ', match[2])
  text, *later = re.split(r'  (?=(?:Returns|Raises|References): )', text)
  items = text.split('  ') if kind == 'Args' else [text]
  if kind == 'Raises':
    items = re.sub(r'(\w+Error):? ', r'\1: ', text).split('; ')
  if kind == 'References':
    section = f'\n**References:** {text}\n'
  else:
    section = '\n'.join(['', f'{kind}:', *(f'  {item}' for item in items), ''])
  return section + ''.join(_section(re.match(r'(\w+): (.*)', part)) for part in later)


def shorten(app, what, name, obj, options, signature, returns):
  """Where a default is an object, as in Flax's modules, the list of attributes says more."""
  return ('', None) if signature and '<' in signature else (signature, returns)


def skip(app, what, name, obj, skipped, options):
  """Leaves out what Python and Flax say of every NamedTuple's field and of every class, and defaults that are types."""
  said = getattr(obj, '__doc__', None) or ''
  boring = said.startswith(('Alias for field number', 'Returns a new object replacing'))
  return True if boring or (what == 'class' and isinstance(obj, type)) else None


def setup(app):
  app.connect('autodoc-process-docstring', spell_out, priority=100)  # before Napoleon
  app.connect('autodoc-process-signature', shorten)
  app.connect('autodoc-skip-member', skip)
