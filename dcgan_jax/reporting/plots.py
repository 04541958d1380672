"""Curves as SVG, drawn by matplotlib for a page that is light or dark. The only module that imports matplotlib."""

import io
import re
from collections.abc import Mapping, Sequence

NUM_COLOURS = 4
MAX_POINTS = 1000
_LONGEST_LABEL = 40  # Letters that fit beside each other.
# matplotlib knows no CSS: it draws in colours that nothing else has, and these become what the page says.
_INK, _LINE = '#010203', '#010204'
_SERIES = [f'#01020{5 + i}' for i in range(NUM_COLOURS)]
_CSS = {_INK: 'currentColor', _LINE: 'var(--line)'} | {
  colour: f'var(--series-{i + 1})' for i, colour in enumerate(_SERIES)
}
# Names of elements that nothing refers to, which several charts on a page would repeat, and rules for all the page.
_USELESS = re.compile(r'<!--.*?-->|<defs>\s*<style.*?</defs>| id="[a-z0-9.]+_\d+"', re.DOTALL)
_STYLE = {
  'axes.edgecolor': _LINE, 'axes.labelcolor': _INK, 'axes.spines.right': False, 'axes.spines.top': False,
  'axes.axisbelow': True, 'axes.grid': True, 'axes.unicode_minus': False, 'font.family': 'DejaVu Sans', 'font.size': 11,
  'grid.color': _LINE, 'grid.linewidth': 0.7, 'legend.frameon': False, 'lines.linewidth': 1.6,
  'lines.solid_capstyle': 'round', 'svg.fonttype': 'none', 'text.color': _INK, 'text.parse_math': False,
  'xtick.color': _LINE, 'xtick.labelcolor': _INK, 'ytick.color': _LINE, 'ytick.labelcolor': _INK,
}  # fmt: skip


def line_chart(
  series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, colours: Sequence[int], name: str
) -> str:
  """Draws values over steps.

  Args:
    series: label -> (steps [N], values [N]); values that are not finite leave a gap. Of more than MAX_POINTS points,
      MAX_POINTS are drawn, evenly spread.
    colours: one of 0 .. NUM_COLOURS - 1 per series.
    name: of the chart on its page, where no two have the same.

  Returns:
    An <svg> whose text is text, in `currentColor`, lines in the page's CSS colours `--line` and `--series-1` to
    `--series-4`, and as wide as a phone so that it is readable there.
  """
  import matplotlib
  from matplotlib.figure import Figure
  from matplotlib.ticker import MaxNLocator, StrMethodFormatter

  with matplotlib.rc_context(_STYLE | {'svg.hashsalt': name}):
    figure = Figure(figsize=(4.6, 2.8), layout='constrained')
    axes = figure.add_subplot()
    for (label, (steps, values)), colour in zip(series.items(), colours, strict=True):
      chosen = _spread(len(steps), MAX_POINTS)
      marker = 'o' if len(steps) <= 12 else None
      x, y = [steps[i] for i in chosen], [values[i] for i in chosen]
      axes.plot(x, y, label=label[:_LONGEST_LABEL], color=_SERIES[colour % NUM_COLOURS], marker=marker, markersize=3.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0)
    axes.set_xlabel('step')
    if len(series) > 1:
      columns = 2 if max(map(len, series)) <= _LONGEST_LABEL // 2 else 1
      axes.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0, handlelength=1.2)
    stream = io.StringIO()
    nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    figure.savefig(stream, format='svg', transparent=True, metadata=nothing)
  svg = _USELESS.sub('', stream.getvalue())
  for colour, css in _CSS.items():
    svg = svg.replace(f': {colour}', f': {css}')
  return svg[svg.index('<svg') :]


def _spread(number: int, most: int) -> list[int]:
  """Indices of at most `most` of `number` things, evenly spread, the first and the last among them."""
  if number <= most:
    return list(range(number))
  return [i * (number - 1) // (most - 1) for i in range(most)]
