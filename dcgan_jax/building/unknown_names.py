"""Messages about arguments, keys and commands that do not exist, with the names that other DCGANs have for ours."""

import difflib
import pathlib
import re
from collections.abc import Collection, Iterable

# The flags of the PyTorch and TensorFlow DCGANs and of later GANs, in lower case and without - and _, and ours.
# docs/glossary.md has the same for readers.
_BOTH = '--config.generator.optimizer.{0} and --config.discriminator.optimizer.{0}'
_EXAMPLES = {
  'epochs epoch niter nepochs numepochs maxepochs epochsnum totalepochs':
    '--config.steps counts updates: steps = epochs x examples / batch_size',
  'iters iterations maxiter niters numiterations trainsteps numsteps maxsteps totalsteps totaliters kimg':
    '--config.steps, the number of updates of each network',
  'batch batchsize bs minibatchsize batchgpu trainbatchsize': '--config.batch_size, over all devices',
  'lr learningrate': _BOTH.format('learning_rate'),
  'lrg glr learningrateg': '--config.generator.optimizer.learning_rate',
  'lrd dlr learningrated': '--config.discriminator.optimizer.learning_rate',
  'beta1 beta betas adambeta1 momentum': _BOTH.format('b1'),
  'beta2 adambeta2': _BOTH.format('b2'),
  'optimizer optim': _BOTH.format('name'),
  'nz z zdim latentdim noisedim zsize nlatent': '--config.generator.latent_size',
  'ngf gfdim gchannels gch': "--config.generator.widths, all written out: '(512, 256, 128, 64)' is ngf 64",
  'ndf dfdim dchannels dch': "--config.discriminator.widths, all written out: '(64, 128, 256, 512)' is ndf 64",
  'nc cdim inchannels imagechannels imgchannels': '--config.data.channels, 1 for grey or 3 for RGB',
  'imagesize imgsize imsize inputheight outputheight inputwidth outputwidth inputsize resolution isize':
    '--config.data.image_size, the side in pixels',
  'centercrop cropsize': '--config.data.crop, the side in pixels',
  'datadir': '--config.data.source=folder:PATH, or --config.data.dir of prepared TensorFlow data sets',
  'dataroot data dataset datapath datafolder dataname datasetpath datasetdir inputdir inputfnamepattern images '
  'imagedir imagefolder imgdir traindir root':
    '--config.data.source=folder:PATH, npz:FILE, tfds:NAME or digits',
  'cuda nocuda usecuda gpu gpus ngpu ngpus gpuid gpuids usegpu device devices mps accelerator cpu':
    'all devices that JAX finds are used without a flag; CUDA_VISIBLE_DEVICES=0 takes one GPU, JAX_PLATFORMS=cpu none',
  'workers numworkers nworkers nthreads numthreads': 'batches are read ahead without a flag',
  'manualseed randomseed rngseed': '--config.seed',
  'outf outdir outputdir output outputfolder logdir savedir savepath checkpointdir ckptdir sampledir resultsdir '
  'resultdir modeldir rundir exp expname experiment runname name out':
    '--workdir, the directory of the run',
  'resume continue continuetrain resumefrom restore restart load loadpath loadmodel checkpoint ckpt checkpointpath '
  'pretrained snapshot':
    'to go on with a run, give its --workdir alone, without --config',
  'netg netd generatorpath discriminatorpath':
    'a run goes on by its --workdir alone; `launch.py import` reads networks of the PyTorch example',
  'dryrun fastdevrun debug': '--config.steps=2',
  'train istrain training': 'training is what launch.py does without a command',
  'ganmode gantype gantloss losstype criterion': '--config.loss',
  'ncritic criticiters criticsteps diters dsteps ndis': '--config.tricks.discriminator_turns',
  'lambdagp gp gpweight gplambda gradpenalty gradientpenaltyweight lambda': '--config.tricks.gradient_penalty',
  'clip clipvalue weightclipping cliplimit': '--config.tricks.weight_clip',
  'gamma r1gamma': '--config.tricks.r1',
  'ema emadecay emabeta useema emakimg': '--config.generator.averaging.half_life, in images',
  'mirror hflip horizontalflip randomflip': '--config.data.flip=True',
  'aug diffaugment policy': "--config.tricks.augment=\"('color', 'translation', 'cutout')\"",
  'labelsmoothing smoothing smooth smoothlabels onesidedlabelsmoothing': '--config.tricks.real_target=0.9',
  'fp16 amp bf16 half mixedprecision halfprecision usefp16 dtype': '--config.precision=bfloat16',
  'sn spectral usesn': "--config.tricks.spectral_norm=\"('discriminator',)\"",
  'cond conditional numclasses nclasses classconditional labels':
    '--config.tricks.generator_labels and --config.tricks.discriminator_labels; the classes come with the data',
  'loginterval logevery printevery printfreq displayfreq logfreq': '--config.logging.scalars_every, in steps',
  'sampleinterval sampleevery samplefreq saveimageinterval saveimagesevery imagesnap displayinterval':
    '--config.logging.samples_every, in steps',
  'saveinterval saveevery savefreq saveepochfreq ckptevery checkpointinterval checkpointfreq snap savesteps':
    '--config.logging.checkpoint_every, in steps',
  'evalevery evalinterval evalfreq fidevery fidinterval': '--config.evaluation.every, in steps',
  'sample generate draw': '`launch.py sample` draws from a run that is trained',
  'metrics fid evaluate': '--config.evaluation.every while training, or `launch.py evaluate` afterwards',
  'scheduler lrdecay lrschedule decaytype lrscheduler': '--config.tricks.decay',
  'warmup warmupsteps': '--config.tricks.warm_up',
  'negativeslope leaky leakyrelu': '--config.discriminator.negative_slope',
  'norm normlayer batchnorm bn': '--config.generator.normalization and --config.discriminator.normalization',
  'arch model architecture network': '--config.generator.name and --config.discriminator.name',
}  # fmt: skip
# What editors and web pages make of hyphens.
_DASHES = '\u2010\u2011\u2012\u2013\u2014\u2212'
_HERE = {name: here for names, here in _EXAMPLES.items() for name in names.split()}
_COMMANDS = {
  'sample': 'generate gen draw samples synthesize infer inference predict',
  'evaluate': 'eval test fid metrics measure score validate',
  'train': 'fit run start',
  '--workdir RUN': 'resume continue restart restore finetune',
  'interpolate': 'walk lines traverse lerp slerp',
  'project': 'invert inversion encode',
  'import': 'convert',
  'export': 'save push upload onnx',
  '--help': 'help usage',
}
_COMMAND_HERE = {name: here for here, names in _COMMANDS.items() for name in names.split()}
_FOLDERS = ('file', 'files', 'dir', 'directory', 'path', 'image', 'images', 'imagefolder', 'image_folder', 'folders')
_ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.7z', '.rar')
# Of TensorFlow Datasets, those that a name without tfds: may mean.
_NAMES = 'mnist fashion_mnist kmnist emnist cifar10 cifar100 celeb_a lsun/bedroom svhn_cropped stl10 oxford_flowers102'
_DATA_SETS = {name.replace('_', ''): name for name in _NAMES.split()}
_DATA_SETS |= {'lsun': 'lsun/bedroom', 'svhn': 'svhn_cropped', 'imagenet': 'imagenet_resized/64x64'}
# Flags of other commands than train: what programs elsewhere call them.
_FLAGS = {
  '--workdir': 'w d run rundir dir directory model modelpath modeldir network checkpoint ckpt checkpointdir ckptpath '
  'load loadpath resume netg config pkl input',
  '--num': 'n number count nsamples numsamples samples nimages numimages',
  '--out': 'o output outf outdir outfile outputdir outputpath output savepath savedir dest to',
  '--to': 'out output outdir outfile o dest',
  '--seed': 'seeds manualseed randomseed',
  '--class': 'label classidx classid y category',
  '--step': 'checkpointstep epoch iteration iter',
  '--image': 'images img input file target path',
  '--images': 'image img input file path',
  '--features': 'dims layer feature',
  '--reference': 'split real',
  '--data': 'dataset dataroot',
  '--from': 'input in path weights checkpoint',
}


