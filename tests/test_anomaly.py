"""Anomaly scores: what they compute, which way they point, and what the command says to mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from configs import npz
from dcgan_jax import cli, run
from dcgan_jax.applications import anomaly
from dcgan_jax.building import model as build_model
from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

SHAPE = (4, 4, 1)
GENERATOR = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
DISCRIMINATOR = np.random.default_rng(1).normal(size=(16, 5)).astype(np.float32)
VARIABLES = {'generator': GENERATOR, 'discriminator': DISCRIMINATOR}


def generate(kernel, z, labels=None):
  shift = 0.0 if labels is None else labels[:, None].astype(jnp.float32)
  return jnp.tanh(z @ kernel + shift).reshape(-1, *SHAPE)


def judge(kernel, x, labels=None):
  first = x.reshape(len(x), -1) @ kernel
  return first.sum(axis=1), (jnp.zeros_like(first), jnp.abs(first))


def draw(number, *, seed=2):
  """Images that the generator makes, uint8."""
  z = np.random.default_rng(seed).normal(size=(number, 3)).astype(np.float32)
  return images.to_uint8(generate(GENERATOR, z))


def noise(number, *, seed=3):
  return np.random.default_rng(seed).integers(0, 256, (number, *SHAPE), np.uint8)


def starts(number, *, seed=4):
  return np.random.default_rng(seed).normal(size=(number, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def anogan():
  return anomaly.AnoGAN(generate, judge, VARIABLES)


@pytest.mark.parametrize('labels', [None, np.array([1, 1], np.int32)])
def test_the_score_is_the_papers_formula_at_the_better_start(anogan, labels):
  """In float64, with means for sums; a learning rate of 0 leaves every z where it began."""
  x, z = draw(5), starts(2)
  found = anogan.search(x, z, labels, steps=1, learning_rate=0.0)
  real = x.reshape(5, 1, 16) / 127.5 - 1
  fake = np.tanh(z.astype(np.float64) @ GENERATOR + (0 if labels is None else 1))
  residual = np.abs(real - fake).mean(-1)
  features = np.abs(np.abs(real @ DISCRIMINATOR) - np.abs(fake @ DISCRIMINATOR)).mean(-1)
  scores = 0.9 * residual + 0.1 * features
  best = (np.arange(5), scores.argmin(axis=1))
  assert len(set(best[1])) == 2
  assert_allclose(found.score, scores[best], rtol=1e-4)
  assert_allclose(found.residual, residual[best], rtol=1e-4)
  assert_allclose(found.features, features[best], rtol=1e-4)
  assert_array_equal(found.nearest, images.to_uint8(fake)[best[1]].reshape(5, *SHAPE))


def test_what_the_generator_made_scores_lower_than_noise(anogan):
  score = anogan.search(np.concatenate([draw(10), noise(10)]), starts(4), steps=100).score
  assert score[:10].max() < score[10:].min() / 2


def test_a_search_goes_no_further_than_the_latents_do(anogan):
  white = np.full((1, *SHAPE), 255, np.uint8)
  bound = anomaly.AnoGAN(generate, judge, VARIABLES, limit=0.1)
  free, limited = (search.search(white, starts(2) / 100, steps=60) for search in (anogan, bound))
  furthest = np.tanh(0.1 * np.abs(GENERATOR).sum(axis=0)).max()
  assert np.abs(limited.nearest - 127.5).max() <= 127.5 * furthest + 0.5
  assert free.score < limited.score


@pytest.mark.parametrize('rows', [2, 6, 100])
def test_the_size_of_the_chunks_changes_no_score(anogan, rows):
  x = np.concatenate([draw(4), noise(3)])
  expected = anogan.search(x, starts(2), steps=20, rows=14)
  found = anogan.search(x, starts(2), steps=20, rows=rows)
  assert found.score.shape == (7,)
  for part, other in zip(found[:3], expected[:3], strict=True):
    assert_allclose(part, other, rtol=1e-4)
  assert np.abs(found.nearest.astype(int) - expected.nearest).max() <= 1


def test_any_number_of_images_goes_through_one_program(anogan):
  traced = []
  search = anomaly.AnoGAN(lambda *arguments: traced.append(0) or generate(*arguments), judge, VARIABLES)
  search.search(draw(4), starts(2), steps=3, rows=8)
  once = len(traced)
  search.search(draw(11), starts(2), steps=3, rows=8)
  assert len(traced) - once == 3  # The images of the best z, outside the search, of each chunk.


def test_neighbour_scores_are_those_of_brute_force():
  normal, points = (np.random.default_rng(seed).normal(size=(number, 6)) for seed, number in ((0, 30), (1, 9)))
  distances = np.linalg.norm(points[:, None] - normal, axis=-1)
  scores, nearest = anomaly.neighbour_scores(normal, points, k=4)
  assert_allclose(scores, np.sort(distances, axis=1)[:, :4].mean(axis=1), rtol=1e-6)
  assert_array_equal(nearest, distances.argmin(axis=1))


def test_a_normal_image_is_its_own_nearest_neighbour():
  x = draw(20)
  scores, nearest = anomaly.feature_scores(lambda x: x.reshape(len(x), -1) / 255.0, x, x[5:9], k=1)
  assert_allclose(scores, 0, atol=1e-3)
  assert_array_equal(nearest, np.arange(5, 9))


def test_principal_components_leave_what_lies_outside_of_their_plane():
  plane = np.random.default_rng(0).normal(size=(50, 2)) @ np.eye(2, 5)
  points = np.array([[3.0, -2, 0, 0, 0], [3, -2, 0, 2, 0]])
  assert_allclose(anomaly.pca_scores(plane, points, variance=0.999), [0, 4 / 5], atol=1e-9)


def test_baselines_score_noise_higher():
  scores = anomaly.baselines(draw(60), np.concatenate([draw(10, seed=9), noise(10)]), k=3)
  assert list(scores) == ['PCA reconstruction', 'raw pixels, 3 nearest']
  for values in scores.values():
    assert anomaly.auroc(values, np.arange(20) >= 10) > 0.9


def test_an_auroc_is_one_where_every_anomaly_scores_higher():
  anomalous = np.array([False, True, False, True])
  assert anomaly.auroc(np.array([0.1, 0.9, 0.2, 0.8]), anomalous) == 1.0
  assert anomaly.auroc(np.array([0.9, 0.1, 0.8, 0.2]), anomalous) == 0.0
  assert anomaly.auroc(np.array([0.1, 0.9, 0.85, 0.8]), anomalous) == 0.75


def test_heat_is_red_where_an_image_differs_and_grey_elsewhere():
  examples = np.full((2, 2, 2, 3), 100, np.uint8)
  nearest = examples.copy()
  nearest[0, 0, 1] = 0
  maps = anomaly.heat_maps(examples, nearest)
  assert_array_equal(maps[0, 0, 1], [255, 0, 0])
  assert_array_equal(maps[1], 50)


def test_a_sheet_shows_the_highest_score_first_and_of_many_the_ends():
  scores = np.random.default_rng(0).permutation(50).astype(np.float64)
  examples = np.broadcast_to(np.round(scores).astype(np.uint8)[:, None, None, None], (50, 4, 4, 1))
  sheet = anomaly.sheet(examples, 255 - examples, scores)
  assert sheet.shape == (9 * 6 + 2, 12 * 6 + 2, 3)
  shown = [sheet[2 + 18 * band, 2 + 6 * column, 0] for band in range(3) for column in range(12)]
  assert shown == [*range(49, 25, -1), *range(11, -1, -1)]
  assert sheet[8, 2, 0] == 255 - 49


ERRORS = {
  'There are no images to score': lambda: anomaly.AnoGAN(generate, judge, VARIABLES).search(draw(0), starts(1)),
  'Some scores are NaN or infinite; has the run diverged': lambda: anomaly.AnoGAN(
    generate, judge, VARIABLES | {'generator': GENERATOR * np.nan}
  ).search(draw(2), starts(1), steps=2),
  '3 normal images are fewer than 5 neighbours; take fewer, or more images': lambda: anomaly.feature_scores(
    None, draw(3), draw(1)
  ),
  'Some features are NaN or infinite; has the run diverged': lambda: anomaly.feature_scores(
    lambda x: np.full((len(x), 2), np.nan), draw(6), draw(1)
  ),
  'Each of the 3 images is normal; an AUROC needs both': lambda: anomaly.auroc(np.arange(3), np.zeros(3, bool)),
  'Each of the 3 images is an anomaly; an AUROC needs both': lambda: anomaly.auroc(np.arange(3), np.ones(3, bool)),
}


@pytest.mark.parametrize('message', ERRORS)
def test_what_cannot_work_is_refused_in_words(message):
  with pytest.raises(DataError, match=message):
    ERRORS[message]()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Labelled arrays, unlabelled ones, and image files of other sizes and colours than the run's."""
  folder = tmp_path_factory.mktemp('anomaly')
  examples = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
  labels = np.arange(40) % 2
  np.savez(folder / 'own.npz', train_images=examples, train_labels=labels, test_images=examples, test_labels=labels)
  np.savez(folder / 'plain.npz', test_images=examples)
  np.savez(folder / 'alike.npz', test_images=examples[:3], test_labels=np.ones(3, int))
  np.savez(folder / 'large.npz', test_images=np.zeros((4, 16, 16, 3), np.uint8), test_labels=labels[:4])
  (folder / 'faces' / 'deep').mkdir(parents=True)
  (folder / 'empty').mkdir()
  images.save_png(folder / 'faces' / 'wide.png', np.zeros((20, 30, 3), np.uint8))
  images.save_png(folder / 'faces' / 'deep' / 'grey.png', examples[0])
  (folder / 'text.png').write_text('no image')
  return folder


