"""The only reader of configs: names become objects through literal tables, and a config becomes a training run."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dcgan_jax import augment, hooks, images, latents, parallel, sample, step, train, workdir
from dcgan_jax.checkpoint import Checkpoints
from dcgan_jax.data import arrays, digits, folder, resident, streamed, tfds
from dcgan_jax.errors import CheckpointError, ConfigError, DataError, StoppedError, look_up
from dcgan_jax.metrics import evaluate, features, inception_weights
from dcgan_jax.models import dcgan, initializers
from dcgan_jax.objectives import adversarial
from dcgan_jax.optimizers import averaging_decay
from dcgan_jax.state import GANState, create_state
from dcgan_jax.validate import strides_of

GENERATORS = {'dcgan': dcgan.Generator}
DISCRIMINATORS = {'dcgan': dcgan.Discriminator}
INITIALIZATIONS = {'dcgan': initializers.DCGAN, 'keras': initializers.KERAS}
NORMALIZATIONS = {'batch': nn.BatchNorm, 'none': None}
LATENTS = {'normal': latents.normal, 'uniform': latents.uniform}
LOSSES = {'non_saturating': adversarial.NON_SATURATING, 'saturating': adversarial.SATURATING}
OPTIMIZERS = {'adam': optax.adam}
PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
SOURCES = {
  'digits': lambda path, data: digits.open_digits(split=data.split, image_size=data.image_size),
  'folder': lambda path, data: folder.open_folder(
    path, image_size=data.image_size, crop=data.crop, channels=data.channels
  ),
  'npz': lambda path, data: arrays.open_npz(path, split=data.split, image_size=data.image_size, crop=data.crop),
  'tfds': lambda path, data: tfds.open_tfds(
    path, split=data.split, image_size=data.image_size, crop=data.crop, data_dir=data.dir
  ),
}


def _inception(depth: str) -> Callable[..., features.FeatureNet]:
  def make(config: ConfigDict, weights: str | None, cache: pathlib.Path) -> features.FeatureNet:
    del config
    path = inception_weights.download_weights(cache) if weights is None else pathlib.Path(weights).expanduser()
    return features.inception_net(depth, inception_weights.load_weights(path))

  return make


def _own_classifier(config: ConfigDict, weights: str | None, cache: pathlib.Path) -> features.FeatureNet:
  del weights
  source = build_source(config)
  if source.classes is None:
    raise ConfigError(
      f"features 'self' are those of a classifier of the run's data, and {config.data.source} has no labels; "
      'take 768 or 2048'
    )
  data = resident.ResidentFeeder(source, seed=0, batch_size=1).data
  return features.own_net(data['images'], data['labels'], num_classes=source.classes, cache=cache / 'classifiers')


FEATURE_NETS = {depth: _inception(depth) for depth in ('64', '192', '768', '2048')} | {'self': _own_classifier}
EVALUATION_BATCH = 50  # images per device


@dataclasses.dataclass(frozen=True)
class Model:
  """What a config says of the networks, for examples of one shape.

  generator, discriminator: modules without parameters.
  latents: keys [B] -> z [B, Z].
  create: key -> GANState before the first update.
  """

  generator: nn.Module
  discriminator: nn.Module
  latents: Callable
  latent_size: int
  create: Callable[[jax.Array], GANState]


def build_model(config: ConfigDict, shape: tuple[int, ...]) -> Model:
  """The networks of a config for examples of `shape`, (*spatial, C)."""
  dtype = look_up(PRECISIONS, config.precision, 'config.precision')
  initialization = look_up(INITIALIZATIONS, config.initialization, 'config.initialization')
  generator = look_up(GENERATORS, config.generator.name, 'config.generator.name')(
    shape=tuple(shape),
    norm=_norm(config, 'batch', initialization, dtype),
    norm_before_reshape=config.generator.norm_before_reshape,
    **_layers(config.generator, initialization, dtype),
  )
  discriminator = look_up(DISCRIMINATORS, config.discriminator.name, 'config.discriminator.name')(
    norm=_norm(config, config.discriminator.normalization, initialization, dtype),
    dropout=config.discriminator.dropout,
    **_layers(config.discriminator, initialization, dtype),
  )
  for player in (generator, discriminator):
    dcgan.base_shape(shape, player.strides)
  draw = look_up(LATENTS, config.generator.latents, 'config.generator.latents')
  create = functools.partial(
    create_state,
    generator=generator,
    discriminator=discriminator,
    optimizers=(_optimizer(config.generator.optimizer), _optimizer(config.discriminator.optimizer)),
    latent_size=config.generator.latent_size,
    shape=tuple(shape),
  )
  return Model(
    generator=generator,
    discriminator=discriminator,
    latents=functools.partial(draw, latent_size=config.generator.latent_size),
    latent_size=config.generator.latent_size,
    create=create,
  )


def build_game(config: ConfigDict, model: Model) -> step.Game:
  """The functions a training step is made of."""
  flip = augment.flip if config.data.flip else augment.unchanged
  return step.Game(
    latents=model.latents,
    prepare=lambda keys, examples: flip(keys, images.to_float(examples)),
    augment=augment.unchanged,
    loss=look_up(LOSSES, config.loss, 'config.loss'),
    generator_fakes=step.reuse_fakes if config.reuse_fakes else step.redraw_fakes,
    averaging_decay=averaging_decay(
      config.batch_size,
      half_life=config.generator.averaging.half_life,
      ramp_up=config.generator.averaging.ramp_up,
    ),
  )


def build_source(config: ConfigDict) -> Any:
  """Opens the data set: `len`, `shape`, `classes`, and (uint8 example, label) by index."""
  kind, _, path = config.data.source.partition(':')
  open_source = look_up(SOURCES, kind, 'kind of config.data.source')
  if (kind == 'digits') == bool(path):
    raise ConfigError(
      f"config.data.source is '{config.data.source}'; expected digits, tfds:NAME, folder:PATH or npz:PATH"
    )
  source = open_source(path, config.data)
  if config.data.flip and len(source.shape) != 3:
    raise ConfigError(
      f'config.data.flip is for images, and {config.data.source} holds examples of shape {source.shape}'
    )
  if len(source) < config.batch_size:
    raise DataError(
      f'{config.data.source} holds {len(source):,} examples, fewer than config.batch_size {config.batch_size}; '
      'use a smaller batch'
    )
  return source


def build_feeder(config: ConfigDict, source: Any) -> Any:
  """Keeps a small data set on the device and streams a large one; the batches are the same."""
  megabytes = len(source) * math.prod(source.shape) / 1e6
  options = {'seed': config.seed, 'batch_size': config.batch_size}
  if megabytes <= config.data.resident_megabytes:
    return resident.ResidentFeeder(source, **options)
  return streamed.StreamedFeeder(source, threads=config.data.threads, **options)


def with_data_dir(config: ConfigDict, data_dir: str | None) -> ConfigDict:
  """The config with another directory of TensorFlow Datasets, if one is given."""
  if data_dir is not None:
    config.data.dir = data_dir
  return config


def build_reference(config: ConfigDict, split: str) -> Any:
  """The real images of a split, all of them, for an evaluation."""
  source = build_source(_of_split(config, split))
  if not sample.is_image(source.shape):
    raise ConfigError(f'Metrics are of images, and {config.data.source} holds examples of shape {source.shape}')
  probes = b''.join(source[i][0].tobytes() for i in (0, len(source) // 2, len(source) - 1))
  return evaluate.Reference(
    split=split,
    num=len(source),
    batches=lambda: (
      np.stack([source[i][0] for i in range(first, min(first + 100, len(source)))])
      for first in range(0, len(source), 100)
    ),
    at=lambda i: source[i][0],
    # Some pixels too: a folder or file may change under its name.
    identity={'source': config.data.source, 'shape': source.shape, 'split': split, 'crop': config.data.crop}
    | {'pixels': hashlib.sha256(probes).hexdigest()},
  )


def read_labelled(
  config: ConfigDict, name: str | None, *, split: str, shape: tuple[int, ...], num: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Labelled examples for the networks of a config: uint8 [N, *shape] and int32 [N]; `num` of them, or all."""
  config = _of_split(config, split)
  if name is not None and name != config.data.source:
    config.data.update(source=name, crop=None)
  source = build_source(config)
  title = f'{config.data.source}, split {split!r}'
  if source.classes is None:
    raise DataError(f'{title} has no labels; a probe needs a labelled data set, such as --data tfds:cifar10')
  if tuple(source.shape) != tuple(shape):
    raise DataError(f'{title} holds examples of shape {tuple(source.shape)}, but the run is of {tuple(shape)}')
  if num is not None and num > len(source):
    raise DataError(f'{title} holds {len(source):,} examples, fewer than --num-train {num:,}')
  rows = range(len(source)) if num is None else np.random.default_rng(seed).permutation(len(source))[:num].tolist()
  with concurrent.futures.ThreadPoolExecutor(config.data.threads) as pool:
    pairs = list(pool.map(source.__getitem__, rows))
  return np.stack([example for example, _ in pairs]), np.array([label for _, label in pairs], np.int32)


