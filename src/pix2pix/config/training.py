"""Settings of the training: the objective, Adam, and epochs, validation and machine."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pix2pix.config.fields import (
    BatchSize,
    BestBy,
    Count,
    Device,
    Fraction,
    License,
    Machines,
    Seed,
    Text,
    ThreadCount,
    UpdateOrder,
    Weight,
)
from pix2pix.config.section import Section


class Loss(Section):
    """The objective: weights of the named terms."""

    adversarial: Literal["vanilla", "lsgan", "hinge"] = "vanilla"
    """`vanilla` (cross-entropy on logits, the paper's), `lsgan` (least squares) or `hinge`."""
    adversarial_weight: Weight = 1.0
    """Weight of g_adversarial; with 0 the discriminator is not trained."""
    l1_weight: Weight = 100.0
    """Weight of g_l1, lambda in the paper's equation 4."""
    l2_weight: Weight = 0.0
    """Weight of g_l2, the mean squared error, which blurs more than L1."""
    cross_entropy_weight: Weight = 100.0
    """Weight of g_cross_entropy, which takes the place of g_l1 and g_l2 where targets are label maps."""
    discriminator_weight: Weight = 0.5
    """Factor on d_real + d_fake; a half slows D relative to G (paper, 3.3)."""
    feature_matching_weight: Weight = 0.0
    """Weight of g_feature_matching, the mean distance of D's hidden activations for target and output; pix2pixHD
    takes 10."""
    perceptual_weight: Weight = 0.0
    """Weight of g_perceptual, the distance ST-LPIPS of output and target by AlexNet's features; needs the extra
    [metrics]."""


class Optimizer(Section):
    """Adam, for both networks."""

    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-4
    """Learning rate of Adam."""
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    """Decay rates of Adam's first and second moment."""
    schedule: Literal["constant", "linear"] = "constant"
    """`constant`, or `linear`: constant for the first half of the epochs, then linear to 0."""
    discriminator_learning_rate: Annotated[float, Field(gt=0, le=100)] | None = None
    """Learning rate of D; by default the same as learning_rate."""
    warmup_images: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Pairs over which both rates first rise, linearly from 0."""


class FirstPhase(NamedTuple):
    """First epochs of a training, in which one network learns alone; none by default."""

    epochs: int = 0
    name: str = ""


def first_phase(epochs: int, discriminator_epochs: int, reconstruction_first: float) -> FirstPhase:
    """Return what these settings make of the first of `epochs`: at least one for a share that is not 0."""
    if reconstruction_first:
        return FirstPhase(max(1, round(reconstruction_first * epochs)), "reconstruction only")
    return FirstPhase(discriminator_epochs, "discriminator warm-up")


class Training(Section):
    """Epochs, batches, validation, and the machine to train on."""

    epochs: Count = 200
    """Passes over the training pairs, discriminator warm-up included."""
    batch_size: BatchSize = 1
    """Pairs in an update of one process; with several processes an update sees batch_size x processes."""
    discriminator_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Discriminator warm-up: first epochs in which only D is trained (lecture, "Training details": 50)."""
    ema: Fraction = 0.0
    """Decay of an exponential moving average of G, which is validated and saved in place of G; 0 is none, 0.999
    usual."""
    norm_statistics: Literal["auto", "image", "running"] = "auto"
    """Statistics of batch norm outside training: `image` takes each image's own (the paper's test mode), `running`
    takes running averages; `auto` is `image` for batch size 1, else `running`. The saved model records which."""
    best_by: BestBy = "auto"
    """Which validated epoch is saved as the model: `last`, or the best by a metric. `auto` is `last`; `l1` without a
    discriminator or with --patience; `mean_iou` where targets are label maps. `st_lpips` and `kid_vgg` need the extra
    pix2pix[metrics], `lpips`, `fid` and `kid` files of weights; for `label_accuracy` a network is first trained to read
    labels from the training photos."""
    validate_every: Count | None = None
    """Epochs from one validation to the next; the first and the last epoch are always validated. By default a fiftieth
    of the epochs, or every epoch with --patience."""
    validation_images: Literal["auto", "whole"] = "auto"
    """With --load-size native: validate `whole` images, or by `auto` only the middle of each, where whole ones have
    more pixels than an epoch trains on. `evaluate` measures whole images."""
    patience: Count | None = None
    """Stop after this many epochs without a better validation."""
    samples: Annotated[int, Field(ge=0, le=256)] = 6
    """Validation pairs on the sample sheets."""
    seed: Seed = 0
    """Seed of weights, order, augmentation and dropout."""
    device: Device = "auto"
    """Where to train; `auto` takes a GPU if there is one."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic of the networks: float32 or bfloat16; `auto` is bf16 where the hardware has it."""
    threads: ThreadCount = "auto"
    """Threads that compute on the CPU, in each process; `auto` is OMP_NUM_THREADS, or the process's share of the cores
    that the affinity and the container leave it."""
    devices: Literal["auto"] | Machines = "auto"
    """Processes on each machine, one for each device; `auto` takes all GPUs, or one process on a CPU."""
    nodes: Literal["auto"] | Machines = "auto"
    """Machines; `auto` is what torchrun or srun says, else one."""
    sync_norm: bool = False
    """Compute batch norm over the images of all processes; otherwise each process normalises its own."""
    rank_timeout: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Seconds to wait for another process before the training fails."""
    update_order: UpdateOrder = "one-pass"
    """`two-pass`: run the updated discriminator on the output again for the generator's update (Isola et al.);
    `one-pass`: compute both updates from one run of the discriminator, which is faster."""
    convolutions: Literal["auto", "fast", "native"] = "auto"
    """`native`: torch's convolutions; `fast`: this package's where they are faster, equal up to rounding; `auto` is
    `fast` on a CPU and `native` on a GPU."""
    keep_every: Count | None = None
    """Epochs from one kept model to the next, in models/epoch-0010 and so on, beside the best one in model/; by default
    only that is kept."""
    ema_images: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Half-life, in pairs, of an exponential moving average of G, in place of --ema; of the pairs seen so far it is at
    most a twentieth, so that the first weights are soon forgotten. 10,000 is usual."""
    reconstruction_first: Fraction = 0.0
    """Share of the epochs, at the start, in which G learns from the losses on images alone; D is not run, which makes
    them cheaper."""
    validation_perceptual: Literal["auto", "always", "never"] = "auto"
    """Measure ST-LPIPS and KID by VGG in validations, where their weights are installed: `auto` does so often that this
    takes at most about 3 % of the training. A metric of --best-by is measured in every validation."""
    license: License | None = None
    """Licence of the model, which its card states: an identifier of the hub such as mit, apache-2.0 or cc-by-4.0; by
    default the card says that none is stated."""
    from_model: Text | None = None
    """Model to begin with: run folder, model folder or hub id. Networks and image_size are its own unless given; layers
    that do not fit are adapted or begin anew, and the plan says which. The optimisers begin anew."""

    @property
    def averages(self) -> bool:
        """Whether there is a moving average of G."""
        return bool(self.ema) or self.ema_images is not None

    @property
    def first_phase(self) -> FirstPhase:
        """The first epochs, in which one network learns alone."""
        return first_phase(self.epochs, self.discriminator_epochs, self.reconstruction_first)

    @property
    def validation_epochs(self) -> int:
        """Number of epochs from one validation to the next."""
        return self.validate_every or (1 if self.patience else max(1, self.epochs // 50))

    @property
    def processes(self) -> int:
        """Number of processes on all machines; `auto` counts as one."""
        return (1 if self.devices == "auto" else self.devices) * (1 if self.nodes == "auto" else self.nodes)

    @property
    def effective_batch(self) -> int:
        """Number of pairs in an update, over all processes."""
        return self.batch_size * self.processes

    @property
    def normalised_together(self) -> int:
        """Number of pairs whose statistics batch norm takes together."""
        return self.effective_batch if self.sync_norm else self.batch_size
