"""Requests made at random from the service's own description, and odd images: no fault, and the service lives.

It serves models of one source, of two, and of label maps.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pix2pix.serve import app
from pix2pix.serve.media import SUFFIXES
from tests.reliability import served
from tests.reliability.check_11_corpora import damage, seeds
from tests.reliability.hostile import BOMBS
from tests.serve.browser.models import save_models
from tests.serve.browser.pictures import COLOURS, SIZE, as_png, label_map

TITLE = "fuzzing by the OpenAPI description and with odd images: no 5xx, the process lives"
EXPECTED = {200, 400, 403, 404, 405, 406, 408, 413, 415, 421, 422, 429, 503, 504}
SMALL_BOMBS = (
    "claims.png",
    "claims.gif",
    "claims_16.png",
    "claims.jpg",
    "claims.tif",
    "tile.tif",
    "claims.npy",
    "objects.npy",
)


def check(work: Path, full: bool) -> str:
    return measure(work, 150 if full else 4, 3000 if full else 60, sorted(BOMBS) if full else SMALL_BOMBS)


def control(work: Path) -> str:
    """A service that lets the errors of the readers through."""

    def prepare() -> None:
        async def plain(reading: Any, files: Any) -> Any:
            return await reading

        app._reading = plain

    return measure(work, 1, 30, SMALL_BOMBS[:2], prepare)


def measure(work: Path, examples: int, odd: int, bombs: Any, prepare: Callable[[], object] | None = None) -> str:
    served.save_model(work)
    saved = save_models(work / "others", COLOURS, SIZE)
    others = [f"{name}={saved[name]}" for name in ("two", "labels")]
    with served.serving(work, "--max-pixels", "1000000", others=others, prepare=prepare) as service:
        found = Counter(described_requests(service, examples))
        made = sum(found.values())
        images = Counter(service.send(content).status for content in odd_images(odd, bombs))
        good = service.send(served.pictures(1)[0]).status
        code = service.stop()
    said = service.messages.read_text(encoding="utf-8", errors="replace")
    faults = said.count("Traceback")
    figures = (
        f"{made} requests by the description {dict(sorted(found.items()))}, {sum(images.values())} odd images "
        f"{dict(sorted(images.items()))}, {faults} faults; then {good}, exit {code}"
    )
    assert {*found, *images} <= EXPECTED, figures
    assert faults == 0, figures
    assert (good, code) == (200, 0), figures
    return figures


def odd_images(count: int, bombs: Any) -> Iterator[bytes]:
    """Yield damaged files of every format, and files that claim huge pictures."""
    draw, valid = random.Random(19), list(seeds().values())
    yield from (damage(draw.choice(valid), valid, draw) for _ in range(count))
    for name in bombs:
        content = BOMBS[name]()
        if len(content) < 20_000_000:
            yield content


def described_requests(service: served.Running, examples: int) -> Iterator[int]:
    """Yield the status of each request that schemathesis makes from the description."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    valid = [*seeds().values(), *served.pictures(3), as_png(label_map()), as_png(label_map()[..., 0])]
    pictures = st.sampled_from([*valid, b""]) | st.binary(max_size=300)
    schemathesis.openapi.format("binary", pictures)
    for kind in SUFFIXES:
        schemathesis.openapi.media_type(kind, pictures)
    address = f"http://127.0.0.1:{service.port}"
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    statuses: list[int] = []
    for operation in schema.get_all_operations():

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def send(case: Any) -> None:
            statuses.append(case.call(timeout=30).status_code)

        send()
    yield from statuses
