"""The README of an export: data with their license, recipe, metrics with their protocol, intended use and misuse."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from dcgan_jax.building.rules import ADDED, flatten
from dcgan_jax.reporting import templates

UNKNOWN = 'folder:unknown'  # config.data.source of networks that came without the name of their data
# Keys of the recipe that say what was trained; tricks are shown where they are on.
_RECIPE = (
  'seed', 'batch_size', 'precision', 'generator.name', 'generator.latents', 'generator.latent_size', 'generator.widths',
  'generator.strides', 'generator.kernel_size', 'generator.normalization', 'generator.optimizer.name',
  'generator.optimizer.learning_rate', 'generator.optimizer.b1', 'generator.averaging.half_life', 'discriminator.name',
  'discriminator.widths', 'discriminator.strides', 'discriminator.kernel_size', 'discriminator.normalization',
  'discriminator.optimizer.learning_rate', 'initialization', 'loss',
)  # fmt: skip


class DataSet(NamedTuple):
  """What a card says of a data set.

  name: in full; empty of data that this program does not know.
  source: authors, year and address.
  license: in words.
  hub: its name on the Hugging Face Hub, or empty.
  catalog: whether TensorFlow Datasets has a page of it.
  """

  name: str = ''
  source: str = ''
  license: str = ''
  hub: str = ''
  catalog: bool = False


_IMAGENET = DataSet(
  'ImageNet', 'J. Deng et al., 2009, and O. Russakovsky et al., 2015, https://image-net.org',
  'non-commercial research and education only, by its terms of access', hub='ILSVRC/imagenet-1k',
)  # fmt: skip
# By config.data.source, where of tfds:NAME only the name's first part counts.
DATA_SETS = {
  'digits': DataSet(
    "Optical Recognition of Handwritten Digits, of which scikit-learn's copy is the 1,797 test images",
    'E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49',
    'CC BY 4.0 (scikit-learn itself: BSD-3-Clause)',
  ),
  'tfds:mnist': DataSet(
    'MNIST', 'Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist',
    "not stated at its source; Keras's documentation says CC BY-SA 3.0", hub='ylecun/mnist',
  ),
  'tfds:fashion_mnist': DataSet(
    'Fashion-MNIST', 'H. Xiao, K. Rasul and R. Vollgraf, 2017, https://github.com/zalandoresearch/fashion-mnist',
    'MIT', hub='zalando-datasets/fashion_mnist',
  ),
  'tfds:cifar10': DataSet(
    'CIFAR-10', 'A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, '
    'https://www.cs.toronto.edu/~kriz/cifar.html', 'not stated', hub='uoft-cs/cifar10',
  ),
  'tfds:celeb_a': DataSet(
    'CelebA', 'Z. Liu, P. Luo, X. Wang and X. Tang, Deep Learning Face Attributes in the Wild, 2015, '
    'https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html',
    'non-commercial research only, by its agreement, which covers derived data too',
  ),
  'tfds:lsun': DataSet('LSUN', 'F. Yu et al., 2015, https://arxiv.org/abs/1506.03365', 'not stated'),
  'tfds:downsampled_imagenet': _IMAGENET,
  'tfds:imagenet2012': _IMAGENET,
  'tfds:imagenet_resized': _IMAGENET,
}  # fmt: skip


def write(
  *, config: Mapping[str, Any], step: int, shape: tuple[int, ...], num_classes: int | None, players: Collection[str],
  imported: str | None, license: str | None, evaluations: Sequence[Mapping[str, Any]], has_picture: bool,
  files: Collection[str],
) -> str:  # fmt: skip
  """The text of a model card.

  Args:
    config: of the run, nested.
    step: of the state.
    shape: of an example.
    num_classes: of the generator's labels.
    imported: name of the file that the networks are of, where this package did not train them.
    license: identifier of the weights' license on the Hugging Face Hub; None states none.
    players: of 'generator' and 'discriminator', those there are.
    evaluations: of the averaged generator at this step, with their 'protocol'.
    has_picture: whether samples.png lies beside it.
    files: that lie beside it.
  """
  flat = dict(flatten(config))
  source = flat['data.source']
  biases = {'generator': 'the last layer of G', 'discriminator': 'the first and last of D'}
  tricks = [key for key, off in ADDED.items() if key.startswith('tricks.') and flat[key] != off]
  seen = step * math.prod((flat['batch_size'], flat['tricks.discriminator_turns']))
  return templates.render(
    'exporting/model_card.md',
    {
      'license': license,
      'data': _data_set(source),
      'source': None if source == UNKNOWN else source,
      'split': flat['data.split'],
      'flip': flat['data.flip'],
      'shape': shape,
      'num_classes': num_classes,
      'players': players,
      'imported': imported,
      'has_picture': has_picture,
      'files': files,
      'latents': flat['generator.latents'],
      'latent_size': flat['generator.latent_size'],
      'layers': len(flat['generator.widths']) + 1,
      'biased': [where for player, where in biases.items() if flat[f'{player}.bias']],
      'updates': f'{step:,}',
      'seen': f'{seen:,}',
      'recipe': [(key, flat[key]) for key in (*_RECIPE, *tricks) if flat[key] is not None],
      'evaluations': [(_numbers(report), list(report['protocol'].items())) for report in evaluations],
    },
  )


def _data_set(source: str) -> DataSet:
  """'tfds:lsun/bedroom:3.1.0' -> that of 'tfds:lsun'."""
  known = re.match(r'digits$|tfds:\w+', source)
  return DATA_SETS.get(known[0], DataSet(catalog=True)) if known else DataSet()


def _numbers(report: Mapping[str, Any]) -> list[tuple[str, str]]:
  return [(key, f'{value:.4g}') for key, value in report.items() if isinstance(value, (int, float))]
