"""What the command line answers, most of all to mistakes: one line, exit code 2, no traceback, JAX not yet imported."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dcgan_jax import cli, flags
from dcgan_jax.building import config_files
from dcgan_jax.building.rules import flatten, validate
from dcgan_jax.commands.train import read_config

ROOT = pathlib.Path(__file__).parent.parent
INPAINT = ['inpaint', '--workdir', 'x', '--image', 'test:1']
CIFAR10 = str(ROOT / 'configs' / 'cifar10.py')


def _digits(directory):
  return ['--config', 'digits', '--workdir', str(directory / 'run')]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['trian'], f"Unknown command 'trian'; known: {', '.join(sorted(cli.COMMANDS))}. Did you mean launch.py train?"),
    (['--confg=x'], "Unknown argument '--confg=x', did you mean --config\n"),
    (
      ['--config', 'configs/nope.py'],
      'No config file configs/nope.py; expected a Python file such as configs/cifar10.py, or a name; known names: ',
    ),
    (['--config', 'cifr10'], 'or a name; did you mean cifar10'),
    (['--config', 'configs/mnist.py'], 'for the one that the package brings give --config mnist'),
    (['--config', f'{CIFAR10}:papr'], "cifar10.py 'papr'; known: best, "),
    (['--config', 'cifar10:papr'], "Unknown variant of cifar10 'papr'; known: best, "),
    (['--config', str(ROOT / 'configs' / 'npz.py:x')], "npz.py has no variant 'x', nor any other; give --config "),
    (
      ['--config.batchsize=3'],
      'Unknown key config.batchsize; here: --config.batch_size, over all devices; configs/cifar10.py lists',
    ),
    (
      ['--config.generator=3'],
      'config.generator is a group of keys; give one of them, --config.generator.NAME=VALUE: ',
    ),
    (['--config.batch_size=abc'], "config.batch_size is 'abc'; expected a whole number from 1"),
    (['--config.batch_size', '1.5'], "config.batch_size is '1.5'; expected a whole number from 1"),
    (['--config.steps=100k'], "config.steps is '100k'; write 100000"),
    (['--config.steps=1,5M'], "config.steps is '1,5M'; expected a whole number from 1"),
    (['--config.steps=50,000'], "config.steps is '50,000'; write 50000"),
    (['--config.steps=1e999999999'], "config.steps is '1e999999999'; expected a whole number from 1"),
    (
      ['--config.data.image_size=64x128'],
      "config.data.image_size is '64x128'; expected a whole number from 1, the side of squares",
    ),
    (
      ['--config.generator.optimizer.learning_rate=1e-4x'],
      "learning_rate is '1e-4x'; expected a finite number above 0",
    ),
    (['--config.data.flip=yes'], "config.data.flip is 'yes'; write true or false"),
    (['--config.data.flip', 'no'], "config.data.flip is 'no'; write true or false"),
    (['--distributed', '10.0.0.1:99999,0,2'], "99999 in '10.0.0.1:99999,0,2' is no port; expected a number from 1 to"),
    (['--distributed', '10.0.0.1:x,0,2'], 'is neither auto nor HOST:PORT,PROCESS,PROCESSES'),
    (['--distributed', ':9876,0,2'], 'is neither auto nor HOST:PORT,PROCESS,PROCESSES'),
    (['--distributed', '10.0.0.1:9876,2,2'], 'process 2 of 2; they are numbered from 0'),
    (['--config.batch_size=-5'], 'config.batch_size is -5; expected a whole number from 1'),
    (['--config.generator.optimizer.learning_rate=nan'], 'learning_rate is nan; expected a finite number above 0'),
    (['--config', CIFAR10, '--config.data.image_size=30'], 'sizes are multiples of 8, for example 24 or 32'),
    (['--config.generator.widths=abc'], "config.generator.widths is ('abc',); expected a tuple of whole numbers"),
    (['--workdir', str(ROOT / 'launch.py')], 'launch.py is a file; give a directory'),
    (
      ['--workdir', 'gs://bucket/run'],
      "Cannot use the address 'gs://bucket/run'; expected a path of a local or mounted",
    ),
    (['--config', 's3://bucket/cifar10.py'], "Cannot use the address 's3://bucket/cifar10.py'"),
    (['--config.data.dir=gs://b/tfds'], "Cannot use the address 'gs://b/tfds'"),
    (['--config.data.source', 'folder:gs://b/faces'], "Cannot use the address 'folder:gs://b/faces'"),
    (['import', '--from', 'https://x.org/netG.pth', '--to', 'y'], "Cannot use the address 'https://x.org/netG.pth'"),
    (['export', '--workdir', 'x', '--to=hdfs://y'], "Cannot use the address 'hdfs://y'"),
    (['anomaly', '--workdir', 'x', '--images', 'a.png', 'file:///b.png'], "Cannot use the address 'file:///b.png'"),
    (
      ['--config', 'digits', '--workdir', 'x' * 256],
      'File name too long; give a shorter name, then the same command goes on',
    ),
    (['--config', 'x' * 256], 'File name too long'),
    ([*INPAINT, '--mask', 'x' * 256], 'File name too long'),
    (['--workdir', '~nosuchuser/run'], 'No home directory is known for a path that begins with ~; give the path'),
    (['report', '--workdir', '~nosuchuser/run'], 'No home directory is known'),
    (['sample'], 'The following arguments are required: --workdir; see launch.py sample --help'),
    (['sample', '--workdir', 'x', '--num', '-3'], "Argument --num: '-3' is no whole number from 1 to 2**32 - 1"),
    (['evaluate', '--workdir', 'x', '--num', '500'], '500 samples'),
    (['evaluate', '--workdir', 'x', '--features', '65'], "Unknown features '65'; known: 192, 2048, 64, 768, self."),
    (
      ['evaluate', '--workdir', 'x', '--num', '9', '--allow-few'],
      '9 samples are too few to be measured; expected num ',
    ),
    (['evaluate', '--workdir', 'x', '--weights', 'y.npz'], 'Cannot read Inception weights from y.npz (No such file)'),
    (['project', '--workdir', 'x', '--image', 'y.png'], 'There is no image file or folder y.png; images of a split'),
    (['anomaly', '--workdir', 'x', '--images', 'y.png'], 'There is no image file or folder y.png; images of a split'),
    (['sample', '--workdir', 'x', '--out', 'y.jpg'], "Cannot write samples as '.jpg'; --out is a .png or .npz"),
    (['interpolate', '--workdir', 'x', '--out', '/'], "Cannot write 'lines' as ''; --out is a .png"),
    (['probe', '--workdir', 'x', '--out', 'x.csv'], "Cannot write the numbers as '.csv'; --out is a .json"),
    (['inpaint', '--workdir', 'x'], 'The following arguments are required: --image; see launch.py inpaint --help'),
    (
      [*INPAINT, '--mask', 'middle'],
      "'middle' is neither centre (or center), left, random:SHARE nor a file",
    ),
    ([*INPAINT, '--mask', 'random:1'], "Argument --mask: 'random:1' has no share between 0 and 1; expected such as"),
    ([*INPAINT, '--mask', 'random:nan'], "Argument --mask: 'random:nan' has no share between 0 and 1"),
    ([*INPAINT, '--restarts', '2'], '--completions is 4, more than the 2 --restarts; search more'),
    ([*INPAINT, '--out', 'x.gif'], "Cannot write the pictures as '.gif'; --out is a .png"),
    (['report', '--workdir', 'x', '--out', 'x.pdf'], "Cannot write the report as '.pdf'; --out is an .html"),
    (
      ['report', '--workdir', 'x'],
      'No run in x (there is no such directory); to start one there: launch.py --config digits --workdir x (or',
    ),
    (['anomaly', '--workdir', 'x'], 'Give either --images to score or --data for an AUROC; see launch.py anomaly'),
    (['sample', '--workdir', 'x', '--nmu', '3'], 'Unrecognized arguments: --nmu 3'),
    (['export', '--workdir', 'x', '--to', 'y', '--format', 'onnx'], "Unknown --format 'onnx'; known: safetensors, "),
    (['import', '--from', 'netG.safetensors', '--to', 'y'], 'Cannot read netG.safetensors (No such file or directory)'),
  ],
)
def test_a_mistake_in_the_arguments_is_one_line_before_jax_is_imported(arguments, message, tmp_path):
  code = (
    'import sys; from dcgan_jax import cli; code = cli.main(sys.argv[1:]);'
    "assert 'jax' not in sys.modules; assert 'tensorflow_datasets' not in sys.modules; sys.exit(code)"
  )
  workdir = [] if '--workdir' in arguments or not arguments[0].startswith('--') else _digits(tmp_path)
  command = [sys.executable, '-c', code, *workdir, *arguments]
  environment = {'PYTHONPATH': str(ROOT), 'PATH': ''}
  result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
  assert result.returncode == 2, result.stderr
  assert message in result.stderr
  assert result.stderr.startswith('launch.py: ')
  assert result.stderr.count('\n') == 1
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.data.source=digit'], "Unknown kind of config.data.source 'digit'; known: digits, folder, npz, tfds."),
    (['--config.data.source=digits:x'], "config.data.source is 'digits:x'; expected digits, tfds:NAME, folder:PATH"),
    (['--config.data.source=npz'], "config.data.source is 'npz'; expected digits, tfds:NAME, folder:PATH or npz:PATH"),
    (['--config.data.split=test'], 'test'),
    (
      ['--config.generator.name=dcgna'],
      "Unknown config.generator.name 'dcgna'; known: dcgan, fully_connected, residual. Did you mean 'dcgan'?",
    ),
    (['--config.loss=hing'], "Unknown config.loss 'hing'; known: hinge, least_squares, non_saturating,"),
    (
      ['--config.discriminator.normalization=batc'],
      "Unknown config.discriminator.normalization 'batc'; known: batch, ",
    ),
    (['--config.generator.optimizer.name=adm'], "Unknown optimizer 'adm'; known: adam, adamw, "),
    (['--config.evaluation.every=5', '--config.evaluation.features=slf'], "Unknown features 'slf'; known: 192, 2048,"),
    (['--config.evaluation.every=5', '--config.evaluation.weights=nope'], 'nope'),
    (['--config.precision=float64'], "Unknown config.precision 'float64'; known: bfloat16, float32."),
    (
      ['--config.batch_size=60'],
      'config.batch_size is 60, which 8 devices cannot share equally; use a multiple of 8, for',
    ),
    (
      ['--config.batch_size=4000'],
      'digits holds 1,797 examples, fewer than config.batch_size 4000; use a smaller batch',
    ),
    (['--config', str(ROOT / 'configs' / 'folder.py')], 'data/images'),
    (['--config', str(ROOT / 'configs' / 'npz.py')], 'data/images.npz'),
  ],
)
def test_a_value_that_only_the_tables_or_the_data_can_refuse_is_one_line_too(arguments, message, tmp_path, capsys):
  assert cli.main([*_digits(tmp_path), *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('arguments', [[], ['sample', '--workdir', 'digits']])
@pytest.mark.parametrize('platform', ['cuda', 'nope'])
def test_a_platform_without_devices_is_one_line(arguments, platform, tmp_path):
  command = [sys.executable, '-m', 'dcgan_jax', *arguments]
  environment = {'PYTHONPATH': str(ROOT), 'PATH': '', 'JAX_PLATFORMS': platform, 'CUDA_VISIBLE_DEVICES': ''}
  result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
  assert result.returncode == 2, result.stderr
  assert result.stderr.splitlines()[-1].startswith(
    f"python -m dcgan_jax: JAX finds no devices (JAX_PLATFORMS is '{platform}')"
  )
  assert 'Traceback' not in result.stderr


def test_the_package_runs_as_a_module(tmp_path, capsys):
  command = [sys.executable, '-m', 'dcgan_jax']
  result = subprocess.run([*command, '--help'], capture_output=True, text=True, cwd=tmp_path, check=True)
  cli.main(['--help'])
  assert result.stdout == capsys.readouterr().out
  result = subprocess.run([*command, 'trian'], capture_output=True, text=True, cwd=tmp_path)
  assert result.returncode == 2
  assert result.stderr.startswith("python -m dcgan_jax: Unknown command 'trian'")


@pytest.mark.parametrize(
  ('called', 'name'),
  [('/bin/dcgan', 'dcgan'), (r'dcgan.exe', 'dcgan'), ('/lib/dcgan_jax/__main__.py', 'python -m dcgan_jax')],
)
def test_an_installed_program_speaks_of_itself_by_its_name_and_of_configs_where_they_are(
  called, name, monkeypatch, capsys
):
  monkeypatch.setattr(sys, 'argv', [called])
  assert cli.main(['--config.nothing=1']) == 2
  reference = config_files.CONFIGS / 'cifar10.py'
  assert (
    capsys.readouterr().err == f'{name}: Unknown key config.nothing; {reference} lists every key with its meaning\n'
  )
  assert cli.main(['sample']) == 2
  assert f'see {name} sample --help' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('x = (', "mine.py, line 1: SyntaxError: '(' was never closed"),
    ('\nimport nothere', "mine.py, line 2: ModuleNotFoundError: No module named 'nothere'"),
    ('def get_config():\n  raise ValueError("so it is")', 'mine.py, line 2: ValueError: so it is'),
    ('x = 1', 'mine.py: it has no function get_config'),
    ('def get_config():\n  pass', 'mine.py: get_config returns NoneType; expected a ConfigDict'),
  ],
)
def test_a_broken_config_file_is_named_with_its_line_and_without_a_traceback(content, message, tmp_path, capsys):
  (tmp_path / 'mine.py').write_text(content)
  assert cli.main(['--config', str(tmp_path / 'mine.py'), '--workdir', str(tmp_path / 'run')]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert 'Traceback' not in error
  assert error.count('\n') == 1


def test_a_workdir_that_cannot_be_made_is_one_line(capsys):
  assert cli.main(['--config', 'digits', '--workdir', '/proc/run']) == 2
  assert capsys.readouterr().err.startswith('launch.py: Cannot write in /proc/run (')


@pytest.mark.parametrize(
  ('out', 'message'),
  [
    ('file/x.png', '--out file/x.png is inside of file, which is a file; give another path'),
    ('folder.png', '--out folder.png is a directory; give a file in it'),
    ('x' * 300 + '.png', 'File name too long; give a shorter name'),
    ('d/' * 2200 + 'x.png', 'File name too long; give a shorter name'),
    ('~nosuchuser/x.png', 'No home directory is known for a path that begins with ~'),
  ],
)
@pytest.mark.parametrize(
  'command', [['sample'], ['interpolate'], ['project', '--image', 'a'], ['inpaint', '--image', 'a']]
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
  command, out, message, tmp_path, monkeypatch, capsys
):
  (tmp_path / 'file').touch()
  (tmp_path / 'folder.png').mkdir()
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(flags, 'prepare_libraries', lambda: pytest.fail('it went on'))
  assert cli.main([*command, '--workdir', 'digits', '--out', out]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert len(error) < 400
  assert error.count('\n') == 1


def test_a_directory_without_permission_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)

  def refuse(dir):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(flags.tempfile, 'TemporaryFile', refuse)
  monkeypatch.setattr(flags, 'prepare_libraries', lambda: pytest.fail('it went on'))
  assert cli.main(['sample', '--workdir', 'digits']) == 2
  assert '--out samples.png cannot be written: .: Permission denied; give another path' in capsys.readouterr().err


def test_the_home_is_known_in_every_path(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  parser = flags.Parser('x', '')
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--images', type=pathlib.Path, nargs='+')
  args = parser.parse_args(['--out=~/a.png', '--images', '~/b', 'c'])
  assert (args.out, args.images) == (tmp_path / 'a.png', [tmp_path / 'b', pathlib.Path('c')])


def test_a_workdir_that_is_no_text_is_refused_to_train(tmp_path, capsys):
  assert cli.main(['--config', 'digits', '--workdir', str(tmp_path / os.fsdecode(b'caf\xe9'))]) == 2
  assert 'is not UTF-8, which checkpoints need; give another path' in capsys.readouterr().err


def test_neither_a_home_nor_a_user_is_needed(tmp_path):
  code = (
    'import pwd; pwd.getpwuid = {}.__getitem__; pwd.getpwnam = {}.__getitem__\n'
    'import sys; from dcgan_jax import cli; sys.exit(cli.main(sys.argv[1:]))'
  )
  for arguments, message in (
    (['sample', '--workdir', 'digits', '--num', '1'], None),
    (
      ['sample', '--workdir', '~/run'],
      'No home directory is known for a path that begins with ~; give the path without',
    ),
  ):
    command = [sys.executable, '-c', code, *arguments]
    environment = {'PYTHONPATH': str(ROOT), 'PATH': '', 'JAX_PLATFORMS': 'cpu'}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == (2 if message else 0), result.stderr
    assert message is None or message in result.stderr
    assert 'Traceback' not in result.stderr
  assert [path.name for path in tmp_path.iterdir()] == ['samples.png']


def test_sampling_from_no_run_says_how_to_make_one(tmp_path, capsys):
  assert cli.main(['sample', '--workdir', str(tmp_path)]) == 2
  start = f'to start one there: launch.py --config digits --workdir {tmp_path} (or another config)'
  assert f'No run in {tmp_path} (config.json is missing); {start}' in capsys.readouterr().err


def test_help_lists_every_command_and_takes_under_half_a_cpu_second():
  command = [sys.executable, str(ROOT / 'launch.py'), '--help']
  subprocess.run(command, check=True, capture_output=True)
  seconds = []
  for _ in range(3):
    before = os.times()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = os.times()
    seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
  assert min(seconds) < 0.5
  assert all(f'\n  {name} ' in output for name in cli.COMMANDS)


@pytest.mark.parametrize('command', cli.COMMANDS)
def test_each_command_explains_its_flags(command, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main([command, '--help'])
  assert stop.value.code == 0
  assert '--workdir' in capsys.readouterr().out


def test_overrides_are_taken_with_and_without_an_equals_sign():
  config = read_config(CIFAR10, None, ['--config.batch_size', '64', '--config.data.flip', '--config.seed=3'])
  assert (config.batch_size, config.data.flip, config.seed) == (64, True, 3)
  assert config.is_locked


@pytest.mark.parametrize(
  ('flags', 'key', 'value'),
  [
    (['--config.steps=1e5'], 'steps', 100_000),
    (['--config.steps', '2.5E3'], 'steps', 2500),
    (['--config.evaluation.every=1e3'], 'evaluation.every', 1000),
    (['--config.evaluation.every=None'], 'evaluation.every', None),
    (['--config.evaluation.every=5', '--config.evaluation.every', 'none'], 'evaluation.every', None),
    (['--config.data.image_size=None', '--config.data.image_size=16'], 'data.image_size', 16),
    (['--config.tricks.weight_clip=None'], 'tricks.weight_clip', None),
    (['--config.generator.strides=None'], 'generator.strides', None),
    (['--config.data.flip', 'false', '--config.data.flip=True', '--config.data.flip', 'f'], 'data.flip', False),
    (['--config.data.flip'], 'data.flip', True),
  ],
)
def test_numbers_none_and_truth_are_taken_as_people_write_them(flags, key, value):
  config = read_config(CIFAR10, None, flags)
  validate(config.to_dict())
  found = dict(flatten(config.to_dict()))[key]
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(('variant', 'text', 'value'), [('plain', '(5, 4, 3)', (5, 4, 3)), ('sngan_cnn', '4', 4)])
def test_a_number_takes_the_place_of_a_tuple_of_kernel_sizes_and_the_other_way_round(variant, text, value):
  keys = [f'{player}.kernel_size' for player in ('generator', 'discriminator')]
  config = read_config(f'{CIFAR10}:{variant}', None, [f'--config.{key}={text}' for key in keys])
  assert (config.generator.kernel_size, config.discriminator.kernel_size) == (value, value)


def test_a_name_cannot_command_the_terminal_nor_begin_a_line(tmp_path, capsys):
  (tmp_path / 'a\x1b]0;owned\x07\nlaunch.py: all is well.png').write_bytes(b'x')
  source = f'folder:{tmp_path}'
  takes = ['--config.data.image_size=16', '--config.batch_size=8', f'--config.data.source={source}']
  assert cli.main([*_digits(tmp_path), *takes]) == 2
  error = capsys.readouterr().err
  np.savez(tmp_path / 'x.npz', **{'\x1b[2J\nimages': np.zeros(3)})
  takes = ['--config.batch_size=8', f'--config.data.source=npz:{tmp_path}/x.npz']
  assert cli.main([*_digits(tmp_path), *takes]) == 2
  error += capsys.readouterr().err
  assert '[2J images' in error
  assert error.count('\n') == 2
  assert error.isascii() and all(character.isprintable() for character in error.replace('\n', ''))


@pytest.mark.parametrize(
  ('command', 'name'),
  [
    (['sample'], 'x.png'), (['sample'], 'folder'), (['sample'], 'x.npz'), (['probe'], 'x.json'),
    (['augmentation'], 'x.json'), (['project', '--image', 'test:1'], 'x.png'), (['interpolate'], 'x.png'),
    (['interpolate', 'walk'], 'x.gif'), (['inpaint', '--image', 'test:1'], 'x.png'), (['report'], 'x.html'),
    (['anomaly', '--data', 'digits', '--normal-class', '0'], 'x.png'),
  ],
)  # fmt: skip
@pytest.mark.parametrize('kind', ['file', 'directory', 'unwritable'])
def test_an_output_that_cannot_be_written_is_refused_before_the_run_is_loaded(command, name, kind, tmp_path, capsys):
  out = {'file': tmp_path / 'file' / name, 'directory': tmp_path / name, 'unwritable': pathlib.Path('/proc') / name}[
    kind
  ]
  (tmp_path / 'file').write_text('')
  if kind == 'directory':
    out.mkdir()
    if not out.suffix:
      return
  assert cli.main([*command, '--workdir', str(tmp_path), '--out', str(out)]) == 2
  error = capsys.readouterr().err
  expected = {'file': 'which is a file', 'directory': 'is a directory', 'unwritable': 'cannot be written: /proc'}[kind]
  assert expected in error
  assert error.count('\n') == 1


@pytest.mark.parametrize('arguments', [['--help'], ['train', '--help'], ['trian'], ['sample', '--workdir', 'nothing']])
@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(arguments, stream):
  read, write = os.pipe()
  os.close(read)
  command = [sys.executable, str(ROOT / 'launch.py'), *arguments]
  streams = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, stream: write}
  result = subprocess.run(command, **streams)
  os.close(write)
  writes = 'stdout' if '--help' in arguments else 'stderr'
  code = 0 if writes == 'stdout' else 2
  # argparse itself says nothing of a help that nobody reads.
  assert result.returncode in ({141, 0} if arguments == ['train', '--help'] else {141} if stream == writes else {code})
  assert b'Traceback' not in (result.stdout or b'') + (result.stderr or b'')
  assert b'BrokenPipe' not in (result.stderr or b'')


def test_a_workdir_that_is_no_text_is_refused_where_the_terminal_is_ascii():
  command = [sys.executable, str(ROOT / 'launch.py'), '--workdir', b'runs/\xff']
  environment = {**os.environ, 'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C'}
  result = subprocess.run(command, capture_output=True, env=environment)
  assert result.returncode == 2
  assert result.stderr == b'launch.py: --workdir runs/\\udcff is not UTF-8, which checkpoints need; give another path\n'
