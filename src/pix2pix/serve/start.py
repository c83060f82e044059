"""Start the service as the command `pix2pix serve` does."""

from collections.abc import Callable, Sequence

from pix2pix.errors import ConfigError
from pix2pix.serve.options import Options
from pix2pix.serve.served import load_models, name_models
from pix2pix.system.signals import note_stop_signals

LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(models: Sequence[str], options: Options, announce: Callable[[str, str], object]) -> None:
    """Serve models until a signal to stop; `announce` gets what is served, in words, and the address.

    Raises ConfigError, ModelError or RunError.
    """
    _require_libraries()
    from pix2pix.serve.app import Service
    from pix2pix.serve.logs import start_logging
    from pix2pix.serve.server import address_of, describe_start, open_socket, quiet_uvicorn, run_service
    from pix2pix.serve.workers import Workers

    name_models(models)
    with open_socket(options) as listener:
        address = address_of(listener, options)
        start_logging(options.log_format)
        quiet_uvicorn()
        if options.workers > 1:
            Workers(models, options, listener).run(lambda words: announce(words, address))
            return
        service = Service(load_models(models, options), options)
        words = describe_start(service, address)
        with note_stop_signals() as stop:
            run_service(service, listener, stop, lambda: announce(words, address))


def _require_libraries() -> None:
    """Raise ConfigError if what the extra brings is not installed."""
    from importlib.util import find_spec

    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise ConfigError(f"pix2pix serve needs {', '.join(missing)}: pip install 'pix2pix[serve]'")
