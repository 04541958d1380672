"""What each metric is and which values are better, by its name."""

import re
from typing import NamedTuple


class Meaning(NamedTuple):
  """What there is to say of a metric.

  chart: title of the chart that it is drawn in; None: of no chart.
  words: what it is; empty for an unknown one.
  better: 'lower', 'higher' or the value to expect; empty where none is better.
  """

  chart: str | None
  words: str
  better: str

  def __str__(self) -> str:
    return f'{self.words}; {self.better} is better' if self.better in ('lower', 'higher') else self.words


_MEANINGS = {
  r'fid.*': Meaning('Fréchet distance', 'Fréchet distance of the features of samples and real images', 'lower'),
  r'kid.*_deviation': Meaning(None, 'standard deviation of the kernel distance over its subsets', ''),
  r'kid.*': Meaning('Kernel distance', 'kernel distance of the features of samples and real images', 'lower'),
  r'is\d.*_deviation': Meaning(None, 'standard deviation of the Inception Score over its splits', ''),
  r'is\d.*': Meaning('Inception Score', 'Inception Score, which does not look at the real images', 'higher'),
  r'pr.*_precision': Meaning('Precision and recall', 'share of samples that lie among the real images', 'higher'),
  r'pr.*_recall': Meaning('Precision and recall', 'share of real images that lie among the samples', 'higher'),
  r'dc.*_density': Meaning(
    'Density and coverage', 'how densely real images lie around the samples; 1 where both are alike', 'near 1'
  ),
  r'dc.*_coverage': Meaning('Density and coverage', 'share of real images with a sample near by', 'higher'),
  r'near_duplicates': Meaning(
    'Duplicates', 'share of samples with a near copy; of real images 0.01 have one', 'near 0.01'
  ),
  r'duplicates': Meaning('Duplicates', 'share of samples equal to an earlier one in every pixel; 0 is healthy', '0'),
  r'effective_classes': Meaning(
    'Effective classes', 'classes the samples spread over, as a classifier sees it', 'higher'
  ),
  r'class_counts': Meaning(None, 'samples in each class, as a classifier sees it', ''),
}


def meaning(name: str) -> Meaning:
  """What there is to say of a metric; one that is unknown has a chart of its own."""
  known = (entry for pattern, entry in _MEANINGS.items() if re.fullmatch(pattern, name))
  return next(known, Meaning(name, '', ''))
