"""What is saved comes back, on any devices; what is damaged or does not fit is refused in words."""

import base64
import json
import os
import shutil

import jax
import numpy as np
import pytest

from dcgan_jax.errors import CheckpointError
from dcgan_jax.games import parallel
from dcgan_jax.training.checkpoint import Checkpoints


@pytest.fixture
def abstract(create_tiny_state, key):
  return jax.eval_shape(create_tiny_state, key)


def _sharding(devices):
  return parallel.sharding(jax.devices()[:devices])


def _assert_equal(state, other):
  jax.tree.map(np.testing.assert_array_equal, state, other)


@pytest.mark.parametrize(('saved_on', 'restored_on'), [(1, 1), (4, 1), (1, 4), (8, 2)])
def test_a_state_comes_back_bit_for_bit_on_other_devices(
  tmp_path, create_tiny_state, key, abstract, saved_on, restored_on
):
  state = parallel.replicate(create_tiny_state(key), jax.devices()[:saved_on])
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(3, state)
  restored = Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(restored_on))
  _assert_equal(state, restored)
  assert len(jax.tree.leaves(restored)[0].sharding.device_set) == restored_on


def test_a_checkpoint_of_a_gpu_restores_on_a_cpu(tmp_path, create_tiny_state, key, abstract):
  state = create_tiny_state(key)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(3, state)
  # What Orbax writes beside each array when it lives on a GPU.
  path = tmp_path / '3' / 'state' / '_sharding'
  shardings = json.loads(path.read_text())
  assert any(base64.b64decode(name).startswith(b'players.generator') for name in shardings)
  on_gpu = json.dumps({'sharding_type': 'SingleDeviceSharding', 'device_str': 'cuda:0'})
  path.write_text(json.dumps(dict.fromkeys(shardings, on_gpu)))
  _assert_equal(state, Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))


def test_a_relative_directory_works(tmp_path, monkeypatch, create_tiny_state, key):
  monkeypatch.chdir(tmp_path)
  with Checkpoints(tmp_path.relative_to(tmp_path) / 'here') as checkpoints:
    checkpoints.save(1, create_tiny_state(key))
  assert Checkpoints(tmp_path / 'here', read_only=True).latest_step() == 1


def test_the_latest_are_kept(tmp_path, create_tiny_state, key):
  with Checkpoints(tmp_path, kept=2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, create_tiny_state(key))
  assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ['2', '3']


def test_what_is_kept_does_not_depend_on_where_a_run_was_stopped(tmp_path, create_tiny_state, key):
  kept = {}
  for name, steps in (('whole', (3, 6, 9, 12, 14)), ('stopped', (3, 5, 6, 7, 9, 10, 11, 12, 13, 14))):
    with Checkpoints(tmp_path / name, kept=3, every=3) as checkpoints:
      for step in steps:
        checkpoints.save(step, create_tiny_state(key))
        checkpoints.wait()
        kept[name, step] = checkpoints.steps()
  assert kept['stopped', 10] == [6, 9, 10]
  assert kept['stopped', 12] == kept['whole', 12] == [6, 9, 12]
  assert kept['stopped', 14] == kept['whole', 14] == [9, 12, 14]


def test_the_states_that_are_asked_for_are_kept_and_one_comes_from_elsewhere(
  tmp_path, create_tiny_state, key, abstract
):
  state = create_tiny_state(key)
  with Checkpoints(tmp_path / 'a', kept=None) as ours, Checkpoints(tmp_path / 'b', kept=None) as theirs:
    for step in (1, 2, 3):
      ours.save(step, state)
    ours.wait()
    theirs.copy_from(ours, 2)
    ours.keep({1, 3, 7})
    assert (ours.steps(), theirs.steps()) == ([1, 3], [2])
  _assert_equal(state, Checkpoints(tmp_path / 'b', read_only=True).restore(abstract, sharding=_sharding(1)))


def test_a_directory_that_was_removed_is_no_full_disk(tmp_path, create_tiny_state, key):
  checkpoints = Checkpoints(tmp_path / 'run')
  shutil.rmtree(tmp_path / 'run')
  with pytest.raises(CheckpointError, match='run was removed while the run wrote to it'):
    checkpoints.save(1, create_tiny_state(key))


def test_donating_a_state_does_not_change_what_is_being_saved(tmp_path, create_tiny_state, key, abstract):
  overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0, state), donate_argnums=0)
  state = create_tiny_state(key)
  expected = jax.tree.map(np.array, state)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
    jax.block_until_ready(overwrite(state))
  _assert_equal(expected, Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))


