"""Errors for users: each message is one sentence that names the file or field, what was expected, what to type."""


class ConfigError(ValueError):
    """A setting, flag or preset is invalid. Exit code 2."""


class DataError(ValueError):
    """Pairs or images on disk cannot be used. Exit code 1."""


class ModelError(ValueError):
    """A model or run folder cannot be loaded, or does not fit the input. Exit code 1."""


class RunError(RuntimeError):
    """A training cannot continue, such as after a loss that is not finite. Exit code 1."""


class InUseError(RunError):
    """Another process is training in the run folder. Exit code 1."""

    def __init__(self, folder: object, holder: str) -> None:
        super().__init__(f"{folder}: is in use by {holder}; wait until it has finished, or choose another --run")
        self.folder, self.holder = folder, holder

    def __reduce__(self) -> tuple[object, ...]:
        return InUseError, (self.folder, self.holder)


class Interrupted(KeyboardInterrupt):
    """A signal ended a command; what a training in `folder` had reached is saved. Exit code 128 + signal."""

    def __init__(self, signal: int, folder: object = None) -> None:
        saved = "" if folder is None else f" and saved in {folder}"
        resume = "; run the same command again" + ("" if folder is None else " to resume")
        super().__init__(f"interrupted{saved}{resume}")
        self.signal, self.folder = signal, folder

    def __reduce__(self) -> tuple[object, ...]:
        return Interrupted, (self.signal, self.folder)
