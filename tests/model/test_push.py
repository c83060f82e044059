"""Publishing: only a model's files, in one commit, or one sentence; what comes back translates to the same bits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from hub_server import DROP, HubServer, Repository, serve_hub
from huggingface_hub import constants

import pix2pix
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import load_model
from pix2pix.model.facts import EvaluationFacts, add_evaluation
from pix2pix.model.model_config import CONFIG, read_model_config
from pix2pix.model.push import weights_digest
from tests.untrained import untrained

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # by its client

FILES = ["README.md", "config.json", "discriminator.safetensors", "generator.safetensors", "samples.jpg"]
MEASURED = EvaluationFacts(
    data="facades", of_training=True, split="test", images=9, full_size=False, dropout=False,
    metrics={"l1": 0.125}, intervals={"l1": (0.1, 0.15)},
)  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve_hub() as hub:
        (tmp_path / "token").write_text("writes")
        own: dict[str, Any] = {
            "ENDPOINT": hub.address,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
        }
        own |= {"HF_TOKEN_PATH": str(tmp_path / "token"), "HF_HUB_DISABLE_XET": True}
        own["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in own.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr("time.sleep", lambda _: None)  # between repeated requests
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    untrained(base_channels=2).save(folder, samples=b"a picture")
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint.pt").write_bytes(b"mine")
    return folder


def test_what_comes_back_is_what_was_published(hub: HubServer, folder: Path) -> None:
    done = pix2pix.push(folder, "me/facades", license="MIT")
    assert (done.url, sorted(done.files)) == (f"{hub.address}/me/facades", FILES)
    assert (done.private, done.updated) == (False, False)
    (files,) = hub.repositories["me/facades"].commits[1:]
    assert sorted(files) == [".gitattributes", *FILES]
    card = files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    assert "pix2pix translate me/facades INPUT" in card
    assert read_model_config(folder / CONFIG).settings.training.license is None  # the folder stays as it was

    back = pix2pix.Translator.from_pretrained("me/facades", device="cpu")
    here = pix2pix.Translator.from_pretrained(folder, device="cpu")
    image = torch.randint(0, 256, (3, 40, 33), dtype=torch.uint8)
    assert torch.equal(back(image), here(image))
    assert back.model.config.settings.training.license == "mit"

    # What is pushed again is of these weights only: an evaluation is added, and the picture goes.
    add_evaluation(folder, weights_digest(folder) or "", MEASURED)
    again = here.push_to_hub("me/facades", samples=False, discriminator=False, message="With its numbers")
    assert again.updated
    *_, files = hub.repositories["me/facades"].commits
    assert sorted(files) == [".gitattributes", "README.md", "config.json", "evaluation.json", "generator.safetensors"]
    assert "| L1, share of the range ↓ | 0.1250 | 0.1000 to 0.1500 |" in files["README.md"].decode()
    assert hub.repositories["me/facades"].messages[-1] == "With its numbers"

    # An exported file goes along if it is of these weights.
    (folder / "model.onnx").write_bytes(f"onnx {weights_digest(folder)}".encode())
    assert "model.onnx" in pix2pix.push(folder, "me/facades").files
    (folder / "model.onnx").write_bytes(b"of others")
    with pytest.raises(ModelError, match=r"model\.onnx: was not exported from these weights"):
        pix2pix.push(folder, "me/facades")
    (folder / "model.onnx").unlink()

    # Changed in memory, the weights have no numbers.
    with torch.no_grad():
        next(here.model.generator.parameters()).add_(1)
    here.push_to_hub("me/changed")
    *_, files = hub.repositories["me/changed"].commits
    assert b"0.1250" not in files["README.md"]
    assert load_model("me/changed").generator is not None

    copied = pix2pix.push("me/facades@main", "me/private", private=True)
    assert copied.private
    assert hub.repositories["me/private"].private


def test_a_card_that_was_edited_is_published_as_it_is(hub: HubServer, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text("utf-8").replace("# A pix2pix model", "# Facades of my town"), "utf-8")
    assert "was edited" in " ".join(pix2pix.push(folder, "hf://me/facades").notes)
    assert hub.repositories["me/facades"].commits[-1]["README.md"] == card.read_bytes()
    with pytest.raises(ConfigError, match=r"README\.md: edited, so --license is not written"):
        pix2pix.push(folder, "me/facades", license="mit")


OTHERS = Repository([{"config.json": b"{}", "model.bin": b""}])
SHOWN = Repository([{"config.json": b"{}", "generator.safetensors": b""}])


@pytest.mark.parametrize(
    ("name", "how", "faults", "message"),
    [
        ("facades", {}, {}, "facades: not a hub id; expected owner/name, such as ada/facades"),
        ("me/facades@v1", {}, {}, "a push makes a new revision; give me/facades alone"),
        ("me/a", {"license": "all rights reserved"}, {}, "--license: 'all rights reserved': expected one word such as"),
        ("me/a", {"token": "wrong"}, {}, "me/a: not published (the token is not valid"),
        ("me/a", {"token": "reads"}, {}, "me/a: not published (the token has no permission there"),
        ("you/a", {}, {}, "you/a: not published (the token has no permission there"),
        ("me/hidden", {"token": "reads"}, {}, "me/hidden: not published (the token has no permission there"),
        ("me/others", {}, {}, "exists on the hub and holds something else than a pix2pix model (config.json)"),
        ("me/shown", {"private": True}, {}, "me/shown: exists on the hub and is public; make it private there first"),
        ("me/a", {}, {"POST /api/repos/create": 409}, "a repository of this name is there already"),
        ("me/a", {}, {"GET /api/models": 503}, "me/a: not published (the hub failed with status 503; try again later)"),
        ("me/a", {}, {"POST /api/validate": 400}, "me/a: not published (status 400: said by the hub)"),
        ("me/a", {}, {"/commit/": DROP}, "could not be reached, or the connection was lost; check the network"),
        ("me/a", {}, {"PUT /lfs": DROP}, "could not be reached, or the connection was lost; check the network"),
    ],
)  # fmt: skip
def test_what_cannot_be_published_ends_in_one_sentence(
    name: str, how: dict[str, Any], faults: dict[str, int], message: str, hub: HubServer, folder: Path
) -> None:
    hub.faults |= faults
    hub.repositories |= {"me/others": OTHERS, "me/shown": SHOWN, "me/hidden": Repository(private=True)}
    with pytest.raises((ConfigError, ModelError)) as caught:
        pix2pix.push(folder, name, **how)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(len(repository.commits) > 1 for repository in hub.repositories.values())


def test_nothing_is_asked_offline_without_a_token_or_for_a_broken_model(
    hub: HubServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = bytearray((folder / "generator.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "token").unlink()
    with pytest.raises(ModelError, match="publishing needs a token with write access; run `hf auth login`"):
        pix2pix.push(folder, "me/a")
    with pytest.raises(ModelError, match="runs/nothing: no such model here"):
        pix2pix.push("runs/nothing", "me/a", token="writes")
    (folder / "generator.safetensors").write_bytes(damaged)
    with pytest.raises(ModelError, match=r"model/generator\.safetensors: damaged, its SHA-256 is not the one in"):
        pix2pix.push(folder, "me/a", token="writes")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set, so nothing is published"):
        pix2pix.push(folder, "me/a", token="writes")
    assert hub.asked == []
