"""Names of models: what is a path is never asked of the hub, and a server on this machine records what is asked."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, Repository, serve_hub

from tests.untrained import untrained

ASK = """
import json, sys
from pix2pix.errors import ModelError
from pix2pix.model import locate
for name in json.loads(sys.argv[1]):
    try:
        print(sorted(path.name for path in locate(name).iterdir()))
    except ModelError as error:
        print(error)
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serve_hub() as hub:
        yield hub


def locate(hub: HubServer, folder: Path, *names: str, **environment: str) -> tuple[list[str], str]:
    """Look names up in another process; return a line for each, and stderr."""
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / ".cache"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(names)],
        cwd=folder,
        env={**os.environ, **own, "no_proxy": "*", "HF_HUB_DISABLE_XET": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


LOCAL = [
    "runs/facades", "./a/b", "/a/b", "../a/b", "~/b", "a", "a/b/c", "a/b/", "Runs/x", "models/facades",
    "run/facades", "rnus/facades", "other/model", "experiment/one", "experiments2/one", "x/tiny",
    "a/model.safetensors", "a/model.pth", "a/config.json", "a/..", "a\\b/c", "a/b c", "", "a/b\n", "hf://a", "hf://a/../b",
    "runs/facades@v1", "rnus/facades@main", "a/b@", "a/b@../c", "hf://a@v1", "a@b/c",
]  # fmt: skip


def test_what_looks_like_a_path_is_never_asked_of_the_hub(hub: HubServer, tmp_path: Path) -> None:
    for name in ("experiments", "other", "runs/tiny", "Documents"):
        (tmp_path / name).mkdir(parents=True)
    lines, talk = locate(hub, tmp_path, *LOCAL)
    assert len([line for line in lines if line]) >= len(LOCAL)
    assert talk == ""
    assert hub.asked == []
    assert any("did you mean runs/facades?" in line for line in lines if line.startswith("rnus/facades"))
    addresses = ("https://huggingface.co/a/b/tree/main", "http://x.org/a/b.onnx", "")
    lines, _ = locate(hub, tmp_path, *addresses)
    assert [line.partition(": ")[2] or line for line in lines] == [
        "is an address, which is not read; give a/b, its hub id",
        "is an address, which is not read; download the model first",
        "the name of the model is empty; give a run folder, a model folder or a hub id",
    ]
    assert hub.asked == []


def test_a_hub_id_is_asked_after_a_line_that_says_so(hub: HubServer, tmp_path: Path) -> None:
    """Only the files of a model arrive; a pickle beside them is left."""
    untrained(base_channels=2, scale=None).save(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    files["evil.pkl"] = b"cposix\nsystem\n(S'touch owned'\ntR."
    hub.repositories["good/model"] = Repository([{}, files], {"empty": 0, "v1": 1})
    hub.repositories["huge/model"] = Repository(sizes={"generator.safetensors": 10**12})
    (tmp_path / "here" / "good").mkdir(parents=True)
    names = ("hf://good/model", "nobody/nothing", "huge/model", "hf://good/model@v1", "hf://good/model@empty")
    lines, talk = locate(hub, tmp_path / "here", *names, "hf://good/model@v9")
    arrived = "['config.json', 'discriminator.safetensors', 'generator.safetensors']"
    assert lines[0] == lines[3] == arrived
    assert lines[1].startswith("nobody/nothing: there is no such folder, and the hub did not give this model (there is")
    assert lines[2].startswith("huge/model: generator.safetensors has 1,000,000,000,000 bytes on the hub, more than")
    assert lines[4] == "good/model@empty: the hub repository has no config.json, so it is not a pix2pix model"
    assert lines[5].startswith("good/model@v9: the hub did not give this model (there is no such revision; give a ")
    asked = [line.partition(":")[0] for line in talk.splitlines() if "asking" in line]
    assert asked == [name.removeprefix("hf://") for name in (*names, "good/model@v9")]
    assert f"asking {hub.address} for this model" in talk
    assert not [path for path in hub.asked if "evil" in path or "/model" not in path.replace("/nothing", "/model")]
    hub.asked.clear()
    lines, talk = locate(hub, tmp_path / "here", "hf://good/model", "nobody/nothing", HF_HUB_OFFLINE="1")
    assert lines[0] == arrived
    assert "there is no such folder, and the hub did not give this model (HF_HUB_OFFLINE is set" in lines[1]
    assert hub.asked == []
    assert "asking" not in talk
    lines, talk = locate(hub, tmp_path / "here", "hf://good/model", HF_ENDPOINT="http://127.0.0.1:9")
    assert lines[0] == arrived
    assert "http://127.0.0.1:9 did not answer; the copy in " in talk