def for_argument(token: str, keys: Collection[str], flags: Iterable[str]) -> str:
  """The message about an argument that `train` does not take.

  Args:
    token: the argument.
    keys: of the config, 'data.flip'.
    flags: of the command.
  """
  name, value = _parts(token)
  if token and token[0] in _DASHES:
    return f"'{token}' begins with a typographic dash; type two hyphens: --{name}"
  if not token.startswith('-'):
    advice = f'did you mean --{token}' if name.startswith('config.') else _of_value(name, value, keys)
    return f"Unknown argument '{token}'; {advice}"
  if name.startswith('config.') and name.removeprefix('config.') in keys:
    return f"Unknown argument '{token}', did you mean --{token.lstrip('-')}"
  instead = _instead(name, keys, flags)
  return (
    f"Unknown argument '{token}'{instead}" if instead else f"Unknown argument '{token}'; see launch.py train --help"
  )


def for_key(key: str, keys: Collection[str]) -> str:
  """The message about `--config.KEY` of a key that no config has."""
  group = [known.removeprefix(f'{key}.') for known in keys if known.startswith(f'{key}.')]
  if group:
    return f'config.{key} is a group of keys; give one of them, --config.{key}.NAME=VALUE: {", ".join(group)}'
  return f'Unknown key config.{key}{_instead(key, keys, ())}; configs/cifar10.py lists every key with its meaning'