def test_a_run_that_went_back_saves_steps_that_it_had_passed(tmp_path, create_tiny_state, key):
  with Checkpoints(tmp_path, kept=1) as checkpoints:
    checkpoints.save(5, create_tiny_state(key))
  with Checkpoints(tmp_path, kept=1) as checkpoints:
    checkpoints.drop_after(5)
    assert checkpoints.latest_step() == 5
    checkpoints.drop_after(2)
    checkpoints.save(4, create_tiny_state(key))
  assert Checkpoints(tmp_path, read_only=True).latest_step() == 4


def test_a_step_that_is_there_stays(tmp_path, create_tiny_state, key, abstract):
  first, second = create_tiny_state(key), create_tiny_state(jax.random.key(8))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, first)
    checkpoints.save(1, second)
  _assert_equal(first, Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))


def test_an_older_step_is_not_lost_in_silence(tmp_path, create_tiny_state, key):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(5, create_tiny_state(key))
    checkpoints.save(4, create_tiny_state(key))
  with pytest.raises(CheckpointError, match='No checkpoint of step 3 in .*; there are'):
    Checkpoints(tmp_path, read_only=True).restore(jax.eval_shape(create_tiny_state, key), sharding=_sharding(1), step=3)


def test_an_empty_directory_has_no_checkpoint(tmp_path, abstract):
  with pytest.raises(CheckpointError, match='No checkpoint in .*; train first'):
    Checkpoints(tmp_path).restore(abstract, sharding=_sharding(1))


def _files(directory, step):
  """The files of a checkpoint, the largest first."""
  return sorted((p for p in (directory / str(step)).rglob('*') if p.is_file()), key=lambda p: -p.stat().st_size)


def _values(directory, step):
  """The file that most values lie in."""
  return next(path for path in _files(directory, f'{step}/state') if path.parent.name == 'd')


def _flip_bits(directory, step):
  """One in every 64 bytes: a single one may lie where nothing is read."""
  path = _values(directory, step)
  content = bytearray(path.read_bytes())
  for i in range(0, len(content), 64):
    content[i] ^= 16
  path.write_bytes(content)


def _empty_folder(directory, step):
  shutil.rmtree(directory / str(step))
  (directory / str(step)).mkdir()


def _copy_another(directory, step):
  """What a slip of cp or mv makes."""
  shutil.rmtree(directory / str(step))
  shutil.copytree(directory / '1', directory / str(step))


def _copy_state_and_manifest(directory, step):
  for item in ('state', 'manifest'):
    shutil.rmtree(directory / str(step) / item)
    shutil.copytree(directory / '1' / item, directory / str(step) / item)


def _remove_manifest_and_change_values(directory, step):
  _replace_values(directory, step)
  shutil.rmtree(directory / str(step) / 'manifest')


def _remove_what_knows_the_values(directory, step):
  _replace_values(directory, step)
  for item in ('manifest', 'about'):
    shutil.rmtree(directory / str(step) / item)


def _break_manifest(directory, step):
  for path in (directory / str(step) / 'manifest').iterdir():
    path.write_text('{')


def _replace_values(directory, step):
  """What Orbax reads without a word, as it does a flipped byte that its compression lets pass."""
  shutil.rmtree(directory / str(step) / 'state')
  shutil.copytree(directory / '1' / 'state', directory / str(step) / 'state')


DAMAGES = {
  'other values': _replace_values,
  'truncated': lambda directory, step: os.truncate(_values(directory, step), 100),
  'emptied': lambda directory, step: [os.truncate(path, 0) for path in _files(directory, step)],
  'flipped bits': _flip_bits,
  'missing file': lambda directory, step: _values(directory, step).unlink(),
  'missing folder of the state': lambda directory, step: shutil.rmtree(directory / str(step) / 'state'),
  'empty folder': _empty_folder,
  'broken manifest': _break_manifest,
  'copied state and manifest': _copy_state_and_manifest,
  'removed manifest, other values': _remove_manifest_and_change_values,
  'removed manifest and sums, other values': _remove_what_knows_the_values,
}


@pytest.fixture
def two_checkpoints(tmp_path, create_tiny_state, key):
  """Steps 1 and 2 in tmp_path, and their states."""
  states = create_tiny_state(key), create_tiny_state(jax.random.key(8))
  with Checkpoints(tmp_path, kept=5) as checkpoints:
    checkpoints.save(1, states[0])
    checkpoints.save(2, states[1])
  return states


@pytest.mark.faults
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_checkpoint_is_set_aside_for_the_one_before(
  tmp_path, two_checkpoints, abstract, capsys, damage
):
  DAMAGES[damage](tmp_path, 2)
  files = {path.name for path in _files(tmp_path, 2)}
  with Checkpoints(tmp_path, kept=5) as checkpoints:
    _assert_equal(two_checkpoints[0], checkpoints.restore(abstract, sharding=_sharding(1)))
    error = capsys.readouterr().err
    assert error.startswith('WARNING: the checkpoint of step 2 cannot be used (damaged')
    assert error.count('\n') == 1
    assert len(error) < 900
    assert f'going on from that of step 1. Nothing was deleted: it is {tmp_path / "2.damaged"}' in error
    assert checkpoints.latest_step() == 1
    # The run gets there again.
    checkpoints.save(2, two_checkpoints[1])
  assert {path.name for path in _files(tmp_path, '2.damaged')} == files
  _assert_equal(two_checkpoints[1], Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))


