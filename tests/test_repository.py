"""What the project says of itself in several files agrees: licence, version, address, Pythons, scripts."""

import os
import pathlib
import re
import subprocess
import tomllib

import pytest
import yaml

import dcgan_jax

ROOT = pathlib.Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
PROJECT = PYPROJECT['project']
WORKFLOWS = {path.name: path.read_text(encoding='utf-8') for path in (ROOT / '.github/workflows').glob('*.yml')}
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


def test_ci_runs_the_pythons_that_the_metadata_names():
  classified = {row.rsplit(' ', 1)[1] for row in PROJECT['classifiers'] if re.search(r':: 3\.\d+$', row)}
  matrix = yaml.safe_load(WORKFLOWS['ci.yml'])['jobs']['quick']['strategy']['matrix']
  tested = {*matrix['python'], *(row['python'] for row in matrix['include'])}
  assert tested == classified
  assert PROJECT['requires-python'] == f'>={min(tested, key=lambda version: int(version.split(".")[1]))}'
  assert PYPROJECT['tool']['pyright']['pythonVersion'] == PROJECT['requires-python'].removeprefix('>=')


@pytest.mark.parametrize('text', [*WORKFLOWS, '.ci/run', 'CONTRIBUTING.md', '.pre-commit-config.yaml'])
def test_every_script_that_is_named_is_there_and_can_be_run(text):
  content = WORKFLOWS.get(text) or (ROOT / text).read_text(encoding='utf-8')
  listed = subprocess.run(
    ['git', 'ls-files', '--stage', '.ci'], cwd=ROOT, capture_output=True, text=True, check=False
  ).stdout
  for script in set(re.findall(r'(?<![\w.])\.ci/\w+(?![\w/-])', content)):
    assert (ROOT / script).is_file(), f'{text}: {script}'
    assert not listed or re.search(rf'^100755 .*\t{re.escape(script)}$', listed, re.MULTILINE), (
      f'{script} cannot be run'
    )


def test_every_script_of_ci_is_checked_by_shellcheck():
  scripts = {f'.ci/{path.name}' for path in (ROOT / '.ci').iterdir() if path.is_file()}
  lint = (ROOT / '.ci/lint').read_text(encoding='utf-8')
  assert set(re.search(r'shellcheck .*?(\.ci/.*)', lint)[1].split()) == scripts


@pytest.mark.parametrize('name', WORKFLOWS)
def test_a_workflow_may_only_read_but_where_it_publishes(name):
  workflow = yaml.safe_load(WORKFLOWS[name])
  assert workflow['permissions'] == {'contents': 'read'}
  granted = {job: job_of['permissions'] for job, job_of in workflow['jobs'].items() if 'permissions' in job_of}
  assert granted == ({'publish': {'id-token': 'write'}} if name == 'release.yml' else {})


@pytest.mark.parametrize('name', WORKFLOWS)
def test_every_action_is_pinned(name):
  for action in re.findall(r'uses: (\S+)', WORKFLOWS[name]):
    assert re.fullmatch(r'[\w.-]+/[\w./-]+@(v\d+|release/v\d+|[0-9a-f]{40})', action), action
