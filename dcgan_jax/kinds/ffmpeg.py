"""Videos, which the program ffmpeg writes."""

import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import numpy as np

from dcgan_jax.errors import ConfigError


def find_ffmpeg() -> str:
  """Path of the program ffmpeg: that of imageio-ffmpeg (the extra `video`) where it is installed, else that of PATH.

  Raises:
    ConfigError: there is neither.
  """
  with contextlib.suppress(ImportError, RuntimeError):  # RuntimeError: a wheel without a program for this platform.
    import imageio_ffmpeg  # pyright: ignore

    return imageio_ffmpeg.get_ffmpeg_exe()
  found = shutil.which('ffmpeg')
  if found is None:
    raise ConfigError(
      "An .mp4 is written by ffmpeg, which is not installed; pip install 'dcgan-jax[video]', or write a .gif"
    )
  return found


def save_mp4(
  path: pathlib.Path, frames: Sequence[np.ndarray], *, milliseconds: int, origin: Mapping[str, str] | None = None
) -> None:
  """Writes uint8 frames [H, W, C] of one size as an H.264 video, by the program that `find_ffmpeg` finds.

  Args:
    path: of the file.
    frames: uint8 [H, W, C] each.
    milliseconds: that each is shown.
    origin: as `origin` makes it, whose Description becomes a comment; None writes none.

  Raises:
    ConfigError: there is no ffmpeg, or it fails.
  """
  ffmpeg = find_ffmpeg()
  height, width, channels = frames[0].shape
  part = path.with_name(f'.{path.stem}.part.mp4')
  size, rate = f'{width}x{height}', f'{1000 / milliseconds:g}'
  source = ['-f', 'rawvideo', '-pix_fmt', 'gray' if channels == 1 else 'rgb24', '-s', size, '-r', rate, '-i', '-']
  comment = ['-metadata', f'comment={origin["Description"]}'] if origin else []
  # H.264 in the form that every player shows takes even sizes.
  target = ['-vf', 'pad=ceil(iw/2)*2:ceil(ih/2)*2', '-pix_fmt', 'yuv420p', *comment, str(part)]
  raw = b''.join(np.ascontiguousarray(frame).tobytes() for frame in frames)
  done = subprocess.run([ffmpeg, '-v', 'error', '-y', *source, *target], input=raw, capture_output=True)
  if done.returncode:
    part.unlink(missing_ok=True)
    raise ConfigError(f'ffmpeg cannot write {path} ({" ".join(done.stderr.decode().split())}); try a .gif')
  part.replace(path)
