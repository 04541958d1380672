"""Trains a config in a work directory, or resumes the run that is there."""

import contextlib
import errno
import functools
import json
import pathlib
import shlex
import signal
import sys
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from dcgan_jax.building import data as build_data
from dcgan_jax.building.data import build_feeder, build_source, images_per_step
from dcgan_jax.building.evaluation import check_evaluation, open_evaluator, sample_labels
from dcgan_jax.building.game import build_game, build_loss
from dcgan_jax.building.model import build_model, check_memory
from dcgan_jax.data import classes
from dcgan_jax.drawing import sample
from dcgan_jax.errors import CheckpointError, ConfigError, DivergenceError, StoppedError, UserError, say
from dcgan_jax.games import parallel, step
from dcgan_jax.games.state import GANState
from dcgan_jax.kinds import image as images
from dcgan_jax.training import data_record, hooks, loop, stopping, workdir
from dcgan_jax.training.checkpoint import Checkpoints
from dcgan_jax.training.record import Events, cut, read_lines


def build_origin(config: ConfigDict, directory: pathlib.Path) -> Callable[..., dict[str, str] | None]:
  """Makes origin(step=, seed=, real=): what pictures of a run say of themselves; None where the config wants no mark.

  Args:
    config: of the run.
    directory: of the run; its name alone is used.
  """
  # '..' and '.' have a name too.
  name = directory.expanduser().resolve().name
  return functools.partial(images.origin, run=name) if config.logging.mark_synthetic else lambda **_: None


def run_training(
  config: ConfigDict, directory: pathlib.Path, *, max_rescues: int = 0, go_on_unsaved: bool = False
) -> None:
  """Trains a config in a work directory, or goes on with the run that is there.

  Of several processes only the first writes and draws.

  Args:
    config: validated.
    directory: of the run.
    max_rescues: times in all that a run that diverges goes back to its newest checkpoint, and on from there at half the
      learning rates.
    go_on_unsaved: where something cannot be written, say so and train on; else that ends the run.
  """
  parallel.check_platform()
  devices, here = jax.devices(), parallel.is_first_process()
  parallel.check_batch_size(config.batch_size, devices)
  # Only where the data are may differ from host to host.
  parallel.check_same_everywhere(json.dumps({**config.to_dict(), 'data': {**config.data, 'dir': None}}), 'configs')
  if max_rescues and jax.process_count() > 1:
    raise ConfigError('--rescues works in one process; leave it out where several train together')
  source, record = _open_data(config, directory)
  players = _players(config, source, rescues=0)
  share = config.batch_size // len(devices)
  check_memory(
    players['model'], source.shape, batch_size=share, memory=parallel.memory_of(jax.local_devices()[0]),
    data=build_data.resident_bytes(config, source),
  )  # fmt: skip
  evaluator = lambda: None
  if here and config.evaluation.every is not None:
    evaluator = _prepare_evaluation(
      build_data.with_range(config, record['range']), source.shape, players['model'].num_classes
    )
  with workdir.held(directory) if here else contextlib.nullcontext():
    if here:
      # Another process may have trained here since the command looked at the directory.
      workdir.check_unchanged(directory, config.to_dict())
    rescues = workdir.rescues(directory) if here else []
    while True:
      try:
        players = _players(config, source, len(rescues))
        return _run(
          config, directory, evaluator, rescues, source=source, record=record, devices=devices,
          go_on_unsaved=go_on_unsaved, **players,
        )  # fmt: skip
      except DivergenceError as error:
        if len(rescues) >= max_rescues:
          raise
        rescues.append({'step': _go_back(directory, rescues), 'reason': str(error)})
        which = f'rescue {len(rescues)} of {max_rescues}'
        say(f'{error}. Back to step {rescues[-1]["step"]} at half the learning rates, {which}', sys.stderr)
      except Exception as error:
        explained = _explained(error, config, directory)
        if explained is None:
          raise
        raise explained from error


