"""What is saved comes back, on any devices; what is damaged or does not fit is refused in words."""

import base64
import json
import re

import jax
import numpy as np
import pytest

from dcgan_jax import parallel
from dcgan_jax.checkpoint import Checkpoints
from dcgan_jax.errors import CheckpointError


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
  assert any(base64.b64decode(name).startswith(b'generator') for name in shardings)
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


def test_donating_a_state_does_not_change_what_is_being_saved(tmp_path, create_tiny_state, key, abstract):
  overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0, state), donate_argnums=0)
  state = create_tiny_state(key)
  expected = jax.tree.map(np.array, state)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
    jax.block_until_ready(overwrite(state))
  _assert_equal(expected, Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1)))


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


def test_a_damaged_checkpoint_is_refused_in_one_short_line(tmp_path, create_tiny_state, key, abstract):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, create_tiny_state(key))
  for path in (tmp_path / '1' / 'state').rglob('*'):
    if path.is_file() and '/d/' in str(path):
      path.write_bytes(path.read_bytes()[:10])
  with pytest.raises(CheckpointError, match='The checkpoint of step 1 in .* is damaged or of other networks') as error:
    Checkpoints(tmp_path, read_only=True).restore(abstract, sharding=_sharding(1))
  assert len(str(error.value)) < 700
  assert '\n' not in str(error.value)


def test_a_checkpoint_of_other_networks_is_refused(tmp_path, create_tiny_state, key, abstract):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, create_tiny_state(key))
  wider = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:-1], 3), leaf.dtype) if leaf.ndim > 1 else leaf, abstract
  )
  with pytest.raises(CheckpointError, match=re.escape('is damaged or of other networks')):
    Checkpoints(tmp_path, read_only=True).restore(wider, sharding=_sharding(1))
