"""Files are whole or not there; a full disk is said in words."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from graft import store
from graft.errors import IntegrityError, ResourceError


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "é\u2028"], "b": {"c": True}}
    store.write_json(tmp_path / "x.json", value)
    assert store.read_json(tmp_path / "x.json") == value
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    store.write_json(tmp_path / "x.json", 1)
    with pytest.raises(ZeroDivisionError), store.replacing(tmp_path / "x.json") as temporary:
        temporary.write_text("half of")
        raise ZeroDivisionError
    with pytest.raises(TypeError):
        store.write_json(tmp_path / "x.json", object())
    assert store.read_json(tmp_path / "x.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_reader_never_sees_a_half(tmp_path: Path) -> None:
    store.write_json(tmp_path / "x.json", "old")
    with store.replacing(tmp_path / "x.json") as temporary:
        temporary.write_text('"new"')
        assert store.read_json(tmp_path / "x.json") == "old"
    assert store.read_json(tmp_path / "x.json") == "new"


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe"])
def test_what_is_no_json(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="x.json") as caught:
        store.read_json(tmp_path / "x.json")
    assert caught.value.hint


def test_every_byte_of_sealed_json_counts(tmp_path: Path) -> None:
    path, value = tmp_path / "x.json", {"files": {"a": "b"}, "n": [1, 2.5, None, "é"]}
    store.write_sealed_json(path, value)
    whole = path.read_bytes()
    assert store.read_sealed_json(path) == value
    for at in range(len(whole) - 1):  # the last is the end of the line
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            store.read_sealed_json(path)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EFBIG, "disk is full"),
     (errno.EACCES, "not allowed"), (errno.EROFS, "not allowed")],
)  # fmt: skip
def test_errors_of_the_disk(number: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=words) as caught, store.disk_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 5 and str(tmp_path / "x") in caught.value.what and caught.value.hint


def test_other_errors_of_the_system_pass(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), store.disk_errors(tmp_path / "x"):
        raise IsADirectoryError


def test_space_is_asked_for_before_the_work(tmp_path: Path) -> None:
    store.require_space(tmp_path, 1)
    with pytest.raises(ResourceError, match="bytes free"):
        store.require_space(tmp_path, 1 << 62)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert store.sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", "/a")
    assert store.cache_dir() == Path("/a")
    monkeypatch.delenv("GRAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert store.cache_dir() == Path("/b/graft")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_dir() == Path.home() / ".cache" / "graft"


@pytest.mark.parametrize(("value", "off"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_offline(value: str, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", value)
    assert store.offline() is off
