"""Exports: what is loaded from one is what was exported; StableHLO runs without this package; others are refused."""

import json
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from markdown_it import MarkdownIt
from sklearn.neighbors import NearestNeighbors

import dcgan_jax
from configs import digits
from dcgan_jax import cli
from dcgan_jax.building import model as build_model
from dcgan_jax.data.digits import open_digits
from dcgan_jax.errors import CheckpointError, ConfigError, DataError
from dcgan_jax.exporting import export, hub, model_card, tensors
from dcgan_jax.kinds import image as images
from dcgan_jax.run import Run
from dcgan_jax.training import workdir

SHAPE = (16, 16, 1)
PROTOCOL = {'samples': 1000, 'reference': 'digits', 'step': 0, 'generator': 'averaged', 'seed': 0}


def _run(seed=3, classes=None, shape=SHAPE, **changes):
  config = digits.get_config()
  config.data.dir = '/home/somebody/data'
  config.update(generator={'widths': (8, 4), 'latent_size': 5}, discriminator={'widths': (4, 8)})
  for key, value in changes.items():
    group, name = key.split('__')
    with config[group].ignore_type():
      config[group][name] = value
  model = build_model.build_model(config, shape, classes)
  state = jax.jit(model.create)(jax.random.key(seed))
  # An untrained generator draws grey; larger weights give it contrast, and tell the averaged from the live one.
  return Run(config, model, state.replace(ema=jax.tree.map(lambda leaf: 7 * leaf, state.ema)), shape)


@pytest.fixture(scope='module')
def run():
  return _run()


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'export'
  export.write(run, directory)
  return directory


def test_what_is_loaded_draws_and_sees_as_what_was_exported(run, exported):
  loaded = dcgan_jax.load(exported)
  assert (loaded.step, loaded.shape, loaded.latent_size) == (run.step, run.shape, run.latent_size)
  drawn = run.sample(64, seed=4)
  assert drawn.std() > 10
  np.testing.assert_array_equal(loaded.sample(64, seed=4), drawn)
  np.testing.assert_array_equal(loaded.features(drawn), run.features(drawn))
  np.testing.assert_array_equal(loaded.untrained(1).sample(2), run.untrained(1).sample(2))
  with jax.numpy_rank_promotion('allow'):
    _, errors = loaded.project(drawn[:1], restarts=2, steps=3)
  assert errors.shape == (1,)


@pytest.mark.parametrize('num', [0, -1])
def test_no_samples_are_refused_in_words(run, num):
  with pytest.raises(ConfigError, match=f'num is {num}; expected 1 sample or more'):
    run.sample(num)


@pytest.mark.parametrize('look', ['features', 'project'])
@pytest.mark.parametrize(
  ('value', 'dtype', 'seen'), [(255, np.float32, 'float32 from 0 to 255'), (2, np.int64, '2'), (np.nan, float, 'nan')]
)
def test_pixels_on_another_scale_are_refused_with_their_range(run, look, value, dtype, seen):
  examples = np.zeros((2, *run.shape), dtype)
  examples[1, 0, 0] = value
  with pytest.raises(DataError, match=rf'{seen}; expected uint8 or floats in \[-1, 1\]; pass pixels of 0 to 255'):
    getattr(run, look)(examples)


def test_evaluations_by_other_protocols_are_kept_beside_one_another(run, tmp_path, monkeypatch):
  export.write(run, tmp_path)
  report = lambda self, num, **options: ({'protocol': {**options, 'steps': [num]}}, np.zeros((4, 4, 1), np.uint8))
  monkeypatch.setattr(Run, 'evaluate', report)
  weights = [tmp_path / name for name in ('a.npz', 'b.npz')]
  monkeypatch.setattr(Run, 'label', lambda self, wanted: wanted)
  changes = [[], ['--seed', '1'], ['--class', '3'], ['--allow-few'], ['--live'], *(['--weights', w] for w in weights)]
  for change in changes * 2:
    weights[0].touch()
    weights[1].touch()
    command = ['evaluate', '--workdir', tmp_path, '--num', '200', '--features', '64', *change]
    assert cli.main([str(word) for word in command]) == 0
  written = [json.loads(path.read_text())['protocol'] for path in (tmp_path / 'evaluations').glob('*.json')]
  assert len(written) == 7
  assert {protocol['weights'] for protocol in written} == {None, *map(str, weights)}
  names = {path.name for path in (tmp_path / 'evaluations').iterdir()}
  assert {f'00000000_64_200_train{end}.json' for end in ('', '_seed1', '_class3', '_live')} < names


