"""Evaluations of a config: feature nets, real images, and the labels of the samples they are compared with."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dcgan_jax import cache as caches
from dcgan_jax.building.data import build_reference, build_source, read_part
from dcgan_jax.drawing import sample
from dcgan_jax.errors import ConfigError, look_up
from dcgan_jax.games import parallel
from dcgan_jax.metrics import evaluate, features, inception_weights, protocol

EVALUATION_BATCH = 50  # images per device
# The small classifier learns from so many examples at most, drawn evenly from a larger data set.
CLASSIFIER_EXAMPLES, CLASSIFIER_BYTES = 64_000, 1_000_000_000


def _inception(depth: str) -> Callable[..., features.FeatureNet]:
  def make(config: ConfigDict, weights: str | None, cache: pathlib.Path) -> features.FeatureNet:
    del config
    path = inception_weights.download_weights(cache) if weights is None else pathlib.Path(weights).expanduser()
    return features.inception_net(depth, inception_weights.load_weights(path))

  return make


def _own_classifier(config: ConfigDict, weights: str | None, cache: pathlib.Path) -> features.FeatureNet:
  del weights
  source = build_source(config)
  most = max(1, min(CLASSIFIER_EXAMPLES, CLASSIFIER_BYTES // int(np.prod(source.shape))))
  images, labels = read_part(source, most)
  return features.own_net(images, labels, num_classes=source.classes, cache=cache / 'classifiers')


FEATURE_NETS = {depth: _inception(depth) for depth in ('64', '192', '768', '2048')} | {'self': _own_classifier}


def check_evaluation(
  config: ConfigDict, *, features: str, weights: str | None, reference: str, num: int | None = None,
  label: int | None = None, allow_few: bool = False, otherwise: str = protocol.ALLOW_FEW, **samples: Any,
) -> evaluate.Reference:  # fmt: skip
  """Opens the real images of an evaluation and refuses what cannot succeed; nothing is compiled or downloaded.

  Args:
    config: of the run.
    features: a key of FEATURE_NETS.
    weights: file of Inception's weights; None downloads them once.
    reference: the split.
    num: number of samples; None leaves it unchecked.
    label: class of the real images; None takes all.
    allow_few: accept fewer samples or real images than features.
    otherwise: what else the user can do about too few, for the message.
    samples: shape and num_classes of the samples, as `build_reference` takes them.

  Raises:
    ConfigError: unknown features, too few samples or real images, or no labels for features 'self'.
    DataError: no such split or file of weights.
  """
  look_up(FEATURE_NETS, features, 'features')
  if num is not None:
    protocol.check_request(features, num=num, weights=weights, allow_few=allow_few, otherwise=otherwise)
  if features == 'self' and build_source(config).classes is None:
    raise ConfigError(
      f"features 'self' are those of a classifier of the run's data, and {config.data.source} has no labels; "
      'take 768 or 2048'
    )
  real = build_reference(config, reference, label, **samples)
  what = f'{f"Class {label} of " * (label is not None)}{config.data.source}, split {reference!r},'
  protocol.check_real_count(
    real.num, protocol.NUM_FEATURES[features], what=what, allow_few=allow_few, otherwise=otherwise
  )
  if weights is not None and features != 'self':
    inception_weights.load_weights(pathlib.Path(weights).expanduser()).require(features)
  return real


def build_evaluator(
  config: ConfigDict, *, features: str, weights: str | None, reference: str, **options: Any
) -> evaluate.Evaluator:
  """Prepares to measure samples against a split of a config's data; arguments as those of `check_evaluation`."""
  real = check_evaluation(config, features=features, weights=weights, reference=reference, **options)
  return open_evaluator(config, real, features=features, weights=weights)


def open_evaluator(
  config: ConfigDict, real: evaluate.Reference, *, features: str, weights: str | None
) -> evaluate.Evaluator:
  """Prepares to measure samples against real images that `check_evaluation` found to be enough, on all devices."""
  cache = caches.directory()
  net = FEATURE_NETS[features](config, weights, cache)
  devices = jax.local_devices()
  net = net._replace(params=parallel.replicate(net.params, devices))
  mapped = parallel.compile_map(net.apply, devices=devices)
  return evaluate.Evaluator(net, mapped, real, batch_size=EVALUATION_BATCH * len(devices), cache=cache / 'reference')


def sample_labels(
  evaluator: evaluate.Evaluator, model: Any, *, num: int, label: int | None = None
) -> tuple[Callable[[np.ndarray], np.ndarray | None], str | None]:
  """Labels for samples that are compared with an evaluator's reference.

  Args:
    evaluator: has the reference.
    model: the networks.
    num: number of samples.
    label: class of all samples; None takes each as often as the reference has it.

  Returns:
    A function from indices of samples [B] to labels, int32 [B], or None; and the choice in words, or None.
  """
  if model.num_classes is None:
    return model.labels, None
  if label is not None:
    return functools.partial(sample.one_class, label=label), f'class {label}'
  counts = evaluator.class_counts(model.num_classes)
  if counts is None:
    return model.labels, 'each class equally often, as the reference has no labels'
  labels = sample.in_proportion(counts, num)
  return functools.partial(sample.given, labels=labels), 'each class as often as in the reference'
