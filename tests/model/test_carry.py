"""Weights of a model in networks of other channels, classes, depth and parts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pix2pix.config import Config
from pix2pix.config.io import make_config, merge_settings
from pix2pix.model import Model, build_networks, make_model_config
from pix2pix.model.carry import Carried, carry_discriminator, carry_generator, fill, match_channels

BASE = {
    "data": {"image_size": 32, "source_channels": 3, "target_channels": 3},
    "generator": {"base_channels": 2, "depth": 4},
    "discriminator": {"base_channels": 2, "patch_size": 16},
}


def config_of(changes: dict[str, Any]) -> Config:
    return make_config(merge_settings(BASE, changes))


def model_of(changes: dict[str, Any], seed: int = 0) -> Model:
    torch.manual_seed(seed)
    config = config_of(changes)
    generator, discriminator = build_networks(config)
    for network in (generator, discriminator):
        for name, weights in network.named_parameters():
            if "bias" in name:
                nn.init.normal_(weights, 0, 0.1)
    model = make_model_config(config, "image", (1.0, 1.0), converts=False, epoch=1, validation={})
    return Model(generator.eval(), discriminator.eval(), model)


def carried(old: Model, new: Model) -> tuple[Carried, Carried, tuple[str, ...]]:
    """Fill the networks of a new model; return what was carried over."""
    channels = match_channels(new.prepared, old.prepared)
    assert old.discriminator is not None
    assert new.discriminator is not None
    g = carry_generator(old, new.generator, channels)
    d = carry_discriminator(old.discriminator, new.discriminator, channels)
    fill(new.generator, g.weights)
    fill(new.discriminator, d.weights)
    return g, d, channels.sources.notes + channels.output.notes


PARTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "group norm": {"generator": {"norm": "group", "base_channels": 4}},
    "shuffle": {"generator": {"upsampling": "shuffle"}, "discriminator": {"patch_size": 1}},
    "resize": {"generator": {"upsampling": "resize"}, "discriminator": {"scales": 2, "spectral_norm": True}},
    "resnet": {"generator": {"kind": "resnet", "blocks": 2}, "discriminator": {"conditional": False}},
    "encoder_decoder": {"generator": {"kind": "encoder_decoder"}},
}


@torch.no_grad()
@pytest.mark.parametrize("parts", PARTS)
def test_other_channels_begin_as_the_mean(parts: str) -> None:
    """Images of equal channels give the same outputs and logits, whatever the number of channels."""
    old, x = model_of(PARTS[parts]), torch.rand(1, 1, 32, 32)
    same = model_of(PARTS[parts], seed=1)
    g, d, notes = carried(old, same)
    assert not notes
    assert [len(one.notes) for one in (g, d)] == [1, 1]
    assert all(torch.equal(one, same.generator.state_dict()[name]) for name, one in old.generator.state_dict().items())

    wider = model_of(merge_settings(PARTS[parts], {"data": {"source_channels": 5, "target_channels": 1}}), seed=1)
    g, d, notes = carried(old, wider)
    assert notes == (
        "source: 5 channels, each the mean of 3 before, times 3/5",
        "target: 1 channel, each the mean of 3 before",
    )
    before, after = old.generator(x.expand(1, 3, 32, 32)), wider.generator(x.expand(1, 5, 32, 32))
    torch.testing.assert_close(after.atanh(), before.atanh().mean(1, keepdim=True), rtol=0, atol=1e-5)
    if parts == "resize":
        return  # with spectral norm the weights are divided by another number
    assert old.discriminator is not None
    assert wider.discriminator is not None
    logits = old.discriminator(x.expand(1, 3, 32, 32), x.expand(1, 3, 32, 32)).maps[0]
    torch.testing.assert_close(wider.discriminator(x.expand(1, 5, 32, 32), x).maps[0], logits, rtol=0, atol=1e-5)


def labels(*names: str) -> dict[str, Any]:
    side = {"kind": "labels", "labels": names, "channels": 1, "type": "uint8"}
    return {"data": {f"{part}_{name}": value for part in ("source", "target") for name, value in side.items()}}


@torch.no_grad()
def test_classes_are_matched_by_name() -> None:
    of_classes = {"discriminator": {"kind": "classes", "patch_size": 70}}
    old = model_of(merge_settings(labels("0", "1", "2"), of_classes))
    new = model_of(merge_settings(labels("2", "7", "0"), of_classes), seed=1)
    g, _, notes = carried(old, new)
    assert notes[:2] == ("source: new classes begin as the mean of those before: 7", "source: classes left out: 1")
    assert notes[2].startswith("target: new classes")
    before, after = (model.generator.state_dict()["encoder.0.0.weight"] for model in (old, new))
    torch.testing.assert_close(after, torch.stack([before[:, 2], before.mean(1), before[:, 0]], 1))
    first, last = (model.generator.state_dict()["to_image.1.bias"] for model in (old, new))
    torch.testing.assert_close(last, torch.stack([first[2], first.mean(), first[0]]))
    assert old.discriminator is not None
    assert new.discriminator is not None
    before, after = (one.state_dict()["to_classes.1.bias"] for one in (old.discriminator, new.discriminator))
    torch.testing.assert_close(after, torch.stack([before[2], before[:3].mean(), before[0], before[3]]))
    assert len(g.notes) == 1


@torch.no_grad()
def test_another_source_has_no_effect_at_first_and_a_missing_one_is_said() -> None:
    sources = {str(n): {"channels": n, "type": "uint8", "range": [0, 255]} for n in (1, 2)}
    two = {"data": {"source_channels": None, "sources": sources}}
    one = {"data": {"source_channels": 1}}
    old, new = model_of(one), model_of(two, seed=1)
    assert carried(old, new)[2] == ("source 2: is new and has no effect at first",)
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(new.generator(torch.cat([x, torch.rand(1, 2, 32, 32)], 1)), old.generator(x))
    assert "of which the last are left out" in carried(new, model_of(one))[2][-1]


@torch.no_grad()
def test_another_depth_keeps_the_outer_layers() -> None:
    old = model_of({})
    new = model_of({"generator": {"depth": 3}}, seed=1)
    notes = carried(old, new)[0].notes
    assert notes[0] == "weights of 9 of 9 layers are kept"
    assert "encoder.3.0" in notes[1]
    seen: list[Tensor] = []
    for model in (old, new):
        second = model.generator.get_submodule("encoder.1")
        hook = second.register_forward_hook(lambda *called: seen.append(called[2].clone()))
        model.generator(torch.ones(1, 3, 32, 32))
        hook.remove()
    torch.testing.assert_close(*seen)
    weights = new.generator.state_dict()["decoder.0.1.weight"]
    assert torch.equal(weights, old.generator.state_dict()["decoder.1.1.weight"][len(weights) :])
    deeper = model_of({"generator": {"depth": 5}}, seed=1)
    assert any("begin anew: encoder.3.1, encoder.4.0, decoder.0.1" in note for note in carried(old, deeper)[0].notes)