def test_what_evaluate_prints_is_json_but_for_a_table_on_a_terminal(run, tmp_path, monkeypatch, capsys):
  export.write(run, tmp_path)
  metrics = {'fid64_1k_train': 12.345678, 'is1k': 3.0, 'near_duplicates': 0.25, 'class_counts': [3, 997]}
  report = {**metrics, 'protocol': {'features': '64'}}
  monkeypatch.setattr(Run, 'evaluate', lambda *_, **__: (report, np.zeros((4, 4, 1), np.uint8)))
  command = ['evaluate', '--workdir', str(tmp_path), '--num', '1000', '--features', '64']
  assert cli.main(command) == 0
  output = capsys.readouterr()
  assert json.loads(output.out) == report
  assert output.err.startswith('Written to ')
  monkeypatch.setattr('sys.stdout.isatty', lambda: True)
  assert cli.main(command) == 0
  words = [line.split() for line in capsys.readouterr().out.splitlines()]
  for row in (
    ['fid64_1k_train', '12.35', 'lower'],
    ['is1k', '3', 'higher'],
    ['near_duplicates', '0.25', 'near', '0.01'],
  ):
    assert row in words
  assert ['class_counts', '3', '997'] in words
  assert words[-1][:8] == ['Features', '64:', 'another', 'scale', 'than', 'FID-2048,', 'the', 'FID']


def test_a_folder_of_another_draw_is_refused_to_sample(exported, tmp_path, capsys):
  command = ['sample', '--workdir', str(exported), '--out', str(tmp_path / 'drawn'), '--num']
  assert [cli.main([*command, '3']), cli.main([*command, '3']), cli.main([*command, '2'])] == [0, 0, 2]
  assert 'holds 1 other image, such as 000002.png' in capsys.readouterr().err


def test_an_export_has_no_live_generator_no_other_step_and_cannot_be_trained_on(exported, capsys):
  with pytest.raises(ConfigError, match='An export holds the averaged generator alone'):
    dcgan_jax.load(exported).sample(1, live=True)
  with pytest.raises(CheckpointError, match='No step 7 in .*; it is an export of step 0 alone'):
    dcgan_jax.load(exported, step=7)
  before = sorted(exported.iterdir())
  assert cli.main(['--workdir', str(exported)]) == 2
  assert 'is an export, without the optimizer states' in capsys.readouterr().err
  assert sorted(exported.iterdir()) == before


def test_an_export_tells_nothing_of_the_machine_it_was_made_on(exported):
  for path in exported.iterdir():
    assert b'somebody' not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize(
  ('classes', 'changes'),
  [
    (10, {'tricks__generator_labels': 'conditional_batch', 'tricks__discriminator_labels': 'projection'}),
    (None, {'tricks__spectral_norm': ('generator', 'discriminator'), 'generator__latents': 'uniform'}),
    (None, {'generator__name': 'residual', 'discriminator__name': 'residual'}),
    (None, {'generator__normalization': 'virtual_batch'}),
    (None, {'generator__widths': (8, 8, 8), 'generator__kernel_size': 3, 'generator__strides': (2, 1, 2)}),
  ],
)
def test_every_kind_of_network_is_exported_and_loaded_and_its_program_draws_the_same(classes, changes, tmp_path):
  run = _run(classes=classes, **changes)
  for name in ('safetensors', 'stablehlo'):
    export.write(run, tmp_path, format=name)
  jax.tree.map(np.testing.assert_array_equal, dcgan_jax.load(tmp_path).variables, run.variables)
  program = jax.export.deserialize((tmp_path / export.STABLEHLO).read_bytes())
  inputs = [run.latents(64), *(() if classes is None else (run.labels(64),))]
  drawn = program.call(*(values[:3] for values in inputs))
  np.testing.assert_allclose(drawn, run.generate(*inputs)[:3], atol=1e-5)


