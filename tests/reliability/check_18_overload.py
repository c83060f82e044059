"""More requests than the model can answer: refused at once, in flat memory, and all is well afterwards."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from pix2pix.serve.queue import TranslationQueue
from tests.reliability import served

TITLE = "overload: the bounded queue refuses at once with Retry-After; memory flat; recovers by itself"
QUEUE = 4
REFUSAL_SECONDS, MEGABYTES = 1.0, 40.0
"""Most that the median refusal may take, on a busy machine; most that memory may grow after the first half."""


def check(work: Path, full: bool) -> str:
    return measure(work, 32, 2500 if full else 64)


def control(work: Path) -> str:
    """A queue without a bound."""

    def prepare() -> None:
        served.slow(0.05)()
        TranslationQueue.refuse_if_full = lambda self: None  # type: ignore[method-assign]

    return measure(work, 32, 40, prepare)


def measure(work: Path, clients: int, requests: int, prepare: Callable[[], object] | None = None) -> str:
    served.save_model(work)
    sources = served.pictures(6)
    with served.serving(work, "--queue", str(QUEUE), prepare=prepare or served.slow(0.05)) as service:
        first = served.crowd(service, sources, clients, requests // 2)
        before = service.resident()
        answers = first + served.crowd(service, sources, clients, requests // 2)
        grown = service.resident() - before
        began = time.monotonic()
        after = service.send(sources[0])
        recovered = time.monotonic() - began
        code = service.stop()
    wrong = served.wrong_answers(answers, served.expected(work, sources))
    assert not wrong, f"{len(wrong)} wrong, such as {wrong[0]}"
    known = [answer for answer in answers if isinstance(answer, served.Answer)]
    refused = [answer.seconds for answer in known if answer.status == 429]
    figures = f"{len(known) - len(refused)} of {len(known)} answered, {len(refused)} refused"
    assert len(refused) > requests // 4, f"{figures}: the queue has no bound"
    median = statistics.median(refused)
    figures += f" in {1000 * median:.0f} ms (median), {grown:+.0f} MB, next answer after {recovered:.2f} s"
    assert median < REFUSAL_SECONDS, figures
    assert grown < MEGABYTES, figures
    assert (after.status, code) == (200, 0), f"{figures}: afterwards {after.status}, exit {code}"
    return figures
