"""The reverse proxy of `deploy/` by nginx itself, before two replicas whose queues are full."""

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
FRAME = """
daemon off; master_process off; pid pid; error_log stderr crit; events {}
http { include site; client_body_temp_path b; proxy_temp_path p;
fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; }
"""


class Full(BaseHTTPRequestHandler):
    """A replica that answers 429, and says which Host it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(429)
        for name, value in (("Retry-After", "7"), ("X-Host", self.headers["Host"]), ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    """Run the shipped configuration with other addresses, and without Docker's names; yield the port."""
    if NGINX is None:
        pytest.skip("no nginx")
    replicas = [ThreadingHTTPServer(("127.0.0.1", 0), Full) for _ in range(2)]
    for replica in replicas:
        threading.Thread(target=replica.serve_forever, kwargs={"poll_interval": 0.02}).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = CONFIG.read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.strip().startswith("server pix2pix:8000")]
    servers = [line.replace("pix2pix:8000 resolve", f"127.0.0.1:{replica.server_port}") for replica in replicas]
    text = text.replace(line, "\n".join(servers)).replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("resolver 127.0.0.11", "resolver 127.0.0.1").replace("/dev/stdout", str(tmp_path / "log"))
    (tmp_path / "site").write_text(text)
    (tmp_path / "conf").write_text(FRAME)
    server = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "conf")], stderr=subprocess.PIPE)
    while server.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    assert server.poll() is None, server.stderr and server.stderr.read().decode()
    yield port
    server.terminate()
    server.communicate(timeout=10)
    for replica in replicas:
        replica.shutdown()
        replica.server_close()


def ask(port: int, path: str, host: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_full_replicas_stay_in_and_the_host_is_the_browsers(proxy: int) -> None:
    for _ in range(4):
        answer = ask(proxy, "/v1/models", "pix.example")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        assert answer.headers["X-Host"] == "pix.example"
    assert ask(proxy, "/metrics", "pix.example").status == 404
