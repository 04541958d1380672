"""What can go wrong in a way that a message explains. The command line prints these as one line."""

import difflib
import errno
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO


class UserError(Exception):
  """A mistake that its message explains: what was seen, what was expected, what to do next. Exit code 2."""


class ConfigError(UserError):
  """A flag or config key has a value that cannot work."""


class DataError(UserError):
  """A data set is missing, unreadable or of the wrong form."""


class CheckpointError(UserError):
  """A run or checkpoint is missing, damaged or does not fit what is asked of it."""


class DivergenceError(Exception):
  """Training produced NaN or infinity. Nobody's mistake, so exit code 1."""


class StoppedError(Exception):
  """A signal stopped training after everything was saved.

  code: the exit code, 128 + the signal's number.
  """

  def __init__(self, message: str, code: int):
    super().__init__(message)
    self.code = code


# What names of other programs are here, in one table or another.
_USUAL = {
  **dict.fromkeys(('bce', 'vanilla', 'gan', 'ns', 'nsgan', 'dcgan', 'logistic'), 'non_saturating'),
  **dict.fromkeys(('lsgan', 'mse', 'ls'), 'least_squares'),
  **dict.fromkeys(('wgan', 'wgan_gp', 'wgangp'), 'wasserstein'),
  **dict.fromkeys(('ragan', 'rsgan', 'rgan', 'rasgan'), 'relativistic_average'),
  **dict.fromkeys(('minimax', 'mm'), 'saturating'),
  **dict.fromkeys(('gaussian', 'gauss'), 'normal'),
  **dict.fromkeys(('xavier', 'glorot', 'tensorflow'), 'keras'),
  **dict.fromkeys(('bf16', 'fp16', 'float16', 'half', 'mixed'), 'bfloat16'),
  **dict.fromkeys(('fp32', 'full', 'single'), 'float32'),
  **dict.fromkeys(('resnet', 'res', 'sngan'), 'residual'),
  **dict.fromkeys(('mlp', 'dense', 'linear', 'fc'), 'fully_connected'),
  **dict.fromkeys(('bn', 'batchnorm', 'batch_norm'), 'batch'),
  **dict.fromkeys(('ln', 'layernorm', 'layer_norm'), 'layer'),
  **dict.fromkeys(('instancenorm', 'instance_norm'), 'instance'),
  **dict.fromkeys(('inception', 'fid', 'pool3'), '2048'),
  **dict.fromkeys(('pytorch', 'pth', 'pt'), 'torch'),
  **dict.fromkeys(('onnx', 'hlo', 'tflite', 'savedmodel'), 'stablehlo'),
}


def look_up(table: Mapping[str, Any], name: str, what: str) -> Any:
  """The entry of a literal table, or a ConfigError that lists its names."""
  if name in table:
    return table[name]
  usual = [_USUAL[word] for word in [name.lower().replace('-', '_')] if _USUAL.get(word) in table]
  near = usual or difflib.get_close_matches(name, table, n=1) or difflib.get_close_matches(name.lower(), table, n=1)
  hint = f" Did you mean '{near[0]}'?" if near else ''
  raise ConfigError(f"Unknown {what} '{name}'; known: {', '.join(sorted(table))}.{hint}")


_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
  **dict.fromkeys((errno.EACCES, errno.EPERM), 'change its permissions or give another path'),
  errno.EROFS: 'give a path that is not read-only',
  errno.ENAMETOOLONG: 'give a shorter name',
  errno.EISDIR: 'that is a directory: give a file in it',
  **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), 'a part of the path is a file: give another path'),
}


def remedy(error: OSError) -> str:
  """What to do about a path that the system refuses."""
  return 'make room' if error.errno in _FULL else _REMEDIES.get(error.errno or 0, 'give another path')


def counted(number: int, noun: str) -> str:
  """'1 layer', '2 layers', '1,797 examples', '1 entry', '2 entries'."""
  plural = f'{noun[:-1]}ies' if noun.endswith('y') else f'{noun}s'
  return f'{number:,} {noun if number == 1 else plural}'


def printable(text: object) -> str:
  """The text on one line, without what a terminal would obey; a byte of a path that is no text becomes \\udcff."""
  kept = (c for c in ' '.join(str(text).split()) if unicodedata.category(c) not in ('Cc', 'Cf'))
  return ''.join(kept).encode('utf-8', 'backslashreplace').decode()


def say(line: object, stream: TextIO | None = None) -> None:
  """Prints one line, which may hold names of files, classes and keys that others chose, on stdout or another stream."""
  print(printable(line), file=stream)
