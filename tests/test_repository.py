"""What the project says of itself in several files agrees: licence, version, address."""

import os
import pathlib
import re
import tomllib

import yaml

import dcgan_jax

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
TEXTS = ('.cff', '.html', '.ipynb', '.md', '.py', '.rst', '.toml', '.yaml', '.yml')


def _texts():
  """Path and content of every text of the repository that may name its address."""
  for directory, names, files in os.walk(ROOT):
    hidden = ('.ci', '.github') if pathlib.Path(directory) == ROOT else ()
    names[:] = [name for name in names if name in hidden or not name.startswith(('.', '_build', 'runs'))]
    for file in files:
      if file.endswith(TEXTS):
        yield pathlib.Path(directory, file), pathlib.Path(directory, file).read_text(encoding='utf-8')


def test_the_license_of_the_metadata_is_that_of_the_license_file():
  text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
  name, version = re.search(r'^ *(\w+) License\n *Version ([\d.]+),', text, re.MULTILINE).groups()
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
  assert PROJECT['license'] == citation['license'] == f'{name}-{version}'
  assert PROJECT['license-files'] == ['LICENSE']


def test_citation_and_changelog_are_of_this_version():
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
  changelog = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
  assert citation['version'] == dcgan_jax.__version__
  assert re.search(r'^## \[(.+?)\]', changelog, re.MULTILINE)[1] == dcgan_jax.__version__


def test_every_file_gives_the_address_that_pyproject_sets():
  owner, name = PROJECT['urls']['Repository'].removeprefix('https://github.com/').split('/')
  # On GitHub, or as Colab and badges write it.
  addresses = re.compile(
    rf'(?:github\.com|github\.io|githubusercontent\.com|/github|shields\.io/[\w/]+)/([\w.{{}}-]+)/{name}\b'
  )
  found = {
    (path.relative_to(ROOT).as_posix(), match[1]) for path, text in _texts() for match in addresses.finditer(text)
  }
  assert {path for path, _ in found} >= {'CITATION.cff', 'README.md', 'notebooks/dcgan_colab.ipynb', 'pyproject.toml'}
  assert {(path, other) for path, other in found if other != owner} == set()


def test_every_file_gives_the_site_of_the_docs_that_pyproject_sets():
  site = PROJECT['urls']['Documentation'].removeprefix('https://').split('.')[0]
  for path, text in _texts():
    assert set(re.findall(r'([\w-]*dcgan[\w-]*)\.(?:rtfd|readthedocs)\.io', text)) <= {site}, path


def test_every_url_of_the_project_is_on_its_own_site_or_repository():
  repository, site = PROJECT['urls']['Repository'], PROJECT['urls']['Documentation']
  assert all(url.startswith((repository, site)) for url in PROJECT['urls'].values())
