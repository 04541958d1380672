import datetime
import pathlib

from dcgan_jax import flags
from dcgan_jax.errors import ConfigError, UserError, say

_STATIONS, _WALKS, _MAX_FRAMES = 4, 16, 600


def report(argv: list[str]) -> None:
  """Writes a run as one HTML file: curves, samples over time, a latent walk, metrics, neighbours, config, versions."""
  parser = flags.Parser('report', report.__doc__)
  parser.add_run()
  parser.add_argument('--out', type=pathlib.Path, help='an .html; default: report.html in --workdir')
  parser.add_argument(
    '--frames', type=flags.whole_number(2), default=48, help=f'of the latent walk, at most {_MAX_FRAMES} (%(default)s)'
  )
  parser.add_argument('--seed', type=flags.whole_number(0), default=0, help='of the latents of the walk (%(default)s)')
  args = parser.parse_args(argv)
  from dcgan_jax.exporting import run_paths

  directory = run_paths.find(args.workdir)
  out = args.out or run_paths.results_directory(args.workdir, directory) / 'report.html'
  if out.suffix not in ('.html', '.htm'):
    raise ConfigError(f"Cannot write the report as '{out.suffix}'; --out is an .html")
  flags.check_output(out)
  if args.frames > _MAX_FRAMES:
    raise ConfigError(f'--frames is {args.frames}; expected at most {_MAX_FRAMES}, which a browser still opens')
  from dcgan_jax.training import workdir

  workdir.read_config(directory)

  flags.prepare_libraries()
  from dcgan_jax import run
  from dcgan_jax.applications import latent_space
  from dcgan_jax.kinds import image as images
  from dcgan_jax.reporting import report as reports

  step = None
  try:
    restored = run.load(directory, step=args.step)
    step = restored.step
    restored.check_images()
    ways = latent_space.walk(restored, frames=args.frames, stations=_STATIONS, num=_WALKS, seed=args.seed)
    walk = [images.grid(frame) for frame in ways]
  except UserError as error:
    # Whoever asks for a step wants that one; else the rest of the page is worth having.
    if args.step is not None and step is None:
      raise
    walk = str(error)
  written = f'Written {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by launch.py report, seed {args.seed}'
  content = reports.render(directory, step=step, walk=walk, written=written)
  # A path may hold bytes that are no text.
  encoded = content.encode('utf-8', 'replace')
  out.parent.mkdir(parents=True, exist_ok=True)
  part = out.with_name(f'.{out.name}.part')
  part.write_bytes(encoded)
  part.replace(out)
  say(f'Report of {args.workdir}: {out} ({len(encoded) / 1e6:.1f} MB); open it in any browser')
