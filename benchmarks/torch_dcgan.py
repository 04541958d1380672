"""The same DCGAN and the same update in PyTorch, as one would write it for speed.

Fused Adam, a foreach average of the generator, the data resident on the device as uint8, nothing fetched while a round
runs; optionally channels_last, torch.compile (with CUDA graphs on a GPU) and bfloat16 autocast.
"""

import copy
import math

import torch
from torch import nn
from torch.nn import functional

KERNEL, STRIDE, PADDING = 4, 2, 1


class Generator(nn.Module):
  """z [B, Z] -> images [B, C, H, W] in [-1, 1]."""

  def __init__(self, *, latent_size, widths, size, channels):
    super().__init__()
    self.base = size // 2 ** len(widths)
    self.widths = widths
    self.projection = nn.Linear(latent_size, self.base**2 * widths[0], bias=False)
    self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
    outputs = (*widths[1:], channels)
    self.convs = nn.ModuleList(
      nn.ConvTranspose2d(width, output, KERNEL, STRIDE, PADDING, bias=output is outputs[-1])
      for width, output in zip(widths, outputs, strict=True)
    )

  def forward(self, z):
    x = self.projection(z).view(-1, self.base, self.base, self.widths[0]).permute(0, 3, 1, 2)
    if not self.convs[0].weight.is_contiguous(memory_format=torch.channels_last):
      x = x.contiguous()
    for norm, conv in zip(self.norms, self.convs, strict=True):
      x = conv(functional.relu(norm(x), inplace=True))
    return torch.tanh(x.float())


