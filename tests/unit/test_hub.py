"""Runs go to the hub and come back the same, say nothing of the user's data but what they must, and are refused in
words where they are not what they should be. A stand-in takes the hub's place."""

from __future__ import annotations

import csv
import fnmatch
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import errors

import graft
from conftest import PITCHES, draw_flowers, tone, write_wav
from graft import bare, hub, run, store
from graft.errors import DataError, GraftError, IntegrityError, ResourceError, UsageError
from test_mistakes import graft as shell
from test_mistakes import refused

torch.set_num_threads(1)
QUICK: dict[str, Any] = {"backbone": "toy", "strategy": "linear_probe(epochs=1)", "device": "cpu"}
NAME = "someone/flowers"


def failure(kind: Callable[..., Exception], status: int) -> Exception:
    """An error of the library; which network library is below it differs between its versions."""
    answer = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(f"{status} of the stand-in", response=answer)


class ConnectError(Exception):
    """As a network library raises it: no OSError."""


class Hub:
    """Repositories by name, as the hub and its cache show them; `wrong` is raised in place of an answer."""

    endpoint = "https://hub.test"

    def __init__(self, cache: Path) -> None:
        self.cache, self.files, self.private, self.commits = cache, dict[str, dict[str, bytes]](), dict[str, bool](), 0
        self.wrong: Exception | None = None

    def _ask(self, name: str) -> None:
        if self.wrong:
            raise self.wrong
        if name not in self.files:
            raise failure(errors.RepositoryNotFoundError, 404)

    def repo_info(self, name: str) -> Any:
        self._ask(name)
        return SimpleNamespace(private=self.private[name])

    def list_repo_files(self, name: str) -> list[str]:
        self._ask(name)
        return [".gitattributes", *self.files[name]]

    def create_repo(self, name: str, *, private: bool) -> None:
        if self.wrong:
            raise self.wrong
        self.files[name], self.private[name] = {}, private

    def create_commit(self, name: str, operations: list[Any], *, commit_message: str) -> Any:
        self._ask(name)
        assert commit_message
        self.commits += 1
        for one in operations:
            if type(one).__name__ == "CommitOperationDelete":
                del self.files[name][one.path_in_repo]
                continue
            content = one.path_or_fileobj
            self.files[name][one.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        return SimpleNamespace(repo_url=f"{self.endpoint}/{name}")

    def snapshot_download(
        self, name: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool
    ) -> str:
        """Blobs, and links to them, as in the hub's cache."""
        found = self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / "0"
        if local_files_only:
            if not found.exists():
                raise errors.LocalEntryNotFoundError("not there")
            return str(found)
        self._ask(name)
        if revision not in (None, "main"):
            raise failure(errors.RevisionNotFoundError, 404)
        wanted = [n for n in self.files[name] if any(fnmatch.fnmatch(n, pattern) for pattern in allow_patterns)]
        if not wanted:
            raise ValueError("no file matches")
        found.mkdir(parents=True, exist_ok=True)
        for one in wanted:
            blob = self.cache / "blobs" / f"{len(list(self.cache.rglob('*')))}-{one}"
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(self.files[name][one])
            (found / one).unlink(missing_ok=True)
            (found / one).symlink_to(blob)
        return str(found)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(tmp_path / "hub")
    made.cache.mkdir()
    monkeypatch.setenv("GRAFT_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda library_name: made)
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.snapshot_download)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_stand_in")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on flowers, and other flowers."""
    root = tmp_path_factory.mktemp("a_private_folder")
    draw_flowers(root / "flowers")
    draw_flowers(root / "others", each=4, seed=5)
    graft.fit(str(root / "flowers"), **QUICK, out=str(root / "run"))
    return root


def pushed(folder: Path, there: Hub, name: str = NAME) -> dict[str, bytes]:
    assert graft.push(folder, name)["pushed"]
    return there.files[name]


def private_words(folder: Path) -> Iterator[str]:
    """Names and hashes of samples, and the folders of this machine."""
    yield str(folder.parent.parent)
    for line in run.splits(folder):
        yield from (line["key"], line["sha256"])


def tell_nothing(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        for word in private_words(folder):
            assert word.encode() not in content, (name, word)


# ---------------------------------------------------------------------------------------------------------- round trips


def test_what_comes_back_predicts_the_same(place: Path, there: Hub) -> None:
    files = pushed(place / "run", there)
    assert there.commits == 1 and {*hub.ALWAYS, *run.TRUSTED, "manifest.json", "README.md"} == files.keys()
    assert not {"splits.jsonl", "result.json", "report.html", "shown.json", "issues.json", "sealed.json"} & files.keys()
    tell_nothing(files, place / "run")
    ours, _ = graft.predict(place / "run", str(place / "others"))
    theirs, _ = graft.predict(f"hub:{NAME}", str(place / "others"))
    assert ours == theirs and len(ours) == 12 and all("set" in row and "unlike" in row for row in ours)
    assert graft.load(f"hub:{NAME}@main").classes == ("daisy", "rose", "tulip")
    figures = [graft.evaluate(asked, str(place / "others")) for asked in (place / "run", f"hub:{NAME}")]
    assert figures[0]["scores"] == figures[1]["scores"]
    assert "seen-unknown" in {issue["code"] for issue in figures[1]["issues"]}
    assert not [path for path in there.cache.rglob("*") if path.name in ("splits.jsonl", "sealed.json")]


def test_what_a_user_reads(place: Path, there: Hub) -> None:
    card = pushed(place / "run", there)["README.md"].decode()
    assert card.startswith("---\n") and f"graft predict hub:{NAME} DATA" in card
    recipe = json.loads(there.files[NAME]["recipe.json"])
    assert recipe["data"] == "flowers" and recipe["seed"] == 0


def test_texts(tmp_path: Path, there: Hub) -> None:
    rows = [
        f"the {'red rose' if i % 2 else 'yellow tulip'} number {i},{'rose' if i % 2 else 'tulip'}" for i in range(40)
    ]
    table = tmp_path / "my notes.csv"
    table.write_text("body,kind\n" + "\n".join(rows) + "\n", encoding="utf-8")
    graft.fit(str(table), text="body", label="kind", backbone="tfidf", strategy="ridge", out=str(tmp_path / "run"))
    files = pushed(tmp_path / "run", there)
    tell_nothing(files, tmp_path / "run")
    assert json.loads(files["recipe.json"])["data"] == "my notes.csv(text='body', label='kind')"
    (tmp_path / "new.txt").write_text("a red one\na yellow one\n", encoding="utf-8")
    ours, theirs = (graft.predict(asked, str(tmp_path / "new.txt"))[0] for asked in (tmp_path / "run", f"hub:{NAME}"))
    assert ours == theirs


def strings(root: Path, count: int) -> Path:
    """root/strings.csv: one to three notes in a row, and their names."""
    rng, rows = random.Random(0), [("path", "transcript")]
    for number in range(count):
        names = rng.choices(list(PITCHES), k=rng.randint(1, 3))
        write_wav(root / f"{number}.wav", np.concatenate([tone(PITCHES[name], 0.25, 8000, rng) for name in names]))
        rows.append((f"{number}.wav", " ".join(names)))
    with (root / "strings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return root / "strings.csv"


@pytest.mark.parametrize("counts", [True, False])
def test_a_decoder_keeps_the_words_that_it_counts(counts: bool, tmp_path: Path, there: Hub) -> None:
    pytest.importorskip("jiwer", reason="needs jiwer")
    table, task = strings(tmp_path / "said", 40), "ctc(beam=4, dictionary='train', lm='words')" if counts else "ctc"
    trunk = "cnn_tdnn(rate=8000, mels=16, dim=16, widths=(4, 8), blocks=1)"
    graft.fit(str(table), backbone=trunk, strategy="full(epochs=4, lr=0.02, head_lr=0.02)", batch_size=8, task=task,
              augment="none", out=str(tmp_path / "run"))  # fmt: skip
    files = pushed(tmp_path / "run", there)
    tell_nothing(files, tmp_path / "run")
    kept = json.loads(files["transcripts.json"])
    assert kept == sorted(kept) and bool(kept) == counts
    ours, theirs = (graft.predict(asked, str(tmp_path / "said"))[0] for asked in (tmp_path / "run", f"hub:{NAME}"))
    assert ours == theirs


def test_an_adapted_run_of_a_run_from_the_hub(place: Path, there: Hub, tmp_path: Path) -> None:
    pushed(place / "run", there)
    graft.adapt(f"hub:{NAME}", str(place / "others"), method="refit", out=str(tmp_path / "new"))
    files = pushed(tmp_path / "new", there, "someone/adapted")
    tell_nothing(files, tmp_path / "new")
    assert "adapted.json" not in files and b"Adapted by `refit`" in files["README.md"]
    asked = (tmp_path / "new", "hub:someone/adapted")
    ours, theirs = (graft.predict(one, str(place / "flowers" / "rose"))[0] for one in asked)
    assert ours == theirs


def test_a_trunk_of_another_run_names_no_folder(place: Path, there: Hub, tmp_path: Path) -> None:
    trunk = f"trained:{place / 'run'}"
    graft.fit(str(place / "others"), **{**QUICK, "backbone": trunk}, valid=0.25, test=0.25, out=str(tmp_path / "new"))
    files = pushed(tmp_path / "new", there)
    tell_nothing(files, tmp_path / "new")
    assert str(place).encode() not in b"".join(files.values())
    asked = (tmp_path / "new", f"hub:{NAME}")
    ours, theirs = (graft.predict(one, str(place / "flowers" / "rose"))[0] for one in asked)
    assert ours == theirs


def test_a_downloaded_run_is_a_trunk(place: Path, there: Hub, tmp_path: Path) -> None:
    pushed(place / "run", there)
    trunk = f"trained:{hub.folder_of(f'hub:{NAME}')}"
    graft.fit(str(place / "others"), **{**QUICK, "backbone": trunk}, valid=0.25, test=0.25, out=str(tmp_path / "new"))


def test_no_field_of_a_recipe_tells_a_path() -> None:
    asked = {
        "data": "/home/me/clinic/x.csv(text='body')",
        "backbone": "google/vit + local:/home/me/w.pth(arch='a')",
        "task": "ctc(lm='words', dictionary='/home/me/clinic/d.txt')",
        "strategy": "lp_ft(start='C:\\\\me\\\\s.txt')",
        "sealed": "~/clinic/part",
        "head": "mlp(hidden=(1024, 512), dropout=0.5)",
        "terms": ["l2_sp(alpha=0.01)", "distil(teacher='trained:/home/me/clinic/run')"],
        "augment": "basic(noise=(5, 30), impulses=('/home/me/clinic/a', 'b'))",
        **(untouched := {"budget": "10m", "epsilon": 0.3, "patience": None, "class_weights": "balanced"}),
    }
    made = bare.recipe(asked)
    assert made.keys() == asked.keys() and not {"clinic", "me"} & set(re.findall(r"\w+", json.dumps(made)))
    assert made["task"] == "ctc(lm='words', dictionary='d.txt')" and made["sealed"] == "part"
    assert made["strategy"] == "lp_ft(start='s.txt')" and "distil(teacher='trained:run')" in made["terms"]
    assert untouched.items() <= made.items() and made["head"] == asked["head"]


def test_a_run_of_somebody_else_opens_no_data_of_mine(
    place: Path, tmp_path: Path, there: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe may name any folder: `explain` would look there for samples that are alike."""
    files = pushed(place / "run", there)
    files["recipe.json"] = json.dumps({**json.loads(files["recipe.json"]), "data": str(place / "flowers")}).encode()
    sealed(files)
    monkeypatch.setattr("graft.alike.open_data", None)
    asked = {"method": "occlusion", "out": str(tmp_path / "why.png")}
    said = graft.explain(f"hub:{NAME}", str(place / "others" / "rose" / "0.png"), **asked)
    assert said["alike"] == [] and "a run from the hub does not list its samples" in said["notes"][0]


# ---------------------------------------------------------------------------------------------------------------- push


def test_a_dry_run_sends_nothing_and_tells_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", None)
    before = sorted((path, path.stat().st_mtime_ns) for path in (place / "run").rglob("*"))
    result = graft.push(place / "run", NAME, dry_run=True)
    assert not result["pushed"] and result["url"] is None
    assert sorted((path, path.stat().st_mtime_ns) for path in (place / "run").rglob("*")) == before
    sizes = {one["name"]: (one["bytes"], one["sha256"]) for one in result["files"]}
    model = place / "run" / "model.safetensors"
    assert sizes["model.safetensors"] == (model.stat().st_size, store.sha256(model))
    assert all(one["name"] in "\n".join(hub.told(result)) for one in result["files"])


def test_what_is_listed_is_what_goes(place: Path, there: Hub) -> None:
    listed = graft.push(place / "run", NAME, dry_run=True)["files"]
    files = pushed(place / "run", there)
    assert {one["name"]: one["bytes"] for one in listed} == {name: len(content) for name, content in files.items()}
    assert not [name for name in files if name.endswith((".pt", ".pth", ".bin", ".pkl", ".py"))]


def test_a_second_push_leaves_nothing_of_the_first(place: Path, there: Hub) -> None:
    pushed(place / "run", there)
    there.files[NAME] |= {"chosen.json": b"{}", "transcripts.json": b"[]", "notes.md": b"mine"}
    files = pushed(place / "run", there)
    assert not {"chosen.json", "transcripts.json"} & files.keys() and files["notes.md"] == b"mine"
    assert graft.predict(f"hub:{NAME}", str(place / "others"))[0]


def test_a_repository_of_something_else_is_left_alone(place: Path, there: Hub) -> None:
    there.create_repo(NAME, private=False)
    there.files[NAME] = {"README.md": b"my other model", "config.json": b"{}"}
    with pytest.raises(UsageError, match="something else") as caught:
        graft.push(place / "run", NAME)
    assert caught.value.hint and there.files[NAME]["README.md"] == b"my other model"


def test_what_is_private_never_goes_where_all_can_see_it(place: Path, there: Hub) -> None:
    there.create_repo(NAME, private=False)
    with pytest.raises(UsageError, match="public"):
        graft.push(place / "run", NAME, private=True)
    assert not there.files[NAME]
    graft.push(place / "run", "someone/secret", private=True)
    assert there.private["someone/secret"]


@pytest.mark.parametrize("name", ["flowers", "", "/", "a/b/c", "a//b", "a/", "/b", "a b/c", "a/b.git", "a/b--c", "a/..",
                                  "a/b@main", "ü/b", "a/-b", "a/b\n", "hub:a/b", "../b", "a/" + "b" * 97])  # fmt: skip
def test_names_that_are_none(name: str, place: Path) -> None:
    with pytest.raises(UsageError, match="no name on the hub"):
        graft.push(place / "run", name, dry_run=True)
    with pytest.raises(UsageError, match="no name on the hub|no revision"):
        hub.folder_of(f"hub:{name}" if "@" not in name else f"hub:{name}..")


REFUSALS = [
    (failure(errors.HfHubHTTPError, 401), UsageError, "hf auth login"),
    (failure(errors.HfHubHTTPError, 403), UsageError, "hf auth login"),
    (failure(errors.GatedRepoError, 403), UsageError, "hf auth login"),
    (errors.LocalTokenNotFoundError("none"), UsageError, "hf auth login"),
    (failure(errors.HfHubHTTPError, 500), ResourceError, "again"),
    (ConnectError("no route"), ResourceError, "again"),
    (errors.OfflineModeIsEnabled("HF_HUB_OFFLINE"), ResourceError, "again"),
    (TimeoutError(), ResourceError, "again"),
]


@pytest.mark.parametrize("wrong, kind, hint", REFUSALS, ids=lambda value: type(value).__name__)
def test_what_the_hub_refuses(wrong: Exception, kind: type[GraftError], hint: str, place: Path, there: Hub) -> None:
    there.wrong = wrong
    for ask in (lambda: graft.push(place / "run", NAME), lambda: graft.load(f"hub:{NAME}")):
        with pytest.raises(kind) as caught:
            ask()
        assert hint in caught.value.hint and NAME in caught.value.what and "\n" not in caught.value.what


def test_a_bug_of_ours_is_not_called_the_networks(place: Path, there: Hub) -> None:
    for ours in (UsageError("ours", "so"), TypeError("ours")):
        there.wrong = ours
        with pytest.raises(type(ours), match="ours"):
            graft.push(place / "run", NAME)


def test_without_a_network(place: Path, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(ResourceError, match="GRAFT_OFFLINE"):
        graft.push(place / "run", NAME)
    with pytest.raises(ResourceError, match="not in the hub's cache"):
        graft.load(f"hub:{NAME}")
    monkeypatch.setenv("GRAFT_OFFLINE", "0")
    pushed(place / "run", there)
    graft.load(f"hub:{NAME}")
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    assert graft.load(f"hub:{NAME}").classes


def test_the_librarys_own_cache(place: Path, tmp_path: Path, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real snapshot_download, offline, of a folder as it keeps them."""
    files, commit = pushed(place / "run", there), "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.undo()
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cache" / "models--someone--flowers"
    (root / "snapshots" / commit).mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    for name, content in files.items():
        (root / "snapshots" / commit / name).write_bytes(content)
    assert graft.load(f"hub:{NAME}").classes == graft.load(f"hub:{NAME}@{commit}").classes
    with pytest.raises(ResourceError, match="not in the hub's cache"):
        graft.load(f"hub:{NAME}@v2")


# ------------------------------------------------------------------------------------------------------------- hostile


def sealed(files: dict[str, bytes]) -> None:
    """Make the manifest fit whatever the files are, as their author could."""
    listed = {name: hub._facts(content)["sha256"] for name, content in files.items() if name in hub.OURS}
    content = {"format": 1, "files": listed}
    files["manifest.json"] = json.dumps({"sha256": store.json_digest(content), "content": content}).encode()


@pytest.mark.parametrize("name", [*hub.ALWAYS, "manifest.json"])
def test_a_changed_byte(name: str, place: Path, there: Hub) -> None:
    files = pushed(place / "run", there)
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    files[name] = bytes(content)
    with pytest.raises(IntegrityError):
        graft.load(f"hub:{NAME}")


@pytest.mark.parametrize("name", [*hub.ALWAYS, "manifest.json"])
def test_a_missing_file(name: str, place: Path, there: Hub) -> None:
    del pushed(place / "run", there)[name]
    with pytest.raises((IntegrityError, UsageError)):
        graft.load(f"hub:{NAME}")


@pytest.mark.parametrize("name", ["trust.json", "trust.safetensors", "chosen.json", "transcripts.json"])
def test_a_file_that_nobody_signed(name: str, place: Path, there: Hub) -> None:
    files = pushed(place / "run", there)
    files.pop(name, None)
    sealed(files)
    files[name] = b"{}"
    with pytest.raises(IntegrityError, match="manifest"):
        graft.load(f"hub:{NAME}")


@pytest.mark.parametrize("named", ["../../../etc/passwd", "/etc/passwd", "weights.pkl", "splits.jsonl"])
def test_a_manifest_that_names_other_files(named: str, place: Path, there: Hub) -> None:
    files = pushed(place / "run", there)
    content = json.loads(files["manifest.json"])["content"]
    content["files"][named] = "0" * 64
    files["manifest.json"] = json.dumps({"sha256": store.json_digest(content), "content": content}).encode()
    with pytest.raises(IntegrityError, match="manifest"):
        graft.load(f"hub:{NAME}")


SHAPES = [b"[]", b"{}", b"null", b"3", b'"x"', b"{", b"\xff", b'{"files": []}']


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("name", ["backbone.json", "preprocessing.json", "labels.json", "recipe.json", "manifest.json"])
def test_json_of_another_shape(name: str, shape: bytes, place: Path, there: Hub) -> None:
    files = pushed(place / "run", there)
    files[name] = shape
    if name != "manifest.json":
        sealed(files)
    with pytest.raises((IntegrityError, UsageError, DataError)) as caught:
        graft.predict(f"hub:{NAME}", str(place / "others"))
    assert caught.value.hint


SOURCES = ["transformers:evil/model", "local:/etc/passwd(arch='resnet18')", "trained:/", "nothing", "__import__:os",
           "../../x", "toy(pretrained=True, dim=-1)", "timm:hf-hub:evil/x"]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_an_architecture_that_is_none_of_ours(source: str, place: Path, there: Hub) -> None:
    """Nothing is fetched, opened or run for it."""
    files = pushed(place / "run", there)
    files["backbone.json"] = json.dumps({**json.loads(files["backbone.json"]), "source": source}).encode()
    sealed(files)
    with pytest.raises(GraftError):
        graft.load(f"hub:{NAME}")


def test_weights_that_are_a_pickle(place: Path, there: Hub, tmp_path: Path) -> None:
    files = pushed(place / "run", there)
    torch.save({"head.weight": torch.zeros(3, 8)}, tmp_path / "x.pt")
    files["model.safetensors"] = (tmp_path / "x.pt").read_bytes()
    sealed(files)
    with pytest.raises(IntegrityError):
        graft.load(f"hub:{NAME}")


def test_what_lies_beside_is_never_fetched(place: Path, there: Hub) -> None:
    beside = ["pytorch_model.bin", "model.pkl", "modeling.py", "splits.jsonl", "sub/model.safetensors", "adapted.json"]
    pushed(place / "run", there).update(dict.fromkeys(beside, b"danger"))
    folder = hub.folder_of(f"hub:{NAME}")
    assert {path.name for path in folder.iterdir()} <= {*hub.OURS, "manifest.json"}
    assert graft.predict(f"hub:{NAME}", str(place / "others"))[0]


def test_what_is_no_run(there: Hub) -> None:
    there.create_repo(NAME, private=False)
    there.files[NAME] = {"pytorch_model.bin": b"danger", "config.json": b"{}"}
    with pytest.raises(UsageError, match="no run of Graft"):
        graft.load(f"hub:{NAME}")
    there.files[NAME]["recipe.json"] = b"{}"
    with pytest.raises(UsageError, match="no run of Graft"):
        graft.load(f"hub:{NAME}")


# -------------------------------------------------------------------------------------------------------- command line


def test_push_and_predict(place: Path, there: Hub) -> None:
    dry = shell("push", place / "run", NAME, "--dry-run")
    assert dry.code == 0 and "not sent" in dry.err and "model.safetensors" in dry.err and not there.files
    sent = shell("push", place / "run", NAME, "--json", "--quiet")
    assert sent.code == 0 and json.loads(sent.out)["url"] == f"{there.endpoint}/{NAME}"
    said = shell("predict", f"hub:{NAME}", place / "others" / "rose")
    assert said.code == 0 and said.out == shell("predict", place / "run", place / "others" / "rose").out
    assert said.out.count("\n") == 4


def test_five_mistakes(place: Path, there: Hub, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text("{}")
    refused(shell("push", place / "run", "flowers"), 2, "user/name")
    refused(shell("push", place / "others", NAME), 2, "not a run folder")
    refused(shell("push", tmp_path / "begun", NAME), 3, "not finished", "--resume")
    refused(shell("push", f"hub:{NAME}", "someone/copy"), 2, "on the hub already")
    refused(shell("report", f"hub:{NAME}"), 2, "has no report", "graft report RUN")
    refused(shell("predict", f"hub:{NAME}", place / "others"), 2, NAME, "hf auth login")
    refused(shell("predict", f"hub:{NAME}@..", place / "others"), 2, "no revision")
    assert not there.files


def test_the_help_promises_no_more_than_is_so() -> None:
    said = {verb: re.findall(r"^ *run .*", shell(verb, "--help").out, re.M) for verb in ("report", "push", "predict")}
    assert ["hub:" in "".join(lines) for lines in said.values()] == [False, False, True] and all(said.values())


def test_a_downloaded_folder_has_no_report(place: Path, there: Hub) -> None:
    pushed(place / "run", there)
    refused(shell("report", hub.folder_of(f"hub:{NAME}")), 3, "from the hub")


def test_a_damaged_run_is_not_pushed(place: Path, there: Hub, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / "labels.json").write_text('["rose", "daisy", "tulip"]')
    refused(shell("push", tmp_path / "run", NAME), 6, "labels.json")
    assert not there.files
