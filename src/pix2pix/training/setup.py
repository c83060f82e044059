"""Build a trainer with all its parts, restored from the newest checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pix.config import Config
from pix2pix.data.loading.dataset import PairDataset, make_dataset
from pix2pix.data.loading.loader import PairLoader, make_loader
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import fingerprint_of_sizes
from pix2pix.distributed.environment import compute_device
from pix2pix.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from pix2pix.metrics.palette import find_palette
from pix2pix.metrics.segmentation import Segmenter, load_or_train_segmenter
from pix2pix.system.hardware import keep_memory, usable_cores
from pix2pix.system.progress import ProgressBar
from pix2pix.training.checkpoint import SAVE_SHARE, Checkpoints, TrainingProgress
from pix2pix.training.parent import take_weights
from pix2pix.training.perceptual_validation import make_perceptual_validation, perceptual_epochs
from pix2pix.training.plan import Plan
from pix2pix.training.run_writer import RunWriter
from pix2pix.training.state import build_state
from pix2pix.training.trainer import Trainer
from pix2pix.training.validation import Validation

VALIDATION_BATCH = 2  # images; four at once take more memory than a training step does


def make_trainer(
    plan: Plan,
    splits: Mapping[str, Sequence[Pair]],
    folder: Path,
    bar: ProgressBar,
    group: ProcessGroup = SINGLE_PROCESS,
    *,
    save_share: float = SAVE_SHARE,
) -> Trainer:
    """Build or restore all parts of a training. Raises RunError for a damaged checkpoint."""
    keep_memory()
    config = plan.config
    device = compute_device(config.training.device, group.info)
    state = build_state(plan, device, group)
    checkpoints = Checkpoints(folder / "checkpoints", group, save_share=save_share)
    progress = checkpoints.restore(state)
    if plan.config.training.from_model is not None and not checkpoints.found:
        take_weights(plan, state, group)
    if checkpoints.warning:
        bar.say(f"warning      {checkpoints.warning}")
    if progress.step:
        bar.say(_describe_restored(progress, config))
    else:
        progress.validated = plan.validated
    if progress.validated != plan.validated:  # scores of other parts could not be compared
        bar.say(f"validation   {_describe_validated(progress.validated)}, as this run began")
    writer = RunWriter(folder, plan, group, progress)
    validation = None
    if "val" in splits:
        by_labels = config.training.best_by == "label_accuracy"
        validation = Validation(
            config,
            make_val_loader(plan, splits["val"], group, progress.validated),
            state,
            writer,
            perceptual=make_perceptual_validation(plan, device, group),
            perceptual_epochs=perceptual_epochs(plan),
            segmenter=train_segmenter(plan, splits["train"], folder, bar, group) if by_labels else None,
            device=device,
            group=group,
        )
    loader = make_train_loader(plan, splits["train"], group, bar.say)
    return Trainer(config, folder, device, group, state, progress, loader, validation, checkpoints, writer, bar)


def make_train_loader(
    plan: Plan, pairs: Sequence[Pair], group: ProcessGroup, say: Callable[[str], object]
) -> PairLoader:
    """Make the loader of shuffled, augmented batches for this rank. `say` prints what happens to its processes."""
    config, training = plan.config, plan.config.training
    loader = make_loader(
        make_dataset(pairs, plan.prepared, config.data, config.augment, config.load_size, training.seed),
        batch_size=training.batch_size,
        workers=config.data.workers,
        cores=usable_cores() // group.info.local_size if training.threads == "auto" else training.threads,
        seed=training.seed,
        shuffle=True,
        pin_memory=training.device == "cuda",
        **_ranks(group),
    )
    loader.say = say
    return loader


def make_val_loader(
    plan: Plan, pairs: Sequence[Pair], group: ProcessGroup, largest: tuple[int, int] | None
) -> PairLoader:
    """Make the loader of validation pairs for this rank, in order, not augmented.

    For native sizes they have their full size, or their middle of at most `largest`.
    """
    config = plan.config
    seed, native = config.training.seed, config.native
    dataset = make_dataset(pairs, plan.prepared, config.data, seed=seed, full_size=native, largest=largest)
    batch = 1 if config.native else VALIDATION_BATCH
    return make_loader(dataset, batch_size=batch, workers=0, shuffle=False, **_ranks(group))


def _ranks(group: ProcessGroup) -> dict[str, Any]:
    return {"rank": group.rank, "ranks": group.size}


def train_segmenter(
    plan: Plan, pairs: Sequence[Pair], folder: Path, bar: ProgressBar, group: ProcessGroup
) -> Segmenter:
    """Train the segmenter of `best_by label_accuracy` on the training pairs, or load it from the run folder."""
    dataset = PairDataset(pairs, plan.prepared)
    device = compute_device(plan.config.training.device, group.info)

    def load_or_train() -> Segmenter:
        return load_or_train_segmenter(
            folder / "segmenter",
            dataset,
            find_palette(pairs),
            device=device,
            fingerprint=fingerprint_of_sizes(plan.config.provenance["data_fingerprint"]),
            progress=bar.update,
        )

    group.broadcast(lambda: bool(load_or_train()))  # rank 0 trains, then all ranks load
    return load_or_train()


def _describe_validated(largest: tuple[int, int] | None) -> str:
    return "of whole images" if largest is None else f"of the middle {largest[0]}x{largest[1]} of each image"


def _describe_restored(progress: TrainingProgress, config: Config) -> str:
    done = progress.epoch >= config.training.epochs
    return f"{'already trained to' if done else 'resuming from'} epoch {progress.epoch}, step {progress.step}"
