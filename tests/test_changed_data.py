"""Data that change under a run are said, and refused where its networks do not fit them."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import cifar10
from dcgan_jax.building import data as build_data
from dcgan_jax.data import arrays, digits
from dcgan_jax.errors import CheckpointError
from dcgan_jax.training import data_record, session, workdir


def write_images(root, *names, values=(0, 200)):
  for i, name in enumerate(names):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(i).integers(*values, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / name)


def config_of(path, variant=''):
  config = cifar10.get_config(variant)
  config.update(batch_size=1, data={'source': f'folder:{path}', 'image_size': 8})
  return config


def begin(run, config):
  """Leaves what a run leaves that has begun; returns the record of its data."""
  (run / 'checkpoints' / '4').mkdir(parents=True, exist_ok=True)
  source = build_data.build_source(config)
  record = data_record.describe(source)
  workdir.write(run, 'config.json', config.to_dict())
  workdir.write(run, 'run.json', workdir.describe_run(source.shape, source.classes, []) | {'data': record})
  return record


def resume(run, config):
  workdir.check_unchanged(run, config.to_dict())
  return session._open_data(config, run)


@pytest.fixture
def data(tmp_path):
  write_images(tmp_path / 'data', 'cat/0.png', 'cat/1.png', 'dog/2.png')
  return tmp_path / 'data'


def test_data_that_stay_as_they_are_are_not_spoken_of(tmp_path, data, capsys):
  record = begin(tmp_path / 'run', config_of(data))
  _, again = resume(tmp_path / 'run', config_of(data))
  assert (again, capsys.readouterr().err) == (record, '')


def test_data_that_grew_are_said_and_taken(tmp_path, data, capsys):
  begin(tmp_path / 'run', config_of(data))
  write_images(data, 'cat/9.png')
  source, _ = resume(tmp_path / 'run', config_of(data))
  assert len(source) == 4
  assert capsys.readouterr().err == (
    f'WARNING: folder:{data} has changed since this run was last started: 3 examples are now 4; training continues '
    'with the new ones\n'
  )


def test_as_many_other_files_are_said(tmp_path, data, capsys):
  begin(tmp_path / 'run', config_of(data))
  (data / 'cat/0.png').rename(data / 'cat/9.png')
  resume(tmp_path / 'run', config_of(data))
  assert 'last started: some of them are others; training continues' in capsys.readouterr().err


def test_one_pixel_of_an_array_makes_another_fingerprint():
  examples = np.zeros((5, 4, 4, 1), np.uint8)
  before = arrays.ArraySource(examples, np.arange(5)).fingerprint()
  assert before == arrays.ArraySource(examples.copy(), np.arange(5)).fingerprint()
  assert before != arrays.ArraySource(examples, np.array([0, 1, 2, 4, 3])).fingerprint()
  examples[4, 3, 3] = 1
  assert before != arrays.ArraySource(examples, np.arange(5)).fingerprint()


def test_the_digits_have_a_fingerprint():
  assert len(digits.open_digits(split='train', image_size=None).fingerprint()) == 8


def test_data_that_moved_are_the_same(tmp_path, data, capsys):
  record = begin(tmp_path / 'run', config_of(data))
  shutil.move(data, tmp_path / 'elsewhere')
  _, again = resume(tmp_path / 'run', config_of(tmp_path / 'elsewhere'))
  assert (again, capsys.readouterr().err) == (record, '')


def test_other_data_at_another_path_are_refused(tmp_path, data):
  begin(tmp_path / 'run', config_of(data))
  write_images(tmp_path / 'other', 'cat/0.png', 'dog/2.png')
  message = f'trained on folder:{data}, and folder:{tmp_path}/other holds other data; give the path where those are now'
  with pytest.raises(CheckpointError, match=re.escape(message)):
    resume(tmp_path / 'run', config_of(tmp_path / 'other'))


def test_a_run_reads_data_where_they_are_now(data, tmp_path):
  config = build_data.with_data_dir(config_of('/nowhere'), str(data))
  assert len(build_data.build_source(config)) == 3


def rename(data):
  (data / 'dog').rename(data / 'bird')


def remove(data):
  shutil.rmtree(data / 'dog')


def add(data):
  shutil.copytree(data / 'dog', data / 'bird')


@pytest.mark.parametrize(
  ('change', 'words'),
  [(rename, 'it lacks dog and adds bird; put'), (add, 'it adds bird; put'), (remove, 'it lacks dog; put')],
)
def test_other_classes_are_refused_with_their_names(tmp_path, data, change, words):
  write_images(data, 'emu/7.png')
  config = config_of(data, 'conditional')
  begin(tmp_path / 'run', config)
  change(data)
  with pytest.raises(CheckpointError, match=re.escape(words)):
    resume(tmp_path / 'run', config)


def test_classes_of_an_unconditional_run_may_change(tmp_path, data):
  begin(tmp_path / 'run', config_of(data))
  rename(data)
  source, _ = resume(tmp_path / 'run', config_of(data))
  assert source.class_names == ['bird', 'cat']


def test_another_shape_is_refused_with_both():
  fits = {'conditional': False, 'title': 'npz:a'}
  with pytest.raises(
    CheckpointError, match=r'npz:a holds examples of shape \(9, 9, 3\), but the run is of \(8, 8, 3\); put'
  ):
    data_record.check_fits({}, {'classes': None}, old=((8, 8, 3), None), new=((9, 9, 3), None), **fits)


def test_a_range_that_was_measured_is_kept(tmp_path, capsys):
  data = tmp_path / 'data'
  data.mkdir()
  Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(data / 'a.png')
  record = begin(tmp_path / 'run', config_of(data))
  assert record['range'] == [0.0, 63.0]
  Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(data / 'b.png')
  source, _ = resume(tmp_path / 'run', config_of(data))
  assert source.value_range == (0.0, 63.0)


def test_a_run_of_before_the_record_resumes(tmp_path, data, capsys):
  begin(tmp_path / 'run', config_of(data))
  source = build_data.build_source(config_of(data))
  workdir.write(tmp_path / 'run', 'run.json', workdir.describe_run(source.shape, source.classes, []))
  resume(tmp_path / 'run', config_of(data))
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
  'record', [7, 'x', [], {'examples': 'x'}, {'classes': 'ab'}, {'classes': [1]}, {'range': [3]}, {'range': [3, 1]}]
)
def test_a_record_of_wrong_types_is_refused(tmp_path, record):
  workdir.write(tmp_path, 'run.json', {'data': record})
  with pytest.raises(CheckpointError, match='run.json describes no data .*; remove that key or copy the file again'):
    workdir.read_data(tmp_path)