def build_evaluator(config: ConfigDict, *, features: str, weights: str | None, reference: str) -> evaluate.Evaluator:
  """Prepares to measure samples against a split of a config's data, on all devices.

  Args:
    config: of the run.
    features: a key of FEATURE_NETS.
    weights: of Inception, a file; None downloads them once.
    reference: the split.
  """
  make_net = look_up(FEATURE_NETS, features, 'features')
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'dcgan_jax'
  real = build_reference(config, reference)
  net = make_net(config, weights, cache)
  devices = jax.local_devices()
  net = net._replace(params=parallel.replicate(net.params, devices))
  mapped = parallel.compile_map(net.apply, devices=devices)
  return evaluate.Evaluator(net, mapped, real, batch_size=EVALUATION_BATCH * len(devices), cache=cache / 'reference')


def run_training(config: ConfigDict, directory: pathlib.Path) -> None:
  """Trains a config in a work directory, or goes on with the run that is there."""
  devices = jax.local_devices()
  parallel.check_batch_size(config.batch_size, devices)
  source = build_source(config)
  model = build_model(config, source.shape)
  game = build_game(config, model)
  evaluator = None
  if config.evaluation.every is not None:
    options = {name: config.evaluation[name] for name in ('features', 'weights', 'reference')}
    evaluator = build_evaluator(config, **options)
  abstract = jax.eval_shape(model.create, jax.random.key(config.seed))

  try:
    directory.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise CheckpointError(f'Cannot create {directory} ({error.strerror}); give another --workdir') from error
  with Checkpoints(directory / 'checkpoints', kept=config.logging.checkpoints_kept) as checkpoints:
    if checkpoints.latest_step() is None:
      state = parallel.replicate(jax.jit(model.create)(jax.random.key(config.seed)), devices)
    else:
      state = checkpoints.restore(abstract, sharding=parallel.sharding(devices))
    first = int(state.step)
    if first >= config.steps:
      print(f'{directory} is finished: step {first} of {config.steps}. To go on, give a larger --config.steps')
      return
    workdir.write(directory, 'config.json', config.to_dict())
    workdir.write(directory, 'run.json', workdir.describe_run(source.shape))
    print(
      f'{"Resuming" if first else "Training"} {directory} at step {first:,} of {config.steps:,}: '
      f'{len(source):,} examples {" x ".join(map(str, source.shape))} of {config.data.source}, '
      f'batches of {config.batch_size} on {len(devices)} {devices[0].platform} device{"s" * (len(devices) > 1)}'
    )
    with hooks.StopSignals() as signals:
      state = _train(
        config, directory, state, signals, evaluator,
        model=model, game=game, source=source, checkpoints=checkpoints, devices=devices,
      )  # fmt: skip
  if int(state.step) < config.steps:
    message = f'Stopped and saved at step {state.step}; the same command goes on'
    raise StoppedError(message, 128 + signals.received)
  _show_pictures(directory / 'samples')