@pytest.mark.faults
def test_a_checkpoint_under_another_step_is_set_aside_for_the_one_before(tmp_path, two_checkpoints, abstract, capsys):
  _copy_another(tmp_path, 2)
  with pytest.raises(CheckpointError, match='step 2 in .* cannot be used .renamed or copied: it holds step 1.'):
    Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1), step=2)
  with Checkpoints(tmp_path, kept=5) as checkpoints:
    _assert_equal(two_checkpoints[0], checkpoints.restore(abstract, sharding=_sharding(1)))
  assert capsys.readouterr().err == (
    'WARNING: the checkpoint of step 2 cannot be used (renamed or copied: it holds step 1); going on from that of '
    f'step 1. Nothing was deleted: it is {tmp_path / "2.damaged"}\n'
  )


@pytest.mark.faults
def test_a_stray_folder_with_a_number_is_set_aside(tmp_path, two_checkpoints, abstract, capsys):
  (tmp_path / '500').mkdir()
  (tmp_path / '600').write_text('a file')
  with Checkpoints(tmp_path, kept=2) as checkpoints:
    _assert_equal(two_checkpoints[1], checkpoints.restore(abstract, sharding=_sharding(1)))
    checkpoints.save(3, two_checkpoints[0])
  assert 'the checkpoint of step 500 cannot be used (damaged' in capsys.readouterr().err
  assert {path.name for path in tmp_path.iterdir()} == {'2', '3', '500.damaged', '600'}


@pytest.mark.faults
def test_reading_alone_changes_nothing_of_a_damaged_checkpoint(tmp_path, two_checkpoints, abstract, capsys):
  _flip_bits(tmp_path, 2)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
  restored = Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1))
  _assert_equal(two_checkpoints[0], restored)
  assert 'the checkpoint of step 2 cannot be used' in capsys.readouterr().err
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


@pytest.mark.faults
def test_where_all_checkpoints_are_damaged_one_short_line_says_so(tmp_path, two_checkpoints, abstract):
  for step in (1, 2):
    os.truncate(_values(tmp_path, step), 10)
  with pytest.raises(CheckpointError, match='step 2 in .* cannot be used .damaged: .*; nor is any other of 1') as error:
    Checkpoints(tmp_path).restore(abstract, sharding=_sharding(1))
  assert len(str(error.value)) < 700
  assert '\n' not in str(error.value)
  assert (tmp_path / '2').exists()


@pytest.mark.faults
def test_a_damaged_step_that_was_asked_for_is_refused(tmp_path, two_checkpoints, abstract):
  _replace_values(tmp_path, 2)
  with pytest.raises(CheckpointError, match='step 2 in .* cannot be used .damaged: .* not as written'):
    Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1), step=2)


@pytest.mark.faults
def test_no_flipped_byte_passes_in_silence(tmp_path, create_tiny_state, key, abstract, capsys):
  state = create_tiny_state(key)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
  random = np.random.default_rng(0)
  refused = 0
  for path in random.choice(np.array(_files(tmp_path, 1), object), 40):
    content = path.read_bytes()
    changed = bytearray(content)
    if changed:
      changed[random.integers(len(changed))] ^= 1 << random.integers(8)
    path.write_bytes(changed)
    try:
      _assert_equal(state, Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))
    except CheckpointError:
      refused += 1
    path.write_bytes(content)
  assert refused > 5


def test_a_checkpoint_of_an_earlier_version_has_no_manifest_and_is_read(tmp_path, two_checkpoints, abstract):
  shutil.rmtree(tmp_path / '2' / 'manifest')
  restored = Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1))
  _assert_equal(two_checkpoints[1], restored)


@pytest.mark.parametrize('stacked', [False, True])
def test_a_checkpoint_of_other_networks_is_refused_by_what_differs(tmp_path, two_checkpoints, abstract, stacked):
  change = lambda shape: (4, *shape) if stacked else (*shape[:-1], 3)
  other = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(change(leaf.shape), leaf.dtype) if leaf.ndim > 1 else leaf, abstract
  )
  message = (
    'step 2 in .* is of other networks or optimizers .ema/generator/params/conv_1/kernel float32 .4, 4, 8, 4. -> '
  )
  with pytest.raises(CheckpointError, match=message):
    Checkpoints(tmp_path).restore(other, sharding=_sharding(1))
  assert (tmp_path / '2').exists()