def _explained(error: Exception, config: ConfigDict, directory: pathlib.Path) -> UserError | None:
  """What a user can do about an error of training; None where nothing is known."""
  if isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
    return ConfigError(
      f'The device ran out of memory at config.batch_size {config.batch_size}; try {config.batch_size // 2}, in '
      'another --workdir, or smaller widths'
    )
  if parallel.is_first_process() and not workdir.is_held(directory):
    return CheckpointError(f'{directory} was removed while the run trained in it; the same command starts anew')
  if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
    return CheckpointError(
      f'Cannot write in {directory} ({error.strerror}); make room, then the same command goes on from the last '
      'checkpoint'
    )
  return None


def _prepare_evaluation(config, shape, num_classes) -> Callable:
  """Refuses evaluations that cannot succeed; returns a function that builds the evaluator once."""
  evaluation = config.evaluation
  real = check_evaluation(
    config, features=evaluation.features, weights=evaluation.weights, reference=evaluation.reference,
    num=evaluation.num, shape=shape, num_classes=num_classes,
    otherwise='change config.evaluation.num, features or reference',
  )  # fmt: skip
  options = {'features': evaluation.features, 'weights': evaluation.weights}
  return functools.cache(functools.partial(open_evaluator, config, real, **options))


def _open_data(config, directory):
  """The source of a run, and the record of it for run.json; says what has changed since the run was last started."""
  # Without a checkpoint the run starts anew, whatever was there.
  has_begun = any((directory / 'checkpoints').glob('[0-9]*'))
  before = workdir.read_data(directory) if has_begun else {}
  source = build_source(build_data.with_range(config, before.get('range')))
  build_data.check_file_options(config, source)
  build_data.check_labels(config, source)
  record = data_record.describe(source)
  parallel.check_same_everywhere(json.dumps([len(source), record['range']]), 'data')
  if has_begun and (directory / 'run.json').exists():
    trained_on = workdir.read_config(directory)['data']['source']
    data_record.check_moved(before, record, old=trained_on, new=config.data.source)
    data_record.check_fits(
      before, record, old=workdir.read_description(directory), new=(tuple(source.shape), source.classes),
      conditional=config.tricks.generator_labels != 'none', title=config.data.source,
    )  # fmt: skip
    line = data_record.change(before, record, config.data.source)
    if line and parallel.is_first_process():
      say(line, sys.stderr)
  return source, record


def _go_back(directory, rescues) -> int:
  """The step to go on from: the newest checkpoint's, or an older one's where that was of no help before."""
  with Checkpoints(directory / 'checkpoints', kept=sys.maxsize) as checkpoints:
    newest = checkpoints.latest_step()
    if newest is not None and rescues and rescues[-1]['step'] == newest:
      checkpoints.set_aside(newest)
      newest = checkpoints.latest_step()
  return newest or 0


def _players(config, source, rescues: int) -> dict:
  """Networks, optimizers and losses; every rescue has halved the learning rates."""
  if rescues:
    config = config.copy_and_resolve_references()
    for player in (config.generator, config.discriminator):
      player.optimizer.learning_rate *= 0.5**rescues
  model = build_model(config, source.shape, source.classes)
  return {'model': model, 'game': build_game(config, model)}


def _run(config, directory, evaluator, rescues, *, model, game, source, record, devices, go_on_unsaved) -> None:
  """Trains from the newest checkpoint, or from nothing, to the end."""
  here, logging = parallel.is_first_process(), config.logging
  options = {'kept': logging.checkpoints_kept, 'every': logging.checkpoint_every}
  with Checkpoints(directory / 'checkpoints', **options) if here else contextlib.nullcontext() as checkpoints:
    # Of several processes only the first knows.
    latest = (checkpoints.latest_step() or 0) if here else 0
    is_whole = functools.partial(_is_whole, config, directory, source.shape)
    was_whole = functools.cache(is_whole)
    if here and (latest < config.steps or not was_whole()):
      evaluator()  # Compiles nothing, and says what it lacks before anything does.
    if not latest:
      state = jax.jit(model.create)(jax.random.key(config.seed))
    else:
      abstract = jax.eval_shape(model.create, jax.random.key(config.seed))
      state = checkpoints.restore(abstract, sharding=parallel.sharding(jax.local_devices()))
    state = parallel.of_first_process(parallel.replicate(state, jax.local_devices()))
    first = int(state.step)
    lacks = parallel.any_process(here and first == config.steps and not was_whole())
    if here:
      _announce(config, directory, source, first, devices, rescues, record, lacks=lacks)
    with stopping.StopSignals() as signals:
      if first < config.steps or lacks:
        state = _train(
          config, directory, state, signals, evaluator,
          model=model, game=game, source=source, checkpoints=checkpoints, devices=devices, go_on_unsaved=go_on_unsaved,
        )  # fmt: skip
      stopped = parallel.any_process(signals.received is not None)
      stopped = int(state.step) < config.steps or parallel.any_process(here and stopped and not is_whole())
  if here and int(state.step) not in Checkpoints(directory / 'checkpoints', read_only=True).steps():
    raise CheckpointError(
      f'Step {state.step} could not be saved in {directory}; see why above, then the same command goes on from the '
      'checkpoint before'
    )
  if stopped:
    resume = f'python launch.py --workdir {shlex.quote(str(directory))}'
    raise StoppedError(
      f'Stopped and saved at step {state.step}; to go on: {resume}', 128 + (signals.received or signal.SIGTERM)
    )
  if here and first <= config.steps:
    _finish(config, directory, is_new=first < config.steps or lacks)


