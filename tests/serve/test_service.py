"""The service in this process: what it answers to whom, and that its pictures are those of the translator."""

import asyncio
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from pix2pix import Translator
from pix2pix.data.io import images
from pix2pix.errors import ConfigError
from pix2pix.model import Model
from pix2pix.serve.app import Service, create_app
from pix2pix.serve.options import Options
from pix2pix.serve.served import load_models, name_models
from tests.inference.small_models import make_model
from tests.serve.service import SIDE, decode, npy, png, slow_service
from tests.untrained import untrained

URL = "http://localhost:8000"
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "small"
    make_model().save(folder)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    options = Options(max_bytes=50_000, max_pixels=64 * 64)
    service = Service(load_models([str(folder), f"other={folder}"], options), options)
    with TestClient(create_app(service), base_url=URL, raise_server_exceptions=False) as client:
        yield client


def test_models_are_described(client: TestClient) -> None:
    first, other = client.get("/v1/models").json()["models"]
    assert (first["name"], other["name"]) == ("small", "other")
    assert first["image_size"] == [32, 32]
    assert first["sources"] == [{"name": "source", "channels": 3, "dtype": "uint8", "kind": "image"}]
    assert first["limits"] == {"bytes": 50_000, "pixels": 4096}
    assert first["noise"]


