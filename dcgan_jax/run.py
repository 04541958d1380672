"""A trained run in Python: load it, draw from it, look through its discriminator's eyes."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dcgan_jax.applications import evaluation
from dcgan_jax.building import data as build_data
from dcgan_jax.building import model as build_model
from dcgan_jax.building.rules import validate
from dcgan_jax.data.classes import find_class
from dcgan_jax.drawing import latents, sample
from dcgan_jax.errors import CheckpointError, ConfigError, DataError
from dcgan_jax.exporting import export, run_paths
from dcgan_jax.games.parallel import check_platform
from dcgan_jax.games.state import ExportedState, GANState
from dcgan_jax.kinds import image as images
from dcgan_jax.models import pooling
from dcgan_jax.training import session, workdir
from dcgan_jax.training.checkpoint import Checkpoints


class Run:
  """A restored run; `load` makes it.

  Attributes:
    config: the run's config.
    directory: the run's work directory.
    step: updates the state has seen.
    shape: of an example, (*spatial, C).
    crop: side in pixels of the central square that was cut out of the training images; None: the largest.
    num_classes: of the labels that the networks take; None of an unconditional run.
    class_names: their names in the order of the labels; None where the data have none.
    state: everything that was saved; an ExportedState of an export.
    variables: {'generator': of the averaged generator, 'discriminator': None where a generator was imported alone}.
    latent_size: Z.
    latent_limit: every component of z is within [-limit, limit]; None: z is normal.
  """

  def __init__(
    self,
    config: ConfigDict,
    model: build_model.Model,
    state: GANState | ExportedState,
    shape: tuple[int, ...],
    directory: pathlib.Path = pathlib.Path('run'),
    class_names: Sequence[str] | None = None,
  ):
    self.config = config
    self.directory = directory
    self.step = int(state.step)
    self.shape = shape
    self._file_options = build_data.file_options(config)
    self.crop = self._file_options['crop']
    self.num_classes = model.num_classes
    self.class_names = class_names if self.num_classes is not None else None
    self.state = state
    self._model = model
    self.variables = {'discriminator': None} | state.variables
    self.latent_size = model.latent_size
    self.latent_limit = model.latent_limit
    self._generate = sample.compile_generate(model.generator)
    self._judge = jax.jit(functools.partial(_judge, model.discriminator))

  def sample(
    self, num: int, *, seed: int = 0, label: int | str | None = None, batch_size: int = 64, live: bool = False,
    labels: np.ndarray | None = None,
  ) -> np.ndarray:  # fmt: skip
    """Draws uint8 [num, *shape]; sample i is a function of (seed, i), and the label, alone.

    Args:
      num: how many.
      seed: of the draw.
      label: number or name of the class of all samples; None is each class in turn, i mod num_classes.
      batch_size: examples at a time; changes the result by rounding alone.
      live: from the generator as the last update left it, and not from the averaged one.
      labels: one for each sample, int32 [num], in place of `label`.

    Raises:
      ConfigError: fewer than one sample, a label where there are none, or one that does not exist, or a live sample of
        an export.
    """
    if num < 1:
      raise ConfigError(f'num is {num}; expected 1 sample or more, so give a larger number')
    label = self.label(label)
    variables = self.variables_of(live=live)
    if labels is not None and (self.num_classes is None or len(labels) != num):
      raise ConfigError(f'{len(labels)} labels for {num} samples; expected one for each, of a run with labels')
    labels = self.labels(num, label) if labels is None else labels
    labels_of = sample.no_labels if labels is None else functools.partial(sample.given, labels=labels)
    return sample.draw(
      self._generate, variables, self._model.latents, num=num, seed=seed, labels=labels_of, batch_size=batch_size
    )

  def variables_of(self, *, live: bool) -> dict:
    """Variables of the averaged generator, or of the live one; ConfigError where an export does not have that."""
    if live and isinstance(self.state, ExportedState):
      raise ConfigError('An export holds the averaged generator alone; draw live samples from the run itself')
    return self.state.players['generator'].variables if live else self.variables['generator']  # pyright: ignore[reportAttributeAccessIssue]

  def latents(self, num: int, *, seed: int = 0, first: int = 0) -> np.ndarray:
    """The z of samples first .. first + num - 1 of `sample`, float32 [num, Z]."""
    return sample.draw_latents(self._model.latents, num=num, seed=seed, first=first)

  def label(self, wanted: int | str | None) -> int | None:
    """The number of a class that is given by its number or name; of None it is None.

    Raises:
      ConfigError: a label where there are none, or one that does not exist.
    """
    if wanted is None:
      return None
    if self.num_classes is None:
      raise ConfigError(f'This run was trained without labels, so it has no class {wanted} to draw from')
    return find_class(wanted, self.num_classes, self.class_names)

  def labels(self, num: int, label: int | str | None = None) -> np.ndarray | None:
    """Labels of `num` samples: all `label`, or each class in turn, int32 [num]; None of an unconditional run.

    Raises:
      ConfigError: as `label` does.
    """
    label = self.label(label)
    return self._model.labels(np.arange(num)) if label is None else sample.one_class(np.arange(num), label=label)

  def generator(self, variables: dict, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
    """G as a pure function to differentiate: variables['generator'], z [B, Z] -> examples in [-1, 1], [B, *shape]."""
    return self._generate(variables, z, labels)

  def discriminator(
    self, variables: dict, x: jax.Array, labels: jax.Array | None = None
  ) -> tuple[jax.Array, list[jax.Array]]:
    """D as a pure function to differentiate: variables['discriminator'], x in [-1, 1], [B, *shape] -> logits [B] and
    the activations of each layer, [B, *spatial, F]."""
    return self._judge(variables, x, labels)

  def check_images(self) -> None:
    """ConfigError where the run's examples are no images, [H, W, 1 or 3]."""
    if not sample.is_image(self.shape):
      raise ConfigError(f'Examples of shape {self.shape} are no images, so there is nothing to show')

  def read_images(self, paths: Sequence[str | os.PathLike]) -> np.ndarray:
    """Decodes image files, cuts and resizes them to the run's shape as the training data are: uint8 [N, *shape].

    Raises:
      DataError: no image, or the run's examples are none.
    """
    if not sample.is_image(self.shape):
      raise DataError(f'Examples of this run have the shape {self.shape}; image files become grey or RGB images')
    options = {'channels': self.shape[-1], 'size': self.shape[:2]} | self._file_options
    return np.stack([images.read(pathlib.Path(path), **options) for path in paths])

  def project(
    self, targets: Any, *, restarts: int = 8, steps: int = 300, learning_rate: float = 0.1, seed: int = 0,
    label: int | str | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The z whose image is nearest to each target: the best of several searches, which run side by side.

    Args:
      targets: uint8, or floats in [-1, 1], [B, *shape].
      restarts: searches per target, from z drawn by `seed`.
      steps: of Adam.
      learning_rate: of Adam, at first.
      seed: of the starting points.
      label: the class to search in; of a run with labels it is needed.

    Returns:
      z [B, Z] and the mean squared error of its image, on the scale of [-1, 1], [B].

    Raises:
      DataError: the targets are not of the run's shape, or floats beyond [-1, 1].
      ConfigError: a label where there are none, one that does not exist, or none where it is needed.

    References: Lipton and Tripathi 2017; the paper has no projection.
    """
    x = self._examples(targets)
    if label is None and self.num_classes is not None:
      raise ConfigError(f'A run with labels is searched in one class; give one of 0 to {self.num_classes - 1}')
    z = jnp.asarray(self.latents(restarts, seed=seed))
    found = [self._project(target[None], z, self.labels(restarts, label), steps, learning_rate) for target in x]
    return np.stack([z for z, _ in found]), np.stack([error for _, error in found])

  def _project(self, target, z, labels, steps, learning_rate):
    context = {'variables': self.variables['generator'], 'target': target, 'labels': labels}
    z, errors = latents.minimise(
      self._squared_error, z, context, steps=steps, learning_rate=learning_rate, limit=self.latent_limit
    )
    best = int(errors.argmin())
    return np.asarray(z[best]), float(errors[best])

  @functools.cached_property
  def _squared_error(self):
    # One object for the life of the run, so that one program is compiled.
    def squared_error(z, context):
      difference = self.generator(context['variables'], z, context['labels']) - context['target']
      return (difference**2).mean(axis=tuple(range(1, difference.ndim)))

    return squared_error

  def generate(self, z: Any, labels: Any = None) -> np.ndarray:
    """Maps latents [B, Z] to examples in [-1, 1], [B, *shape], by the averaged generator.

    Args:
      z: [B, Z].
      labels: [B], of a run with labels.

    Raises:
      DataError: z is not [B, Z], or the labels are not [B] of classes that exist.
    """
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or z.shape[1] != self._model.latent_size:
      raise DataError(f'z has the shape {z.shape}; expected [B, {self._model.latent_size}]')
    if self.num_classes is None and labels is None:
      return np.asarray(self._generate(self.variables['generator'], z))
    if self.num_classes is None:
      raise DataError('This run was trained without labels; generate(z) takes z alone')
    labels = np.asarray([] if labels is None else labels)
    fits = labels.shape == z.shape[:1] and np.issubdtype(labels.dtype, np.integer)
    if not fits or not ((labels >= 0) & (labels < self.num_classes)).all():
      raise DataError(
        f'The labels have the shape {labels.shape} and the type {labels.dtype}; '
        f'expected whole numbers [{len(z)}] from 0 to {self.num_classes - 1}'
      )
    return np.asarray(self._generate(self.variables['generator'], z, labels.astype(np.int32)))

  def evaluate(
    self, num: int, *, reference: str = 'train', features: str = '2048', weights: str | None = None, seed: int = 0,
    live: bool = False, label: int | None = None, allow_few: bool = False,
  ) -> tuple[dict[str, Any], np.ndarray]:  # fmt: skip
    """Measures samples against real images; samples of a run with labels have each class as often as those images.

    Args:
      num: how many samples.
      reference: split of the run's data set; all of it is taken.
      features: Inception's '2048', '768', '192', '64', or 'self'.
      weights: of Inception, a .pth or .npz; None downloads them once.
      seed: of the draw.
      live: as in `sample`.
      label: class to measure alone, its samples against its real images; None is all.
      allow_few: take fewer samples or real images than a Frechet distance of this size can be trusted with.

    Returns:
      The metrics by name with their 'protocol', and a sheet, uint8 [H, W, C]: samples in the first column, beside each
      the real images nearest to it.

    Raises:
      ConfigError: too few samples or real images, unknown features, or a label as in `labels`.
      DataError: no such split or file of weights.
    """
    return evaluation.evaluate(
      self, self._model, num, reference=reference, features=features, weights=weights, seed=seed, live=live,
      label=label, allow_few=allow_few,
    )  # fmt: skip

  def origin(self, *, seed: int | None = None, real: str | None = None) -> dict[str, str] | None:
    """What pictures of this run's samples say of themselves, for `images.save_png`, `images.save_gif`, `sample.save`.

    Args:
      seed: of the draw; None where there was none.
      real: what in the picture is real, in words; None where nothing is.

    Returns:
      Text by keyword, or None where config.logging.mark_synthetic is off.
    """
    return session.build_origin(self.config, self.directory)(step=self.step, seed=seed, real=real)

  def features(self, examples: Any) -> np.ndarray:
    """The discriminator's view of examples: all convolutions, max-pooled to 4 cells a side, flattened, [B, F].

    Args:
      examples: uint8, or floats in [-1, 1], [B, *shape].

    Raises:
      DataError: the examples are not of the run's shape, or floats beyond [-1, 1].
      ConfigError: the discriminator sees labels, so that its features are not of the image alone.

    References: Radford et al. 2016, section 5.1.
    """
    self.check_features()
    x = self._examples(examples)
    _, activations = self._judge(self.variables['discriminator'], x)
    return np.concatenate([np.asarray(pooling.max_pool(layer, cells=4)) for layer in activations], axis=1)

  def check_features(self) -> None:
    """Raises what `features` raises, whatever the examples are."""
    if self._model.sees_labels:
      raise ConfigError(
        'The discriminator of this run sees labels at its input, so its features are not of the image alone; '
        "train with config.tricks.discriminator_labels 'projection', 'auxiliary' or 'none'"
      )
    _check_discriminator(self.variables['discriminator'])

  def _examples(self, examples: Any) -> np.ndarray:
    """uint8, or floats in [-1, 1], [B, *shape] as float32; DataError where the shape or the range is another."""
    examples = np.asarray(examples)
    if examples.shape[1:] != self.shape:
      raise DataError(f'The examples have the shape {examples.shape}; expected [B, {", ".join(map(str, self.shape))}]')
    if examples.dtype == np.uint8:
      return images.to_float(examples)
    # A little more than 1 is a rounding error; NaN is within nothing.
    if not (np.abs(examples) <= 1 + 1e-4).all():
      raise DataError(
        f'The examples are {examples.dtype} from {examples.min():.4g} to {examples.max():.4g}; expected uint8 or '
        'floats in [-1, 1]; pass pixels of 0 to 255 as uint8, or as pixels / 127.5 - 1'
      )
    return examples.astype(np.float32)

  def untrained(self, seed: int = 0) -> 'Run':
    """The same networks before their first update, by another key than the run's: the baseline of a probe."""
    # Training starts from key(seed) itself.
    key = jax.random.fold_in(jax.random.key(seed), 2)
    return Run(self.config, self._model, jax.jit(self._model.create)(key), self.shape, self.directory, self.class_names)

  def labelled(
    self, source: str | None = None, *, split: str | None = None, num: int | None = None, seed: int = 0
  ) -> tuple[np.ndarray, np.ndarray]:
    """Labelled examples of the run's shape: uint8 [N, *shape] and int32 [N].

    Args:
      source: as config.data.source; None is the run's own.
      split: of the source; None is what the run was trained on.
      num: examples, drawn without repetition; None is all of them in order.
      seed: of the draw.

    Raises:
      DataError: no such data, no labels, fewer examples, or another shape.
    """
    return self.open_labelled(source, split=split, num=num, seed=seed)()

  def open_labelled(
    self, source: str | None = None, *, split: str | None = None, num: int | None = None, seed: int = 0
  ):
    """A function that returns what `labelled` does; all that `labelled` refuses is refused before anything is read."""
    return build_data.open_labelled(self.config, source, split=split, shape=self.shape, num=num, seed=seed)

  def examples(
    self, source: str | None = None, *, split: str = 'train', num: int | None = None, seed: int = 0
  ) -> tuple[np.ndarray, np.ndarray | None]:
    """Examples of the run's shape, uint8 [N, *shape], and int32 [N] or None where they have no labels.

    Args:
      source, split, seed: as of `labelled`.
      num: examples, drawn without repetition, or all where there are fewer; None is all of them in order.

    Raises:
      DataError: no such data, or another shape.
    """
    return build_data.read_examples(self.config, source, split=split, shape=self.shape, num=num, seed=seed)


def load(
  directory: str | os.PathLike, *, step: int | None = None, data_dir: str | None = None, revision: str | None = None
) -> Run:
  """Restores a run on the devices at hand, whatever it was trained on.

  Args:
    directory: the run's work directory or an export. Where there is no such directory: the name of an export that the
      package brings ('digits') or, with huggingface_hub installed, of one on the Hugging Face Hub: user/model or
      user/model@revision.
    step: of the checkpoint; None is the newest.
    data_dir: of TensorFlow Datasets, or path of the folder or .npz of the data, where it is another than when training.
    revision: branch, tag or commit of an export on the Hub (default: that of its name, else its main branch).

  Raises:
    CheckpointError: no run, no checkpoint, or a damaged one.
    ConfigError: a revision of a run that is not on the Hub, a step that is no int, or an address such as
      gs://bucket/run.
  """
  run_paths.check_step(step)
  directory = run_paths.find(directory, revision=revision)
  config = build_data.with_data_dir(ConfigDict(workdir.read_config(directory)), data_dir)
  validate(config.to_dict())
  (shape, num_classes), data = workdir.read_description(directory), workdir.read_data(directory)
  config = build_data.with_range(config, data.get('range')).lock()
  check_platform()
  model = build_model.build_model(config, shape, num_classes)
  abstract = jax.eval_shape(model.create, jax.random.key(0))
  sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if (directory / export.WEIGHTS).exists():
    state = export.read(directory, abstract.variables, sharding=sharding, step=step)
  else:
    checkpoints = Checkpoints(directory / 'checkpoints', read_only=True)
    state = checkpoints.restore(abstract, sharding=sharding, step=step)
  return Run(config, model, state, shape, directory, data.get('classes'))


def _check_discriminator(variables: Any) -> None:
  if variables is None:
    raise CheckpointError('This is a generator alone, which was imported without its discriminator; import both')


def _judge(discriminator, variables, x, labels=None):
  _check_discriminator(variables)
  labels = jnp.zeros(x.shape[0], jnp.int32) if labels is None else labels
  keys = jax.random.split(jax.random.key(0), x.shape[0])  # Of dropout, which there is none of outside training.
  return discriminator.apply(variables, x, labels, train=False, keys=keys)