@pytest.fixture(params=['unconditional', 'conditional'])
def command(request, folder, monkeypatch):
  """The command on a run before its first update: arguments -> exit code."""
  name = request.param

  def load(*arguments, **options):
    return _untrained(name, folder)

  monkeypatch.setattr(run, 'load', load)
  return lambda *arguments: cli.main(['anomaly', '--workdir', 'x', '--steps', '2', *map(str, arguments)])


def only(name):
  return pytest.mark.parametrize('command', [name], indirect=True)


_RUNS = {}


def _untrained(name, folder):
  if name not in _RUNS:
    config = npz.get_config()
    config.data.source = f'npz:{folder / "own.npz"}'
    config.generator.update(widths=(4,), latent_size=3)
    config.discriminator.widths = (4,)
    if name == 'conditional':
      config.tricks.update(generator_labels='conditional_batch', discriminator_labels='projection')
    model = build_model.build_model(config.lock(), (8, 8, 1), 2)
    _RUNS[name] = run.Run(config, model, jax.jit(model.create)(jax.random.key(0)), (8, 8, 1))
  return _RUNS[name]


@only('unconditional')
@pytest.mark.parametrize(('score', 'columns'), [('anogan', 'score,residual,features,'), ('features', 'score,')])
def test_image_files_of_any_size_and_colour_are_fitted_and_scored(command, folder, tmp_path, capsys, score, columns):
  out = tmp_path / 'deep' / 'sheet.png'
  assert command('--images', folder / 'faces', folder / 'faces' / 'wide.png', '--score', score, '--out', out) == 0
  head, *lines = capsys.readouterr().out.splitlines()
  assert head == f'{columns}image'
  assert sorted(line.rpartition('/')[2] for line in lines) == ['grey.png', 'wide.png', 'wide.png']
  scores = [float(line.split(',')[0]) for line in lines]
  assert scores == sorted(scores, reverse=True)
  assert images.read(out).shape == (3 * 10 + 2, 3 * 10 + 2, 3)
  if score == 'features':  # grey.png is a training image, but its five nearest are not all.
    assert lines[-1].endswith('grey.png')


