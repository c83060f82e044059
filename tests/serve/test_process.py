"""The command as a real process: two workers on one port, one of which is killed, a new model, the signal to stop."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from pix2pix.cli import main
from pix2pix.errors import RunError
from pix2pix.serve.options import Options
from pix2pix.serve.server import open_socket
from pix2pix.serve.workers import Workers, _Worker
from tests.inference.small_models import make_model
from tests.serve.service import png

PNG = {"Content-Type": "image/png"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_share_a_port_and_finish_what_they_accepted(tmp_path: Path) -> None:
    make_model().save(tmp_path / "small")
    make_model(depth=3).save(tmp_path / "another")
    words = ["serve", str(tmp_path / "small"), "--port", "0", "--workers", "2", "--log-format", "json"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "pix2pix", *words, "--device", "cpu"], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (tmp_path / "log").read_text()

        def send(_: int) -> httpx2.Response:
            return httpx2.post(f"{url}/v1/translate", content=png(), headers=PNG, timeout=60)

        with httpx2.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(12) as pool:
            sent = [pool.submit(send, number) for number in range(24)]
            assert len({(answer.result().status_code, answer.result().content) for answer in sent}) == 1
            assert 'pix2pix_pictures_total{model="small"} 24.0' in client.get("/metrics").text
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if children.exists():
                shutil.copytree(tmp_path / "another", tmp_path / "small", dirs_exist_ok=True)
                os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
                wait_for("another model than at the start", tmp_path / "log")  # which must not answer beside the other
                assert send(0).content == sent[0].result().content
            late = [pool.submit(send, number) for number in range(12)]
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert {answer.result().status_code for answer in late} <= {200, 503}
        assert process.wait(60) == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {"serving", "request", "stopping", "stopped"} <= {event["event"] for event in events}


def test_a_model_that_is_replaced_while_two_processes_load_it(tmp_path: Path) -> None:
    make_model().save(tmp_path / "small")
    make_model(depth=3).save(tmp_path / "another")
    options = Options(port=0, workers=2, device="cpu")

    class Replaced(Workers):
        def _start(self) -> _Worker:
            worker = super()._start()
            assert worker.said.poll(60)  # it has loaded the model
            shutil.copytree(tmp_path / "another", tmp_path / "small", dirs_exist_ok=True)
            return worker

    with open_socket(options) as listener, pytest.raises(RunError, match="small: its files were replaced while"):
        Replaced([str(tmp_path / "small")], options, listener).run(pytest.fail)
    assert not multiprocessing.active_children()


def wait_for(words: str, log: Path) -> None:
    until = time.monotonic() + 60
    while words not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("/nowhere", 1, "no such model"),
        ("/nowhere --workers 0", 2, "--workers 0: expected 1 or more"),
        ("/nowhere --port 99999", 2, "--port 99999"),
        ("/nowhere --deadline nan", 2, "--deadline nan"),
        ("/nowhere --allow-origin example.org", 2, "such as https://example.org"),
        ("/nowhere --host 203.0.113.5", 1, "expected a --host of this machine"),
        ("/nowhere --host http://localhost", 1, "expected a --host of this machine"),
        ("a/x b/x", 2, "name them"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: str, code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", *words.split(), *([] if "--port" in words else ["--port", "0"])])
    assert end.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
