"""The trunk of a finished run: its weights, checked, without its head, and soon without its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.conftest import draw_flowers
from torch import nn

from graft import api, build, run
from graft.backbones.trained import trained
from graft.checkpoint import load_tensors
from graft.errors import DataError, IntegrityError, UsageError
from graft.nn.named import Named
from graft.types import Backbone, Preprocess, Text

torch.set_num_threads(1)
TINY = "bert(layers=1, dim=16, heads=2, vocabulary=300, length=24)"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("images")
    api.fit(str(draw_flowers(here / "flowers", 6)), backbone="toy", strategy="full(epochs=1, lr=0.01)",
            out=str(here / "run"), controls=False)  # fmt: skip
    return here / "run"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("texts")
    (here / "notes.txt").write_text("\n".join(f"note {i} of the {'cat' if i % 2 else 'dog'}" for i in range(40)))
    api.pretrain(str(here / "notes.txt"), backbone=TINY, strategy="full(epochs=1)", valid=0.2, out=str(here / "run"))
    return here / "run"


@pytest.fixture(params=["images", "texts"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def same(a: Backbone, b: Backbone) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def test_it_is_the_trunk_of_the_run(folder: Path) -> None:
    made, own = trained(str(folder)), run.load(folder).model.backbone
    assert (
        same(made, own)
        and _kept(made.preprocess) == _kept(own.preprocess)
        and str(made.info.source) == f"trained:{folder}"
    )
    assert (made.info.dim, made.info.parameters, made.info.licence) == (own.info.dim, own.info.parameters, "Apache-2.0")
    assert len(made.info.sha256) == 64 and made.info.lr == own.info.lr
    assert made.info.pretrained_on in ("flowers", "notes.txt")


def head_of(folder: Path) -> Named | None:
    found = trained(str(folder)).heads.get("classes")
    assert found is None or isinstance(found, Named)
    return found


def test_what_a_run_of_classes_says_of_them_comes_with_their_names(images: Path) -> None:
    head, own = head_of(images), run.load(images).model
    x = torch.randn(5, own.backbone.info.dim)
    assert head is not None and head.classes == ("daisy", "rose", "tulip")
    assert isinstance(own.head, nn.Sequential), "a head that standardises"
    assert torch.equal(head.eval()(x), own.head(x))
    assert not any("head" in name or "classes" in name for name in trained(str(images)).state_dict())
    assert "classes" not in trained(str(images), pretrained=False).heads


@pytest.mark.parametrize(
    ("options", "has"),
    [({"strategy": "ridge"}, True), ({"strategy": "full(epochs=1)", "head": "linear(standardize=False)"}, True),
     ({"strategy": "ridge", "features": "stages"}, False), ({"strategy": "knn"}, False),
     ({"strategy": "full(epochs=1)", "head": "mlp(hidden=(8,))"}, False)],
)  # fmt: skip
def test_linear_heads_are_kept_and_no_others(options: dict[str, str], has: bool, tmp_path: Path) -> None:
    data = draw_flowers(tmp_path / "flowers", 6)
    api.fit(str(data), backbone="toy", out=str(tmp_path / "run"), controls=False, **options)
    head, own, x = head_of(tmp_path / "run"), run.load(tmp_path / "run").model, torch.randn(4, 32)
    assert (head is not None) == has
    if head is not None:
        torch.testing.assert_close(head(x), own.head(x).float())


def test_a_run_without_classes_says_none(texts: Path) -> None:
    assert head_of(texts) is None and "words" in trained(str(texts)).heads


def test_long_texts_are_read_as_the_source_does_unless_told_otherwise(texts: Path) -> None:
    """The run hides words, and so read windows; what is made of its trunk is compared with trunks that cut."""
    assert run.load(texts).model.backbone.preprocess.json()["long"] == "windows"
    told = trained(str(texts), long="windows")
    assert trained(str(texts)).preprocess.json()["long"] == "truncate"
    assert told.preprocess.json()["long"] == "windows" and told.info.source.options == {"long": "windows"}
    with pytest.raises(UsageError, match="no way to read long texts"):
        trained(str(texts), long="window")


def _kept(preprocess: Preprocess) -> dict[str, object]:
    """All of it but how long texts are read."""
    return {key: value for key, value in preprocess.json().items() if key != "long"}


def test_features_are_those_of_the_run(texts: Path) -> None:
    made, own = trained(str(texts)).eval(), run.load(texts).model.backbone.eval()
    raws = [Text("note 3 of the cat"), Text("of")]
    torch.testing.assert_close(made(made.prepare(raws)).tokens, own(own.prepare(raws)).tokens)


def test_random_weights_of_the_same_trunk(folder: Path) -> None:
    made, blank = trained(str(folder)), trained(str(folder), pretrained=False)
    assert made.state_dict().keys() == blank.state_dict().keys() and not same(made, blank)
    assert blank.preprocess == made.preprocess and not blank.info.sha256 and not blank.info.pretrained_on


def test_a_run_on_it_outlives_its_folder(folder: Path, tmp_path: Path) -> None:
    gone, data = tmp_path / "first", tmp_path / "data"
    shutil.copytree(folder, gone)
    if folder.parent.name.startswith("images"):
        draw_flowers(data, 6, seed=1)
    else:
        data = tmp_path / "data.csv"
        rows = "\n".join(f"a {'cat' if i % 2 else 'dog'} no {i},{'ab'[i % 2]}" for i in range(40))
        data.write_text("text,label\n" + rows)
    options = {"strategy": "ridge", "controls": False, "backbone": f"trained:{gone}"}
    api.fit(str(data), out=str(tmp_path / "second"), **options)
    first = f"trained:{tmp_path / 'second'}"
    api.fit(str(data), out=str(tmp_path / "third"), **options | {"backbone": first, "strategy": "full(epochs=1)"})
    for name in ("first", "second"):
        shutil.rmtree(tmp_path / name)
    again = trained(str(tmp_path / "third"))
    assert again.info.pretrained_on.endswith(", then data" if data.is_dir() else ", then data.csv")
    assert len(api.predict(tmp_path / "third", str(data))[0]) == (18 if data.is_dir() else 40)


@pytest.mark.parametrize("name", ["model.safetensors", "preprocessing.json", "backbone.json"])
def test_damage_is_noticed(name: str, texts: Path, tmp_path: Path) -> None:
    shutil.copytree(texts, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "copy" / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        trained(str(tmp_path / "copy"))


def test_what_is_no_finished_run(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        trained(str(tmp_path))
    shutil.copytree(texts, tmp_path / "half")
    (tmp_path / "half" / "manifest.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        trained(str(tmp_path / "half"))


def test_it_is_a_backbone_by_name(texts: Path) -> None:
    made = build.backbone(f"trained:{texts}")
    record = json.loads(json.dumps(run.info_json(made.info)))
    rebuilt = build.backbone("toy") and run.rebuild(record)
    assert rebuilt.info == made.info
    trunk = {n: t for n, t in load_tensors(texts / "model.safetensors").items() if n.startswith("backbone.")}
    assert {n.removeprefix("backbone.") for n in trunk} == set(rebuilt.state_dict())
