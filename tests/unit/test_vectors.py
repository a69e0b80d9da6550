"""Static word vectors, from the files that people have."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch

from graft.backbones.vectors import vectors
from graft.errors import DataError, GraftError, IntegrityError, UsageError
from graft.types import Text

torch.set_num_threads(1)

ROWS = {"the": [1.0, 0.0], "film": [0.5, -2.0], "good": [3.0, 0.25]}


def glove(path, rows=ROWS, header: str = "", end: str = "\n") -> str:
    lines = [f"{word} {' '.join(map(str, values))}{end}" for word, values in rows.items()]
    path.write_text(header + "".join(lines), encoding="utf-8", newline="")
    return str(path)


def table_of(made) -> dict[str, list[float]]:
    return dict(zip(made.preprocess.words, made.stages[0].table.weight[1:].tolist(), strict=True))


def features(made, *texts: str) -> torch.Tensor:
    return made.eval()(made.prepare([Text(text) for text in texts])).pooled


# --------------------------------------------------------------------------------------------------------- features


def test_the_mean_of_the_words_that_are_known(tmp_path) -> None:
    made = vectors(glove(tmp_path / "v.txt"))
    pooled = features(made, "The good, strange film", "GOOD", "strange", "")
    want = torch.tensor([[1.5, -1.75 / 3], [3.0, 0.25], [0, 0], [0, 0]])
    torch.testing.assert_close(pooled, want)


def test_the_maximum(tmp_path) -> None:
    made = vectors(glove(tmp_path / "v.txt"), pooling="max")
    torch.testing.assert_close(features(made, "the good film", "film"), torch.tensor([[3.0, 0.25], [0.5, -2.0]]))


def test_what_it_says_of_itself(tmp_path) -> None:
    path = glove(tmp_path / "v.txt")
    info = vectors(path).info
    assert (info.modality, info.dim, info.lr, info.parameters) == ("text", 2, 1e-3, 8)
    assert len(info.sha256) == 64 and vectors(path).info.sha256 == info.sha256
    assert info.source.target == path and "v.txt" in info.pretrained_on


def test_random_vectors_of_the_same_table(tmp_path) -> None:
    path = glove(tmp_path / "v.txt")
    made, blank = vectors(path), vectors(path, pretrained=False)
    assert blank.preprocess == made.preprocess and blank.info.sha256 == "" == blank.info.pretrained_on
    assert blank.stages[0].table.weight.shape == (4, 2) and not torch.equal(blank.stages[0].table.weight,
                                                                           made.stages[0].table.weight)  # fmt: skip


def test_a_rebuild_does_not_need_the_file(tmp_path) -> None:
    made = vectors(glove(tmp_path / "v.txt"))
    (tmp_path / "v.txt").unlink()
    config = json.loads(json.dumps(made.info.config))
    again = made.info.source.with_options(pretrained=False, config=config).bind(vectors)
    again.load_state_dict(made.state_dict())
    again.preprocess = made.preprocess
    assert torch.equal(features(again, "the film"), features(made, "the film")) and again.info.sha256 == ""


def test_no_word_stays_zeros_in_training(tmp_path) -> None:
    made = vectors(glove(tmp_path / "v.txt"))
    weight = made.stages[0].table.weight
    made(made.prepare([Text("strange"), Text("the film")])).pooled.sum().backward()
    assert (weight[0] == 0).all() and (weight.grad[0] == 0).all() and (weight.grad[1] != 0).all()
    optimizer = torch.optim.AdamW(made.parameters(), 0.1, weight_decay=0.5)
    optimizer.step()
    assert (weight[0] == 0).all()


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("header", "end"), [("", "\n"), ("3 2\n", "\n"), ("", " \n"), ("3 2\r\n", "\r\n"), ("", "\n\n")]
)
def test_glove_and_word2vec_as_text(tmp_path, header: str, end: str) -> None:
    assert table_of(vectors(glove(tmp_path / "v.txt", header=header, end=end))) == ROWS


def test_arrays(tmp_path) -> None:
    values = np.array(list(ROWS.values()), dtype=np.float64)
    np.savez(tmp_path / "v.npz", words=np.array(list(ROWS)), vectors=values)
    assert table_of(vectors(str(tmp_path / "v.npz"))) == ROWS


def test_the_first_rows_are_taken(tmp_path) -> None:
    assert list(table_of(vectors(glove(tmp_path / "v.txt"), most=2))) == ["the", "film"]
    assert list(table_of(vectors(glove(tmp_path / "w.txt", header="3 2\n"), most=1))) == ["the"]


def test_a_word_that_comes_twice_keeps_its_first_vector(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4\na 5 6\n")
    assert table_of(vectors(str(tmp_path / "v.txt"))) == {"a": [1, 2], "b": [3, 4]}
    np.savez(tmp_path / "v.npz", words=np.array(["a", "b", "a"]), vectors=np.array([[1, 2], [3, 4], [5, 6]]))
    assert table_of(vectors(str(tmp_path / "v.npz"))) == {"a": [1, 2], "b": [3, 4]}


def test_words_may_hold_other_blanks_and_even_blanks(tmp_path) -> None:
    """As some of GloVe's 840B and fastText's do."""
    (tmp_path / "v.txt").write_text("a 1 2\nx\u00a0y 3 4\n. . . 5 6\n\u0085 7 8\n", encoding="utf-8")
    assert list(table_of(vectors(str(tmp_path / "v.txt")))) == ["a", "x\u00a0y", ". . .", "\u0085"]


def failure(path) -> GraftError:
    with pytest.raises(GraftError) as error:
        vectors(str(path))
    assert error.value.hint and "\n" not in error.value.what
    return error.value


@pytest.mark.parametrize(("content", "row", "what"), [
    (b"a 1 2\nb 3\n", 2, "1 values"),
    (b"a 1 2\nb 3 4 5\n", 2, "3 values"),
    (b"3 2\na 1 2\nb 3 4 5\n", 3, "3 values"),
    (b"a 1 2\n\nb 3 nan\n", 3, "not finite"),
    (b"a 1 2\nb -inf 4\n", 2, "not finite"),
    (b"a 1 2\nb 1e39 4\n", 2, "not finite"),
    (b"a 1 2\nb x 4\n", 2, "not a word and 2 numbers"),
    (b"a 1 2\n\xe9t\xe9 3 4\n", 2, "not UTF-8"),
    (b"a\n", 1, "0 values"),
    (b"5 2\na 1 2\nb 3 4\n", 3, "ends after 2"),
])  # fmt: skip
def test_a_row_that_is_wrong_is_named(tmp_path, content: bytes, row: int, what: str) -> None:
    (tmp_path / "v.txt").write_bytes(content)
    error = failure(tmp_path / "v.txt")
    assert isinstance(error, DataError) and f"row {row}" in error.what and what in error.what
    assert "v.txt" in error.what


def test_a_row_of_an_array_that_is_wrong_is_named(tmp_path) -> None:
    np.savez(tmp_path / "v.npz", words=np.array(["a", "b"]), vectors=np.array([[1, 2], [3, np.nan]]))
    assert "row 2" in failure(tmp_path / "v.npz").what


def word2vec_binary() -> bytes:
    rows = (word.encode() + b" " + struct.pack("<2f", *values) + b"\n" for word, values in ROWS.items())
    return b"3 2\n" + b"".join(rows)


@pytest.mark.parametrize(("content", "kind", "command"), [
    (word2vec_binary(), DataError, "load_word2vec_format"),
    (pickle.dumps(ROWS), IntegrityError, "save_word2vec_format"),
    (b"\x1f\x8b\x08\x00", DataError, "gunzip"),
    (b"PK\x03\x04rest", DataError, "unzip"),
    (struct.pack("<ii", 793712314, 12), DataError, "load_facebook_vectors"),
])  # fmt: skip
def test_other_formats_are_refused_with_the_command_that_converts_them(tmp_path, content, kind, command) -> None:
    (tmp_path / "v.bin").write_bytes(content)
    error = failure(tmp_path / "v.bin")
    assert isinstance(error, kind) and command in error.hint and str(tmp_path / "v.bin") in error.hint
    assert "{" not in error.hint


def test_files_that_are_none(tmp_path) -> None:
    assert "no file" in failure(tmp_path / "v.txt").what
    assert "no file" in failure(tmp_path).what
    (tmp_path / "v.txt").write_text("")
    assert isinstance(failure(tmp_path / "v.txt"), DataError)


def test_arrays_that_are_none(tmp_path) -> None:
    path = tmp_path / "v.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    assert isinstance(failure(path), IntegrityError)
    path.write_text("a 1 2\n")
    assert isinstance(failure(path), IntegrityError)
    np.savez(path, words=np.array(["a", None], dtype=object), vectors=np.ones((2, 2)))
    assert isinstance(failure(path), IntegrityError)
    np.savez(path, words=np.array(["a"]))
    assert "vectors" in failure(path).what
    np.savez(path, words=np.array(["a"]), vectors=np.ones((2, 2)))
    assert isinstance(failure(path), DataError)
    np.savez(path, words=np.array(["a"]), vectors=np.array([["x", "y"]]))
    assert isinstance(failure(path), DataError)
    np.savez(path, words=np.array([], dtype=str), vectors=np.ones((0, 2)))
    assert isinstance(failure(path), DataError)


def test_options_that_are_none(tmp_path) -> None:
    path = glove(tmp_path / "v.txt")
    with pytest.raises(UsageError, match="no pooling 'cls'"):
        vectors(path, pooling="cls")
    with pytest.raises(UsageError, match="most=0"):
        vectors(path, most=0)
