"""Pictures of the latent space, and the z of an image, by small untrained networks."""

import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from configs import digits
from dcgan_jax import cli
from dcgan_jax.applications import latent_space
from dcgan_jax.building import model as build_model
from dcgan_jax.commands.interpolate import KINDS
from dcgan_jax.drawing import latents
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import ffmpeg as video
from dcgan_jax.kinds import image as images
from dcgan_jax.run import Run

SHAPE = (8, 8, 1)


def _run(prior='normal', classes=None):
  config = digits.get_config()
  config.generator.update(widths=(16, 8), latent_size=6, latents=prior)
  config.discriminator.widths = (4, 8)
  if classes:
    config.tricks.update(generator_labels='one_hot', discriminator_labels='projection')
  model = build_model.build_model(config, SHAPE, classes)
  state = jax.jit(model.create)(jax.random.key(3))
  # Every image of an untrained generator is grey; with weights of a trained one's size they differ.
  average = state.ema['generator']
  average |= {'params': jax.tree.map(lambda leaf: leaf * 8, average['params'])}
  return Run(config, model, state.replace(ema={'generator': average}), SHAPE)


@pytest.fixture(scope='module')
def run():
  return _run()


@pytest.fixture(scope='module')
def uniform():
  return _run('uniform')


@pytest.fixture(scope='module')
def conditional():
  return _run(classes=3)


def test_a_line_begins_and_ends_with_samples_of_the_draw(run):
  grid = latent_space.lines(run, rows=2, columns=5, seed=4)
  samples = run.sample(4, seed=4)
  assert_array_equal(grid[:, [0, -1]].reshape(samples.shape), samples)
  assert len(np.unique(grid.reshape(10, -1), axis=0)) == 10


def test_normal_latents_go_round_and_uniform_ones_straight(run, uniform):
  assert latent_space.straight_or_round(run) is latents.slerp
  assert latent_space.straight_or_round(uniform) is latents.lerp


def test_a_walk_begins_with_samples_and_its_frames_differ(run):
  frames = latent_space.walk(run, frames=9, stations=3, num=3)
  assert frames.shape == (9, 3, *SHAPE)
  assert_array_equal(frames[[0, 3, 6]].swapaxes(0, 1).reshape(9, *SHAPE), run.sample(9))
  assert len(np.unique(frames.reshape(27, -1), axis=0)) == 27


def test_a_traversal_takes_the_dimensions_that_change_the_picture_most(run):
  grid = latent_space.traversals(run, rows=6, columns=2, index=3)
  effects = ((grid[:, 0].astype(float) - grid[:, 1]) ** 2).mean(axis=(1, 2, 3))
  assert (np.diff(effects) <= 0).all()
  one = latent_space.traversals(run, dimensions=[2], columns=3, index=3)
  z = run.latents(1, first=3)[0]
  expected = np.stack([np.where(np.arange(6) == 2, value, z) for value in (-2, 0, 2)])
  assert_array_equal(one[0], images.to_uint8(run.generate(expected)))


def test_the_last_row_of_truncations_is_not_truncated(run, uniform):
  for some in (run, uniform):
    grid = latent_space.truncations(some, thresholds=(1e-3,), columns=4)
    assert_array_equal(grid[1], some.sample(4))
    assert grid[0].std(axis=0).max() < 0.05 * grid[1].std(axis=0).max()  # all next to the middle


def test_one_z_in_every_class_is_what_generate_says(conditional):
  grid = latent_space.across_classes(conditional, rows=2)
  z = np.repeat(conditional.latents(2), 3, axis=0)
  expected = images.to_uint8(conditional.generate(z, np.tile(np.arange(3), 2)))
  assert_array_equal(grid.reshape(expected.shape), expected)


def test_arithmetic_shows_its_result_in_the_middle(run):
  concepts, result = latent_space.arithmetic(run, plus=[(0, 1), (2,)], minus=[(5,)])
  z = run.latents(6)
  means = np.stack([z[:2].mean(0), z[2], z[5]])
  assert_array_equal(concepts, images.to_uint8(run.generate(means)))
  assert_array_equal(result[1, 1], images.to_uint8(run.generate((means[0] + means[1] - means[2])[None]))[0])
  assert len(np.unique(result.reshape(9, -1), axis=0)) == 9


