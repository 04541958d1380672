"""Threads hold no more decoded pixels at once than the budget says."""

import concurrent.futures
import threading
import time

import numpy as np

from dcgan_jax.kinds import image as images
from dcgan_jax.kinds.pixel_budget import PixelBudget


def most_at_once(budget, sizes):
  """The largest sum of pixels that threads held at the same time."""
  lock, held, most = threading.Lock(), 0, 0

  def work(pixels):
    nonlocal held, most
    with budget.holding(pixels):
      with lock:
        held += pixels
        most = max(most, held)
      time.sleep(0.002)
      with lock:
        held -= pixels

  with concurrent.futures.ThreadPoolExecutor(16) as pool:
    list(pool.map(work, sizes))
  return most


def test_the_sum_of_pixels_stays_within_the_budget():
  assert 50 <= most_at_once(PixelBudget(100), [30, 50, 10] * 20) <= 100


def test_an_image_larger_than_the_budget_is_read_alone():
  assert most_at_once(PixelBudget(100), [150, 60, 30] * 8) == 150


def test_an_error_gives_its_pixels_back():
  budget = PixelBudget(100)
  for _ in range(3):
    try:
      with budget.holding(100):
        raise ValueError
    except ValueError:
      pass
  assert most_at_once(budget, [100]) == 100


def test_images_are_decoded_within_the_budget(tmp_path, monkeypatch):
  images.save_png(tmp_path / 'a.png', np.zeros((20, 30, 3), np.uint8))
  asked = []

  class Budget(PixelBudget):
    def holding(self, pixels):
      asked.append(pixels)
      return super().holding(pixels)

  monkeypatch.setattr(images, '_budget', Budget(1))
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    shapes = list(pool.map(lambda _: images.read(tmp_path / 'a.png', size=4).shape, range(8)))
  assert (asked, shapes) == ([600] * 8, [(4, 4, 3)] * 8)
