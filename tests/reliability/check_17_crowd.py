"""Many clients at once: every answer is right and complete, or a refusal that says when to ask again."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pix2pix.serve.translator_engine import TranslatorEngine
from tests.reliability import served

TITLE = "64 clients, 500 requests: every answer right and complete; only 200, 429 or 503"


def check(work: Path, full: bool) -> str:
    clients, requests = (64, 500) if full else (24, 48)
    figures = measure(work, clients, requests, "--queue", "32")
    if full:
        figures += "; two processes: " + measure(work, clients, requests, "--queue", "32", "--workers", "2")
    return figures


def control(work: Path) -> str:
    """Batches whose outputs are handed to each other's requests."""

    def prepare() -> None:
        translate = TranslatorEngine.translate

        def mixed(self: TranslatorEngine, inputs: Any, seed: int | None = None) -> Any:
            return translate(self, inputs, seed)[::-1]

        TranslatorEngine.translate = mixed  # type: ignore[method-assign]

    return measure(work, 24, 24, "--queue", "32", prepare=prepare)


def measure(work: Path, clients: int, requests: int, *flags: str, prepare: Callable[[], object] | None = None) -> str:
    if not (work / "model").exists():
        served.save_model(work)
    sources = served.pictures(12)
    with served.serving(work, "--batch-size", "4", *flags, prepare=prepare) as service:
        answers = served.crowd(service, sources, clients, requests)
        code = service.stop()
    statuses = Counter(answer.status if isinstance(answer, served.Answer) else "broken" for answer in answers)
    wrong = served.wrong_answers(answers, served.expected(work, sources))
    seconds = sorted(answer.seconds for answer in answers if isinstance(answer, served.Answer))
    counts = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items(), key=str))
    figures = f"{clients} clients, {requests} requests: {counts}, slowest {seconds[-1]:.1f} s, exit {code}"
    assert not wrong, f"{figures}; {len(wrong)} wrong, such as {wrong[0]}"
    assert statuses[200] > requests // 10, figures
    assert code == 0, figures
    return figures
