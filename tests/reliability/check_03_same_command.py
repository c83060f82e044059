"""The same command resumes; one with another setting or with other data is refused by name, and changes nothing."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

from pix2pix.config import Config
from pix2pix.training import changed_settings, run_folder
from tests.reliability import runs
from tests.reliability.check_02_resume import interrupt_at

TITLE = "the same command resumes, or names the setting that changed"
BASE = {
    "--direction": "BtoA", "--image-size": "32", "--base-channels": "4", "--discriminator.patch-size": "16",
    "--precision": "32", "--device": "cpu", "--samples": "0", "--epochs": "2", "--batch-size": "2",
}  # fmt: skip
CHANGES = {
    "data.direction": "--direction AtoB",
    "data.image_size": "--image-size 64",
    "data.source_channels": "--source-channels 1",
    "data.target_channels": "--target-channels 1",
    "data.source_range": "--source-range 0,200",
    "data.target_range": "--target-range 0,200",
    "data.source_kind": "--source-kind labels",
    "data.mask_value": "--mask-value 0",
    "data.nodata": "--nodata 0",
    "data.source_fill": "--source-fill minimum",
    "data.val_fraction": "--val-fraction 0.2",
    "data.test_fraction": "--test-fraction 0.2",
    "data.split_seed": "--split-seed 1",
    "data.exif": "--exif ignore",
    "data.resize_source": "--resize-source",
    "augment.jitter": "--no-jitter",
    "augment.crops_per_image": "--crops-per-image 2",
    "augment.load_size": "--load-size 40",
    "augment.flip": "--no-flip",
    "augment.vertical_flip": "--vertical-flip 0.5",
    "augment.rotate90": "--rotate90 0.5",
    "augment.affine": "--affine 0.5",
    "augment.affine_degrees": "--affine-degrees 9",
    "augment.affine_scale": "--affine-scale 0.2",
    "augment.photometric": "--photometric 0.5",
    "augment.photometric_strength": "--photometric-strength 0.5",
    "generator.kind": "--generator.kind encoder_decoder",
    "generator.depth": "--generator.depth 4",
    "generator.base_channels": "--generator.base-channels 6",
    "generator.norm": "--generator.norm instance",
    "generator.bottleneck_norm": "--generator.bottleneck-norm",
    "generator.dropout": "--generator.dropout 0.2",
    "generator.dropout_layers": "--generator.dropout-layers 1",
    "generator.upsampling": "--generator.upsampling resize",
    "generator.bottleneck_size": "--generator.depth 5 --generator.bottleneck-size 2",
    "generator.blocks": "--generator.blocks 6",
    "generator.bias": "--generator.bias all",
    "discriminator.bias": "--discriminator.bias all",
    "discriminator.patch_size": "--discriminator.patch-size 1",
    "discriminator.base_channels": "--discriminator.base-channels 6",
    "discriminator.norm": "--discriminator.norm instance",
    "discriminator.conditional": "--discriminator.no-conditional",
    "discriminator.spectral_norm": "--discriminator.spectral-norm",
    "discriminator.scales": "--discriminator.scales 2",
    "loss.adversarial": "--adversarial lsgan",
    "loss.adversarial_weight": "--adversarial-weight 2",
    "loss.l1_weight": "--l1-weight 50",
    "loss.l2_weight": "--l2-weight 1",
    "loss.cross_entropy_weight": "--cross-entropy-weight 50",
    "loss.discriminator_weight": "--discriminator-weight 1",
    "loss.feature_matching_weight": "--feature-matching-weight 10",
    "discriminator.augment": "--discriminator.augment adaptive",
    "loss.perceptual_weight": "--perceptual-weight 1",
    "optimizer.learning_rate": "--learning-rate 0.001",
    "optimizer.betas": "--betas 0.9 0.999",
    "optimizer.schedule": "--schedule linear",
    "optimizer.discriminator_learning_rate": "--discriminator-learning-rate 0.001",
    "optimizer.warmup_images": "--warmup-images 10",
    "training.batch_size": "--batch-size 3",
    "training.discriminator_epochs": "--discriminator-epochs 1",
    "training.ema": "--ema 0.5",
    "training.ema_images": "--ema-images 10",
    "training.reconstruction_first": "--reconstruction-first 0.5",
    "training.norm_statistics": "--norm-statistics image",
    "training.best_by": "--best-by psnr",
    "training.validation_images": "--validation-images whole",
    "training.seed": "--seed 1",
    "training.precision": "--precision bf16",
    "training.update_order": "--update-order two-pass",
    "training.convolutions": "--convolutions native",
}
"""Setting -> what changes it on the command line."""
SMOKE = ("generator.dropout", "loss.l1_weight", "training.seed", "data.direction")
FREE = (
    "--sync-norm", "--workers 1", "--cache none",
    "--epochs 3", "--validate-every 2", "--patience 2", "--samples 1", "--devices 1", "--keep-every 2",
    "--validation-perceptual never", "--license mit",
)  # fmt: skip
"""Changes that must not prevent resuming."""
ELSEWHERE = {
    "discriminator.kind", "discriminator.augment_probability",
    "data.source_pattern", "data.target_pattern", "data.sources", "data.source_labels", "data.label_tolerance",
    "data.target_kind", "data.target_labels", "data.target_label_tolerance",
    "training.from_model", "data.source_type", "data.target_type", "provenance", "data.skip_bad", "training.sync_norm",
    "data.source_from", "data.target_from", "data.npy_axes", "augment.crop_foreground", "augment.crop_background",
}  # fmt: skip
"""Settings that do not apply to these data."""


def command(data: Path, run: Path, change: str = "") -> list[str | Path]:
    """Return the words of the training with one setting changed."""
    flag, *values = change.split() or [""]
    words = [word for name, value in BASE.items() if name != flag for word in (name, value)]
    return ["train", data, "--run", run, *words, *([flag, *values] if change else [])]


def make_bitmaps(folder: Path) -> Path:
    """Write the pairs as BMP files, which all have one size."""
    runs.make_data(folder)
    for path in sorted(folder.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    return folder


class Trial:
    """A run that was interrupted, and commands that are tried on it."""

    def __init__(self, work: Path) -> None:
        runs.warm_up()
        self.work, self.data, self.run = work, make_bitmaps(work / "data"), work / "run"
        self.messages = work / "messages"
        code, said = self.call("", prepare=interrupt_at(3, signal.SIGTERM, 0))
        if code != 143:
            raise runs.Unexpected(f"exit {code}: {said}")
        self.refused, self.asked, self.wrong = 0, 0, list[str]()

    def call(self, change: str, run: Path | None = None, prepare: Callable[[], None] | None = None) -> tuple[int, str]:
        """Run the command with one change; return its exit code and messages."""
        self.messages.unlink(missing_ok=True)
        code = runs.end_of(runs.fork(command(self.data, run or self.run, change), self.messages, prepare))
        return code, self.messages.read_text(encoding="utf-8")

    def refuse(self, what: str, change: str, words: str) -> None:
        """Note whether a command is refused with these words in one sentence, and changes nothing."""
        self.asked += 1
        before = fingerprint(self.run)
        copy = self.work / "copy"
        shutil.copytree(self.run, copy)
        code, said = self.call(change)
        last = (said.strip().splitlines() or [""])[-1]
        if code == 2 and words in last and "Traceback" not in said and fingerprint(self.run) == before:
            self.refused += 1
        else:
            self.wrong.append(f"{what}: exit {code}, {last[:160]!r}")
            shutil.rmtree(self.run)
            shutil.copytree(copy, self.run)
        shutil.rmtree(copy)

    def resume(self, change: str) -> bool:
        """Return whether the command resumes a copy of the run, and ends it."""
        run = self.work / "resumed"
        shutil.copytree(self.run, run)
        code, said = self.call(change, run)
        shutil.rmtree(run)
        resumed = code == 0 and "resuming from epoch 0, step 3" in said
        if not resumed:
            self.wrong.append(f"{change or 'the same command'}: exit {code}, {said[-300:]!r}")
        return resumed


def fingerprint(run: Path) -> str:
    """Return a hash of names and contents of a run, but for what a refused process may touch: its lock."""
    digest = hashlib.sha256()
    for path in sorted(path for path in run.rglob("*") if path.is_file() and not path.name.endswith("-lock")):
        digest.update(f"{path.relative_to(run)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()


def replace(path: Path, other: Path) -> None:
    """Replace a file by another one of its size, and keep its times."""
    times = path.stat()
    content = other.read_bytes()
    if len(content) != times.st_size:
        raise runs.Unexpected(f"{path} and {other} differ in size")
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def data_changes(data: Path) -> Iterator[str]:
    """Change the data in several ways; yield what was done, and undo it."""
    whole = data.with_name("whole")
    shutil.copytree(data, whole)
    one, other = sorted((data / "train").iterdir())[:2]

    def exchange() -> None:
        content = one.read_bytes()
        replace(one, other)
        other.write_bytes(content)

    changes: dict[str, Callable[[], Any]] = {
        "a file replaced by another of its size and time": lambda: replace(one, sorted((data / "val").iterdir())[0]),
        "two files exchanged": exchange,
        "a pair removed": one.unlink,
        "a pair added": lambda: shutil.copy2(one, one.with_name("more.bmp")),
        "a pair renamed": lambda: one.rename(one.with_name("zzz.bmp")),
    }
    for what, change in changes.items():
        change()
        yield what
        shutil.rmtree(data)
        shutil.copytree(whole, data)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the names of all settings."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from settings(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def check(work: Path, full: bool) -> str:
    known = CHANGES.keys() | changed_settings.FREE | ELSEWHERE
    untried = sorted(name for name in settings(Config) if name not in known)
    assert not untried, f"settings that this check does not try: {', '.join(untried)}"
    trial = Trial(work)
    for name, change in CHANGES.items():
        if full or name in SMOKE:
            trial.refuse(name, change, f"{name} was ")
    if full:
        trial.refuse("data.skip_bad", "--skip-bad", "was begun without --skip-bad")
    named = f"{trial.refused} of {trial.asked} changed settings named"
    asked, refused = trial.asked, trial.refused
    for what in data_changes(trial.data):
        if full or "its size" in what or "removed" in what:
            trial.refuse(what, "", "the data have changed")
    changes = ("", *FREE) if full else ("", FREE[0])
    resumed = sum(trial.resume(change) for change in changes)
    figures = (
        f"{named}, {trial.refused - refused} of {trial.asked - asked} changes of the data noticed; "
        f"{resumed} of {len(changes)} commands that may resume do"
    )
    assert not trial.wrong, f"{figures}; {'; '.join(trial.wrong)}"
    return figures


def control(work: Path) -> str:
    """Compare no data: the fingerprint is ignored."""
    changed = changed_settings.changed_settings

    def blind(*words: Any) -> Iterator[tuple[str, Any, Any]]:
        return (change for change in changed(*words) if not change[0].startswith("provenance"))

    trial = Trial(work)
    run_folder.changed_settings = blind
    for what in data_changes(trial.data):
        if "its size" in what:
            trial.refuse(what, "", "the data have changed")
    assert not trial.wrong, f"{trial.refused} of {trial.asked} changes of the data noticed"
    return f"{trial.refused} of {trial.asked} changes of the data noticed"
