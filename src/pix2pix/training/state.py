"""Build the networks and optimisers of a training."""

import copy

import torch
from torch import nn

from pix2pix.config import Config
from pix2pix.distributed.parallel import data_parallel, with_precision
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.model import build_networks, choose_statistics
from pix2pix.networks import set_fast_convolutions
from pix2pix.networks.blocks import synchronise_norm
from pix2pix.networks.st_lpips import load_st_lpips
from pix2pix.training.discriminator_augment import DiscriminatorAugment
from pix2pix.training.optimizers import make_adam
from pix2pix.training.plan import Plan
from pix2pix.training.step import TrainState


def build_state(plan: Plan, device: torch.device, group: ProcessGroup) -> TrainState:
    """Build networks, moving average and optimisers on a device; the seed of the plan determines the weights."""
    config, training = plan.config, plan.config.training
    torch.manual_seed(training.seed)
    generator, discriminator = build_networks(config)
    for network in (generator, discriminator):
        set_fast_convolutions(network, training.convolutions == "fast")
    average = copy.deepcopy(generator).requires_grad_(False) if training.averages else None
    for network in filter(None, (generator, average)):
        choose_statistics(network, discriminator, plan.norm_statistics)
    synchronised = group.size > 1 and training.sync_norm
    if synchronised:
        synchronise_norm(generator)
        synchronise_norm(discriminator)
    for network in filter(None, (generator, discriminator, average)):
        network.to(device)  # before the optimisers, whose moments are on the same device
    settings, labels = config.discriminator, config.data.target_kind == "labels"
    alone = group.size == 1  # otherwise gradients are averaged before an update
    return TrainState(
        data_parallel(with_precision(generator, training.precision), group),
        data_parallel(with_precision(discriminator, training.precision), group),
        make_adam(generator, config.optimizer, in_backward=alone, used_once=True),
        make_adam(discriminator, config.optimizer, in_backward=alone),
        average,
        [] if synchronised else [*_statistics(generator), *_statistics(discriminator)],
        classes=labels,
        augment=None if settings.augment == "none" else DiscriminatorAugment(settings, colours=not labels),
        similarity=load_similarity(config, device),
    )


def load_similarity(config: Config, device: torch.device) -> nn.Module | None:
    """Load the network of g_perceptual, which the plan has found; None if the term has no weight."""
    if not config.loss.perceptual_weight:
        return None
    network = load_st_lpips("alex").to(device).to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    return with_precision(network, config.training.precision)


def _statistics(network: nn.Module) -> list[torch.Tensor]:
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]
