"""`pix2pix serve`: serve models over HTTP, with a page to draw on."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pix2pix.cli.console import say
from pix2pix.config.fields import Device
from pix2pix.errors import ConfigError


def serve(
    models: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    queue: int = 64,
    deadline: float = 30.0,
    max_bytes: int = 20_000_000,
    max_pixels: int = 2**24,
    batch_size: int | None = None,
    device: Device = "auto",
    precision: Literal["32", "bf16"] = "32",
    draw: Literal["auto", "labels", "lines", "image"] = "auto",
    palette: Path | None = None,
    examples: Path | None = None,
    allow_host: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    allow_origin: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    log_format: Literal["plain", "json"] = "plain",
) -> None:
    """Serve models over HTTP, with a page to draw on.

    POST a picture to /v1/translate, or open the address that is printed in a browser. Ctrl-C or SIGTERM stops it after
    what was accepted is answered. docs/serving.md has the details.

    Parameters
    ----------
    models
        Run folders, model folders, hub ids, or files that `pix2pix export` wrote. NAME=MODEL names one in addresses,
        /v1/models/NAME/translate.
    host
        Address to listen to; 0.0.0.0 is all networks of this machine.
    port
        Port to listen to; 0 takes a free one. The address is printed to stdout.
    workers
        Processes, each of which loads the models, for several cores.
    queue
        Requests that a process accepts before it answers 429.
    deadline
        Seconds in which an accepted request is answered; after that it gets 504.
    max_bytes
        Largest picture in bytes.
    max_pixels
        Largest picture in pixels, by its header.
    batch_size
        Most pictures of one size that are computed together; by default 1 on a CPU, 8 on a GPU.
    device
        Where to compute.
    precision
        Arithmetic: float32, or bfloat16, which is faster if the hardware has it.
    draw
        What the page offers: labels with their palette, lines, or image (no drawing); auto decides by the model.
    palette
        Names and colours of the classes: a JSON file {"window": "#0055ff", ...}, or CSV lines window,#0055ff.
    examples
        Folder of pictures to start from: sources, or side-by-side pictures; by default the run's samples.
    allow_host
        Host name under which the service is reached, beside localhost and addresses; * for any.
    allow_origin
        Page of another host that may use the service, such as https://example.org; * for any.
    log_format
        Lines on stderr: plain text, or JSON.
    """
    from pix2pix.serve.options import Options
    from pix2pix.serve.start import serve as start

    if not models:
        raise ConfigError("give one or more models: pix2pix serve MODEL")
    options = Options(
        host=host,
        port=port,
        workers=workers,
        queue=queue,
        deadline=deadline,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        batch_size=batch_size,
        device=device,
        precision=precision,
        draw=draw,
        palette=palette,
        examples=examples,
        allow_host=tuple(allow_host),
        allow_origin=tuple(allow_origin),
        log_format=log_format,
    )

    def announce(words: str, address: str) -> None:
        print(address, flush=True)
        if log_format == "json":
            from pix2pix.serve.logs import log

            log("serving", address=address, what=words)
        else:
            say(words)

    start(models, options, announce)