def _is_whole(config, directory, shape) -> bool:
  """Whether all that was due at the last step, as the run was last started, is there, but for the animation."""
  steps = config.steps
  evaluated = workdir.read_config(directory)['evaluation']['every'] is not None
  measured = not evaluated or any(line['step'] == steps for line in read_lines(directory / 'metrics.jsonl'))
  return measured and hooks.samples_path(directory / 'samples', steps, shape).exists()


def _announce(config, directory, source, first, devices, rescues, record, *, lacks) -> None:
  """Says what is about to happen, and writes down what the run is."""
  if first > config.steps or (first == config.steps and not lacks):
    beyond = f'at step {first}, beyond config.steps {config.steps}; give more than {first} to go on'
    finished = f'finished: step {first} of {config.steps}. To go on, give a larger --config.steps'
    say(f'{directory} is {beyond if first > config.steps else finished}')
    return
  before = workdir.read_config(directory)['steps'] if first else config.steps
  if before != config.steps and config.tricks.decay != 'constant':
    say(
      f'config.steps {before:,} -> {config.steps:,}: from here on the learning rates are those of a run of '
      f'{config.steps:,} steps (config.tricks.decay {config.tricks.decay})'
    )
  described = workdir.describe_run(source.shape, source.classes, rescues)
  kinds = ', '.join(sorted({device.device_kind for device in devices}))
  start = workdir.start(first, f'{len(devices)} {devices[0].platform} ({kinds})', described['versions'])
  starts = [*workdir.starts(directory), start]
  workdir.write(directory, 'config.json', config.to_dict())
  workdir.write(directory, 'run.json', {**described, 'starts': starts, 'data': record})
  say(
    f'{"Resuming" if first else "Training"} {directory} at step {first:,} of {config.steps:,}: '
    f'{len(source):,} examples {" x ".join(map(str, source.shape))} of {config.data.source}, '
    f'batches of {config.batch_size} on {len(devices)} {devices[0].platform} device{"s" * (len(devices) > 1)}'
  )
  if record['classes'] and config.tricks.generator_labels != 'none':
    say(f'Classes: {classes.show(record["classes"])}')


