"""DCGAN on CIFAR-10 at 32 x 32: the reference configuration, with every key.

    python launch.py --config configs/cifar10.py --workdir runs/cifar10

Variants, as `--config configs/cifar10.py:NAME`:
    plain    this reference as it is, whatever the default becomes: DCGAN as it was published, and its average.
    best     a G of one width and a wide D, rates falling to 0: what was worth most in docs/recipes.md.
    best_conditional  best with labels.
    paper    Radford et al. 2016: 5 x 5 kernels, z ~ U(-1, 1), twice the widths, no output biases.
    pytorch  the PyTorch DCGAN example, which reads CIFAR-10 at 64 x 64: 3,576,704 and 2,765,568 parameters.
    feature_learning  the 3 x 3 networks whose discriminator the paper probed: 28,672 features (section 5.1).
    sngan_cnn  spectrally normalised, hinge loss: the recipe of the best published FID of such a generator, 17.81.
    conditional  the reference with labels: conditional batch normalisation and a projection discriminator.
"""

import ml_collections
from ml_collections import config_dict


def get_config(variant=''):
  config = reference()
  VARIANTS[variant](config)
  return config


def reference():
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.steps = 50_000  # updates of each network
  config.batch_size = 128  # real images per update, over all devices
  config.steps_per_call = 10  # updates in one compiled call; no effect on the result
  config.precision = 'float32'  # of activations; 'bfloat16' keeps parameters, statistics and losses in float32

  config.data = dict(
    source='tfds:cifar10',  # tfds:NAME, folder:PATH, npz:PATH or digits
    split='train',
    dir=config_dict.placeholder(str),  # of TensorFlow Datasets; None: TFDS_DATA_DIR or ~/tensorflow_datasets
    image_size=config_dict.placeholder(int),  # pixels; None: as the data are
    crop=config_dict.placeholder(int),  # central square cut out before resizing, pixels; None: the largest
    channels=3,  # 1 turns images grey; other data keep theirs
    range=config_dict.placeholder(tuple),  # values of black and white in files of more than 8 bits; None: measured
    ground='white',  # color behind transparent pixels of files, as CSS writes it
    flip=False,  # random left-right flips of real images; the paper uses none
    resident_megabytes=2000,  # a data set of up to this size lives on the device, a larger one is streamed
  )
  config.data.image_size = 32

  config.generator = dict(
    name='dcgan',  # dcgan, residual or fully_connected
    latents='normal',  # distribution of z: normal is N(0, 1), uniform is U(-1, 1)
    latent_size=100,
    widths=(256, 128, 64),  # channels from 4 x 4 upwards
    strides=config_dict.placeholder(tuple),  # of each layer; None: 2 for every width
    # Or a tuple, one for each width; multiples of the stride make no checkerboard (Odena et al. 2016).
    kernel_size=config_dict.FieldReference(4, field_type=object),
    negative_slope=0.0,  # 0 is ReLU
    normalization='batch',  # batch, virtual_batch, instance, layer or none
    norm_before_reshape=False,  # normalise the projection per channel (PyTorch) or per unit (paper's code)
    bias=True,
    optimizer=dict(
      name='adam',  # adam, adamw, rmsprop (decay b2, momentum b1) or sgd (momentum b1)
      learning_rate=2e-4,
      b1=0.5,  # with 0.9 training oscillates (Radford et al. 2016, section 4)
      b2=0.999,
      epsilon=1e-8,
    ),
    averaging=dict(  # of the generator that samples are drawn from
      half_life=50_000.0,  # images
      ramp_up=0.05,  # half-life at most this share of the images seen so far
    ),
  )

  config.discriminator = dict(
    name='dcgan',
    widths=(64, 128, 256),  # channels from the image downwards
    strides=config_dict.placeholder(tuple),
    kernel_size=config_dict.FieldReference(4, field_type=object),
    negative_slope=0.2,
    normalization='batch',  # batch, instance, layer or none; the first layer never has one
    dropout=0.0,
    bias=True,
    optimizer=dict(name='adam', learning_rate=2e-4, b1=0.5, b2=0.999, epsilon=1e-8),
  )

  config.initialization = 'dcgan'  # dcgan: N(0, 0.02), gains N(1, 0.02); keras: Glorot uniform, gains 1; orthogonal
  config.batch_norm = dict(decay=0.9, epsilon=1e-5)  # PyTorch's momentum 0.1 is a decay of 0.9
  # non_saturating, saturating, least_squares, hinge, wasserstein or relativistic_average
  config.loss = 'non_saturating'
  config.reuse_fakes = False  # the generator's update reuses the discriminator's fakes: faster, as PyTorch's

  config.tricks = dict(  # what Radford et al. 2016 do without, each off here; docs/recipes.md says which helps when
    # What the discriminator is told: targets of its logits as probabilities, and the share of wrong ones.
    real_target=1.0,  # 0.9: one-sided label smoothing (Salimans et al. 2016, section 3.4)
    fake_target=0.0,
    flipped_labels=0.0,
    # Penalties on the discriminator, each with its weight: on its gradient, and on what an augmentation changes.
    r1=0.0,  # 10; half the squared gradient at real images (Mescheder et al. 2018)
    r2=0.0,  # the same at fakes
    gradient_penalty=0.0,  # 10; of WGAN-GP (Gulrajani et al. 2017)
    dragan=0.0,  # 10 (Kodali et al. 2017)
    consistency_real=0.0,  # 10: CR-GAN (Zhang et al. 2020)
    consistency_fake=0.0,  # 10, with consistency_real: bCR (Zhao et al. 2021)
    penalty_every=1,  # steps; 16 is "lazy" (Karras et al. 2020), the weight then counts as much
    # Bounds.
    weight_clip=config_dict.placeholder(float),  # 0.01: of every parameter of the discriminator (Arjovsky et al. 2017)
    gradient_clip_value=config_dict.placeholder(float),
    gradient_clip_norm=config_dict.placeholder(float),
    spectral_norm=(),  # of 'generator' and 'discriminator' (Miyato et al. 2018)
    # Against collapse.
    minibatch='none',  # discrimination (Salimans et al. 2016) or standard_deviation (Karras et al. 2018)
    feature_matching=0.0,  # weight in the generator's loss (Salimans et al. 2016)
    instance_noise=0.0,  # standard deviation at first, on real and fake images
    instance_noise_steps=10_000,  # until it is gone
    # What the discriminator sees of real and fake alike: flip, color, translation, cutout.
    augment=(),  # ('color', 'translation', 'cutout') is DiffAugment (Zhao et al. 2020)
    # Schedules.
    discriminator_turns=1,  # updates of the discriminator for each of the generator, each with a batch of its own
    generator_batches=1,  # fakes in the generator's update, in batches
    decay='constant',  # of both learning rates to 0 at config.steps: constant, linear or cosine
    warm_up=0,  # updates in which they rise
    weight_decay=0.0,  # of adamw
    # Networks.
    upsampling='transposed',  # convolutions of the generator; nearest or bilinear: enlarge, then convolve
    # Labels.
    generator_labels='none',  # one_hot, embedding or conditional_batch
    discriminator_labels='none',  # planes, embedding, projection or auxiliary (Odena et al. 2017)
    auxiliary_weight=1.0,  # of the classification
  )

  config.logging = dict(  # in steps
    scalars_every=100,
    samples_every=1000,
    num_samples=64,  # images in a grid
    checkpoint_every=1000,
    checkpoints_kept=3,
    mark_synthetic=True,  # PNGs and GIFs of samples say that they are, and of which run, step and seed
  )

  config.evaluation = dict(  # of the averaged generator during training; `launch.py evaluate` does it afterwards
    every=config_dict.placeholder(int),  # steps; None: never
    num=10_000,  # samples
    features='768',  # Inception's 2048, 768, 192 or 64, or self: a small classifier of the same data
    weights=config_dict.placeholder(str),  # Inception's, a .pth or .npz; None: downloaded once
    reference='train',  # split
    stop_on_collapse=False,  # or only say so
  )
  return config