def _train(config, directory, state, signals, evaluator, *, model, game, source, checkpoints, devices) -> GANState:
  first = int(state.step)
  feeder = build_feeder(config, source)
  compiled = parallel.compile_update(
    functools.partial(step.train_step, game=game), feeder.gather, steps_per_call=config.steps_per_call, devices=devices
  )
  data = parallel.replicate(feeder.data, devices)
  key = parallel.replicate(jax.random.fold_in(jax.random.key(config.seed), 1), devices)
  draw = functools.partial(
    sample.draw, sample.compile_generate(model.generator), latents=model.latents,
    num=config.logging.num_samples, seed=config.seed,
  )  # fmt: skip
  finite_check = hooks.FiniteCheck(checkpoints)
  scalars = hooks.Scalars(directory, every=config.logging.scalars_every, step=first)
  progress = hooks.Progress(step=first, steps=config.steps, batch_size=config.batch_size)
  evaluation = evaluator and _evaluation(config, directory, evaluator, draw, progress=progress, step=first)
  try:
    return train.train(
      state,
      update=lambda state, rows, count: compiled(state, rows, count, data, key),
      block=feeder.block,
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      watchers=(progress, scalars, finite_check, *([evaluation] if evaluation else ())),
      hooks=(
        hooks.Hook(config.logging.checkpoint_every, hooks.save_checkpoint(checkpoints, finite_check)),
        hooks.Hook(config.logging.samples_every, hooks.save_samples(directory / 'samples', draw, source.shape)),
        *([hooks.Hook(config.evaluation.every, evaluation.act)] if evaluation else ()),
      ),
      stopping=lambda: signals.received is not None,
    )
  finally:
    for part in (progress, scalars, feeder, *([evaluation] if evaluation else ())):
      part.close()


