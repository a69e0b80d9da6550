"""Two views of a picture: torchvision's colours for the same factors, drawn by the seed alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from graft.errors import UsageError
from graft.views import _colours, pair
from graft.views.pair import Pair

ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def pictures(count: int, side: int = 20) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(count: int) -> Tensor:
    """(B, 4): three factors from 0.2 to 1.8, and a turn from -0.5 to 0.5."""
    made = torch.rand(count, 4, generator=torch.Generator().manual_seed(1))
    return torch.cat([0.2 + 1.6 * made[:, :3], made[:, 3:] - 0.5], 1)


def test_jitter_is_that_of_torchvision_in_each_order() -> None:
    """Of floats, where torchvision does not round; the pictures of a batch are in 24 orders."""
    orders = list(itertools.permutations(range(4)))
    whole, factors = pictures(len(orders)).float(), drawn(len(orders))
    expected = whole / 255
    for i, order in enumerate(orders):
        for kind in order:
            expected[i] = ADJUST[kind](expected[i], factors[i, kind].item())
    made = _colours.jitter(whole, factors, torch.tensor(orders))
    assert torch.allclose(made, 255 * expected, atol=2e-3)


@pytest.mark.parametrize("kind", range(4))
def test_one_step_on_bytes_is_torchvisions_but_for_its_rounding(kind: int) -> None:
    """It cuts the decimals off: what is made here is less than one above (contrast: and by as little below)."""
    whole, factors = pictures(20), drawn(20)
    expected = torch.stack([ADJUST[kind](one, by.item()) for one, by in zip(whole, factors[:, kind], strict=True)])
    still = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(20, 1)
    still[:, kind] = factors[:, kind]
    made = _colours.jitter(whole.float(), still, torch.arange(4).repeat(20, 1))
    assert float((made - expected).abs().max()) < 1.85


def test_greys_and_blur_are_those_of_torchvision() -> None:
    whole = pictures(6).float()
    assert torch.allclose(_colours.grey(whole), F.rgb_to_grayscale(whole), atol=1e-3)
    sigma = torch.linspace(0.1, 2, 6)
    expected = [F.gaussian_blur(one, [3, 3], [by, by]) for one, by in zip(whole, sigma.tolist(), strict=True)]
    assert torch.allclose(_colours.blurred(whole, sigma), torch.stack(expected), atol=1e-3)


def test_colours_without_a_hue_stay_grey() -> None:
    """The hue of a grey is not defined: nothing may be divided by 0."""
    grey = pictures(3)[:, :1].expand(-1, 3, -1, -1).float()
    made = _colours.jitter(
        grey.contiguous(), torch.tensor([[1.0, 1.0, 1.0, 0.3]]).repeat(3, 1), torch.arange(4).repeat(3, 1)
    )
    assert torch.allclose(made, grey, atol=0.05), "its weights sum up to 0.9999"


@pytest.mark.parametrize("view", [Pair(), Pair(blur=0.5), Pair(scale=0.6, flip=False, colour=1.0, grey=0.5)])
@pytest.mark.parametrize("size", [16, 17, 30])
def test_views_are_a_function_of_the_seed_whatever_the_batch(view: Pair, size: int) -> None:
    whole, seeds = pictures(9, 30), [5, 2**62, 7, 0, 1, 2, 3, 4, 9]
    together = view(whole, size, seeds).x
    assert together.shape == (18, 3, size, size) and together.dtype == torch.uint8
    assert together.is_contiguous(memory_format=torch.channels_last)
    alone = [view(one[None], size, [seed]).x for one, seed in zip(whole, seeds, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    back = view(whole.flip(0).contiguous(memory_format=torch.channels_last), size, seeds[::-1]).x
    assert torch.equal(back.unflatten(0, (9, 2)).flip(0).flatten(0, 1), together)


def test_views_are_the_same_however_many_are_coloured_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    view, whole = Pair(blur=0.5), pictures(9)
    made = view(whole, 16, range(9)).x
    for at_once in (1, 5000):
        monkeypatch.setattr(pair, "_AT_ONCE", at_once)
        assert torch.equal(view(whole, 16, range(9)).x, made)


def test_the_generator_stays_and_the_pictures_too() -> None:
    before, whole = torch.get_rng_state(), pictures(4)
    Pair(blur=1.0)(whole, 20, range(4))
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(whole, pictures(4))


def test_the_two_views_differ() -> None:
    first, second = Pair()(pictures(50), 16, range(50)).x.unflatten(0, (50, 2)).unbind(1)
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nothing_but_the_crop_where_nothing_else_is_asked_for() -> None:
    """Boxes and mirror images as torchvision cuts them."""
    view, whole = Pair(flip=True, colour=0, grey=0), pictures(20)
    made = view(whole, 16, range(20)).x.unflatten(0, (20, 2))
    for one, views, seed in zip(whole, made, range(20), strict=True):
        for at, found in zip(view.draws(seed, 20), views, strict=True):
            expected = F.resized_crop(one, *at.box, [16, 16], antialias=True)
            assert torch.equal(found, F.horizontal_flip(expected) if at.mirrored else expected)


def test_shares_and_ranges_are_those_of_the_paper() -> None:
    """0.8 of the views jittered by 0.8 s (hue 0.2 s), 0.2 grey, half mirrored, no order preferred."""
    drawn = [one for seed in range(2000) for one in Pair(blur=0.5).draws(seed, 72)]
    share = {name: sum(bool(getattr(one, name)) for one in drawn) / len(drawn)
             for name in ("jittered", "grey", "mirrored", "sigma")}  # fmt: skip
    assert share == pytest.approx({"jittered": 0.8, "grey": 0.2, "mirrored": 0.5, "sigma": 0.5}, abs=0.03)
    low, high = torch.tensor([one.factors for one in drawn]).aminmax(dim=0)
    assert torch.allclose(low, torch.tensor([0.6, 0.6, 0.6, -0.1]), atol=0.01)
    assert torch.allclose(high, torch.tensor([1.4, 1.4, 1.4, 0.1]), atol=0.01)
    assert len({one.order for one in drawn}) == 24
    areas = [one.box[2] * one.box[3] / 72**2 for one in drawn]
    assert min(areas) > 0.18 and max(areas) <= 1 and max(one.sigma for one in drawn) <= 2


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"scale": 1.1}, {"colour": -0.1}, {"colour": 1.3}, {"grey": 2.0}, {"blur": -1.0}]
)
def test_numbers_outside_of_their_ranges(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        Pair(**wrong)  # type: ignore[arg-type]
    assert caught.value.hint
