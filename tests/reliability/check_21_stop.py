"""SIGTERM under load: not ready at once, what was accepted is answered, exit code 0."""

import http.client
import os
import signal
import threading
import time
from pathlib import Path

from pix2pix.serve.server import Server
from tests.reliability import runs, served

TITLE = "SIGTERM under load: not ready at once, accepted work finishes, exit 0"
READY_SECONDS = 0.5


def check(work: Path, full: bool) -> str:
    if not full:
        return measure(work, 6, ())
    stops = [measure(work, 12, ()) for _ in range(8)]
    return f"{len(stops)} stops, the last: {stops[-1]}; two processes: " + measure(work, 12, ("--workers", "2"))


def control(work: Path) -> str:
    """A service that ends at the signal."""

    def prepare() -> None:
        served.slow(0.1)()

        async def end(self: Server, counter: int) -> bool:
            self.should_exit = self.force_exit = self.stop() is not None
            return self.should_exit

        Server.on_tick = end  # type: ignore[method-assign]

    return measure(work, 6, (), prepare)


def measure(work: Path, clients: int, flags: tuple[str, ...], prepare: object = None) -> str:
    """Keep clients busy, stop the service, and look at what each of them got."""
    served.save_model(work)
    sources = served.pictures(6)
    answers: list[served.Answer | Exception] = []
    late: list[Exception] = []
    stopped = threading.Event()

    def work_on(number: int, service: served.Running) -> None:
        while True:
            after_signal = stopped.is_set()
            try:
                answer = service.send(sources[number % len(sources)])
            except (OSError, http.client.HTTPException) as error:
                (late if after_signal else answers).append(error)  # what came later was never accepted
                return
            answers.append(served.Answer(answer.status, answer.body, answer.headers, answer.seconds, number % 6))
            if answer.status != 200 and stopped.is_set():
                time.sleep(0.05)

    with served.serving(work, *flags, prepare=prepare or served.slow(0.1)) as service:  # type: ignore[arg-type]
        threads = [threading.Thread(target=work_on, args=(number, service)) for number in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(0.6)
        before = len(answers)
        assert service.process.pid is not None
        began = time.monotonic()
        stopped.set()
        os.kill(service.process.pid, signal.SIGTERM)
        not_ready = wait_until_not_ready(service, began)
        code = runs.end_of(service.process)
        took = time.monotonic() - began
        for thread in threads:
            thread.join()
    wrong = served.wrong_answers(answers, served.expected(work, sources))
    after = answers[before:]
    done = sum(isinstance(answer, served.Answer) and answer.status == 200 for answer in after)
    figures = f"{done} answers and {len(after) - done} refusals after SIGTERM, not ready after {not_ready:.2f} s"
    figures += f", exit {code} after {took:.1f} s, {len(late)} connections of later requests closed"
    assert not wrong, f"{figures}; {len(wrong)} wrong, such as {wrong[0]}"
    assert code == 0, figures
    assert not_ready < READY_SECONDS * 3, figures
    assert done, figures
    return figures


def wait_until_not_ready(service: served.Running, began: float) -> float:
    """Return the seconds until the service says that it is not ready, or takes no connection."""
    while time.monotonic() - began < 10:
        try:
            if service.get("/health/ready").status == 503:
                break
        except (OSError, http.client.HTTPException):
            break
        time.sleep(0.01)
    return time.monotonic() - began