def _evaluation(config, directory, evaluator, draw, *, progress, step) -> hooks.Evaluation:
  options = config.evaluation
  return hooks.Evaluation(
    directory,
    measure=lambda variables: evaluator.measure(draw(variables, num=options.num), seed=config.seed),
    best=Checkpoints(directory / 'best', kept=1),
    progress=progress,
    step=step,
    stop_on_collapse=options.stop_on_collapse,
  )


def _show_pictures(directory: pathlib.Path) -> None:
  animation = hooks.save_animation(directory)
  print(f'Samples: {max(directory.glob("[0-9]*"))}')
  if animation:
    print(f'Training as an animation: {animation}')


def _of_split(config: ConfigDict, split: str) -> ConfigDict:
  """An unlocked copy for another split, which has no batches to fill and so may be small."""
  config = config.copy_and_resolve_references().unlock()
  config.update(data={'split': split}, batch_size=1)
  return config


def _layers(player: ConfigDict, initialization: initializers.Initialization, dtype: Any) -> Mapping[str, Any]:
  widths = tuple(player.widths)
  return {
    'widths': widths,
    'strides': strides_of(widths, player.strides),
    'kernel_size': player.kernel_size,
    # A slope of 0 is ReLU.
    'activation': functools.partial(nn.leaky_relu, negative_slope=player.negative_slope),
    'bias': player.bias,
    'initialization': initialization,
    'dtype': dtype,
  }


def _norm(config: ConfigDict, name: str, initialization: initializers.Initialization, dtype: Any) -> Callable | None:
  norm = look_up(NORMALIZATIONS, name, 'normalization')
  return norm and functools.partial(
    norm,
    momentum=config.batch_norm.decay,
    epsilon=config.batch_norm.epsilon,
    axis_name=parallel.AXIS,
    scale_init=initialization.gains,
    dtype=dtype,
  )


def _optimizer(optimizer: ConfigDict) -> optax.GradientTransformation:
  make = look_up(OPTIMIZERS, optimizer.name, 'optimizer')
  return make(optimizer.learning_rate, b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.epsilon)