def test_the_program_runs_where_this_package_is_not(run, tmp_path):
  export.write(run, tmp_path, format='stablehlo')
  z = run.latents(64)
  np.save(tmp_path / 'z.npy', z)
  code = (
    'import sys; sys.modules["dcgan_jax"] = sys.modules["flax"] = None\n'  # Importing either fails.
    'import jax.export, numpy as np\n'
    'program = jax.export.deserialize(open("generator.stablehlo", "rb").read())\n'
    'assert set(program.platforms) >= {"cpu", "cuda", "tpu"}\n'
    'z = np.load("z.npy")\n'
    'np.savez("out.npz", all=program.call(z), three=program.call(z[:3]))\n'
  )
  subprocess.run([sys.executable, '-I', '-c', code], cwd=tmp_path, check=True)
  drawn = np.load(tmp_path / 'out.npz')
  assert drawn['all'].std() > 0.1
  np.testing.assert_allclose(drawn['all'], run.generate(z), atol=1e-5)
  np.testing.assert_allclose(drawn['three'], run.generate(z)[:3], atol=1e-5)


def test_the_card_says_data_recipe_metrics_with_protocol_and_misuse(run, tmp_path, monkeypatch):
  source = tmp_path / 'run'
  monkeypatch.setattr(run, 'directory', source)
  (source / 'evaluations').mkdir(parents=True)
  for name, changes in {'a': {}, 'b': {'step': 5}, 'c': {'generator': 'live'}}.items():
    workdir.write(source / 'evaluations', f'{name}.json', {f'fid_{name}': 12.345, 'protocol': PROTOCOL | changes})
  for name in ('safetensors', 'stablehlo', 'torch'):
    export.write(run, tmp_path / 'export', format=name)
  card = (tmp_path / 'export' / 'README.md').read_text()
  for text in (
    '# DCGAN, 16 x 16 x 1, unconditional', '`digits`, split `train`', '| `generator.widths` | `(8, 4)` |',
    '| `fid_a` | 12.35 |', 'Protocol: `samples` 1000; `reference` `digits`; `step` 0', '## Intended use', '## Misuse',
    'No license is stated for these weights. Choose one', '- License: CC BY 4.0',
    'dcgan_jax.load(', 'generator.stablehlo', 'nz = 5, 3 layers each, with a bias in the last layer of G',
  ):  # fmt: skip
    assert text in card, text
  # Neither of another step, nor of the live generator.
  assert 'fid_b' not in card
  assert 'fid_c' not in card
  assert images.read(tmp_path / 'export' / 'samples.png', channels=1).std() > 10
  # What is exported again, and has been reported on, keeps its numbers.
  (tmp_path / 'export' / 'report.html').write_text('<html>')
  export.write(dcgan_jax.load(tmp_path / 'export'), tmp_path / 'export')
  export.write(dcgan_jax.load(tmp_path / 'export'), tmp_path / 'again')
  assert '| `fid_a` | 12.35 |' in (tmp_path / 'again' / 'README.md').read_text()


EVIL = 'folder:/a\n\n# Owned\n[b](http://c.de) <script>d</script> http://e.fg ``h`i` | j \x1b[31m'


def _tokens(markdown):
  """Kinds of everything in a text, in order, in lines too."""
  parse = MarkdownIt('commonmark').enable('table').parse
  return [[part.type, *(child.type for child in part.children or ())] for part in parse(markdown)]