class Discriminator(nn.Module):
  """Images [B, C, H, W] -> logits [B]."""

  def __init__(self, *, widths, size, channels):
    super().__init__()
    inputs = (channels, *widths[:-1])
    self.convs = nn.ModuleList(
      nn.Conv2d(width, output, KERNEL, STRIDE, PADDING, bias=i == 0)
      for i, (width, output) in enumerate(zip(inputs, widths, strict=True))
    )
    self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
    self.output = nn.Linear((size // 2 ** len(widths)) ** 2 * widths[-1], 1)

  def forward(self, x):
    for i, conv in enumerate(self.convs):
      x = conv(x)
      x = functional.leaky_relu(self.norms[i - 1](x) if i else x, 0.2, inplace=True)
    return self.output(x.permute(0, 2, 3, 1).flatten(1)).float().squeeze(1)


class Trainer:
  """Both players and their update; `step` is what is timed."""

  def __init__(self, task, *, images, device, channels_last=False, compiled=False):
    """Prepares.

    Args:
      task: of throughput.py.
      images: uint8 NumPy [N, H, W, C], kept on the device.
      device: 'cpu' or 'cuda'.
      channels_last: memory layout of activations and weights.
      compiled: torch.compile both networks, with CUDA graphs on a GPU.
    """
    torch.manual_seed(0)
    sizes = {'size': task['size'], 'channels': images.shape[-1]}
    self.task, self.device = task, device
    self.generator = Generator(latent_size=task['latent_size'], widths=task['generator_widths'], **sizes).to(device)
    self.discriminator = Discriminator(widths=task['discriminator_widths'], **sizes).to(device)
    self.layout = torch.channels_last if channels_last else torch.contiguous_format
    for network in (self.generator, self.discriminator):
      network.to(memory_format=self.layout)
      for name, parameter in network.named_parameters():
        if 'bias' not in name:
          nn.init.normal_(parameter, 1.0 if 'norm' in name else 0.0, 0.02)
    self.averaged = copy.deepcopy(self.generator)
    self.images = torch.tensor(images.transpose(0, 3, 1, 2).copy(), device=device).contiguous(memory_format=self.layout)
    adam = {'lr': 2e-4, 'betas': (0.5, 0.999), 'fused': True}
    self.generator_adam = torch.optim.Adam(self.generator.parameters(), **adam)
    self.discriminator_adam = torch.optim.Adam(self.discriminator.parameters(), **adam)
    self.discriminator_loss, self.generate = self._discriminator_loss, self.generator
    self.generator_loss = self._generator_loss
    if compiled:
      mode = 'reduce-overhead' if device == 'cuda' else 'default'
      self.discriminator_loss = torch.compile(self._discriminator_loss, mode=mode)
      self.generator_loss = torch.compile(self._generator_loss, mode=mode)
      self.generate = torch.compile(self.generator, mode=mode)
    self.steps = 0

  def _discriminator_loss(self, real, fake):
    return (functional.softplus(-self.discriminator(real)) + functional.softplus(self.discriminator(fake))).mean()

  def _generator_loss(self, fake):
    return functional.softplus(-self.discriminator(fake)).mean()

  def gradients(self, real, z):
    """Leaves both players' gradients in `.grad`, both at the present weights; returns both losses and the fakes."""
    self.generator_adam.zero_grad(set_to_none=True)
    self.discriminator_adam.zero_grad(set_to_none=True)
    fake = self.generate(z)
    discriminator_loss = self.discriminator_loss(real, fake.detach())
    discriminator_loss.backward()
    self.discriminator.requires_grad_(False)
    generator_loss = self.generator_loss(fake)
    generator_loss.backward()
    self.discriminator.requires_grad_(True)
    return discriminator_loss, generator_loss, fake

  def step(self):
    """One update of D, then of G with the same fakes, then the average."""
    if self.device == 'cuda':
      torch.compiler.cudagraph_mark_step_begin()
    task = self.task
    indices = torch.randint(len(self.images), (task['batch_size'],), device=self.device)
    real = self.images.index_select(0, indices).float().mul_(2 / 255).sub_(1)
    z = torch.randn(task['batch_size'], task['latent_size'], device=self.device)
    self.generator_adam.zero_grad(set_to_none=True)
    self.discriminator_adam.zero_grad(set_to_none=True)
    with torch.autocast(self.device, torch.bfloat16, enabled=task['precision'] == 'bfloat16'):
      fake = self.generate(z)
      loss = self.discriminator_loss(real, fake.detach())
    loss.backward()
    self.discriminator_adam.step()
    # D's parameters need no gradients in G's update.
    self.discriminator.requires_grad_(False)
    with torch.autocast(self.device, torch.bfloat16, enabled=task['precision'] == 'bfloat16'):
      loss = self.generator_loss(fake)
    loss.backward()
    self.discriminator.requires_grad_(True)
    self.generator_adam.step()
    with torch.no_grad():
      floats = lambda network: [t for t in network.state_dict().values() if t.is_floating_point()]
      torch._foreach_lerp_(floats(self.averaged), floats(self.generator), 0.01)
    self.steps += 1

  def wait(self):
    """Returns when all steps are done."""
    if self.device == 'cuda':
      torch.cuda.synchronize()


def load_linen(trainer, params):
  """Copies parameters {'generator': ..., 'discriminator': ...} of the linen networks, NumPy, into a Trainer."""
  g, d = trainer.generator, trainer.discriminator
  with torch.no_grad():
    source = params['generator']
    _copy(g.projection.weight, source['projection']['kernel'].T)
    for i, norm in enumerate(g.norms):
      _copy_norm(norm, source[f'norm_{i}'])
    for i, conv in enumerate(g.convs, start=1):
      layer = source['output'] if i == len(g.convs) else source[f'conv_{i}']
      # Linen applies the kernel as it is to the input with zeros between; PyTorch applies the adjoint: flipped.
      _copy(conv.weight, layer['kernel'][::-1, ::-1].transpose(2, 3, 0, 1))
      if conv.bias is not None:
        _copy(conv.bias, layer['bias'])
    source = params['discriminator']
    for i, conv in enumerate(d.convs):
      _copy(conv.weight, source[f'conv_{i}']['kernel'].transpose(3, 2, 0, 1))
    _copy(d.convs[0].bias, source['conv_0']['bias'])
    for i, norm in enumerate(d.norms, start=1):
      _copy_norm(norm, source[f'norm_{i}'])
    _copy(d.output.weight, source['output']['kernel'].T)
    _copy(d.output.bias, source['output']['bias'])


def gradients_as_linen(trainer):
  """The gradients of a Trainer, under the names and in the shapes of the linen networks, NumPy."""
  g, d = trainer.generator, trainer.discriminator
  generator = {'projection': {'kernel': _grad(g.projection.weight).T}}
  generator |= {f'norm_{i}': _norm_grads(norm) for i, norm in enumerate(g.norms)}
  for i, conv in enumerate(g.convs, start=1):
    layer = {'kernel': _grad(conv.weight).transpose(2, 3, 0, 1)[::-1, ::-1]}
    if conv.bias is not None:
      layer['bias'] = _grad(conv.bias)
    generator['output' if i == len(g.convs) else f'conv_{i}'] = layer
  discriminator = {f'conv_{i}': {'kernel': _grad(c.weight).transpose(2, 3, 1, 0)} for i, c in enumerate(d.convs)}
  discriminator['conv_0']['bias'] = _grad(d.convs[0].bias)
  discriminator |= {f'norm_{i}': _norm_grads(norm) for i, norm in enumerate(d.norms, start=1)}
  discriminator['output'] = {'kernel': _grad(d.output.weight).T, 'bias': _grad(d.output.bias)}
  return {'generator': generator, 'discriminator': discriminator}


def count_parameters(network):
  return sum(math.prod(parameter.shape) for parameter in network.parameters())


def _copy(parameter, array):
  parameter.copy_(torch.tensor(array.copy()))


def _copy_norm(norm, layer):
  _copy(norm.weight, layer['scale'])
  _copy(norm.bias, layer['bias'])


def _grad(parameter):
  return parameter.grad.numpy(force=True)


def _norm_grads(norm):
  return {'scale': _grad(norm.weight), 'bias': _grad(norm.bias)}
