"""Choose the device and the arithmetic of a training, or continue with those that a run began with."""

from pix2pix.config import Config, Training
from pix2pix.config.recorded import CHOICES, apply_choices, record_choices
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_device, choose_precision


def choose_machine(training: Training) -> Training:
    """Resolve `auto` of device, arithmetic and processes by this machine. Raises ConfigError for an absent device."""
    device = choose_device(training.device)
    chosen = {
        "device": device,
        "precision": choose_precision(training.precision, device),
        "convolutions": _choose_convolutions(training.convolutions, device),
        "devices": 1 if training.devices == "auto" else training.devices,
        "nodes": 1 if training.nodes == "auto" else training.nodes,
    }
    return training.model_copy(update=chosen)


def continue_choices(settings: Config, saved: Config) -> Config:
    """Return settings whose `auto` becomes what it was in a saved run, so that a resumed training keeps its bits.

    Both are as a run saves them. Raises ConfigError, naming the flag to give, if this machine lacks the run's device,
    or has no hardware for its bf16.
    """
    asked, began, now = settings.training, apply_choices(saved).training, apply_choices(settings)
    chosen = now.training
    open_ones = {name: getattr(chosen, name) for name in CHOICES if getattr(began, name) == "auto"}
    began = began.model_copy(update=open_ones)
    if asked.device == "auto" and began.device != chosen.device:
        _require_device(began.device, chosen.device)
        chosen = chosen.model_copy(update={"device": began.device})
    if asked.precision == "auto":
        if began.precision == "bf16" and choose_precision("auto", chosen.device) != "bf16":
            raise ConfigError(
                f"training.precision: the run was trained in bf16, for which {chosen.device} has no hardware on this "
                "machine; give --precision bf16 to resume it slowly, or another --run to train anew"
            )
        chosen = chosen.model_copy(update={"precision": began.precision})
    if asked.convolutions == "auto":
        moved = chosen.device != began.device
        convolutions = _choose_convolutions("auto", chosen.device) if moved else began.convolutions
        chosen = chosen.model_copy(update={"convolutions": convolutions})
    if asked.best_by == "auto" and asked.patience is None:
        chosen = chosen.model_copy(update={"best_by": began.best_by})
    return record_choices(now.model_copy(update={"training": chosen}), asked)


def describe_continued(here: Training, chosen: Training) -> str | None:
    """Say what a resumed training keeps although this machine would choose `here`; None if that is the same."""
    kept, other = (f"{one.device}, {describe_arithmetic(one)}" for one in (chosen, here))
    if kept == other:
        return None
    move = f"; --device {here.device} moves it there" if here.device != chosen.device else ""
    return f"goes on as it began, with {kept} (this machine would choose {other}{move})"


def describe_arithmetic(training: Training) -> str:
    """Describe precision and convolutions in words."""
    precision = "float32" if training.precision == "32" else training.precision
    return f"{precision} arithmetic, {training.convolutions} convolutions"


def _require_device(device: str, other: str) -> None:
    try:
        choose_device(device)
    except ConfigError:
        raise ConfigError(
            f"training.device: the run was trained on {device}, and torch finds none on this machine; give "
            f"--device {other} to go on there, where results differ in their last digits"
        ) from None


def _choose_convolutions(convolutions: str, device: str) -> str:
    if convolutions == "auto":
        return "fast" if device == "cpu" else "native"
    return convolutions