def test_labels_follow_the_rows_or_are_all_the_one_that_was_asked_for(conditional):
  z = conditional.latents(6).reshape(3, 2, 6)
  for label, labels in ((None, [0, 1, 2]), (2, [2, 2, 2])):
    grid = latent_space.lines(conditional, rows=3, columns=2, label=label)
    assert_array_equal(grid[:, 0], images.to_uint8(conditional.generate(z[:, 0], np.array(labels))))


def test_what_does_not_exist_is_refused(run, conditional):
  for make, message in [
    (lambda: latent_space.across_classes(run), 'trained without labels; one z across classes takes a conditional'),
    (lambda: latent_space.lines(run, label=1), 'without labels, so it has no class 1'),
    (lambda: latent_space.lines(conditional, label=3), 'No class 3; this run has the classes 0 to 2'),
    (lambda: latent_space.traversals(run, dimensions=[6]), 'z has no dimension 6; this run has 0 to 5'),
    (lambda: latent_space.arithmetic(run, plus=[], minus=[(1,)]), 'at least one concept to add'),
    (lambda: latent_space.arithmetic(conditional, plus=[(1,)], minus=[]), 'give one of 0 to 2'),
    (lambda: conditional.project(np.zeros((1, *SHAPE))), 'searched in one class; give one of 0 to 2'),
  ]:
    with pytest.raises(ConfigError, match=message):
      make()
  with pytest.raises(DataError, match=r'shape \(1, 4, 4, 1\); expected \[B, 8, 8, 1\]'):
    run.project(np.zeros((1, 4, 4, 1)))


def test_projection_gives_back_the_z_of_an_image_that_the_generator_made(conditional):
  labels = np.full(2, 1, np.int32)
  targets = conditional.generate(conditional.latents(2, seed=9), labels)
  found, errors = conditional.project(targets, steps=400, label=1)
  assert (errors < 0.01 * targets.var()).all()
  assert_allclose(((conditional.generate(found, labels) - targets) ** 2).mean(axis=(1, 2, 3)), errors, rtol=1e-3)


def test_image_files_are_fitted_to_the_run(run, tmp_path):
  Image.new('RGB', (30, 20), 'white').save(tmp_path / 'wide.png')
  (tmp_path / 'text.png').write_text('no image')
  assert_array_equal(run.read_images([tmp_path / 'wide.png']), np.full((1, *SHAPE), 255, np.uint8))
  with pytest.raises(DataError, match=r'text.png as an image'):
    run.read_images([tmp_path / 'text.png'])


def test_each_sample_may_have_a_label_of_its_own(run, conditional):
  labels = np.array([2, 0, 0, 1], np.int32)
  drawn = conditional.sample(4, seed=1, labels=labels)
  for label in range(3):
    alone = conditional.sample(4, seed=1, label=label)
    assert np.abs(drawn[labels == label].astype(int) - alone[labels == label]).max() <= 1
  for loaded, num in ((run, 4), (conditional, 5)):
    with pytest.raises(ConfigError, match=f'4 labels for {num} samples; expected one for each'):
      loaded.sample(num, labels=labels)


@pytest.fixture
def loaded(run, monkeypatch):
  monkeypatch.setattr('dcgan_jax.run.load', lambda directory, step=None, data_dir=None: run)
  return run


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind not in ('walk', 'classes')])
def test_the_command_writes_a_grid_of_every_kind(kind, loaded, tmp_path):
  flags = ['--plus', '1,2,3', '--minus', '4'] if kind == 'arithmetic' else ['--rows', '2', '--columns', '3']
  assert cli.main(['interpolate', kind, '--workdir', 'x', '--out', str(tmp_path / 'a.png'), *flags]) == 0
  sheet = np.asarray(Image.open(tmp_path / 'a.png'))
  rows, columns = {'arithmetic': (3, 4), 'truncate': (5, 3)}.get(kind, (2, 3))
  # Two grids side by side have both their edges.
  assert sheet.shape == (rows * 10 + 2, columns * 10 + 2 + 2 * (kind == 'arithmetic'))


def test_the_command_writes_a_walk_as_a_gif_that_does_not_rest(loaded, tmp_path):
  arguments = ['--workdir', 'x', '--frames', '5', '--rows', '4', '--out', str(tmp_path / 'a.gif')]
  assert cli.main(['interpolate', 'walk', *arguments]) == 0
  with Image.open(tmp_path / 'a.gif') as gif:
    assert b'drawn by a generative adversarial network, run run, step 0, seed 0' in gif.info['comment']
    assert [gif.seek(i) or gif.info['duration'] for i in range(gif.n_frames)] == [60] * 5


