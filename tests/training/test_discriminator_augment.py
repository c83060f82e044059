"""What the discriminator sees in training: one draw for all images of a step, and its probability."""

import pytest
import torch

from pix2pix.config import Discriminator
from pix2pix.training.discriminator_augment import IMAGES_TO_ONE, DiscriminatorAugment


def augment(probability: float = 1.0, *, colours: bool = True, kind: str = "fixed") -> DiscriminatorAugment:
    settings = Discriminator.model_validate({"augment": kind, "augment_probability": probability})
    return DiscriminatorAugment(settings, colours=colours)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """A label map of three classes, and an image of which channel 0 shows the class."""
    torch.manual_seed(0)
    classes = torch.randint(0, 3, (4, 32, 24))
    source = torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float() * 2 - 1
    image = torch.rand(4, 3, 32, 24) * 2 - 1
    image[:, 0] = classes / 4
    return source, image


def test_probability_0_is_the_identity() -> None:
    source, image = pairs()
    assert all(one is other for one, other in zip(augment(0.0).draw(4)(source, image), (source, image), strict=True))


def test_one_draw_is_for_all_images_of_a_step() -> None:
    source, image = pairs()
    apply = augment().draw(4)
    first, again = apply(source, image), apply(source, image)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[1], image)
    assert not torch.equal(augment().draw(4)(source, image)[1], first[1])  # the next step
    torch.manual_seed(7)
    one = augment(0.5).draw(4)(source, image)
    torch.manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(one, augment(0.5).draw(4)(source, image), strict=True))


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_source_and_image_move_alike(probability: float) -> None:
    """Without changes of colour, each pixel keeps its class, and where one is filled the other is too."""
    source, image = pairs()
    torch.manual_seed(1)
    moved, changed = augment(probability, colours=False).draw(4)(source, image)
    filled = (moved == -1).all(dim=1)
    assert filled.any()
    assert torch.equal(filled, (changed == -1).all(dim=1))
    assert torch.equal(changed[:, 0][~filled], moved.argmax(dim=1)[~filled] / 4)
    assert set(moved.unique().tolist()) == {-1.0, 1.0}


def test_colours_change_within_bounds_and_only_the_image() -> None:
    source, image = pairs()
    for seed in range(20):
        torch.manual_seed(seed)
        moved, changed = augment().draw(4)(source, image)
        assert changed.abs().max() <= 1 + 2 * (1 + 0.5) * 2  # shift, then factors of up to 2 and 1.5
        assert set(moved.unique().tolist()) <= {-1.0, 1.0}
    gray = augment().draw(4)(source, image[:, :1])[1]
    assert gray.shape == (4, 1, 32, 24)


def test_gradients_flow_through_all_changes() -> None:
    source, image = pairs()
    image.requires_grad_(True)
    _, changed = augment().draw(4)(source, image)
    changed.sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.count_nonzero() > image.numel() / 4
    assert augment().draw(0)(source[:0], image[:0])[0].shape == (0, 3, 32, 24)


def test_the_probability_follows_the_accuracy_on_targets() -> None:
    adaptive = augment(kind="adaptive")
    assert adaptive.probability == 0
    for _ in range(300):
        adaptive.adapt(0.79, 4)  # a mean sign of 0.58
    assert adaptive.probability == 0
    for _ in range(IMAGES_TO_ONE // 4 + 100):
        adaptive.adapt(1.0, 4)
    assert adaptive.probability == 1
    for _ in range(200):
        adaptive.adapt(0.5, 4)
    assert 0.9 < adaptive.probability < 0.95
    other = augment(kind="adaptive")
    other.load_state_dict(adaptive.state_dict())
    assert other.probability == adaptive.probability
    fixed = augment(0.5)
    fixed.adapt(1.0, 1000)
    assert fixed.probability == 0.5