@only('unconditional')
def test_labelled_data_give_an_auroc_beside_the_baselines(command, folder, capsys):
  data = f'npz:{folder / "own.npz"}'
  assert command('--data', data, '--normal-class', 1, '--num', 30, '--score', 'features') == 0
  title, _, _, *rows = capsys.readouterr().out.splitlines()
  assert title.startswith(f"AUROC, {data}, split 'test': ")
  assert title.endswith(' others, seed 0')
  names, scores = zip(*(row.rsplit(maxsplit=1) for row in rows), strict=True)
  assert [name.strip() for name in names] == ["D's features, nearest", 'PCA reconstruction', 'raw pixels, 5 nearest']
  assert all(0 <= float(score) <= 1 for score in scores)


@only('conditional')
def test_of_a_run_with_labels_only_the_class_is_normal(command, folder, capsys):
  """All examples are known; of their own class they have neighbours at distance 0, of the other they have not."""
  data = f'npz:{folder / "own.npz"}'
  assert command('--data', data, '--class', 1, '--num', 40, '--neighbours', 1, '--restarts', 1) == 0
  *_, pca, pixels = capsys.readouterr().out.splitlines()
  assert pca.startswith('PCA')
  assert pixels.split('  ', 1)[0] == 'raw pixels, 1 nearest'
  assert pixels.split()[-1] == '1.000'


