"""What other programs call otherwise, and what is misspelled, is answered with the name here, in one line."""

import pytest

from configs import cifar10
from dcgan_jax import cli
from dcgan_jax.building import unknown_names
from dcgan_jax.building.rules import flatten

KEYS = dict(flatten(cifar10.reference().to_dict()))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    # Flags of the PyTorch and TensorFlow examples and of StyleGAN.
    (['--dataset', 'folder'], "Unknown argument '--dataset'; here: --config.data.source=folder:PATH, npz:FILE, tfds:"),
    (['--dataroot=/data/faces'], 'here: --config.data.source=folder:PATH, npz:FILE, tfds:NAME or digits'),
    (['--niter', '25'], "'--niter'; here: --config.steps counts updates: steps = epochs x examples / batch_size"),
    (['--epoch', '25'], '--config.steps counts updates'),
    (['--batchSize', '64'], 'here: --config.batch_size, over all devices'),
    (['--batch-size=64'], 'did you mean --config.batch_size'),
    (['--imageSize', '64'], 'here: --config.data.image_size, the side in pixels'),
    (['--nz', '100'], 'here: --config.generator.latent_size'),
    (['--ngf', '64'], "here: --config.generator.widths, all written out: '(512, 256, 128, 64)' is ngf 64"),
    (['--lr', '2e-4'], '--config.generator.optimizer.learning_rate and --config.discriminator.optimizer.learning_rate'),
    (['--beta1', '0.5'], '--config.generator.optimizer.b1 and --config.discriminator.optimizer.b1'),
    (['--cuda'], 'here: all devices that JAX finds are used without a flag; CUDA_VISIBLE_DEVICES=0 takes one GPU'),
    (['--ngpu', '1'], 'all devices that JAX finds are used'),
    (['--netG', 'x.pth'], 'a run goes on by its --workdir alone; `launch.py import` reads networks'),
    (['--outf', 'out'], 'here: --workdir, the directory of the run'),
    (['--outdir=out'], 'here: --workdir, the directory of the run'),
    (['--manualSeed', '3'], 'here: --config.seed'),
    (['--workers', '2'], 'batches are read ahead without a flag'),
    (['--dry-run'], 'here: --config.steps=2'),
    (['--mirror=1'], 'here: --config.data.flip=True'),
    (['--train'], 'training is what launch.py does without a command'),
    (['--resume'], "'--resume'; here: to go on with a run, give its --workdir alone, without --config"),
    # Keys.
    (['--config.epochs=5'], 'Unknown key config.epochs; here: --config.steps counts updates'),
    (['--config.learning_rate=1e-4'], 'did you mean --config.discriminator.optimizer.learning_rate or --config.gener'),
    (['--config.generator.lr=1e-4'], 'here: --config.generator.optimizer.learning_rate and --config.discriminator'),
    (['--config.nz=100'], 'Unknown key config.nz; here: --config.generator.latent_size; configs/cifar10.py lists'),
    (['--config.discriminator_turns=5'], 'did you mean --config.tricks.discriminator_turns'),
    (['--image_size=64'], 'did you mean --config.data.image_size'),
    (['--steps=100'], 'did you mean --config.steps'),
    (['--config.data.data_dir=x'], 'or --config.data.dir of prepared TensorFlow data sets'),
    # The form of an argument.
    (['-config', 'digits'], 'did you mean --config'),
    (['—config', 'digits'], "'—config' begins with a typographic dash; type two hyphens: --config"),
    (['--config.batch_size', '=', '64'], "Unknown argument '='; write --config.KEY=VALUE without blanks around ="),
    (['--config.generator.widths', '512', '256'], "Unknown argument '256'; a flag takes one value: write --config NA"),
    (['--config', 'cifar10', 'best'], "Unknown argument 'best'; a flag takes one value: write --config NAME:VARIANT"),
    (['--workdir='], '--workdir is empty; expected a value (a variable of the shell may have none)'),
    (['sample', '--workdir', ''], '--workdir is empty; expected a value'),
    (['--config.data.dir='], '--config.data.dir is empty'),
    (['--config.seed=1', 'sample'], 'The command comes first: launch.py sample --config.seed=1'),
    # Commands.
    (['digits'], ' To train that config: launch.py --config digits'),
    (['configs/cifar10.py:best'], ' To train that config: launch.py --config configs/cifar10.py:best'),
    (['generate'], ' Did you mean launch.py sample?'),
    (['fid'], ' Did you mean launch.py evaluate?'),
    (['resume'], ' Did you mean launch.py --workdir RUN?'),
    (['help'], ' Did you mean launch.py --help?'),
    (['TRAIN', '--config', 'digits'], ' Did you mean launch.py train?'),
    (['sample', '--workdir', 'x', '64'], 'Unrecognized arguments: 64; see launch.py sample --help'),
    (['sample', '-w', 'x'], 'did you mean --workdir'),
    (['--sample'], '`launch.py sample` draws from a run that is trained'),
    (['steps=100'], 'Did you mean --config.steps=100?'),
    (['config.steps=100'], 'Did you mean --config.steps=100?'),
    # Other commands.
    (['sample', '--workdir', 'x', '--num_samples', '5'], '--num_samples 5, did you mean --num; see launch.py sample'),
    (['sample', '--checkpoint', 'x'], 'Unrecognized arguments: --checkpoint, did you mean --workdir; see launch.py'),
    (['evaluate', 'runs/x'], 'Unrecognized arguments: runs/x, did you mean --workdir runs/x; see launch.py evaluate'),
    (['evaluate', '--workdir', 'x', '--dims', '768'], '--dims 768, did you mean --features; see launch.py evaluate'),
    (['sample', '--workdir', 'x', '--config.seed=3'], 'a config is given when training, and a run keeps it'),
    (['export', '--workdir', 'x', '--out', 'y'], 'Unrecognized arguments: --out, did you mean --to; see'),
    (['inpaint', '--workdir', 'x', '--images', 'y'], 'Unrecognized arguments: --images, did you mean --image; see'),
  ],
)
def test_a_name_of_another_program_or_a_misspelled_one_is_answered_with_ours(
  arguments, message, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  assert cli.main(arguments) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.startswith('launch.py: ')
  assert error.count('\n') == 1
  assert not list(tmp_path.iterdir())


def test_the_directory_of_a_run_as_a_command_is_answered_with_how_to_resume_it(tmp_path, capsys):
  (tmp_path / 'config.json').write_text('{}')
  assert cli.main([str(tmp_path)]) == 2
  assert f'To go on with that run: launch.py --workdir {tmp_path}' in capsys.readouterr().err


def test_the_names_of_other_programs_are_none_of_ours():
  assert not unknown_names._HERE.keys() & KEYS.keys()
  assert not unknown_names._COMMAND_HERE.keys() & cli.COMMANDS.keys()


def test_the_version_is_printed(capsys):
  assert cli.main(['--version']) == 0
  assert capsys.readouterr().out.strip().count('.') == 2
