"""What a run that learns a trunk of images takes where nothing is said, and what is said of it at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import draw_flowers
from graft import planning
from graft.errors import DataError, UsageError
from graft.recipe import pretext


@pytest.fixture
def loose(tmp_path: Path) -> str:
    (draw_flowers(tmp_path / "drawn", each=12) / "rose").rename(tmp_path / "loose")
    return str(tmp_path / "loose")


def test_labels_are_learned_where_there_are_some(flowers: Path, loose: str) -> None:
    assert planning.of_images(str(flowers), {}) == planning.PRETRAIN
    assert planning.of_images(loose, {})["task"] == "simclr"
    assert planning.of_images(str(flowers), {"task": "byol(dim=8)"})["task"] == "byol(dim=8)"
    assert planning.of_images(str(flowers), {"task": "classification"})["optimizer"] == "sgd"


def test_a_trunk_that_has_learned_goes_on_more_slowly(loose: str) -> None:
    scratch = planning.of_images(loose, {})
    more = planning.of_images(loose, {"backbone": "bundled:tiny64"})
    blank = planning.of_images(loose, {"backbone": "bundled:tiny64(pretrained=False)"})
    assert scratch["strategy"] == blank["strategy"] == planning.SCRATCH and more["strategy"] == planning.FURTHER
    fewer = {"backbone": "bundled:tiny64", "strategy": "full(epochs=2)"}
    assert planning.of_images(loose, fewer)["strategy"] == "full(epochs=2, lr=0.0005, head_lr=0.002)"
    assert planning.of_images(loose, {"strategy": "full(lr=1e-4)"})["strategy"] == "full(lr=1e-4)"
    assert planning.of_images(loose, {"strategy": "gradual"})["strategy"] == "gradual"


@pytest.mark.parametrize(
    ("images", "size", "valid"),
    [(4, 16, 0.2), (60, 16, 0.2), (200, 32, 0.2), (1000, 128, 0.1), (2100, 256, 0.05), (50_000, 256, 0.05)],
)
def test_few_images_make_several_batches_and_a_validation_part_that_says_something(
    images: int, size: int, valid: float
) -> None:
    found = planning._of_few(images)
    assert found == {"batch_size": size, "valid": pytest.approx(valid, abs=0.003)}


def test_what_is_said_counts(loose: str) -> None:
    said = {"batch_size": 8, "valid": 0.3, "weight_decay": 0.1, "ema": 0.9, "test": 0.1}
    assert said.items() <= planning.of_images(loose, said).items()


def test_what_cannot_be(loose: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="simclr makes its own views") as caught:
        planning.of_images(loose, {"augment": "basic"})
    assert "leave --augment out" in caught.value.hint and "simclr(scale=" in caught.value.hint
    with pytest.raises(DataError, match="classification learns from labels, and loose has none"):
        planning.of_images(loose, {"task": "classification"})
    with pytest.raises(DataError, match="1 images, which are too few"):
        planning.of_images(f"{loose}/1.png", {})


@pytest.mark.parametrize(
    ("task", "is_one"),
    [("simclr", True), ("masked-autoencoder(share=0.5)", True), (" mlm", True), ("masked_spectrogram()", True),
     ("classification", False), ("auto", False), ("", False), ("simclr2", False)],
)  # fmt: skip
def test_tasks_without_labels_are_known_by_their_names(task: str, is_one: bool) -> None:
    assert pretext(task) is is_one