def best(config):
  four_layers(config, (256, 256, 256, 256))  # as many parameters as sngan_cnn's, more of them where images are large
  config.discriminator.widths = (256, 512, 1024)
  config.tricks.decay = 'linear'
  for player in (config.generator, config.discriminator):
    player.optimizer.learning_rate = 4e-4


def best_conditional(config):
  best(config)
  conditional(config)


def paper(config):
  config.generator.update(
    latents='uniform', widths=(512, 256, 128), kernel_size=5, norm_before_reshape=True, bias=False
  )
  config.discriminator.update(widths=(128, 256, 512), kernel_size=5, bias=False)


def pytorch(config):
  config.data.image_size = 64
  config.batch_size = 64
  config.reuse_fakes = True
  config.generator.update(widths=(512, 256, 128, 64), bias=False)
  config.discriminator.update(widths=(64, 128, 256, 512), bias=False)


def feature_learning(config):
  # Shapes read from the authors' released weights (Newmu/dcgan_code, imagenet/load_pretrained.py).
  config.generator.update(
    latents='uniform', latent_size=256, widths=(512, 512, 256, 256, 128, 128), strides=(2, 1, 2, 1, 2, 1),
    kernel_size=3, norm_before_reshape=True, bias=False,
  )  # fmt: skip
  config.discriminator.update(
    widths=(128, 128, 256, 256, 512, 512), strides=(1, 2, 1, 2, 1, 2), kernel_size=3, bias=False
  )


def four_layers(config, widths):
  # The fourth stays at 32 x 32: the generator can correct what it has drawn.
  config.generator.update(widths=widths, strides=(2, 2, 2, 1), kernel_size=(4, 4, 4, 3))


def sngan_cnn(config):
  # The recipe of FID 17.81 (w86763777/pytorch-gan-collections, SNGAN (CNN)): 3.58 M and 5.86 M parameters.
  config.steps = 100_000
  config.data.flip = True
  four_layers(config, (512, 256, 128, 64))
  config.discriminator.update(
    widths=(64, 128, 128, 256, 256, 512, 512), strides=(1, 2, 1, 2, 1, 2, 1), kernel_size=(3, 4, 3, 4, 3, 4, 3),
    negative_slope=0.1, normalization='none',
  )  # fmt: skip
  config.generator.averaging.half_life = 1.0  # images: no average
  config.loss = 'hinge'
  config.tricks.update(spectral_norm=('discriminator',), generator_batches=2, decay='linear')
  for player in (config.generator, config.discriminator):
    player.optimizer.update(b1=0.0, b2=0.9)


def conditional(config):
  config.tricks.update(generator_labels='conditional_batch', discriminator_labels='projection')


VARIANTS = {
  'plain': lambda config: None,
  'conditional': conditional,
  '': lambda config: None,
  'best': best,
  'best_conditional': best_conditional,
  'paper': paper,
  'pytorch': pytorch,
  'feature_learning': feature_learning,
  'sngan_cnn': sngan_cnn,
}
