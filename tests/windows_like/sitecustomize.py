"""What Windows lacks or refuses, taken away from this package on another system: for `.ci/portable`.

Python imports this file as it starts, in subprocesses too, where its directory is on PYTHONPATH. Only calls that come
from the package are changed: libraries have code of their own for Windows, which cannot run here. No replacement for a
run on Windows, whose file system, console and libraries are not simulated.
"""

import errno
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import types
import warnings

from windows_lacks import NAMES

_WRAPPERS = frozenset({'contextlib', 'pathlib', 'pathlib._local', 'shutil', 'tempfile', __name__})
_RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE)


def _is_ours(*, through: frozenset[str] = frozenset()) -> bool:
  """Whether the caller's caller is in the package, by way of these modules perhaps."""
  frame = sys._getframe(2)
  while frame is not None and frame.f_globals.get('__name__') in through:
    frame = frame.f_back
  return frame is not None and str(frame.f_globals.get('__name__')).split('.')[0] == 'dcgan_jax'


class _Lacking(types.ModuleType):
  """A module without its missing names, as the package sees it."""

  def __getattribute__(self, name):
    if name in NAMES[super().__getattribute__('__name__')] and _is_ours():
      raise AttributeError(f'Windows has no {super().__getattribute__("__name__")}.{name}')
    return super().__getattribute__(name)


def _check_closed(path) -> None:
  """Windows neither replaces, renames nor removes a file that is open, nor a folder that holds one."""
  # No comparison of strings by prefix alone: run_1 is not in run.
  path = os.path.realpath(path)
  for descriptor in os.listdir('/proc/self/fd') if os.path.isdir('/proc/self/fd') else []:
    try:
      target = os.readlink(f'/proc/self/fd/{descriptor}')
    except OSError:
      continue
    if target == path or target.startswith(f'{path}{os.sep}'):
      raise PermissionError(errno.EACCES, 'The process cannot access the file because it is being used', path)


def _guarded(function):
  def guarded(*paths, **options):
    if _is_ours(through=_WRAPPERS):
      for path in paths:
        _check_closed(path)
    return function(*paths, **options)

  return guarded


def _refuse_names(event: str, arguments: tuple) -> None:
  """An audit hook: a file whose name Windows does not take is not created."""
  if event == 'open' and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
    path = arguments[0]
  elif event == 'os.mkdir':
    path = os.fspath(arguments[0])
  else:
    return
  name = pathlib.PurePath(path).name
  if _is_ours(through=_WRAPPERS) and (re.search(r'[<>:"|?*\x00-\x1f]|[. ]$', name) or _RESERVED.fullmatch(name)):
    raise OSError(errno.EINVAL, 'Windows takes no such name', path)


for _module in (os, signal):
  _module.__class__ = _Lacking
for _name in ('replace', 'rename', 'remove', 'unlink', 'rmdir'):
  setattr(os, _name, _guarded(getattr(os, _name)))
sys.addaudithook(_refuse_names)
multiprocessing.set_start_method('spawn')
# Text without an encoding is in another one there. PYTHONWARNDEFAULTENCODING=1 makes Python say so.
warnings.filterwarnings('error', category=EncodingWarning, module='dcgan_jax')