def test_names_cannot_become_headings_links_or_html(run, tmp_path, monkeypatch):
  cards = []
  for name in ('folder:/a', EVIL):
    source = tmp_path / str(len(cards))
    (source / 'evaluations').mkdir(parents=True)
    report = {name: 1.0, 'protocol': PROTOCOL | {'reference': name, name: 1}}
    workdir.write(source / 'evaluations', 'a.json', report)
    monkeypatch.setattr(run, 'directory', source)
    monkeypatch.setitem(run.config.data, 'source', name)
    export.write(run, source / 'export', license=name)
    cards.append((source / 'export' / 'README.md').read_text())
  plain, evil = cards
  body = lambda card: card.split('\n---\n', 1)[1]
  assert _tokens(body(evil)) == _tokens(body(plain))
  assert '# Owned' in evil
  assert '\x1b' not in evil
  assert ModelCard(evil).data.license == EVIL


def test_the_head_of_a_card_is_what_the_hub_reads(tmp_path):
  export.write(_run(data__source='tfds:cifar10:3.0.2'), tmp_path, license='mit')
  head = ModelCard((tmp_path / 'README.md').read_text()).data
  assert (head.license, head.library_name, head.datasets) == ('mit', 'dcgan_jax', ['uoft-cs/cifar10'])
  assert {'gan', 'jax'} <= set(head.tags)
  # What is exported from it keeps its license.
  export.write(dcgan_jax.load(tmp_path), tmp_path / 'again')
  assert ModelCard((tmp_path / 'again' / 'README.md').read_text()).data.license == 'mit'


@pytest.mark.parametrize(
  ('source', 'words'),
  [
    ('tfds:fashion_mnist', '- License: MIT'),
    ('tfds:lsun/bedroom:3.1.0', '- License: not stated'),
    ('tfds:celeb_a', '- License: non-commercial research only'),
    ('tfds:oxford_flowers102', 'A data set of TensorFlow Datasets that dcgan_jax has no license of'),
    ('folder:/digits', 'say here what they show, where they are from and under which license'),
  ],
)
def test_a_card_says_what_the_data_are(run, source, words):
  config = run.config.to_dict()
  config['data']['source'] = source
  card = model_card.write(
    config=config, step=1, shape=SHAPE, num_classes=None, players=['generator'], imported=None, license=None,
    evaluations=[], has_picture=False, files=[],
  )  # fmt: skip
  assert words in card
  assert ModelCard(card).data.license is None


def test_a_directory_of_something_else_or_of_another_run_is_left_alone(run, exported, tmp_path):
  (tmp_path / 'thesis.tex').write_text('x')
  with pytest.raises(ConfigError, match=r'holds other files \(thesis.tex\)'):
    export.write(run, tmp_path)
  with pytest.raises(ConfigError, match='holds an export of another step or run'):
    export.write(_run(generator__latent_size=6), exported)
  with pytest.raises(ConfigError, match="Unknown format 'onnx'; known: safetensors, stablehlo, torch"):
    export.write(run, tmp_path / 'new', format='onnx')
  with pytest.raises(ConfigError, match='cannot express these networks: config.generator.kernel_size is 3'):
    export.write(_run(generator__kernel_size=3), tmp_path / 'new', format='torch')
  assert not (tmp_path / 'new').exists()


