"""The state before the first update."""

import jax
import jax.numpy as jnp
from numpy.testing import assert_array_equal


def test_equal_keys_make_equal_states_and_others_do_not(create_tiny_state, tiny_state, key):
  jax.tree.map(assert_array_equal, create_tiny_state(key), tiny_state)
  other = create_tiny_state(jax.random.key(8))
  for ours, theirs in (
    (tiny_state.players['generator'], other.players['generator']),
    (tiny_state.players['discriminator'], other.players['discriminator']),
  ):
    assert not jnp.array_equal(ours.params['output']['kernel'], theirs.params['output']['kernel'])


def test_step_counters_are_int32_arrays(tiny_state):
  """A weakly typed number would compile the update a second time after a restore."""
  for step in (tiny_state.step, tiny_state.players['generator'].step, tiny_state.players['discriminator'].step):
    assert isinstance(step, jax.Array)
    assert (step.shape, step.dtype, step.weak_type, int(step)) == ((), jnp.int32, False, 0)


def test_state_has_the_shapes_of_the_networks_and_float32_numbers(tiny_generator, tiny_state, key):
  variables = jax.eval_shape(lambda: tiny_generator.init(key, jnp.zeros((1, 5)), train=False))
  for tree in (tiny_state.players['generator'].variables, tiny_state.ema['generator']):
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}


def test_averaged_generator_starts_as_a_copy_of_the_generator(create_tiny_state, key):
  """A copy, because a buffer can be donated once only; compiled, `create_state` would copy in any case."""
  state = create_tiny_state.__wrapped__(key)
  jax.tree.map(assert_array_equal, state.ema['generator'], state.players['generator'].variables)
  pairs = zip(
    jax.tree.leaves(state.ema['generator']), jax.tree.leaves(state.players['generator'].variables), strict=True
  )
  assert all(ours.unsafe_buffer_pointer() != theirs.unsafe_buffer_pointer() for ours, theirs in pairs)
