"""Steps with everything on: memory, threads, descriptors and compilations stay what they were in the first quarter.

ENDURANCE=20000 python -m pytest -n 0 -s tests/test_endurance.py    # the long form; prints the slope of memory
"""

import json
import os

import numpy as np
import pytest
from program import HANGS, TINY, start

pytestmark = pytest.mark.slow
STEPS = int(os.environ.get('ENDURANCE', 1200))
FLAGS = [
  *TINY, f'--config.steps={STEPS}', '--config.logging.scalars_every=10',
  f'--config.logging.samples_every={STEPS // 40}',
  f'--config.logging.checkpoint_every={STEPS // 60}', f'--config.evaluation.every={STEPS // 12}',
  '--config.evaluation.features=self', '--config.evaluation.num=200', '--config.steps_per_call=20',
]  # fmt: skip
MEASURE = """
import json, os, sys, threading
import jax
from dcgan_jax.training import hooks
from dcgan_jax.cli import main
compiled = 0
def count(name, *_, **__):
  global compiled
  compiled += name.endswith('backend_compile_duration')
jax.monitoring.register_event_duration_secs_listener(count)
watch = hooks.Scalars.watch
def patched(self, first, scalars):
  watch(self, first, scalars)
  pages = int(open('/proc/self/statm').read().split()[1])
  line = {'step': first, 'megabytes': pages * os.sysconf('SC_PAGE_SIZE') / 1e6, 'threads': threading.active_count(),
          'descriptors': len(os.listdir('/proc/self/fd')), 'compiled': compiled}
  with open(os.environ['MEASURED'], 'a') as file:
    file.write(json.dumps(line) + '\\n')
hooks.Scalars.watch = patched
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='measures by /proc')
def test_nothing_grows_with_the_steps(tmp_path):
  process = start('--workdir', tmp_path / 'run', *FLAGS, code=MEASURE, MEASURED=str(tmp_path / 'measured'))
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == 0, error
  lines = [json.loads(line) for line in (tmp_path / 'measured').read_text().splitlines()]
  lines = [line for line in lines if line['step'] >= STEPS / 4]
  columns = {name: np.array([line[name] for line in lines]) for name in lines[0]}
  slope = np.polyfit(columns['step'], columns['megabytes'], 1)[0] * 1000
  print(f'{slope:.2f} MB in 1,000 steps at', {name: [c.min(), c.max()] for name, c in columns.items()})
  assert len(set(columns['compiled'])) == 1
  # Orbax saves in threads and files that come and go; what leaks is there when it rests, too.
  half = len(lines) // 2
  for name in ('threads', 'descriptors'):
    assert columns[name][half:].min() <= columns[name][:half].min()
  assert columns['megabytes'][half:].max() < columns['megabytes'][:half].max() + 30
  files = [path for path in (tmp_path / 'run').rglob('*') if path.is_file() and path.parent.name != 'samples']
  assert len(files) < 150
  assert len(list((tmp_path / 'run' / 'checkpoints').iterdir())) == 3
