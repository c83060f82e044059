"""Describe the plan of a study, with an estimate of its time."""

import time
from collections.abc import Iterator

import torch

from pix2pix.config import Config
from pix2pix.distributed.parallel import with_precision
from pix2pix.model import build_networks
from pix2pix.networks import set_fast_convolutions
from pix2pix.study.study import StudyPlan
from pix2pix.text import format_count, format_duration
from pix2pix.training.machine import choose_machine
from pix2pix.training.optimizers import make_adam
from pix2pix.training.step import TrainState, train_step

UPDATES = 3
"""Updates from which the time of one is taken, after a first one that does not count."""


def describe_plan(plan: StudyPlan, processes: int) -> Iterator[str]:
    """Yield the lines of a plan. The time is estimated from a few updates of each variant."""
    first = plan.jobs[0].config
    height, width = first.data.image_size
    variants, jobs = format_count(len(plan.variants), "variant"), format_count(len(plan.jobs), "training")
    seeds = format_count(len(plan.jobs) // len(plan.variants), "seed")
    epochs, pairs = format_count(first.training.epochs, "epoch"), format_count(plan.images_per_epoch, "pair")
    yield f"{plan.kind}: {variants} x {seeds} = {jobs} of {epochs} on {pairs} of {height}x{width}"
    yield from (f"note: {note}" for note in plan.notes)
    per_update: dict[str, float] = {}  # seconds by variant
    total = 0.0
    for job in plan.jobs:
        if job.done:
            yield f"  {job.name:40} done"
            continue
        if job.variant.name not in per_update:
            per_update[job.variant.name] = time_update(job.config, threads=1 if processes > 1 else None)
        updates = plan.images_per_epoch / job.config.training.batch_size
        seconds = (job.config.training.epochs - job.epochs_done) * updates * per_update[job.variant.name]
        total += seconds
        done = f", {format_count(job.epochs_done, 'epoch')} done" if job.epochs_done else ""
        yield f"  {job.name:40} about {format_duration(seconds)}{done}"
    together = f" with {processes} processes" if processes > 1 else ""
    yield f"in all about {format_duration(total / processes)}{together}, without validation and evaluation"


def time_update(config: Config, *, threads: int | None) -> float:
    """Return the median seconds of a few updates on random images, on this machine's processor in its precision."""
    training = choose_machine(config.training.model_copy(update={"device": "cpu"}))
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        channels = config.data.network_channels or 3, config.data.target_channels or 3
        known = {"source_channels": channels[0], "sources": {}, "target_channels": channels[1]}
        data = config.data.model_copy(update=known)
        networks = build_networks(config.model_copy(update={"data": data}))
        for network in networks:
            set_fast_convolutions(network, training.convolutions != "native")
        adams = [make_adam(network, config.optimizer) for network in networks]
        generator, discriminator = (with_precision(network, training.precision) for network in networks)
        state = TrainState(generator, discriminator, adams[0], adams[1])
        size = config.data.image_size
        taken = []
        for _ in range(UPDATES + 1):
            source, target = (torch.rand(config.training.batch_size, count, *size) * 2 - 1 for count in channels)
            began = time.perf_counter()
            train_step(state, source, target, config.loss, order=config.training.update_order)
            taken.append(time.perf_counter() - began)
        return sorted(taken[1:])[UPDATES // 2]
    finally:
        torch.set_num_threads(before)
