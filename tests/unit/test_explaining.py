"""`graft explain`: what it says, what it writes, what it refuses; and the short form for the report."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import random
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from conftest import draw_flowers, draw_sounds
from graft import alike, api, explaining, registry, run
from graft.errors import DataError, MissingExtra, UsageError
from graft.explainers._fonts import shown
from graft.explainers._overlay import corners
from graft.features import Feed
from graft.types import Json

torch.set_num_threads(1)
WORDS = {"good": ("warm", "funny"), "bad": ("dull", "empty")}
FILLER = ("a", "the", "film", "plot", "and", "was", "is", "with", "scene", "it")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and runs of three modalities."""
    root = tmp_path_factory.mktemp("explaining")
    draw_flowers(root / "flowers")
    draw_sounds(root / "sounds", each=8)
    rng = random.Random(0)
    lines = [f"{' '.join(rng.sample([*rng.sample(FILLER, 5), rng.choice(words)], 6))},{label}"
             for label, words in WORDS.items() for _ in range(80)]  # fmt: skip
    (root / "texts").mkdir()
    (root / "texts" / "t.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    asked = {"device": "cpu", "strategy": "ridge", "report": False}
    api.fit(str(root / "flowers"), backbone="toy(size=32)", out=str(root / "image"), **asked)
    api.fit(str(root / "sounds"), backbone="cnn_tdnn(rate=8000)", out=str(root / "audio"), **asked)
    api.fit(
        str(root / "texts" / "t.csv"), backbone="lstm(dim=32, hidden=32, layers=1)", out=str(root / "text"), **asked
    )
    return root


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A picture that no run has seen."""
    return draw_flowers(tmp_path / "new", each=1, size=40, seed=9) / "rose" / "0.png"


def test_of_an_image_a_picture_regions_and_what_is_alike(home: Path, new: Path, here: Path) -> None:
    pytest.importorskip("captum")
    said = api.explain(home / "image", str(new))
    assert said["method"] == "gradcam" and said["picture"] == "0-gradcam.png"
    assert Image.open(here / said["picture"]).format == "PNG"
    row = api.predict(home / "image", str(new))[0][0]
    assert said["label"] == said["target"] == row["label"]
    assert said["probability"] == said["target_probability"] == pytest.approx(row["probability"])
    assert len(said["alike"]) == 5 and all(-1 <= one["similarity"] <= 1 for one in said["alike"])
    lines = {line["key"]: line for line in run.splits(home / "image")}
    assert all(lines[one["key"]]["split"] == "train" for one in said["alike"])
    _regions_are_inside(said, 40)


def _regions_are_inside(said: Json, side: int) -> None:
    assert said["regions"] and abs(said["regions"][0]["weight"]) == 1
    for one in said["regions"]:
        left, top, right, bottom = one["box"]
        assert 0 <= left < right <= side and 0 <= top < bottom <= side and -1 <= one["weight"] <= 1


@pytest.mark.parametrize("method", sorted(registry.names("explainer")))
@pytest.mark.parametrize("kind", ["image", "text", "audio"])
def test_every_method_draws_or_names_another(home: Path, here: Path, kind: str, method: str) -> None:
    file = {"image": home / "flowers/rose/1.png", "audio": home / "sounds/ring/1.wav", "text": "a warm, empty film"}[
        kind
    ]
    pytest.importorskip("captum")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # such as of characters that no font has
        try:
            said = api.explain(home / kind, str(file), method=method, out="why.png")
        except UsageError as error:
            said = api.explain(home / kind, str(file), method=error.hint.removeprefix("--method "), out="why.png")
    assert Image.open(here / "why.png").size[0] > 800
    assert said["method"] == "neighbours" or said.get("words") or said.get("regions")


def test_of_a_text_its_words_and_of_a_class_that_is_named(home: Path) -> None:
    said = api.explain(home / "text", "a warm and empty film", method="occlusion", target="bad", out="why.png")
    assert said["target"] == "bad" and {one["word"] for one in said["words"]} == {"a", "warm", "and", "empty", "film"}
    weights = {one["word"]: one["weight"] for one in said["words"]}
    assert weights["empty"] > 0 > weights["warm"] and max(map(abs, weights.values())) == 1
    assert all(said["file"][one["start"] : one["end"]] == one["word"] for one in said["words"])


def test_a_text_may_be_a_file(home: Path, here: Path) -> None:
    (here / "note.txt").write_text("a dull\nand empty film\n", encoding="utf-8")
    said = api.explain(home / "text", "note.txt", method="occlusion")
    assert said["picture"] == "note-occlusion.png" and said["label"] == "bad" and len(said["words"]) == 5


def test_of_a_sound_time_and_pitch(home: Path) -> None:
    said = api.explain(home / "audio", str(home / "sounds/whistle/1.wav"), method="occlusion", out="why.png")
    for one in said["regions"]:
        assert 0 <= one["seconds"][0] < one["seconds"][1] <= 0.51 and 0 <= one["hertz"][0] < one["hertz"][1] <= 4000
    assert said["alike"][0]["label"] == "whistle"


def test_the_sample_itself_is_not_like_itself(home: Path) -> None:
    key = next(line["key"] for line in run.splits(home / "image") if line["split"] == "train")
    said = api.explain(home / "image", str(home / "flowers" / key), method="neighbours", out="why.png")
    assert key not in [one["key"] for one in said["alike"]] and said["notes"] == [
        "the file itself is a training sample"
    ]


def test_without_captum_by_occlusion(home: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    assert api.explain(home / "image", str(new), out="why.png")["method"] == "occlusion"
    with pytest.raises(MissingExtra) as caught:
        api.explain(home / "image", str(new), method="gradcam", out="why.png")
    assert caught.value.hint == 'pip install "graft-ml[trust]"'


def test_options_of_a_method_are_said_as_everywhere(home: Path, new: Path) -> None:
    said = api.explain(home / "image", str(new), method="neighbours(k=2)", out="why.png")
    assert len(said["alike"]) == 2
    with pytest.raises(UsageError, match="cells"):
        api.explain(home / "image", str(new), method="occlusion(cells=1)")


def test_training_data_that_are_gone_are_said_and_changed_ones_are_not_shown(home: Path, new: Path, here: Path) -> None:
    shutil.copytree(home / "flowers", here / "moved")
    said = api.fit(str(here / "moved"), backbone="toy", strategy="ridge", device="cpu", out="run", report=False)
    trained = [line["key"] for line in run.splits(Path("run")) if line["split"] == "train"]
    for key in trained[3:]:
        Image.new("RGB", (24, 24), (1, 2, len(key))).save(here / "moved" / key)
    kept = api.explain(said["run"], str(new), method="occlusion", out="why.png")
    assert {one["key"] for one in kept["alike"]} == set(trained[:3])
    shutil.rmtree(here / "moved")
    gone = api.explain(said["run"], str(new), method="occlusion", out="why.png")
    assert gone["alike"] == [] and "is not where it was" in gone["notes"][0]
    with pytest.raises(UsageError) as caught:
        api.explain(said["run"], str(new), method="neighbours", out="why.png")
    assert caught.value.hint == "--method occlusion"


def test_a_large_folder_is_read_for_so_long_and_no_longer(
    home: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look at this clock takes 5 s."""
    clock, read = itertools.count(step=5), []
    hashed = alike._with_digest
    monkeypatch.setattr("graft.alike.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("graft.alike._with_digest", lambda one, data: read.append(one.key) or hashed(one, data))
    said = api.explain(home / "image", str(new), method="occlusion", out="why.png")
    trained = {line["key"] for line in run.splits(home / "image") if line["split"] == "train"}
    assert len(read) == 4 and {Path(key).parent.name for key in read} != {"daisy"}, "of more than the first class"
    assert {one["key"] for one in said["alike"]} == trained & set(read)
    assert said["notes"] == [f"among {len(said['alike'])} of {len(trained)} training samples"]
    monkeypatch.setattr("graft.alike.PATIENCE", -1)
    said = api.explain(home / "image", str(new), method="occlusion", out="why.png")
    assert said["alike"] == [] and "none was among the 0 of 36 samples" in said["notes"][0]


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("words", "error", "what", "hint"), [
    ({"method": "gradcan"}, UsageError, "no explainer called 'gradcan'", "did you mean 'gradcam'"),
    ({"method": "occlusion(cell=3)"}, UsageError, "cell", "did you mean 'cells'"),
    ({"target": "roze"}, UsageError, "no class 'roze'", "did you mean 'rose'"),
    ({"file": "nothing.png"}, DataError, "nothing.png", ""),
    ({"file": "flowers"}, UsageError, "is a folder", "name a file in it"),
    ({"file": "sounds/hum/1.wav"}, UsageError, "is a sound", "give an image"),
    ({"file": "a warm film"}, UsageError, "is a text", "give an image"),
    ({"out": "why.jpg"}, UsageError, "no name for a picture", "--out"),
    ({"out": "no/such/why.png"}, UsageError, "there is no folder", "mkdir -p"),
    ({"device": "gpu9"}, UsageError, "gpu9", "--device auto"),
])  # fmt: skip
def test_mistakes_are_named_and_nothing_is_written(home: Path, new: Path, here: Path, words: Json,
                                                   error: type[Exception], what: str, hint: str) -> None:  # fmt: skip
    given = {"method": "occlusion", **words}
    file = given.pop("file", str(new))
    file = str(home / file) if (home / file).exists() else file
    before = sorted(here.rglob("*.png"))
    with pytest.raises(error) as caught:
        api.explain(home / "image", file, **given)
    assert what in caught.value.what and hint in caught.value.hint  # type: ignore[attr-defined]
    assert sorted(here.rglob("*.png")) == before


def test_files_that_are_missing_are_no_texts(home: Path) -> None:
    for file in ("notes.txt", "texts/notes.txt", "/no/such/place"):
        with pytest.raises(DataError, match="there is no file"):
            api.explain(home / "text", file)
    with pytest.raises(UsageError, match="is an image"):
        api.explain(home / "text", str(home / "flowers/rose/1.png"))
    with pytest.raises(DataError, match="empty"):
        api.explain(home / "text", "  ")


def test_a_file_that_cannot_be_read_is_said(home: Path, here: Path) -> None:
    (here / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="can be read: not an image"):
        api.explain(home / "image", "bad.png")


def test_a_run_that_is_not_finished_or_says_no_classes(home: Path, new: Path, here: Path) -> None:
    shutil.copytree(home / "image", here / "half")
    (here / "half" / "manifest.json").unlink()
    with pytest.raises(DataError, match="is not finished"):
        api.explain("half", str(new))
    numbers = "\n".join(["text,label", *(f"a film of {i} hours,{i}.5" for i in range(30))])
    (here / "n.csv").write_text(numbers, encoding="utf-8")
    made = api.fit(
        "n.csv", backbone="tfidf", strategy="linear_probe(epochs=1)", out="numbers", device="cpu", report=False
    )
    with pytest.raises(UsageError, match="only classes of whole samples"):
        api.explain(made["run"], "a film")


def test_only_its_own_pictures_are_replaced(home: Path, new: Path, here: Path) -> None:
    for name, content in (("why.png", new.read_bytes()), ("text.png", b"mine")):
        (here / name).write_bytes(content)
        with pytest.raises(UsageError, match="is there already"):
            api.explain(home / "image", str(new), method="occlusion", out=name)
        assert (here / name).read_bytes() == content
    for _ in range(2):
        api.explain(home / "image", str(new), method="occlusion", out="own.png")


def test_nothing_is_written_among_the_data(home: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _content(home)
    for out in (home / "flowers" / "why.png", home / "flowers" / "rose" / "why.png"):
        with pytest.raises(UsageError, match="among the data"):
            api.explain(home / "image", str(new), method="occlusion", out=str(out))
    monkeypatch.chdir(home / "flowers" / "rose")
    with pytest.raises(UsageError, match="among the data"):
        api.explain(home / "image", "1.png", method="occlusion")
    assert _content(home) == before


def test_beside_a_table_is_a_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "texts")
    said = api.explain(home / "text", "a dull film", method="occlusion")
    Path(said["picture"]).unlink()


def _content(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize(
    "text", ["$x^2$ and $\\frac{", "电影很好看", "𒐫 \ud800 \x07\x1b[31m", "<b>&amp;</b>", "عربي", "a" * 900]
)
def test_names_and_texts_are_drawn_as_they_are(home: Path, here: Path, text: str, recwarn: pytest.WarningsRecorder,
                                               caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    from graft.explainers._draw import Tile, alike, head, write
    from graft.explainers._draw import text as words

    tile = Tile(text, 0.5, None, text)
    write(here / "why.png", [head(text, [text]), words([(text, 1.0), ("x", None)]), alike([tile], text)])
    assert Image.open(here / "why.png").format == "PNG"
    assert not [one for one in recwarn if "Glyph" in str(one.message)] and not caplog.records


def test_what_no_font_has_is_written_as_its_code() -> None:
    assert shown("a\ue123b") == "a\\ue123b" and shown("a\x07") == "a\\u0007" and shown("one\n two") == "one two"
    assert len(shown("word " * 100, 50)) == 50


def test_what_the_network_sees_is_the_middle() -> None:
    """Against the preprocessing itself: of a picture whose pixels say where they are."""
    from graft.backbones._images import Images

    for made in (Images(16, 16), Images(16, 24), Images(24, 12), Images(20, 30, squash=True)):
        for width, height in ((120, 80), (80, 120), (100, 100)):
            ramp = Image.new("RGB", (width, height))
            ramp.putdata([(x * 2, y * 2, 0) for y in range(height) for x in range(width)])
            seen = made.centre(made.sample(ramp)).float() / 2
            left, top, right, bottom = corners((width, height), made.json())
            half = (right - left) / made.size / 2
            assert float(seen[0, :, 0].mean()) == pytest.approx(left + half, abs=3)
            assert float(seen[0, :, -1].mean()) == pytest.approx(right - half, abs=3)
            half = (bottom - top) / made.size / 2
            assert float(seen[1, 0].mean()) == pytest.approx(top + half, abs=3)
            assert float(seen[1, -1].mean()) == pytest.approx(bottom - half, abs=3)


# -------------------------------------------------------------------------------------------------- for the report


@pytest.mark.parametrize("kind", ["image", "text", "audio"])
def test_brief_gives_small_pictures_or_words(home: Path, kind: str) -> None:
    loaded, feed = _feed(home, kind)
    made = explaining.brief(loaded.model, loaded.task, feed, [0, 2, 1], [0, 1, 0], 60.0)
    assert [one["method"] for one in made] == ["occlusion"] * 3
    for one in made:
        if kind == "text":
            assert one["picture"] is None and max(abs(weight) for _, weight in one["words"]) == 1
        else:
            picture = one["picture"]
            opened = Image.open(io.BytesIO(base64.b64decode(picture["data"])))
            assert opened.size == (picture["width"], picture["height"]) and max(opened.size) <= 240
            assert one["words"] is None and picture["type"] == "image/webp" and len(picture["data"]) < 20_000


def test_brief_keeps_to_its_time(home: Path) -> None:
    loaded, feed = _feed(home, "image")
    assert explaining.brief(loaded.model, loaded.task, feed, list(range(20)), [0] * 20, 0.0) == []
    assert explaining.brief(loaded.model, loaded.task, feed, [], [], 9.0) == []


def _feed(home: Path, kind: str) -> tuple[run.Loaded, Feed]:
    from graft.intake import for_prediction

    loaded = run.load(home / kind)
    data = {"image": "flowers", "text": "texts/t.csv", "audio": "sounds"}[kind]
    dataset = for_prediction(str(home / data), loaded)
    return loaded, Feed(dataset, loaded.model.backbone, device=torch.device("cpu"), targets=())
