"""Inpainting: what the search minimises, what blending promises, and what the command says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dcgan_jax.run
from dcgan_jax import cli
from dcgan_jax.applications import inpainting
from dcgan_jax.building import model as build_model
from dcgan_jax.commands.train import read_config
from dcgan_jax.drawing import latents
from dcgan_jax.errors import ConfigError, DataError
from dcgan_jax.kinds import image as images

SHAPE = (12, 12, 3)
CENTRE, LEFT = inpainting.centre(SHAPE), inpainting.left(SHAPE)
SCATTERED = inpainting.random(SHAPE, 1, share=0.8)[0]
HOLES = pytest.mark.parametrize('missing', [CENTRE, LEFT, SCATTERED], ids=['centre', 'left', 'scattered'])


class ToyRun:
  """A run whose generator adds up smooth patterns, and shifts its colours by its labels if it has any."""

  shape, latent_limit = SHAPE, 1.0

  def __init__(self, num_classes=None):
    self.num_classes = num_classes
    generator = np.random.default_rng(0)
    patterns = generator.standard_normal((5, 3, 3, 3))
    patterns = np.asarray(jax.image.resize(patterns, (5, *SHAPE), 'cubic'))
    critic = 20 * generator.standard_normal(SHAPE)
    self.variables = {'generator': np.float32(patterns), 'discriminator': np.float32(critic)}

  def latents(self, num, *, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (num, 5)).astype(np.float32)

  def labels(self, num, label=None):
    if self.num_classes is None:
      return None
    return np.arange(num, dtype=np.int32) % self.num_classes if label is None else np.full(num, label, np.int32)

  def generator(self, variables, z, labels=None):
    shift = 0.0 if labels is None else 0.3 * labels[:, None, None, None]
    return jnp.tanh(jnp.tensordot(z, variables, 1) + shift)

  def discriminator(self, variables, x, labels=None):
    return (x * variables[None]).mean(axis=(1, 2, 3)), []


RUN = ToyRun()
inpaint = functools.partial(inpainting.inpaint, steps=60, learning_rate=0.1, restarts=6, completions=3, rows=8)


def own_images(num, *, run=RUN, labels=None):
  """Images the generator itself can make, uint8."""
  return images.to_uint8(run.generator(run.variables['generator'], run.latents(num, seed=99), labels))


def mean_fill(x, missing):
  return np.stack([np.where(missing[..., None], image[~missing].mean(axis=0), image) for image in x])


def error_in_hole(filled, x, missing):
  return np.abs(filled.astype(float) - x)[..., missing, :].mean()


@pytest.mark.parametrize('window', [3, 7])
@HOLES
def test_weights_are_the_share_of_missing_pixels_around_each_known_one(missing, window):
  height, width = missing.shape
  expected = np.zeros(missing.shape)
  for i in range(height):
    for j in range(width):
      neighbours = [
        missing[k, m]
        for k in range(i - window // 2, i + window // 2 + 1)
        for m in range(j - window // 2, j + window // 2 + 1)
        if 0 <= k < height and 0 <= m < width
      ]
      expected[i, j] = 0 if missing[i, j] else sum(neighbours) / len(neighbours)
  weights = inpainting.context_weights(missing, window=window)
  np.testing.assert_allclose(weights, expected, rtol=1e-6)
  np.testing.assert_array_equal(weights == 0, expected == 0)
  np.testing.assert_array_equal(inpainting.context_weights(np.stack([CENTRE, missing]), window=window)[1], weights)


@pytest.mark.parametrize('prior_weight', [0.0, 0.5])
def test_the_loss_is_that_of_the_paper_per_weighted_pixel(prior_weight):
  x, z, weights = own_images(4), RUN.latents(4, seed=3), inpainting.context_weights(CENTRE)
  target = images.to_float(x)
  context = {'variables': RUN.variables, 'target': target, 'weights': np.stack([weights] * 4), 'labels': None}
  context |= {'prior_weight': prior_weight, 'latent_weight': 0.1}
  losses = inpainting.Loss(RUN.generator, RUN.discriminator)(z, context)
  for i in range(4):
    fake = np.tanh(np.einsum('z,zhwc->hwc', z[i].astype(float), RUN.variables['generator']))
    disagreement = sum(
      weights[a, b] * abs(fake[a, b, c] - target[i, a, b, c]) for a in range(12) for b in range(12) for c in range(3)
    ) / (3 * weights.sum())
    probability = 1 / (1 + np.exp(-(fake * RUN.variables['discriminator']).mean()))
    expected = disagreement + prior_weight * np.log(1 - probability) + 0.1 * (z[i] ** 2).sum() / 5
    assert losses[i] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('scale', [1e4, -1e4])
def test_the_loss_is_finite_however_sure_the_discriminator_is(scale):
  context = {'target': own_images(2) / 255, 'weights': np.ones((2, 12, 12)), 'labels': None, 'prior_weight': 1.0}
  context['latent_weight'] = 1.0
  context['variables'] = RUN.variables | {'discriminator': np.full(SHAPE, scale, np.float32)}
  loss = lambda z: inpainting.Loss(RUN.generator, RUN.discriminator)(z, context).sum()
  value, gradient = jax.value_and_grad(loss)(RUN.latents(2))
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


def test_masks_miss_the_share_they_say():
  assert inpainting.centre((32, 32, 3)).sum() == 16 * 16
  assert inpainting.centre((32, 32, 3))[8:24, 8:24].all()
  assert inpainting.left((28, 28, 1))[:, :14].all()
  assert not inpainting.left((28, 28, 1))[:, 14:].any()
  masks = inpainting.random((20, 20, 3), 5, share=0.8, seed=3)
  assert masks.sum(axis=(1, 2)).tolist() == [320] * 5
  assert len({mask.tobytes() for mask in masks}) == 5
  np.testing.assert_array_equal(inpainting.random((20, 20, 3), 2, share=0.8, seed=3), masks[:2])
  assert (inpainting.random((20, 20, 3), 2, share=0.8, seed=4) != masks[:2]).any()


def opaque(colours, opacity=255) -> np.ndarray:
  """uint8 [h, w, 4] of colours [h, w, 3]."""
  return np.dstack([colours, np.broadcast_to(np.asarray(opacity, np.uint8), colours.shape[:2])])


HOLE = np.pad(np.ones((16, 16), bool), 8)
PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
MASK_PICTURES = {
  'white on black': opaque(np.repeat(HOLE[..., None] * np.uint8(255), 3, 2)),
  'zeros and ones': opaque(np.repeat(HOLE[..., None] * np.uint8(1), 3, 2)),
  'two greys': opaque(np.repeat(np.where(HOLE, np.uint8(120), np.uint8(20))[..., None], 3, 2)),
  'soft edges': opaque(np.repeat(np.pad(np.full((16, 16, 1), 255, np.uint8), ((8, 8), (8, 8), (0, 0))), 3, 2)),
  'white strokes on transparency': opaque(np.full_like(PHOTO, 255), HOLE * 255),
  'black strokes on transparency': opaque(np.zeros_like(PHOTO), HOLE * 255),
  'photograph with an erased square': opaque(PHOTO, np.where(HOLE, 0, 255)),
}


MASK_PICTURES['soft edges'][7, 8:24, :3] = 100


@pytest.mark.parametrize('kind', MASK_PICTURES)
def test_a_mask_misses_what_was_drawn_or_erased(kind):
  np.testing.assert_array_equal(inpainting.hole(MASK_PICTURES[kind]), HOLE)


@pytest.mark.parametrize(
  ('picture', 'message'),
  [
    (opaque(PHOTO), r'^A mask is black and white, .* and [89]\d% of this picture is grey; is it the mask\?$'),
    (
      opaque(np.repeat(np.triu(np.full((32, 32), 255, np.uint8))[..., None], 3, 2), HOLE * 255),
      r'^A mask has black and white, or strokes and transparency, not all of them; fill what is transparent$',
    ),
  ],
)
def test_a_picture_that_is_no_mask_is_refused(picture, message):
  with pytest.raises(DataError, match=message):
    inpainting.hole(picture)


def test_a_mask_file_is_fitted_by_its_nearest_pixels():
  picture = opaque(np.zeros((8, 12, 3), np.uint8))
  picture[2:4, 4:6] = 255
  expected = np.zeros((4, 4), bool)
  expected[1, 1] = True
  np.testing.assert_array_equal(inpainting.fit(picture, (4, 4, 3)), expected)
  np.testing.assert_array_equal(inpainting.fit(picture, (16, 16, 1)), np.kron(expected, np.ones((4, 4), bool)))


def test_known_pixels_stay_exactly_as_they_are():
  x = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
  masks = inpainting.random(SHAPE, 3, share=0.5)
  found = inpaint(RUN, x, masks)
  for i, mask in enumerate(masks):
    for filled in (found.images, found.unblended):
      np.testing.assert_array_equal(filled[i][:, ~mask], np.stack([x[i][~mask]] * 3))
      assert (filled[i][:, mask] != x[i][mask]).any()


def test_what_is_in_the_hole_has_no_effect():
  x = own_images(2)
  other = np.where(CENTRE[..., None], np.uint8(7), x)
  for first, second in zip(inpaint(RUN, x, CENTRE), inpaint(RUN, other, CENTRE), strict=True):
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('missing', [CENTRE, LEFT], ids=['centre', 'left'])
def test_images_that_the_generator_made_are_completed_better_than_by_their_mean(missing):
  x = own_images(4)
  found = inpaint(RUN, x, missing, completions=1)
  baseline = error_in_hole(mean_fill(x, missing), x, missing)
  assert error_in_hole(found.unblended[:, 0], x, missing) < 0.3 * baseline
  assert error_in_hole(found.images[:, 0], x, missing) < 0.3 * baseline


def test_the_prior_makes_images_look_more_real():
  x = own_images(3)
  judge = lambda **options: np.mean([
    RUN.discriminator(RUN.variables['discriminator'], images.to_float(image))[0]
    for image in inpaint(RUN, x, CENTRE, **options).generated
  ])  # fmt: skip
  assert judge(prior_weight=3.0) > judge(prior_weight=0.0) + 0.01


def test_normal_latents_are_kept_likely_and_uniform_ones_within_their_limits():
  x = np.full((2, *SHAPE), 255, np.uint8)
  run = ToyRun()
  run.latent_limit = None
  size = lambda **options: (inpaint(run, x, CENTRE, **options).z ** 2).mean()
  assert size(latent_weight=0.1) < 0.5 * size(latent_weight=0.0)
  within = inpaint(RUN, x, CENTRE, latent_weight=0.1).z
  np.testing.assert_array_equal(within, inpaint(RUN, x, CENTRE, latent_weight=0.0).z)
  assert np.abs(within).max() == 1


def test_completions_are_the_best_of_the_restarts_in_order_and_differ():
  x = np.random.default_rng(1).integers(0, 256, (2, *SHAPE), np.uint8)
  found, all_found = inpaint(RUN, x, CENTRE), inpaint(RUN, x, CENTRE, completions=6)
  assert (np.diff(all_found.losses, axis=1) >= 0).all()
  for few, many in zip(found[:5], all_found[:5], strict=True):
    np.testing.assert_array_equal(few, many[:, :3])
  assert all(len(np.unique(z, axis=0)) == 6 for z in all_found.z)
  assert all(len(np.unique(completions, axis=0)) > 1 for completions in all_found.images)
  assert np.abs(all_found.z).max() <= RUN.latent_limit


def test_neither_chunks_nor_company_change_a_completion():
  x = own_images(3)
  expected = inpaint(RUN, x, CENTRE)
  for found in (inpaint(RUN, x, CENTRE, rows=5), inpaint(RUN, x, CENTRE, rows=50)):
    np.testing.assert_allclose(found.losses, expected.losses, atol=1e-5)
    np.testing.assert_allclose(found.images.astype(int), expected.images, atol=2)
  alone = inpaint(RUN, x[1:2], CENTRE)
  np.testing.assert_allclose(alone.images[0].astype(int), expected.images[1], atol=2)


def test_one_program_serves_any_number_of_images_and_masks():
  inpaint(RUN, own_images(1), CENTRE)
  before = latents.minimise._cache_size()
  inpaint(RUN, own_images(4), inpainting.random(SHAPE, 4, share=0.3), prior_weight=0.1, window=3)
  assert latents.minimise._cache_size() == before


def test_a_run_with_labels_is_searched_in_each_class_or_in_one():
  run = ToyRun(num_classes=3)
  x = own_images(1, run=run, labels=np.array([2]))
  found = inpaint(run, x, CENTRE, completions=6)
  assert sorted(found.labels[0]) == [0, 0, 1, 1, 2, 2]
  assert found.labels[0, 0] == 2
  assert inpaint(run, x, CENTRE, label=1).labels.tolist() == [[1, 1, 1]]


@HOLES
def test_blending_solves_poissons_equation_in_the_hole(missing):
  """At every pixel of the hole the sum of differences to the neighbours inside the image is the generated one."""
  generator = np.random.default_rng(0)
  target, generated = generator.uniform(-1, 1, (2, *SHAPE))
  result = inpainting.blend(target, generated, missing)
  np.testing.assert_array_equal(result[~missing], target[~missing])
  for i, j in np.argwhere(missing):
    around = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    around = [(a, b) for a, b in around if 0 <= a < 12 and 0 <= b < 12]
    differences = [sum(image[i, j] - image[a, b] for a, b in around) for image in (result, generated)]
    np.testing.assert_allclose(*differences, atol=1e-12)


def test_blending_hides_a_constant_offset_and_does_several_at_once():
  generator = np.random.default_rng(0)
  target = generator.uniform(-1, 1, SHAPE)
  generated = np.stack([target + 0.3, target - 0.1, generator.uniform(-1, 1, SHAPE)])
  result = inpainting.blend(target, generated, CENTRE)
  np.testing.assert_allclose(result[:2], np.stack([target, target]), atol=1e-12)
  np.testing.assert_allclose(result[2], inpainting.blend(target, generated[2], CENTRE), atol=1e-12)
  flat = inpainting.blend(np.full(SHAPE, 0.25), np.full(SHAPE, -0.5), LEFT)
  np.testing.assert_allclose(flat, 0.25, atol=1e-12)


X = own_images(2)
NONE = np.zeros((12, 12), bool)
ERRORS = {
  r'^The mask of image 0 covers all pixels; expected a hole': lambda: inpaint(RUN, X, ~NONE),
  r'^The mask of image 1 covers no pixels; expected a hole': lambda: inpaint(RUN, X, np.stack([CENTRE, NONE])),
  r'^The mask is bool of shape \(8, 8\); expected bool \[12, 12\], or 2 of these': lambda: inpaint(
    RUN, X, inpainting.centre((8, 8))
  ),
  r'^The mask is int64 of shape': lambda: inpaint(RUN, X, CENTRE.astype(np.int64)),
  r'^The images are uint8 of shape \(2, 12, 12, 1\); expected uint8 \[N, 12, 12, 3\]': lambda: inpaint(
    RUN, X[..., :1], CENTRE
  ),
  r'^The images are float32 of shape': lambda: inpaint(RUN, images.to_float(X), CENTRE),
  r'^The images are uint8 of shape \(0, 12, 12, 3\)': lambda: inpaint(RUN, X[:0], CENTRE),
  r'^The window is 4; expected an odd number from 3': lambda: inpaint(RUN, X, CENTRE, window=4),
  r'^7 completions of 6 restarts; expected 1 to 6': lambda: inpaint(RUN, X, CENTRE, completions=7),
}


@pytest.mark.parametrize('message', ERRORS)
def test_what_cannot_work_is_refused_in_words(message):
  with pytest.raises((ConfigError, DataError), match=message):
    ERRORS[message]()


@pytest.fixture(scope='module')
def make_run():
  """Runs of real, untrained networks."""

  @functools.cache
  def make(shape=(16, 16, 1), labels='none', crop=None):
    values = {'generator.latent_size': 8, 'generator.widths': (8, 4), 'discriminator.widths': (4, 8)}
    values |= {'tricks.generator_labels': labels} | ({} if crop is None else {'data.crop': crop})
    config = read_config(None, None, [f'--config.{key}={value}' for key, value in values.items()])
    model = build_model.build_model(config, shape, 10)
    return dcgan_jax.run.Run(config, model, jax.jit(model.create)(jax.random.key(0)), shape)

  return make


@pytest.fixture
def command(make_run, monkeypatch, tmp_path, capsys):
  """(arguments, run=...) -> exit code, output and error of `inpaint` on a run that is not read from disk."""

  def call(*arguments, run=None):
    monkeypatch.setattr(dcgan_jax.run, 'load', lambda *args, **options: run or make_run())
    monkeypatch.chdir(tmp_path)
    return cli.main(['inpaint', '--workdir', 'run', *map(str, arguments)]), *capsys.readouterr()

  images.save_png(tmp_path / 'colour.png', np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
  images.save_png(tmp_path / 'grey.png', np.random.default_rng(1).integers(0, 256, (16, 16, 1), np.uint8))
  hole = np.zeros((32, 32, 1), np.uint8)
  images.save_png(tmp_path / 'nothing.png', hole)
  hole[10:20, 4:14] = 255
  images.save_png(tmp_path / 'hole.png', hole)
  return call


def test_the_command_fits_images_of_any_size_and_colour_and_writes_a_sheet(command, tmp_path):
  quick = ['--restarts', 3, '--completions', 2, '--steps', 2, '--seed', 1]
  code, output, _ = command(
    '--image', 'colour.png', '--image', 'grey.png', '--mask', 'hole.png', *quick, '--out', 'new/a.png',
    '--arrays', 'b.npz',
  )  # fmt: skip
  assert code == 0
  assert 'grey.png: loss ' in output
  assert output.startswith('9.8% of the pixels are missing\n')
  assert images.read(tmp_path / 'new' / 'a.png').shape == (2 * 18 + 2, 4 * 18 + 2, 3)
  arrays = np.load(tmp_path / 'b.npz')
  assert arrays['missing'].sum() == 25
  assert arrays['images'].shape == (2, 2, 16, 16, 1)
  np.testing.assert_array_equal(arrays['originals'][1], images.read(tmp_path / 'grey.png', channels=1))
  known = ~arrays['missing']
  np.testing.assert_array_equal(arrays['images'][:, 0][:, known], arrays['originals'][:, known])
  assert 'labels' not in arrays


def test_images_and_mask_are_cut_as_the_training_data_were(command, make_run, tmp_path):
  run = make_run(crop=10)
  run.config.update(data={'source': f'folder:{tmp_path}', 'image_size': 16, 'channels': 1})
  code, output, error = command(
    '--image', 'colour.png', '--mask', 'hole.png', '--restarts', 1, '--completions', 1, '--steps', 1, '--arrays',
    'a.npz', run=run,
  )  # fmt: skip
  assert code == 0, error
  arrays = np.load(tmp_path / 'a.npz')
  # The first file of the folder, as the run's data have it.
  trained, _ = run.examples(num=None)
  np.testing.assert_array_equal(arrays['originals'], trained[:1])
  mask = inpainting.fit(images.read(tmp_path / 'hole.png', channels=4), run.shape, crop=10)
  np.testing.assert_array_equal(arrays['missing'], mask)
  # Of the hole, rows 10 to 19 and columns 4 to 13, the middle 10 x 10 of 32 x 32 holds 9 rows and 3 columns.
  assert output.startswith(f'{mask.mean():.1%} of the pixels are missing')
  assert mask.mean() == pytest.approx(0.27, abs=0.05)


def test_the_command_takes_folders_and_splits_of_the_data(command, make_run, tmp_path):
  quick = ['--restarts', 2, '--completions', 1, '--steps', 1, '--mask', 'random:0.5', '--arrays', 'a.npz']
  code, output, error = command(
    '--image', tmp_path, '--image', 'train:3', *quick, '--class', 4, run=make_run(labels='one_hot')
  )
  assert code == 0, error
  assert output.count(': loss ') == 4 + 3
  arrays = np.load(tmp_path / 'a.npz')
  assert arrays['labels'].tolist() == [[4]] * 7
  assert arrays['missing'].shape == (7, 16, 16)
  assert len(np.unique(arrays['originals'], axis=0)) == 7


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--mask', 'nothing.png'], 'The mask of image 0 covers no pixels; expected a hole'),
    (['--class', '3'], 'This run was trained without labels, so it has no class 3 to draw from'),
    (['--class', '10', 'one_hot'], 'No class 10; this run has the classes 0 to 9'),
    (['--image', 'nope.png'], 'There is no image file or folder nope.png'),
    (['--image', 'empty'], 'No images in empty; expected files named'),
    (['--mask', 'hole.txt'], 'Cannot read hole.txt as an image'),
    (['--mask', 'colour.png'], 'colour.png: A mask is black and white, white where something is missing'),
    (['--image', 'train:9999'], 'fewer than the 9,999 asked for'),
    (['--image', 'test:3'], "The digits have no split 'test'"),
    (['sound'], 'Examples of this run have the shape (64, 1); only images [H, W, 1 or 3] can be inpainted'),
  ],
)
def test_what_the_command_cannot_do_is_one_line(arguments, message, command, make_run, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'hole.txt').write_text('no picture')
  run = make_run(labels='one_hot') if 'one_hot' in arguments else None
  if 'sound' in arguments:
    run = ToyRun()
    run.shape = (64, 1)
  arguments = [argument for argument in arguments if argument not in ('one_hot', 'sound')]
  code, _, error = command('--image', 'grey.png', *arguments, run=run)
  assert code == 2
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'inpainted.png').exists()