def for_flags(tokens: str, flags: Collection[str]) -> str:
  """What to add to argparse's words about arguments that a command does not take; '' where nothing comes near.

  Args:
    tokens: the arguments, joined by blanks.
    flags: of the command.
  """
  name, _ = _parts(tokens.partition(' ')[0])
  if not tokens.startswith('-'):
    return f', did you mean --workdir {tokens}' if '--workdir' in flags else ''
  if tokens.startswith('--config'):
    return '; a config is given when training, and a run keeps it'
  here = [flag for flag, names in _FLAGS.items() if flag in flags and _plain(name) in names.split()]
  near = here[:1] or difflib.get_close_matches(f'--{name}', flags, n=1, cutoff=0.7)
  return f', did you mean {near[0]}' if near else ''


def for_command(name: str, commands: Collection[str], configs: Collection[str], *, is_run: bool, keys: Collection[str]):
  """The message about a first argument that is no command.

  Args:
    name: the argument.
    commands: of the program.
    configs: names of those that the package brings.
    is_run: whether it is the directory of a run.
    keys: of the config.
  """
  if name and name[0] in _DASHES:
    return for_argument(name, keys, ())
  if is_run:
    hint = f' To go on with that run: launch.py --workdir {name}'
  elif name.partition(':')[0].endswith('.py') or name.partition(':')[0] in configs:
    hint = f' To train that config: launch.py --config {name}'
  elif '=' in name:
    key, value = _parts(name)
    hint = f' {_capital(_of_value(key.removeprefix("config."), value, keys))}'
  else:
    near = difflib.get_close_matches(name.lower(), commands, n=1)
    meant = _COMMAND_HERE.get(_plain(name)) or (near[0] if near else None)
    hint = f' Did you mean launch.py {meant}?' if meant else ''
  return f"Unknown command '{name}'; known: {', '.join(sorted(commands))}.{hint}"


def for_source(text: str, kinds: Collection[str]) -> str:
  """The message about a config.data.source of a kind that does not exist, such as the path of a folder."""
  kind = text.partition(':')[0]
  usual = re.match(r'(\w+)[:=]+(.+)', text)
  file = pathlib.PurePath(text)
  data_sets = difflib.get_close_matches(_plain(kind), _DATA_SETS, n=1, cutoff=0.8)
  if usual and usual[1].lower() in (*kinds, *_FOLDERS):
    known = 'folder' if usual[1].lower() in _FOLDERS else usual[1].lower()
    advice = f'did you mean {known}:{usual[2]}?'
  elif file.suffix.lower() == '.npz':
    advice = f'for an .npz file write npz:{text}'
  elif file.suffix.lower() == '.npy':
    advice = f"make an .npz of it, np.savez('{file.stem}.npz', images=np.load('{text}')), and write npz:{file.stem}.npz"
  elif file.suffix.lower() in _ARCHIVES:
    advice = f'unpack it, and write folder:{file.stem}'
  elif re.search(r'[/\\~]', text) or pathlib.Path(text).exists():
    advice = f'for a folder write folder:{text}'
  elif data_sets:
    advice = f'for the TensorFlow data set write tfds:{_DATA_SETS[data_sets[0]]}'
  else:
    near = difflib.get_close_matches(kind, kinds, n=1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    return f"Unknown kind of config.data.source '{kind}'; known: {', '.join(sorted(kinds))}.{hint}"
  return f"config.data.source is '{text}'; {advice}"


def _parts(token: str) -> tuple[str, str]:
  """'--nz=100' -> ('nz', '100')."""
  name, _, value = token.lstrip(f'-{_DASHES}').partition('=')
  return name, value


def _plain(name: str) -> str:
  return re.sub('[-_.]', '', name.lower())


def _instead(name: str, keys: Collection[str], flags: Iterable[str]) -> str:
  """', did you mean ...' for a flag or a key: of the same last part, of other programs, else of a similar name."""
  name = name.removeprefix('config.')
  last = name.rpartition('.')[2]
  same = [key for key in keys if key.rpartition('.')[2] == last.replace('-', '_')]
  if 0 < len(same) <= 3:
    return f', did you mean {" or ".join(f"--config.{key}" for key in same)}'
  here = _HERE.get(_plain(name)) or _HERE.get(_plain(last))
  if here:
    return f'; here: {here}'
  near = difflib.get_close_matches(f'--{name}', flags, n=1) or [
    f'--config.{key}' for key in difflib.get_close_matches(name, keys, n=1)
  ]
  return f', did you mean {near[0]}' if near else ''


def _of_value(name: str, value: str, keys: Collection[str]) -> str:
  """What to do about an argument without dashes."""
  if value:
    known = [key for key in keys if key == name] or [key for key in keys if key.rpartition('.')[2] == name]
    return f'did you mean --config.{known[0]}={value}?' if known else 'keys are given as --config.KEY=VALUE'
  if name in ('', '='):
    return 'write --config.KEY=VALUE without blanks around ='
  return "a flag takes one value: write --config NAME:VARIANT, and what has blanks in quotes: --config.KEY='(64, 32)'"


def _capital(text: str) -> str:
  return f'{text[0].upper()}{text[1:]}'