def _train(
  config, directory, state, signals, evaluator, *, model, game, source, checkpoints, devices, go_on_unsaved
) -> GANState:
  feeder = build_feeder(config, source, share=parallel.share_of_batch(images_per_step(config)))
  build_data.check_labels(config, source, feeder.data.get('labels'))
  if parallel.is_first_process():
    build_data.warn_of_contents(config, source, feeder)
  compiled = parallel.compile_update(
    functools.partial(step.train_step, game=game), feeder.gather, steps_per_call=config.steps_per_call, devices=devices
  )
  data = parallel.replicate(feeder.data, jax.local_devices())
  key = parallel.replicate(jax.random.fold_in(jax.random.key(config.seed), 1), jax.local_devices())
  finite_check = hooks.FiniteCheck(checkpoints)
  # The state is saved first: what comes then may take long, and a run that resumes there does what is missing.
  intervals = [config.logging.checkpoint_every, config.logging.samples_every]
  intervals += [config.evaluation.every] if config.evaluation.every is not None else []
  watchers, actions = (), [lambda step, state: None] * len(intervals)
  if checkpoints is not None:
    watchers, actions = _record(
      config, directory, signals, evaluator(), int(state.step),
      model=model, shape=source.shape, class_names=getattr(source, 'class_names', None), checkpoints=checkpoints,
      finite_check=finite_check, go_on_unsaved=go_on_unsaved,
    )  # fmt: skip
  try:
    return loop.train(
      state,
      update=lambda state, rows, count: compiled(state, rows, count, data, key),
      block=feeder.block,
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      watchers=(*watchers, finite_check),
      # Every process stops its blocks at the same steps.
      hooks=[hooks.Hook(*pair, when_stopped=i == 0) for i, pair in enumerate(zip(intervals, actions, strict=True))],
      stopping=lambda: parallel.any_process(signals.received is not None),
    )
  finally:
    for part in (*watchers, feeder):
      part.close()


def _record(
  config, directory, signals, evaluator, step, *, model, shape, class_names, checkpoints, finite_check, go_on_unsaved
) -> tuple[tuple, list]:
  """What the first process does: watchers, and actions for each of the intervals."""
  draw = functools.partial(
    sample.draw, sample.compile_generate(model.generator), latents=model.latents,
    num=config.logging.num_samples, seed=config.seed, labels=model.labels,
  )  # fmt: skip
  origin = functools.partial(build_origin(config, directory), seed=config.seed)
  hooks.drop_samples(directory / 'samples', step)
  events = Events(directory, step=step, measured=[line['step'] for line in cut(directory / 'metrics.jsonl', step)])
  progress = hooks.Progress(step=step, steps=config.steps, batch_size=images_per_step(config))
  columns = sample.columns(model.num_classes, config.logging.num_samples, shape, class_names)
  watchers = (progress, hooks.Scalars(directory, every=config.logging.scalars_every, step=step, events=events))
  actions = [
    hooks.save_checkpoint(checkpoints, finite_check),
    hooks.save_samples(directory / 'samples', draw, shape, columns=columns, origin=origin),
  ]
  if evaluator is not None:
    evaluation = hooks.Evaluation(
      directory,
      measure=_measure(config, evaluator, draw, model),
      best=Checkpoints(directory / 'best', kept=None),
      checkpoints=checkpoints,
      events=events,
      progress=progress,
      signals=signals,
      step=step,
      stop_on_collapse=config.evaluation.stop_on_collapse,
      loss_has_floor=build_loss(config).has_floor,
    )
    watchers, actions = (*watchers, evaluation), [*actions, evaluation.act]
  if go_on_unsaved:
    actions = [hooks.going_on(act, progress) for act in actions]
    for watcher in watchers:
      watcher.watch = hooks.going_on(watcher.watch, progress)
  return watchers, actions


def _measure(config, evaluator, draw, model) -> Callable[[dict], dict]:
  """A function that measures samples of a generator's variables, with labels as the real images have them."""
  num = config.evaluation.num
  labels = functools.cache(lambda: sample_labels(evaluator, model, num=num)[0])
  return lambda variables: evaluator.measure(draw(variables, num=num, labels=labels()), seed=config.seed)


def _finish(config, directory, *, is_new: bool) -> None:
  """Leaves a run at its last step as it should be: its latest checkpoints, the best state alone, the animation."""
  kept = workdir.read_config(directory)['logging']['checkpoints_kept']  # As it was when the run ended.
  with Checkpoints(directory / 'checkpoints', kept=None) as checkpoints:
    checkpoints.keep(checkpoints.steps()[-kept:])
  if (directory / 'best').is_dir():
    with Checkpoints(directory / 'best', kept=None) as best:
      best.keep(best.steps()[-1:])
  samples = directory / 'samples'
  if not is_new and (samples / 'training.gif').exists():
    return
  animation = hooks.save_animation(samples, origin=functools.partial(build_origin(config, directory), seed=config.seed))
  if is_new:
    say(f'Samples: {max(samples.glob("[0-9]*"), default=samples)}')
  if animation:
    say(f'Training as an animation: {animation}')