def _rewritten(path, change):
  found, said = tensors.read(path)
  tensors.write(path, *change(found, said))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda found, said: (found, {}), 'is no export of this program'),
    (lambda found, said: (found, said | {'version': '2'}), 'has the version 2, and this program reads 1; update it'),
    (lambda found, said: ({'x': np.ones(3)}, said), 'is of other networks than its config.json'),
    (
      lambda found, said: (found | {'generator/params/output/bias': np.ones(2, np.float32)}, said),
      r'generator/params/output/bias float32 \(2,\) -> float32 \(1,\)',
    ),
    (
      lambda found, said: ({name: value for name, value in found.items() if 'norm_0/bias' not in name}, said),
      'generator/params/norm_0/bias absent -> float32',
    ),
  ],
)
def test_weights_of_something_else_are_refused_in_one_line(run, tmp_path, change, message):
  export.write(run, tmp_path)
  _rewritten(tmp_path / export.WEIGHTS, change)
  with pytest.raises(CheckpointError, match=message) as error:
    dcgan_jax.load(tmp_path)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('model.safetensors', b'', 'is damaged or no safetensors file'),
    ('model.safetensors', b'PK\x03\x04 torch.save', 'is a pickle, which can run code as it is read'),
    ('run.json', b'{"shape": "all", "classes": null}', 'describes no examples'),
    ('run.json', b'{"shape": [16, 16, 1], "classes": -1}', 'describes no examples'),
    ('config.json', b'{}', 'The config lacks'),
  ],
)
def test_files_of_something_else_are_refused_in_one_line(run, tmp_path, capsys, name, content, message):
  export.write(run, tmp_path)
  (tmp_path / name).write_bytes(content)
  assert cli.main(['sample', '--workdir', str(tmp_path), '--out', str(tmp_path / 'x.png')]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


def test_a_pickle_is_never_opened_and_the_words_convert_it(tmp_path, capsys):
  torch = pytest.importorskip('torch')
  pytest.importorskip('safetensors.torch')
  torch.save({'main.0.weight': torch.ones(2, 3)}, tmp_path / 'netG.pth')
  assert cli.main(['import', '--from', str(tmp_path / 'netG.pth'), '--to', str(tmp_path / 'x')]) == 2
  error = capsys.readouterr().err
  command = error[error.index('python -c ') :].replace('python', sys.executable, 1)
  subprocess.run(command, shell=True, check=True, cwd=tmp_path)
  assert list(tensors.read(tmp_path / 'netG.safetensors')[0]) == ['main.0.weight']


class _Hub(types.ModuleType):
  """A huggingface_hub that keeps its models in a directory."""

  def __init__(self, directory):
    super().__init__('huggingface_hub')
    self.__spec__ = types.SimpleNamespace(name='huggingface_hub')
    self.directory, self.created, self.pushed, self.HfApi = directory, [], [], lambda: self
    self.revisions, self.utils = [], types.SimpleNamespace(validate_repo_id=validate_repo_id)

  def create_repo(self, name, *, exist_ok):
    assert exist_ok
    self.created.append(name)

  def upload_folder(self, *, folder_path, repo_id, allow_patterns):
    if repo_id not in self.created:
      raise RuntimeError('404 Client Error.\n\nRepository Not Found')
    self.pushed.append((folder_path, repo_id, allow_patterns))

  def snapshot_download(self, name, *, revision, allow_patterns):
    self.revisions.append(revision)
    assert set(allow_patterns) == {'model.safetensors', 'config.json', 'run.json'}
    if name != 'ada/digits':
      raise RuntimeError('404 Client Error.\n\nRepository Not Found')
    return str(self.directory)


@pytest.fixture
def fake_hub(exported, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  fake = _Hub(exported)
  monkeypatch.setitem(sys.modules, 'huggingface_hub', fake)
  return fake


def test_a_name_of_the_hub_is_loaded_from_there(fake_hub, run, tmp_path):
  np.testing.assert_array_equal(dcgan_jax.load('ada/digits').sample(3), run.sample(3))
  assert cli.main(['sample', '--workdir', 'ada/digits', '--num', '2', '--out', str(tmp_path / 'x.png')]) == 0
  with pytest.raises(CheckpointError, match='No directory ada/nothing, .* .404 Client Error. Repository') as e:
    dcgan_jax.load('ada/nothing')
  assert '\n' not in str(e.value)


def test_a_revision_is_asked_for_by_name_or_keyword(fake_hub, exported):
  dcgan_jax.load('ada/digits', revision='v1')
  dcgan_jax.load('ada/digits@0123abc')
  dcgan_jax.load('ada/digits')
  assert fake_hub.revisions == ['v1', '0123abc', None]
  with pytest.raises(CheckpointError, match='no model ada/nothing@v1 came from'):
    dcgan_jax.load('ada/nothing@v1')
  with pytest.raises(
    ConfigError, match="revision is 'v1', but .* is no model on the Hugging Face Hub; give user/model"
  ):
    dcgan_jax.load(exported, revision='v1')


@pytest.mark.parametrize('installed', [True, False])
def test_names_of_the_hub_are_told_from_paths(monkeypatch, installed):
  monkeypatch.setattr(hub, 'is_installed', lambda: installed)
  assert all(map(hub.is_name, ('ada/faces', 'a/b.c-d_1')))
  assert not any(map(hub.is_name, ('ada', './faces', '../faces', 'a/b/c', '/ada/faces', 'ada/fa ces', '~/faces', 'a/')))
  assert hub.is_name('ada/fa--ces') != installed  # The library knows more rules.


def test_a_directory_goes_before_the_hub(fake_hub, tmp_path):
  (tmp_path / 'ada' / 'digits').mkdir(parents=True)
  with pytest.raises(CheckpointError, match='No run in ada/digits'):
    dcgan_jax.load('ada/digits')


def test_a_name_in_a_directory_that_exists_is_not_looked_up(fake_hub, monkeypatch, tmp_path):
  (tmp_path / 'ada').mkdir()
  monkeypatch.chdir(tmp_path)
  with pytest.raises(CheckpointError, match='No run in ada/digits'):
    dcgan_jax.load('ada/digits')


def test_without_the_hub_a_name_of_it_is_a_missing_run_and_how_to_get_it(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(hub, 'is_installed', lambda: False)
  with pytest.raises(CheckpointError, match=r'No run in ada/digits .*start one there: .*pip install .*huggingface_hub'):
    dcgan_jax.load('ada/digits')
  with pytest.raises(CheckpointError, match=r'there is no such directory'):
    dcgan_jax.load(tmp_path / 'digits')
  with pytest.raises(ConfigError, match=r'--push needs the Hugging Face library: pip install'):
    hub.check('ada/digits')


def test_push_makes_the_model_and_sends_the_export_alone(fake_hub, exported, tmp_path, capsys):
  command = ['export', '--workdir', str(exported), '--to', 'out', '--push']
  assert cli.main([*command, 'ada/digits']) == 0
  assert fake_hub.pushed == [('out', 'ada/digits', list(export.FILES))]
  assert 'Pushed to https://huggingface.co/ada/digits' in capsys.readouterr().out
  fake_hub.create_repo = lambda name, exist_ok: None
  assert cli.main([*command, 'ada/other']) == 2
  assert 'out is written, but could not be pushed to ada/other (404 Client Error.' in capsys.readouterr().err
  assert json.loads((tmp_path / 'out' / 'run.json').read_text())['step'] == 0


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--format', 'onnx'], "Unknown --format 'onnx'; known: safetensors, stablehlo, torch."),
    (['--push', 'nobody'], "--push nobody is no name of the Hugging Face Hub; give user/model, such as 'ada/faces'"),
    (['--to', __file__], 'is a file; give a directory'),
    (
      ['--to', 'x.onnx'],
      '--to x.onnx ends like a file, and a directory is written; give --to x; there is no ONNX, --form',
    ),
    (['--to', 'a/b.safetensors'], '--to a/b.safetensors ends like a file, and a directory is written; give --to a/b'),
    (['--to', 'model.PTH', '--format', 'torch'], '--to model.PTH ends like a file'),
    (['--workdir', 'nothing'], 'No run in nothing'),
  ],
)
def test_mistakes_are_one_line(arguments, message, exported, tmp_path, capsys):
  assert cli.main(['export', '--workdir', str(exported), '--to', str(tmp_path / 'x'), *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'x').exists()


def test_the_card_of_the_shipped_export_is_what_the_program_writes(tmp_path):
  directory = pathlib.Path(__file__).parent.parent / 'exports' / 'digits'
  export.write(dcgan_jax.load(directory), tmp_path)
  card = (directory / 'README.md').read_text()
  assert card == (tmp_path / 'README.md').read_text()
  assert ModelCard(card).data.license == 'apache-2.0'


def test_the_shipped_export_is_small_and_draws_every_digit():
  directory = pathlib.Path(__file__).parent.parent / 'exports' / 'digits'
  assert sum(path.stat().st_size for path in directory.rglob('*') if path.is_file()) < 2_000_000
  run = dcgan_jax.load(directory)
  real = open_digits(split='train', image_size=16)
  examples, labels = (np.stack(column) for column in zip(*(real[i] for i in range(len(real))), strict=True))
  flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
  distances, nearest = NearestNeighbors(n_neighbors=1).fit(flat(examples)).kneighbors(flat(run.sample(128)))
  assert set(labels[nearest[:, 0]]) == set(range(10))
  # Between real digits the median is 425, to noise 1,815, to samples of untrained networks 1,429.
  assert 300 < np.median(distances) < 750


@pytest.mark.parametrize(
  ('value', 'expected'),
  [
    ('folder:/home/ada/faces/', 'folder:faces'),
    ('folder:../ada/faces', 'folder:faces'),
    ('npz:C:\\Users\\ada\\faces.npz', 'npz:faces.npz'),
    ('mapped:/home/ada/faces.npy', 'mapped:faces.npy'),
    ('~/faces.pth', 'faces.pth'),
    ('folder:/', 'folder:unknown'),
    ('tfds:lsun/bedroom:3.1.0', 'tfds:lsun/bedroom:3.1.0'),
    ('digits', 'digits'),
    ({'/a/b': ['/c/d', 1, None]}, {'b': ['d', 1, None]}),
  ],
)
def test_of_paths_the_last_name_alone_is_public(value, expected):
  assert export.public(value) == expected


def test_no_file_of_an_export_names_a_directory_of_this_machine(tmp_path, monkeypatch):
  secret = '/home/ada/secret'
  run = _run(data__source=f'folder:{secret}/faces', evaluation__weights=f'{secret}/weights.pth')
  monkeypatch.setattr(run, 'directory', tmp_path / 'ada' / 'secret' / 'run')
  protocol = PROTOCOL | {'reference': f'folder:{secret}/faces', 'weights': f'{secret}/weights.pth'}
  (run.directory / 'evaluations').mkdir(parents=True)
  workdir.write(run.directory / 'evaluations', 'a.json', {'fid': 1.0, 'protocol': protocol})
  workdir.write(run.directory, 'run.json', {'imported': f'{secret}/netG.safetensors'})
  for name in ('safetensors', 'stablehlo', 'torch'):
    export.write(run, tmp_path / 'export', format=name)
  written = [path for path in (tmp_path / 'export').rglob('*') if path.is_file()]
  assert len(written) >= 8
  package = str(pathlib.Path(export.__file__).parent)
  for path in written:
    for text in (b'secret', b'/home', bytes(tmp_path), package.encode()):
      assert text not in path.read_bytes(), (path.name, text)
  assert dcgan_jax.load(tmp_path / 'export').config.data.source == 'folder:faces'
  found = dcgan_jax.load(tmp_path / 'export', data_dir=f'{secret}/faces').config.data.source
  assert found == f'folder:{secret}/faces'


def test_a_name_that_is_no_text_is_exported(tmp_path):
  export.write(_run(data__source='folder:/a/b\udcff\u202e'), tmp_path)
  assert '`folder:b\\udcff`' in (tmp_path / 'README.md').read_text()


@pytest.mark.parametrize('name', ['gs://bucket/run', pathlib.Path('gs://bucket/run'), 's3://bucket/run'])
def test_an_address_is_not_loaded(name):
  with pytest.raises(ConfigError, match="Cannot use the address '(gs|s3):.*; expected a path of a local or mounted"):
    dcgan_jax.load(name)