@pytest.mark.skipif(shutil.which('ffmpeg') is None, reason='there is no ffmpeg')
def test_the_command_writes_a_walk_as_a_video_of_as_many_frames(loaded, tmp_path):
  video = tmp_path / 'a.mp4'
  assert cli.main(['interpolate', 'walk', '--workdir', 'x', '--frames', '7', '--rows', '3', '--out', str(video)]) == 0
  probe = [
    'ffprobe',
    '-v',
    'error',
    '-count_frames',
    '-show_entries',
    'stream=nb_read_frames:format_tags=comment',
  ]
  said = subprocess.run([*probe, video], capture_output=True, text=True, check=True).stdout
  assert 'nb_read_frames=7' in said
  assert 'TAG:comment=Synthetic: drawn by' in said


def test_without_ffmpeg_a_video_is_refused_before_the_run_is_read(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  monkeypatch.setattr('shutil.which', lambda name: None)
  assert cli.main(['interpolate', 'walk', '--workdir', 'nothing', '--out', str(tmp_path / 'a.mp4')]) == 2
  assert "not installed; pip install 'dcgan-jax[video]', or write a .gif" in capsys.readouterr().err


def test_the_ffmpeg_of_the_extra_goes_before_that_of_the_path(monkeypatch):
  monkeypatch.setattr('shutil.which', lambda name: f'/usr/bin/{name}')
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', types.SimpleNamespace(get_ffmpeg_exe=lambda: '/extra/ffmpeg'))
  assert video.find_ffmpeg() == '/extra/ffmpeg'
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  assert video.find_ffmpeg() == '/usr/bin/ffmpeg'


def test_the_command_projects_files(loaded, tmp_path, capsys):
  images.save_png(tmp_path / 'a.png', run_sample := loaded.sample(1)[0])
  arguments = ['--workdir', 'x', '--image', str(tmp_path / 'a.png'), '--steps', '5', '--restarts', '2']
  assert cli.main(['project', *arguments, '--out', str(tmp_path / 'pair.png')]) == 0
  assert 'a.png: mean squared error 0.' in capsys.readouterr().out
  assert_array_equal(np.asarray(Image.open(tmp_path / 'pair.png'))[2:10, 2:10], run_sample[..., 0])
  with np.load(tmp_path / 'pair.npz') as file:
    assert file['z'].shape == (1, 6)


def test_the_command_projects_images_of_a_split(loaded, tmp_path, capsys, monkeypatch):
  examples = lambda self, *, split, num, seed: (np.full((num, *SHAPE), 9, np.uint8), None)
  monkeypatch.setattr(Run, 'examples', examples)
  arguments = ['--workdir', 'x', '--image', 'train[:80%]:2', '--image', 'test:1', '--steps', '5', '--restarts', '2']
  assert cli.main(['project', *arguments, '--out', str(tmp_path / 'pair.png')]) == 0
  output = capsys.readouterr().out
  for name in ('train[:80%] image 0', 'train[:80%] image 1', 'test image 0'):
    assert f'{name}: mean squared error' in output


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['interpolate', 'walks', '--workdir', 'x'], "Unknown kind 'walks'; known: arithmetic, classes, lines, traverse"),
    (['interpolate', 'walk', '--workdir', 'x', '--out', 'a.png'], "Cannot write 'walk' as '.png'; --out is a .gif or"),
    (['interpolate', '--workdir', 'x', '--out', 'a.jpg'], "Cannot write 'lines' as '.jpg'; --out is a .png"),
    (['interpolate', '--workdir', 'x', '--between', 'nlerp'], "--between is 'nlerp'; expected slerp or lerp"),
    (['interpolate', 'arithmetic', '--workdir', 'x'], 'Arithmetic takes at least one --plus I,J,... of sample indices'),
    (['interpolate', 'arithmetic', '--workdir', 'x', '--plus', '1,b'], "'1,b' is no list of whole numbers such as"),
    (['interpolate', '--workdir', 'x', '--plus', '1,4294967296'], "'1,4294967296' is no list of whole numbers such"),
    (['project', '--workdir', 'x', '--image', 'a.png', '--out', 'a.gif'], "Cannot write the pairs as '.gif'; --out is"),
  ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
  assert cli.main(arguments) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