MISTAKES = {
  'Give either --images to score or --data for an AUROC': [],
  'give either --images to score or --data for an AUROC': ['--images', 'a.png', '--data', 'npz:x.npz'],
  '--data needs --normal-class, the class which is no anomaly': ['--data', 'npz:x.npz'],
  "Cannot write the pictures as '.jpg'; --out is a .png": ['--images', 'a.png', '--out', 'x.jpg'],
  'without labels, so it has no class 1 to draw from': ['--images', __file__, '--class', '1'],
  'There is no image file or folder nothere.png': ['--images', 'nothere.png'],
  'text.png as an image': ['--images', '{}/text.png'],
  'empty; expected files named .bmp .gif': ['--images', '{}/empty'],
  'of class 7; they are of 0, 1': ['--data', 'npz:{}/own.npz', '--normal-class', '7'],
  'has no labels, so nothing says which images are normal': ['--data', 'npz:{}/plain.npz', '--normal-class', '1'],
  'shape (16, 16, 3), but the run is of (8, 8, 1)': ['--data', 'npz:{}/large.npz', '--normal-class', '1'],
  'Each of the 3 images is normal; an AUROC needs both': ['--data', 'npz:{}/alike.npz', '--normal-class', '1'],
  'There is no file': ['--data', 'npz:nothere.npz', '--normal-class', '1'],
  'are fewer than 9 neighbours': ['--images', '{}/faces', '--score=features', '--neighbours=9', '--num-normal=8'],
}


@only('unconditional')
@pytest.mark.parametrize('message', MISTAKES)
def test_a_mistake_is_one_line(command, folder, capsys, message):
  assert command(*(argument.format(folder) for argument in MISTAKES[message])) == 2
  error = capsys.readouterr().err
  assert message.lower() in error.lower()
  assert error.count('\n') == 1


@only('conditional')
@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ([], 'A run with labels is searched in one class; give --class 0 to 1'),
    (['--class', '2'], 'No class 2; this run has the classes 0 to 1'),
  ],
)
def test_a_run_with_labels_needs_a_class_that_exists(command, folder, capsys, flags, message):
  assert command('--images', folder / 'faces', *flags) == 2
  assert capsys.readouterr().err == f'launch.py: {message}\n'
