"""The program as its user runs it: in fresh processes, with its own compiler settings."""

import json
import os
import pathlib
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from PIL import Image
from program import HANGS, TINY, launch, start

import dcgan_jax
from dcgan_jax.data.digits import open_digits
from dcgan_jax.errors import DataError
from dcgan_jax.kinds import image as images

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A run of 14 steps, and one that was stopped after 5 and after 7 and resumed."""
  root = tmp_path_factory.mktemp('runs')
  launch('--workdir', root / 'whole', '--config.steps=14', *TINY)
  for steps in (5, 7, 14):
    launch('--workdir', root / 'resumed', f'--config.steps={steps}', *TINY, '--config.logging.checkpoint_every=7')
  return root


def _leaves(directory, step=None):
  return jax.tree.leaves_with_path(dcgan_jax.load(directory, step=step).state)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(runs):
  whole, resumed = _leaves(runs / 'whole'), _leaves(runs / 'resumed')
  assert len(whole) == len(resumed) > 40
  for (path, expected), (_, value) in zip(whole, resumed, strict=True):
    np.testing.assert_array_equal(expected, value, err_msg=jax.tree_util.keystr(path))
  assert (runs / 'whole' / 'scalars.jsonl').read_text() == (runs / 'resumed' / 'scalars.jsonl').read_text()


def test_a_run_leaves_what_describes_it(runs):
  directory = runs / 'whole'
  assert {path.name for path in directory.iterdir()} == {
    '.lock', 'checkpoints', 'config.json', 'run.json', 'samples', 'scalars.jsonl', 'tensorboard',
  }  # fmt: skip
  lines = [json.loads(line) for line in (directory / 'scalars.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [2, 4, 6, 8, 10, 12, 14]
  assert json.loads((directory / 'config.json').read_text())['batch_size'] == 16
  assert json.loads((directory / 'run.json').read_text())['versions']['jax'] == jax.__version__
  names = sorted(path.name for path in (directory / 'samples').iterdir())
  assert names == ['00000006.png', '00000012.png', '00000014.png', 'training.gif']
  assert images.read(directory / 'samples' / '00000014.png').shape == (8 * 18 + 2, 8 * 18 + 2, 3)


def test_what_was_compiled_is_kept_for_the_next_run(runs):
  kept = {
    path.name.partition('-')[0]
    for path in (pathlib.Path(os.environ['XDG_CACHE_HOME']) / 'dcgan_jax' / 'compiled').glob('*-cache')
  }
  assert 'jit_create_state' in kept


def test_nothing_compiles_once_every_hook_has_acted(tmp_path):
  """A run of three rounds of hooks compiles what a run of one compiles, blocks of other lengths included."""

  def compiled(steps):
    flags = [f'--config.steps={steps}', *TINY, '--config.logging.checkpoint_every=6']
    log = launch('--workdir', tmp_path / str(steps), *flags, JAX_LOG_COMPILES='1').stderr
    return sorted(re.findall(r'Compiling (\S+)', log))

  once = compiled(7)
  assert len(once) > 3
  assert compiled(19) == once


def test_more_steps_of_a_run_whose_rates_fall_are_said_to_stretch_the_fall(tmp_path):
  said = [
    launch('--workdir', tmp_path / 'run', f'--config.steps={steps}', *TINY, '--config.tricks.decay=linear').stdout
    for steps in (2, 3)
  ]
  assert 'config.steps 2 -> 3: from here on the learning rates are those of a run of 3 steps' in said[1]
  assert 'from here on' not in said[0]


def test_a_finished_run_says_so_and_exits_with_zero(runs):
  before = sorted((runs / 'whole').rglob('*'))
  result = launch('--workdir', runs / 'whole')
  assert 'is finished: step 14 of 14. To go on, give a larger --config.steps' in result.stdout
  assert sorted((runs / 'whole').rglob('*')) == before


def test_samples_drawn_by_command_are_those_drawn_in_python(runs, tmp_path):
  launch('sample', '--workdir', runs / 'whole', '--num', '7', '--seed', '3', '--out', tmp_path / 'a.npz')
  run = dcgan_jax.load(runs / 'whole')
  assert run.step == 14
  assert run.config.batch_size == 16
  drawn = np.load(tmp_path / 'a.npz')['images']
  # This process compiles with fewer optimisations.
  assert np.abs(drawn.astype(int) - run.sample(7, seed=3).astype(int)).max() <= 1


def test_generate_and_features_take_what_they_say(runs):
  run = dcgan_jax.load(runs / 'whole')
  generated = run.generate(np.zeros((2, 100)))
  assert generated.shape == (2, 16, 16, 1)
  assert np.abs(generated).max() <= 1
  # 8 x 8 x 4 and 4 x 4 x 8 activations, each pooled to 4 x 4.
  assert run.features(generated).shape == (2, 16 * 4 + 16 * 8)
  np.testing.assert_allclose(run.features(images.to_uint8(generated)), run.features(generated), atol=0.02)
  with pytest.raises(DataError, match=r'z has the shape \(2, 5\); expected \[B, 100\]'):
    run.generate(np.zeros((2, 5)))
  with pytest.raises(DataError, match=r'shape \(2, 8, 8, 1\); expected \[B, 16, 16, 1\]'):
    run.features(np.zeros((2, 8, 8, 1)))


def test_a_run_moves_between_four_devices_and_one(runs, tmp_path):
  launch('--workdir', tmp_path / 'run', '--config.steps=3', *TINY, devices=4)
  launch('--workdir', tmp_path / 'run', '--config.steps=5', *TINY, devices=1)
  launch('--workdir', tmp_path / 'run', '--config.steps=7', *TINY, devices=4)
  ours, one = _leaves(tmp_path / 'run', step=7), _leaves(runs / 'resumed', step=7)
  for (path, expected), (_, value) in zip(one, ours, strict=True):
    np.testing.assert_allclose(expected, value, rtol=1e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))


def test_a_streamed_data_set_trains_the_same_network_as_a_resident_one(runs, tmp_path):
  launch('--workdir', tmp_path / 'run', '--config.steps=7', '--config.data.resident_megabytes=0', *TINY)
  for expected, value in zip(_leaves(runs / 'resumed', step=7), _leaves(tmp_path / 'run'), strict=True):
    np.testing.assert_array_equal(expected[1], value[1])


def test_a_run_is_measured_while_it_trains_and_afterwards(runs, tmp_path):
  shutil.copytree(runs / 'resumed', tmp_path / 'run')
  flags = ['--config.steps=20', '--config.evaluation.every=3', '--config.evaluation.num=200']
  launch('--workdir', tmp_path / 'run', *flags, '--config.evaluation.features=self')
  lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [15, 18, 20]
  best = min(lines, key=lambda line: line['fidself_200_train'])
  assert [path.name for path in (tmp_path / 'run' / 'best').iterdir()] == [str(best['step'])]

  launch('evaluate', '--workdir', tmp_path / 'run', '--features', 'self', '--num', '200')
  report = json.loads((tmp_path / 'run' / 'evaluations' / '00000020_self_200_train.json').read_text())
  np.testing.assert_allclose(report['fidself_200_train'], lines[-1]['fidself_200_train'], rtol=1e-6)
  assert report['protocol']['generator'] == 'averaged'
  assert report['protocol']['reference_images'] == 1797
  assert 'compare only with' in report['protocol']['note']
  sheet = images.read(tmp_path / 'run' / 'evaluations' / '00000020_self_200_train_neighbours.png')
  assert sheet.shape == (8 * 18 + 2, 8 * 18 + 2, 3)
  with Image.open(tmp_path / 'run' / 'evaluations' / '00000020_self_200_train_neighbours.png') as picture:
    assert 'In part synthetic, real is every column but the first' in picture.text['Description']
    assert 'digitalsourcetype/compositeWithTrainedAlgorithmicMedia<' in picture.text['XML:com.adobe.xmp']


def test_a_finished_run_says_so_before_weights_are_downloaded(runs):
  flags = ['--config.evaluation.every=3', '--config.evaluation.features=64', '--config.evaluation.num=100']
  result = launch('--workdir', runs / 'whole', '--config.steps=14', *TINY, *flags, https_proxy='http://127.0.0.1:9')
  assert 'is finished: step 14 of 14' in result.stdout


def test_the_discriminators_features_are_probed_beside_their_baselines(runs, tmp_path):
  source = open_digits(split='train', image_size=16)
  examples, labels = map(np.stack, zip(*(source[i] for i in range(900)), strict=True))
  arrays = {'train_images': examples[:500], 'train_labels': labels[:500]}
  np.savez(tmp_path / 'digits.npz', test_images=examples[500:], test_labels=labels[500:], **arrays)
  flags = ['--data', f'npz:{tmp_path / "digits.npz"}', '--labels-per-class', '5', '--draws', '2']
  result = launch('probe', '--workdir', runs / 'whole', *flags, '--out', tmp_path / 'probe.json')
  assert 'discriminator, step 14' in result.stdout
  numbers = json.loads((tmp_path / 'probe.json').read_text())
  assert numbers['step'] == 14
  assert numbers['features']['raw pixels']['accuracy'] > 0.7  # of ten classes


def test_another_config_in_the_same_workdir_is_refused(runs):
  result = launch('--workdir', runs / 'whole', '--config.batch_size=32', check=False)
  assert result.returncode == 2
  assert re.fullmatch(r'launch.py: .*config.batch_size 16 -> 32\).*another --workdir to start anew\n', result.stderr)


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_after_it_is_saved(tmp_path, number, code):
  process = start('--workdir', tmp_path / 'run', '--config.steps=100000', *TINY)
  while not (tmp_path / 'run' / 'samples' / '00000006.png').exists():
    assert process.poll() is None
    time.sleep(0.1)
  process.send_signal(number)
  _, error = process.communicate(timeout=HANGS)
  assert process.returncode == code
  saved = dcgan_jax.load(tmp_path / 'run').step
  assert f'launch.py: Stopped and saved at step {saved}; to go on: python launch.py --workdir {tmp_path}/run' in error


def test_a_run_that_diverges_names_the_step_and_keeps_the_good_checkpoint(runs, tmp_path):
  shutil.copytree(runs / 'resumed', tmp_path / 'run')
  # A learning rate no state survives; a run's own config is trusted, so this is how it gets there.
  path = tmp_path / 'run' / 'config.json'
  config = json.loads(path.read_text())
  config['generator']['optimizer']['learning_rate'], config['steps'] = 1e38, 40
  path.write_text(json.dumps(config))
  result = launch('--workdir', tmp_path / 'run', check=False)
  assert result.returncode == 1
  assert re.search(r'launch.py: Training diverged at step 1[5-9]: .* the checkpoint of step 14 is good', result.stderr)
  assert 'Traceback' not in result.stderr
  assert dcgan_jax.load(tmp_path / 'run').step == 14


def test_other_shapes_than_images_train_too(tmp_path):
  sound = np.random.default_rng(0).integers(0, 256, (40, 64, 2), np.uint8)
  np.savez(tmp_path / 'sound.npz', images=sound)
  config = ['--config', 'configs/npz.py', f'--config.data.source=npz:{tmp_path / "sound.npz"}', '--config.steps=2']
  launch('--workdir', tmp_path / 'run', *[flag for flag in TINY if 'flip' not in flag], *config)
  launch('sample', '--workdir', tmp_path / 'run', '--num', '3', '--out', tmp_path / 'sound_out.npz')
  assert np.load(tmp_path / 'sound_out.npz')['images'].shape == (3, 64, 2)
  assert (tmp_path / 'run' / 'samples' / '00000002.npz').exists()