@pytest.mark.parametrize("kind", ["image/png", "image/tiff", "image/webp", "application/x-npy"])
def test_pictures_are_those_of_the_translator(client: TestClient, folder: Path, tmp_path: Path, kind: str) -> None:
    suffix = {"image/png": ".png", "image/tiff": ".tif", "image/webp": ".webp", "application/x-npy": ".npy"}[kind]
    source = np.random.default_rng(1).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    content = images.encode(suffix, source)
    answer = client.post("/v1/translate", content=content, headers={"Content-Type": kind, "Accept": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind), answer.text
    assert "model;dur=" in answer.headers["server-timing"]
    expected = Translator.from_pretrained(folder, device="cpu")(source)
    np.testing.assert_array_equal(decode(answer.content, suffix, tmp_path), expected)
    form = client.post("/v1/models/other/translate", files={"source": ("../../etc/x", content)})
    np.testing.assert_array_equal(decode(form.content, ".png", tmp_path), expected)


@pytest.mark.parametrize("kind", ["gif", "bmp", "avif"])
def test_formats_that_are_read_only(client: TestClient, folder: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    file.write_bytes(encode(np.random.default_rng(1).integers(0, 256, (30, 41, 3), dtype=np.uint8), kind.upper()))
    answer = client.post("/v1/translate", content=file.read_bytes(), headers={"Content-Type": f"image/{kind}"})
    assert answer.status_code == 200, answer.text
    expected = Translator.from_pretrained(folder, device="cpu")(images.read(file))
    np.testing.assert_array_equal(decode(answer.content, ".png", tmp_path), expected)
    asked = {**PNG, "Accept": f"image/{kind}"}
    assert client.post("/v1/translate", content=png(), headers=asked).status_code == 406


def test_high_depth_and_several_sources_are_kept(tmp_path: Path) -> None:

    one = {"type": "uint16", "channels": 1, "range": [[0, 4095]]}
    data = {"image_size": SIDE, "sources": {"1": one, "2": one}, "target_channels": 1}
    data |= {"target_type": "uint16", "target_range": [[0, 65535]]}
    untrained({"data": data}).save(tmp_path / "two")
    options = Options()
    service = Service(load_models([str(tmp_path / "two")], options), options)
    sources = [np.random.default_rng(n).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16) for n in range(2)]
    parts = {f"source_{n}": images.encode(".png", one[..., None]) for n, one in enumerate(sources, start=1)}
    with TestClient(create_app(service), base_url=URL) as client:
        answer = client.post("/v1/translate", files=parts)
        expected = Translator.from_pretrained(tmp_path / "two", device="cpu")(sources)
        np.testing.assert_array_equal(decode(answer.content, ".png", tmp_path)[..., 0], expected)
        assert expected.dtype == np.uint16
        as_jpeg = client.post("/v1/translate", files=parts, headers={"Accept": "image/jpeg"})
        assert as_jpeg.status_code == 406
        assert client.post("/v1/translate", content=parts["source_1"], headers=PNG).status_code == 400
        paths = client.get("/openapi.json").json()["paths"]
        (form,) = paths["/v1/translate"]["post"]["requestBody"]["content"].values()
        assert form["schema"]["required"] == ["source_1", "source_2"]
        named = paths["/v1/models/{name}/translate"]["post"]["parameters"][0]
        assert named["schema"]["enum"] == ["two"]


def test_a_half_of_a_file_is_taken_as_translate_does(tmp_path: Path) -> None:
    model = make_model()
    config = model.config.model_copy(update={"half": "left"})
    Model(model.generator, None, config).save(tmp_path / "halves")
    service = Service(load_models([str(tmp_path / "halves")], Options()), Options())
    pair = np.random.default_rng(2).integers(0, 256, (SIDE, 2 * SIDE, 3), dtype=np.uint8)
    parts = {"": pair[:, :SIDE], "?half=right": pair[:, SIDE:], "?half=whole": pair}
    translator = Translator.from_pretrained(tmp_path / "halves", device="cpu")
    with TestClient(create_app(service), base_url=URL) as client:
        for query, part in parts.items():
            answer = client.post(f"/v1/translate{query}", content=images.encode(".png", pair), headers=PNG)
            np.testing.assert_array_equal(decode(answer.content, ".png", tmp_path), translator(part))


def test_a_seed_gives_the_same_sample_again(client: TestClient, folder: Path, tmp_path: Path) -> None:
    import torch

    content = png(seed=3)
    plain, first, again, other = (
        client.post(f"/v1/translate{query}", content=content, headers=PNG).content
        for query in ("", "?seed=1", "?seed=1", "?seed=2")
    )
    assert first == again
    assert len({plain, first, other}) == 3
    noisy = Translator.from_pretrained(folder, device="cpu", dropout=True)
    torch.manual_seed(1)
    np.testing.assert_array_equal(decode(first, ".png", tmp_path), noisy(decode(content, ".png", tmp_path)))


def claims(height: int, width: int) -> bytes:
    head = b"IHDR" + struct.pack(">II", width, height) + png()[24:29]
    return png()[:12] + head + struct.pack(">I", zlib.crc32(head)) + png()[33:]


def encode(source: NDArray[Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(source).save(file, kind, **options)
    return file.getvalue()


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": ({"content": b"", "headers": PNG}, 400, "is empty"),
    "no type": ({"content": png()}, 415, "there is no Content-Type"),
    "curl's default type": (
        {"content": png(), "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        415,
        "expected image/png",
    ),
    "text": ({"content": b"hello" * 9, "headers": PNG}, 415, "holds no picture"),
    "moving GIF": (
        {"content": encode(np.zeros((8, 8, 3), np.uint8), "GIF", save_all=True,
                           append_images=[Image.new("RGB", (8, 8), "red")]), "headers": PNG}, 422, "source"),
    "JPEG 2000": ({"content": encode(np.zeros((8, 8, 3), np.uint8), "JPEG2000"), "headers": PNG},
                  415, "source is a JPEG 2000"),
    "a photo of a phone": ({"content": b"\0\0\0\x18ftypheic" + bytes(200), "headers": PNG}, 415, "is a HEIC photo"),
    "narrow": ({"content": png(300, 1), "headers": PNG}, 413, "1x300 pixels, which the model sees as 32x9600"),
    "truncated": ({"content": png()[:500], "headers": PNG}, 422, "source: cannot be read as an image"),
    "too many bytes": ({"content": bytes(50_001), "headers": PNG}, 413, "50,000 bytes"),
    "too many pixels": ({"content": png(65, 64), "headers": PNG}, 413, "64x65 pixels"),
    "a bomb": ({"content": images.encode(".png", np.zeros((4000, 4000, 1), np.uint8)), "headers": PNG}, 413, "pixels"),
    "a header of a bomb": (
        {"content": claims(60_000, 60_000), "headers": PNG}, 422, "pixels"),
    "4 channels": ({"content": npy(np.zeros((32, 32, 5), np.uint8)), "headers": {"Content-Type": "application/x-npy"}},
                   422, "has 5 channels"),
    "16 bits": ({"content": npy(np.zeros((32, 32, 3), np.uint16)), "headers": {"Content-Type": "application/x-npy"}},
                422, "holds uint16 values"),
    "a pickle": ({"content": npy(np.array([{}], dtype=object)), "headers": {"Content-Type": "application/x-npy"}},
                 422, "source"),
    "other part": ({"files": {"target": png()}}, 400, "got 'target'"),
    "a field": ({"data": {"source": "/etc/passwd"}, "files": {"x": b""}}, 400, "expected the file part source"),
    "two parts": ({"files": [("source", png()), ("source", png())]}, 400, "form"),
    "no form": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form"),
    "accepts nothing, twice": ({"content": png(), "headers": [*PNG.items(), ("Accept", "a/b"), ("Accept", "c/d")]},
                               406, "3 channels"),
    "accepts nothing": ({"content": png(), "headers": PNG | {"Accept": "text/html"}}, 406, "Accept"),
    "another parameter": ({"content": png(), "headers": PNG, "params": {"sead": "1"}}, 422, "expected seed or half"),
    "a compressed body": ({"content": png(), "headers": PNG | {"Content-Encoding": "gzip"}}, 415, "as it is"),
    "bad seed": ({"content": png(), "headers": PNG, "params": {"seed": "x"}}, 422, "seed"),
    "negative seed": ({"content": png(), "headers": PNG, "params": {"seed": "-1"}}, 422, "seed"),
    "foreign host": ({"content": png(), "headers": PNG | {"Host": "evil.example"}}, 400, "--allow-host"),
    "foreign page": ({"content": png(), "headers": PNG | {"Origin": "https://evil.example"}}, 403, "--allow-origin"),
    "no page": ({"content": png(), "headers": PNG | {"Origin": "null"}}, 403, "--allow-origin"),
    "odd origin": ({"content": png(), "headers": PNG | {"Origin": "http://["}}, 403, "--allow-origin"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_a_problem(client: TestClient, name: str) -> None:
    request, status, said = BAD[name]
    answer = client.post("/v1/translate", **request)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert (problem["status"], answer.status_code) == (status, status), problem
    assert said in problem["detail"]
    assert "/tmp" not in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}


def test_other_addresses(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/v1/translate", 405),
        ("POST", "/v1/models/absent/translate", 404),
        ("GET", "/v1/models/small/examples/0/source.png", 404),
        ("GET", "/v1/models/small/examples/x/source.png", 422),
        ("GET", "/page/../app.py", 404),
        ("GET", "/page/%2e%2e/app.py", 404),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status, path
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json", path


def test_headers_protect_the_page(client: TestClient) -> None:
    answer = client.get("/health/live", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert len(client.get("/health/live", headers={"X-Request-Id": "a b\x1b"}).headers["x-request-id"]) == 32


def test_metrics_and_description(client: TestClient) -> None:
    client.post("/v1/translate", content=png(), headers=PNG)
    metrics = client.get("/metrics").text
    assert 'pix2pix_pictures_total{model="small"}' in metrics
    assert 'pix2pix_requests_total{route="/v1/translate",status="200"}' in metrics
    document = client.get("/openapi.json").json()
    assert set(document["paths"]["/v1/translate"]["post"]["requestBody"]["content"]) >= {"image/png", "image/tiff"}


def test_head_is_get_without_a_body(client: TestClient) -> None:
    for place in ("/", "/health/live", "/v1/models", "/metrics", "/openapi.json", "/page/app.js"):
        assert client.head(place).status_code == 200, place
    assert client.head("/v1/translate").status_code == 405
    two = [*PNG.items(), ("Accept", "text/html"), ("Accept", "image/webp")]
    assert client.post("/v1/translate", content=png(), headers=two).headers["content-type"] == "image/webp"
    with pytest.raises(ConfigError, match="without port"):
        Options(allow_host=("example.org:8000",))


def test_a_page_of_another_host_can_be_allowed() -> None:
    service, _ = slow_service(allow_origin=("https://art.example",), allow_host=("pix.example",))
    with TestClient(create_app(service), base_url="http://pix.example") as client:
        ours = {"Origin": "https://art.example"}
        asked = client.options("/v1/translate", headers=ours | {"Access-Control-Request-Method": "POST"})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, ours["Origin"])
        answer = client.post("/v1/translate", content=png(), headers=PNG | ours)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ours["Origin"])
        assert client.post("/v1/translate", content=png(), headers=PNG | {"Origin": "http://pix.example"}).is_success


# ---- queue -------------------------------------------------------------------------------------------------------


async def _send(service: Service, contents: list[bytes], then: Any) -> list[httpx2.Response]:
    """Send requests at the same time; call `then` a moment later."""
    transport = httpx2.ASGITransport(create_app(service))
    engines = [model.engine for model in service.models.values()]
    async with service.queue.running(engines), httpx2.AsyncClient(transport=transport, base_url=URL) as client:
        service.ready = True
        tasks = [
            asyncio.create_task(client.post("/v1/translate", content=content, headers=PNG)) for content in contents
        ]
        await asyncio.sleep(0.3)
        await then(client, tasks)
        return list(await asyncio.gather(*tasks))


def test_a_full_queue_refuses_at_once_and_equal_sizes_are_one_batch(tmp_path: Path) -> None:
    service, engine = slow_service(queue=7)
    engine.may_go.clear()
    contents = [png(seed=1), png(seed=2), png(16, 16, seed=3), png(seed=4), png(seed=5), png(seed=6), png(seed=7)]

    async def then(client: httpx2.AsyncClient, _: Any) -> None:
        refused = await client.post("/v1/translate", content=png(), headers=PNG)
        assert (refused.status_code, refused.json()["title"]) == (429, "Too Many Requests")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/health/ready")).status_code == 200
        service.is_stopping = lambda: True
        late = await client.post("/v1/translate", content=png(), headers=PNG)
        assert (late.status_code, (await client.get("/health/ready")).status_code) == (503, 503)
        engine.may_go.set()

    answers = asyncio.run(_send(service, contents, then))
    for content, answer in zip(contents, answers, strict=True):
        assert answer.status_code == 200
        expected = 255 - decode(content, ".png", tmp_path)
        np.testing.assert_array_equal(decode(answer.content, ".png", tmp_path), expected)
    assert sorted(engine.batches) == [1, 1, 1, 4] or max(engine.batches) > 1
    assert (service.queue.inside, service.receiving) == (0, 0)


def test_a_deadline_ends_a_wait() -> None:
    service, engine = slow_service(deadline=0.4)
    engine.may_go.clear()

    async def then(client: httpx2.AsyncClient, tasks: list[Any]) -> None:
        assert [(await task).status_code for task in tasks] == [504, 504]
        engine.may_go.set()
        assert (await client.post("/v1/translate", content=png(), headers=PNG)).status_code == 200

    answers = asyncio.run(_send(service, [png(), png()], then))
    assert answers[0].headers["retry-after"]
    assert service.queue.inside == 0


def test_a_fault_of_the_model_fails_only_its_own_request() -> None:
    service, engine = slow_service()
    good = engine.translate
    engine.translate = lambda inputs, seed=None: 1 / 0 if inputs[0].shape[0] == 16 else good(inputs, seed)  # type: ignore

    async def then(*_: Any) -> None:
        pass

    answers = asyncio.run(_send(service, [png(), png(16, 16)], then))
    assert [answer.status_code for answer in answers] == [200, 500]
    assert "division" not in answers[1].text
    assert json.loads(answers[1].text)["request_id"]


def test_names_of_models() -> None:
    assert name_models(["runs/facades", "b=runs/facades", "hf://owner/name", "runs/x/model"]) == {
        "facades": "runs/facades", "b": "runs/facades", "name": "hf://owner/name", "x": "runs/x/model",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="other=b/x"):
        name_models(["a/x", "b/x"])
    with pytest.raises(ConfigError, match=r"café=\.: a name stands in addresses"):
        name_models(["café=."])
