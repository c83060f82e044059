"""What can go wrong, in two kinds, so that the command line knows its exit code: misuse (2) and failure (1).

Both carry one sentence that names the file or field, what was expected, and what to type.
"""


class ConfigError(ValueError):
    """A setting, flag or preset that cannot be: misuse, exit code 2."""


class DataError(ValueError):
    """Pairs or images on disk that cannot be used: failure, exit code 1."""


class ModelError(ValueError):
    """A model or run folder that cannot be loaded, or does not fit the input: failure, exit code 1."""


class RunError(RuntimeError):
    """A training that cannot go on (foreign run folder, numbers that are not finite): failure, exit code 1."""


class Interrupted(KeyboardInterrupt):
    """A signal asked a training to end; everything up to its last update is saved. Exit code 128 + signal."""

    def __init__(self, signal: int, folder: object) -> None:
        super().__init__(f"interrupted and saved in {folder}; the same command goes on from there")
        self.signal, self.folder = signal, folder

    def __reduce__(self) -> tuple[object, ...]:
        return Interrupted, (self.signal, self.folder)
