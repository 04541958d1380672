"""The page of a run: complete, also where the run is not; and, in a real browser, silent, safe and usable."""

import base64
import itertools
import json
import os
import re
import shutil
import time

import jax
import numpy as np
import pytest
from program import KEYS

from dcgan_jax import cli
from dcgan_jax.building import model as build_model
from dcgan_jax.errors import CheckpointError
from dcgan_jax.kinds import image as images
from dcgan_jax.reporting import page, plots, report
from dcgan_jax.training import workdir
from dcgan_jax.training.checkpoint import Checkpoints

EVIL = '<script>document.title="owned"</script>{x}"\'&'
CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
METRICS = {'fid768_1k_train': 2.5, 'pr768_1k3_train_recall': 0.25, 'class_counts': [4, 6]}
PROTOCOL = {'samples': 1000, 'reference': EVIL, 'reference_split': 'train', 'features': '768', 'step': 2500}
SHAPE = (4, 4, 3)


def _noise(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _write_run(directory, *, steps=(1000, 2000, 3000), shape=SHAPE):
  """A run that never was: every file that the page shows, with markup wherever a value may hold some."""
  (directory / 'samples').mkdir(parents=True)
  (directory / 'evaluations').mkdir()
  (directory / 'config.json').write_text(json.dumps({'seed': 0, 'data': {'source': f'folder:{EVIL}'}, EVIL: [1, None]}))
  described = {
    'shape': shape,
    'classes': 10,
    'rescues': [{'step': 7, 'reason': EVIL}],
    'versions': {'jax': '0.10.2', EVIL: None},
    'starts': [
      {'step': 0, 'time': '2026-01-01T10:00', 'devices': '1 cpu (cpu)', 'versions': {'jax': '0.9.0', 'numpy': '2.1'}},
      {'step': 500, 'time': '2026-01-02T11:00', 'devices': EVIL, 'versions': {'jax': '0.10.2', 'numpy': '2.1'}},
    ],
  }
  (directory / 'run.json').write_text(json.dumps(described))
  scalars = {'discriminator/loss': 1.5, 'generator/loss': 0.5, 'discriminator/real_logits': 2.0, f'{EVIL}/x': 1.0}
  lines = [{'step': step, **{name: value * step for name, value in scalars.items()}, 'flat': 0.0} for step in steps]
  (directory / 'scalars.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  (directory / 'metrics.jsonl').write_text(json.dumps({'step': 1000, 'fidself_1k_train': 7.25, EVIL: 1.0}) + '\n')
  for step in steps:
    images.save_png(directory / 'samples' / f'{step:08d}.png', _noise(9, 9, 3, seed=step))
  name = '00002500_768_1000_train'
  (directory / 'evaluations' / f'{name}.json').write_text(json.dumps(METRICS | {EVIL: EVIL, 'protocol': PROTOCOL}))
  images.save_png(directory / 'evaluations' / f'{name}_neighbours.png', _noise(20, 40, 3, seed=1))
  return directory


def _write_checkpoint(directory, labels):
  """A run before its first step."""
  from dcgan_jax.commands.train import read_config

  takes = [
    f'--config.tricks.{who}_labels={how}' for who, how in zip(('generator', 'discriminator'), labels, strict=True)
  ]
  config = read_config('digits', None, [*KEYS, *takes])
  directory.mkdir()
  workdir.write(directory, 'config.json', config.to_dict())
  workdir.write(directory, 'run.json', workdir.describe_run((16, 16, 1), 10, []))
  model = build_model.build_model(config, (16, 16, 1), 10)
  with Checkpoints(directory / 'checkpoints') as checkpoints:
    checkpoints.save(0, jax.jit(model.create)(jax.random.key(0)))
  return directory


def _render(directory, **changes):
  walk = [_noise(6, 8, 3, seed=i) for i in range(5)]
  return report.render(directory, **{'step': 3000, 'walk': walk, 'written': f'Written by {EVIL}', **changes})


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return _write_run(tmp_path_factory.mktemp('runs') / f'a run {EVIL.replace("/", "")}')


@pytest.fixture(scope='module')
def content(run):
  return _render(run)


def _section(content, title):
  return re.search(rf'<h2 id="{page.anchor(title)}">.*?</section>', content, re.DOTALL)[0]


def test_every_section_shows_what_the_run_holds(content):
  assert re.findall(r'<h2 id="[^"]*">(.*?)</h2>', content) == [
    'Curves', 'Samples over time', 'Latent walk', 'Metrics', 'Nearest neighbours', 'Config', 'Versions',
    'How to continue',
  ]  # fmt: skip
  assert re.findall(r'<li><a href="#([^"]*)"', content) == re.findall(r'<h2 id="([^"]*)">', content)
  assert _section(content, 'Curves').count('<svg') == 3
  assert _section(content, 'Samples over time').count('<img') == 3
  assert _section(content, 'Latent walk').count('<img') == 5
  for words in ('fid768_1k_train', '0.25', 'lower is better', 'reference_split', 'fidself_1k_train', '7.25'):
    assert words in _section(content, 'Metrics')
  assert _section(content, 'Nearest neighbours').count('<img') == 1
  assert 'config.data' in _section(content, 'Config')
  assert '0.10.2' in _section(content, 'Versions')


def test_markup_in_names_and_values_stays_text(content, run):
  assert EVIL not in content
  assert content.count('<script>') == 1
  for title in ('Curves', 'Metrics', 'Config', 'Versions'):
    assert '&lt;script&gt;' in _section(content, title)
  assert '&lt;script&gt;' in re.search(r'<h1>.*?</h1>', content)[0]


def test_nothing_is_fetched_from_anywhere(content):
  assert not re.search(r'(?:src|href)="(?!data:|#)', content)
  assert '@import' not in content
  assert not re.search(r'url\((?!#)', content)


def test_the_neighbours_keep_every_pixel(content, run, tmp_path):
  (data,) = re.findall(r'base64,([^"]+)', _section(content, 'Nearest neighbours'))
  sheet = next((run / 'evaluations').glob('*.png'))
  np.testing.assert_array_equal(images.read(base64.b64decode(data)), images.read(sheet))


def test_a_long_run_is_thinned_to_pictures_of_its_whole_length(tmp_path):
  directory = _write_run(tmp_path / 'run', steps=range(1, 101))
  at = re.findall(r'data-at="([^"]+)"', _section(_render(directory), 'Samples over time'))
  assert len(at) == report.MAX_PICTURES
  assert (at[0], at[-1]) == ('1', '100')


def test_large_pictures_are_thinned_further(tmp_path, monkeypatch):
  monkeypatch.setattr(report, 'TIMELINE_BYTES', 1)
  directory = _write_run(tmp_path / 'run', steps=range(1, 31))
  assert _section(_render(directory), 'Samples over time').count('<img') == report.MIN_PICTURES


@pytest.mark.parametrize(
  ('name', 'title', 'words'),
  [
    ('scalars.jsonl', 'Curves', 'scalars.jsonl is missing or empty. Training writes it:'),
    ('metrics.jsonl', 'Metrics', '--config.evaluation.every=N'),
    ('samples', 'Samples over time', 'python launch.py sample --workdir'),
    ('evaluations', 'Metrics', 'python launch.py evaluate --workdir'),
    ('evaluations', 'Nearest neighbours', 'python launch.py evaluate --workdir'),
    ('run.json', 'Versions', 'run.json is missing'),
  ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, run, name, title, words):
  directory = shutil.copytree(run, tmp_path / 'run')
  (shutil.rmtree if (directory / name).is_dir() else os.remove)(directory / name)
  assert words in _section(_render(directory), title)


@pytest.mark.parametrize(
  ('name', 'damage'),
  [
    ('scalars.jsonl', '{"step": 1, "discriminator/loss": NaN}\n[1]\n{"step": 2, "discriminator/loss": Infinity}\n{"st'),
    ('metrics.jsonl', '{"step": "x", "fid": 1}\n7\n'),
    ('run.json', '{"shape": "x", "versions": null}'),
    ('evaluations/00002500_768_1000_train.json', '[1, 2]'),
    ('evaluations/00002500_768_1000_train_neighbours.png', 'no picture'),
    ('samples/00003000.png', 'no picture'),
  ],
)
def test_a_damaged_file_costs_no_more_than_what_it_shows(tmp_path, run, name, damage):
  directory = shutil.copytree(run, tmp_path / 'run')
  (directory / name).write_text(damage)
  assert '<h2 id="how-to-continue">' in _render(directory)


def test_every_start_is_shown_with_the_versions_that_changed(content):
  versions = _section(content, 'Versions')
  rows = [re.sub('<[^>]*>', '|', row) for row in re.findall('<tr>(.*?)</tr>', versions, re.DOTALL)]
  assert any('2026-01-01T10:00' in row and '1 cpu (cpu)' in row and 'jax' not in row for row in rows)
  assert any('2026-01-02T11:00' in row and 'jax 0.10.2' in row and 'numpy' not in row for row in rows)
  assert 'when the run was started' not in versions


def test_of_many_starts_the_first_and_the_latest_are_shown():
  rows = report._starts(tuple({'step': step} for step in range(1000)))
  assert [row[1] for row in rows] == [0, *range(981, 1000)]


@pytest.mark.parametrize('starts', [None, 3, 'x', (1, None), ({'versions': 3, 'step': {}},), {}])
def test_starts_that_were_edited_by_hand_cost_no_more_than_themselves(tmp_path, run, starts):
  directory = shutil.copytree(run, tmp_path / 'run')
  described = json.loads((directory / 'run.json').read_text())
  (directory / 'run.json').write_text(json.dumps(described | {'starts': starts}))
  assert '<h2 id="how-to-continue">' in _render(directory)


def test_examples_that_are_no_pictures_have_a_page_too(tmp_path):
  directory = _write_run(tmp_path / 'run', steps=(1, 2), shape=(64, 1))
  (directory / 'samples' / '00000002.png').rename(directory / 'samples' / '00000002.npz')
  assert 'Examples of shape (64, 1) are no pictures' in _section(_render(directory, walk='sound'), 'Samples over time')


def test_a_directory_without_a_config_is_no_run(tmp_path):
  with pytest.raises(CheckpointError, match='No run in'):
    _render(tmp_path)


def test_the_commands_it_shows_are_those_of_the_program(content):
  shown = re.findall(r'python launch\.py (\w+)', content)
  assert {'sample', 'evaluate', 'report'} <= set(shown) <= cli.COMMANDS.keys()
  assert '--config.steps=6000' in content
  assert 'dcgan_jax.load(' in content


def test_a_curve_is_text_and_colours_of_the_page():
  svg = plots.line_chart({'$a$ <b>': ([1, 2], [0.5, float('nan')]), 'b': ([1], [1.0])}, colours=[0, 1], name='x')
  assert '>$a$ &lt;b&gt;</text>' in svg
  assert 'currentColor' in svg
  assert 'var(--series-2)' in svg
  assert not re.search(r'#0102|#000000|<image|<script|<metadata', svg)


def test_a_long_curve_keeps_its_ends():
  chosen = plots._spread(12345, plots.MAX_POINTS)
  assert (len(set(chosen)), chosen[0], chosen[-1]) == (plots.MAX_POINTS, 0, 12344)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--out', 'x.pdf'], "Cannot write the report as '.pdf'; --out is an .html"),
    (['--out', f'{__file__}/x.html'], 'test_report.py, which is a file; give another path'),
    (['--frames', '601'], '--frames is 601; expected at most 600'),
    (['--frames', '1'], "Argument --frames: '1' is no whole number from 2"),
    ([], 'No run in'),
  ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, message):
  assert cli.main(['report', '--workdir', str(tmp_path), *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


@pytest.mark.parametrize('labels', [('none', 'none'), ('one_hot', 'projection')], ids=['without labels', 'with labels'])
def test_the_command_draws_the_walk_from_the_newest_checkpoint(tmp_path, capsys, labels):
  directory = _write_checkpoint(tmp_path / 'run', labels)
  out = tmp_path / 'new' / 'page.html'
  assert cli.main(['report', '--workdir', str(directory), '--frames', '3', '--out', str(out)]) == 0
  walk = _section(out.read_text(), 'Latent walk')
  assert walk.count('<img') == 3
  assert 'of step 0.' in walk
  assert str(out) in capsys.readouterr().out


def test_without_a_checkpoint_there_is_a_page_but_none_of_a_step_that_was_asked_for(tmp_path, capsys):
  directory = _write_checkpoint(tmp_path / 'run', ('none', 'none'))
  shutil.rmtree(directory / 'checkpoints')
  command = ['report', '--workdir', str(directory)]
  assert cli.main(command) == 0
  assert 'No checkpoint in' in _section((directory / 'report.html').read_text(), 'Latent walk')
  assert cli.main([*command, '--step', '5']) == 2
  assert 'No checkpoint in' in capsys.readouterr().err


def test_a_path_that_is_no_text_has_a_page_all_the_same(tmp_path):
  directory = _write_checkpoint(tmp_path / 'run', ('none', 'none'))
  shutil.rmtree(directory / 'checkpoints')
  directory = directory.rename(tmp_path / os.fsdecode(b'caf\xe9'))
  assert cli.main(['report', '--workdir', str(directory), '--out', str(tmp_path / 'report.html')]) == 0
  assert '<h1>caf?</h1>' in (tmp_path / 'report.html').read_text()


@pytest.fixture(scope='module')
def browser():
  if not (CHROMIUM and DRIVER):
    pytest.skip('chromium or chromedriver is not installed (Debian: apt-get install chromium chromium-driver)')
  webdriver = pytest.importorskip('selenium.webdriver')
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--hide-scrollbars'):
    options.add_argument(flag)
  options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
  driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
  yield driver
  driver.quit()


@pytest.fixture
def opened(browser, content, tmp_path):
  """Opens the page as a file, so wide and in light or dark; returns the browser."""

  def load(*, width=1200, scheme='light'):
    path = tmp_path / 'report.html'
    path.write_text(content)
    size = {'width': width, 'height': 800, 'deviceScaleFactor': 1, 'mobile': width < 500}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    media = {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]}
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', media)
    browser.get(path.as_uri())
    return browser

  return load


def _shown(browser, what):
  """Numbers of the pictures of a player that are to be seen."""
  script = 'return [...document.querySelectorAll(`[id=${arguments[0]}] ~ figure img`)].map(i => i.checkVisibility())'
  return [i for i, visible in enumerate(browser.execute_script(script, page.anchor(what))) if visible]


def test_a_browser_has_nothing_to_complain_of_and_fetches_nothing(opened):
  browser = opened()
  assert browser.get_log('browser') == []
  events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
  asked = [event['params']['request']['url'] for event in events if event['method'] == 'Network.requestWillBeSent']
  assert [url.partition(':')[0] for url in asked if not url.startswith('data:')] == ['file']
  broken = '[...document.images].filter(image => !image.hidden && !image.naturalWidth).length'
  assert browser.execute_script(f'return {broken}') == 0


def test_the_browser_runs_the_pages_own_script_alone(opened, run):
  browser = opened()
  assert browser.title == run.name
  browser.execute_script(
    'const s = document.createElement("script"); s.text = "window.ran = 1"; document.body.append(s)'
  )
  assert browser.execute_script('return window.ran') is None
  assert 'Content Security Policy' in browser.get_log('browser')[0]['message']


def test_the_slider_shows_another_picture_by_keyboard_and_says_which(opened):
  from selenium.webdriver.common.keys import Keys

  browser = opened()
  slider = browser.find_element('css selector', '#samples-slider')
  assert slider.accessible_name == 'Step'
  assert _shown(browser, 'Samples over time') == [2]
  slider.send_keys(Keys.HOME)
  assert _shown(browser, 'Samples over time') == [0]
  slider.send_keys(Keys.ARROW_RIGHT)
  assert _shown(browser, 'Samples over time') == [1]
  assert slider.get_attribute('aria-valuetext') == 'Samples, step 2,000'
  assert browser.find_element('css selector', 'output[for=samples-slider]').text == '2,000'


def test_the_walk_plays_and_pauses(opened):
  browser = opened()
  button = browser.find_element('css selector', '#latent-walk ~ figure button')
  button.click()
  seen = {_shown(browser, 'Latent walk')[0] for _ in range(40) if not time.sleep(0.02)}
  assert len(seen) > 2
  assert button.text == 'Pause'
  button.click()
  assert button.text == 'Play'
  before = _shown(browser, 'Latent walk')
  time.sleep(0.3)
  assert _shown(browser, 'Latent walk') == before


def test_a_phone_scrolls_down_alone(opened):
  browser = opened(width=360)
  browser.execute_script('document.querySelectorAll("details").forEach(part => { part.open = true })')
  assert browser.execute_script('return innerWidth') == 360
  assert browser.execute_script('return document.documentElement.scrollWidth') <= 360
  size = 'return [...document.querySelectorAll("svg text")].map(text => text.getBoundingClientRect().height)'
  assert min(browser.execute_script(size)) > 8


def test_dark_is_dark_and_readable(opened):
  for scheme, is_light in (('light', True), ('dark', False)):
    browser = opened(scheme=scheme)
    style = 'const s = getComputedStyle(document.querySelector(arguments[0])); return s[arguments[1]]'
    lightness = [
      sum(map(int, re.findall(r'\d+', browser.execute_script(style, *part))[:3])) / 765
      for part in (('body', 'background-color'), ('p', 'color'), ('svg text', 'fill'), ('section', 'background-color'))
    ]
    assert [value > 0.5 for value in lightness] == [is_light, not is_light, not is_light, is_light]


def test_headings_go_down_one_at_a_time_and_every_picture_has_words(opened):
  browser = opened()
  levels = browser.execute_script('return [...document.querySelectorAll("h1,h2,h3,h4")].map(h => Number(h.tagName[1]))')
  assert levels[0] == 1
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
  unnamed = 'return document.querySelectorAll("img:not([alt]), img[alt=\\"\\"], svg:not([aria-label])").length'
  assert browser.execute_script(unnamed) == 0
  twice = 'const ids = [...document.querySelectorAll("[id]")].map(e => e.id); return ids.length - new Set(ids).size'
  assert browser.execute_script(twice) == 0
