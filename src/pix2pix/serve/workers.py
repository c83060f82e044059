"""Several processes on one port: each loads the models; one that dies is replaced."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from pix2pix.errors import ConfigError, DataError, ModelError, RunError
from pix2pix.serve.logs import log, start_logging
from pix2pix.serve.metrics import FOLDER
from pix2pix.serve.options import Options
from pix2pix.system.signals import follow_parent, interruptible, note_stop_signals

START_SECONDS = 600.0
MOST_DEATHS, WITHIN_SECONDS = 5, 60.0
"""So many deaths within so many seconds end the service."""


class _Started(NamedTuple):
    """What a process says once it listens."""

    words: str
    """What it serves."""
    weights: Mapping[str, str]
    """Name of a model -> the digest of its weights."""


@dataclass
class _Worker:
    process: BaseProcess
    said: Connection

    def error(self) -> Exception | None:
        """Return why it could not start, if it said so."""
        word = None
        with suppress(EOFError):
            while self.said.poll():
                word = self.said.recv()
        return word if isinstance(word, Exception) else None


@dataclass
class Workers:
    """The processes of a service."""

    models: Sequence[str]
    options: Options
    listener: socket.socket
    running: list[_Worker] = field(default_factory=list)
    deaths: list[float] = field(default_factory=list)
    weights: Mapping[str, str] | None = None
    """Those of the processes at the beginning."""

    def run(self, announce: Callable[[str], object]) -> None:
        """Serve until a signal to stop. `announce` gets what is served. Raises what a process could not load."""
        with tempfile.TemporaryDirectory(prefix="pix2pix-metrics-") as folder, note_stop_signals() as stop:
            os.environ[FOLDER] = folder
            try:
                self.running = [self._start() for _ in range(self.options.workers)]
                with interruptible():
                    said = [self._first_word(worker) for worker in self.running]
                self.weights = _agree(said)
                announce(said[0].words)
                while stop() is None:
                    time.sleep(0.1)
                    self._replace_dead()
                self._end(stop() or signal.SIGTERM)
            finally:
                self._end(signal.SIGTERM)
                os.environ.pop(FOLDER, None)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        words = (tuple(self.models), self.options, self.listener, theirs, os.getpid(), self.weights)
        process = context.Process(target=_work, args=words, name="pix2pix-serve")
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _first_word(self, worker: _Worker) -> _Started:
        """Wait until a process listens, and return what it says. Raises its error."""
        if not worker.said.poll(START_SECONDS):
            raise RunError("a process of the service did not start in time")
        try:
            word = worker.said.recv()
        except EOFError:
            raise RunError("a process of the service ended while it started; the lines above say why") from None
        if isinstance(word, Exception):
            raise word
        assert isinstance(word, _Started)
        return word

    def _replace_dead(self) -> None:
        """Start others for processes that died, but for those that could not start; without any, raise why."""
        for worker in [one for one in self.running if one.process.exitcode is not None]:
            self.running.remove(worker)
            error = worker.error()
            reason: dict[str, Any] = {"error": str(error)} if error else {}
            log("worker died", logging.WARNING, exit_code=worker.process.exitcode, **reason)
            if error is not None and not self.running:
                raise error
            if error is not None:
                continue
            now = time.monotonic()
            self.deaths = [moment for moment in self.deaths if now - moment < WITHIN_SECONDS] + [now]
            if len(self.deaths) >= MOST_DEATHS:
                raise RunError(f"{MOST_DEATHS} processes of the service died within {WITHIN_SECONDS:.0f} seconds")
            self.running.append(self._start())

    def _end(self, number: int) -> None:
        """Ask all processes to stop, and wait until they have answered what they accepted."""
        for worker in self.running:
            if worker.process.exitcode is None and worker.process.pid:
                os.kill(worker.process.pid, number)
        until = time.monotonic() + self.options.deadline + 15
        for worker in self.running:
            worker.process.join(max(0.1, until - time.monotonic()))
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
        self.running = []


def _agree(said: Sequence[_Started]) -> Mapping[str, str]:
    """Return the weights that all processes serve. Raises RunError if a model was replaced while they loaded it."""
    weights = said[0].weights
    for name in weights:
        if len({one.weights[name] for one in said}) > 1:
            raise RunError(f"{name}: its files were replaced while the service started; start it again")
    return weights


def _work(
    models: Sequence[str],
    options: Options,
    listener: socket.socket,
    said: Connection,
    parent: int,
    expected: Mapping[str, str] | None,
) -> None:
    """Serve in a process of its own; `expected` are the weights that the others serve."""
    from pix2pix.serve.app import Service
    from pix2pix.serve.served import load_models
    from pix2pix.serve.server import address_of, describe_start, quiet_uvicorn, run_service

    with note_stop_signals() as stop:
        follow_parent(parent, signal.SIGTERM)
        start_logging(options.log_format)
        quiet_uvicorn()
        try:
            service = Service(load_models(models, options, options.workers), options)
            weights = {name: model.engine.facts.weights for name, model in service.models.items()}
            for name, digest in (expected or {}).items():
                if digest != weights[name]:
                    raise ModelError(f"{name}: its files hold another model than at the start; start the service again")
            started = _Started(describe_start(service, address_of(listener, options)), weights)
            run_service(service, listener, stop, lambda: said.send(started))
        except (ConfigError, DataError, ModelError, RunError, OSError) as error:
            said.send(error)
            sys.exit(1)
