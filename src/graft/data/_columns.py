"""Which column of a table is what: by the names that are usual, by the user's word, and without a header by content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from graft.data._files import SPLITS, is_image, is_sound
from graft.data._paths import URL, inner
from graft.data._table import Table, Wanted
from graft.errors import DataError, did_you_mean
from graft.types import Issue

_SHARED = {
    "split": ["split", "subset", "fold", "set", "partition"],
    "group": ["group", "group_id", "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id",
              "speakerid", "speaker_name", "spk", "spk_id", "client_id", "reader", "reader_id", "user", "user_id"],
}  # fmt: skip
IMAGE = {
    "image": ["path", "image", "file", "filename", "filepath", "file_name", "file_path", "image_path",
              "image_file", "img", "img_path"],
    "label": ["label", "labels", "class", "class_name", "classname", "target", "category", "y"],
    **_SHARED,
}  # fmt: skip
TEXT = {  # the first that is there counts: a title is the text only where nothing longer is
    "text": ["text", "sentence", "sentence1", "content", "body", "message", "review", "review_text", "utterance",
             "query", "question1", "premise", "text_a", "text1", "tweet", "comment", "comment_text", "document",
             "article", "question", "description", "headline", "title"],
    "pair": ["sentence2", "hypothesis", "question2", "text_b", "text2", "pair"],
    "label": [*IMAGE["label"], "label_text", "intent", "topic", "sentiment", "score", "rating", "stars"],
    "split": _SHARED["split"],
    "group": [name for name in _SHARED["group"] if name != "subject"],  # of a mail it is a text
}  # fmt: skip
AUDIO = {
    "audio": ["audio", "audio_path", "audio_filepath", "audio_file", "path", "file", "filename", "filepath",
              "file_name", "file_path", "wav", "wav_path", "wav_filename", "wav_file", "clip", "sound", "recording",
              "slice_file_name"],
    "label": [*IMAGE["label"], "command", "keyword", "emotion", "genre"],
    "transcript": ["transcript", "transcription", "sentence", "text", "words", "utterance", "normalized_text"],
    **_SHARED,
}  # fmt: skip
_NUMBERING = {"", "id", "idx", "index", "guid", "uid", "uuid", "row", "unnamed:_0"}


def normal(column: str) -> str:
    return column.strip().lower().replace(" ", "_")


def find(table: Table, usual: Sequence[str]) -> str | None:
    """The column under the first of the usual names that the table has."""
    lowered = {normal(column): column for column in reversed(table.columns)}
    return next((lowered[word] for word in usual if word in lowered), None)


def named(table: Table, role: str, name: str) -> str:
    """A column that the user named. Raises DataError when it does not exist."""
    if name in table.columns:
        return name
    raise DataError(f"{table.path} has no column '{name}' ({role}={name!r})", did_you_mean(name, table.columns))


def column(table: Table, wanted: Wanted, role: str, usual: Sequence[str]) -> str | None:
    name = wanted.get(role)
    return named(table, role, name) if isinstance(name, str) else find(table, usual)


def unexplained(table: Table, roles: dict[str, list[str]]) -> list[str]:
    """Columns that could be the labels under another name; a bare list of samples is unlabelled, and fine."""
    known = {word for words in roles.values() for word in words}
    return [name for name in table.columns if normal(name) not in known]


def unnumbered(names: Iterable[str]) -> list[str]:
    return [name for name in names if normal(name) not in _NUMBERING]


def missing(table: Table, role: str, word: str) -> DataError:
    """There is no column for a role; `word` is how one would call it."""
    have = ", ".join(repr(name[:40]) for name in table.columns[:20]) or "none"
    example = next((name for name in table.columns if URL.match(name) is None), "name")[:40]
    first = "text,label" if role == "text" else "path,label"
    return DataError(
        f"{table.path} has no column '{word}'; its columns are: {have}",
        f"name it: {table.name}({role}={example!r}), or begin the file with the line {first}",
    )


def modality(table: Table, wanted: Wanted) -> str:
    """Images, texts or sounds? The user's word; else the names of the columns; where these say several or nothing, the
    cells."""
    asked = _asked_modality(wanted)
    if asked:
        return asked
    image, text, sound = find(table, IMAGE["image"]), find(table, TEXT["text"]), sound_column(table)
    if sound and (text is None or sound != image or inner(table, sound) is not None):
        return "audio"
    if sound:
        table.issues.append(_without_sounds(table, sound))
    if image and text:
        return "image" if _name(is_image, table.cells(image)) else "text"
    if image or text or not table.rows:
        return "text" if text else "image"
    cells = [table.cells(name) for name in table.columns]
    kinds = (("image", is_image), ("audio", is_sound))
    return next((kind for kind, test in kinds if any(_name(test, column) for column in cells)), "text")


def _asked_modality(wanted: Wanted) -> str:
    roles = {"image": "image", "audio": "audio", "transcript": "audio", "text": "text", "pair": "text"}
    return next((kind for role, kind in roles.items() if wanted.get(role)), "")


def sound_column(table: Table) -> str | None:
    """The column under the first usual name that holds names of sounds."""
    columns = (find(table, [name]) for name in AUDIO["audio"])
    return next((name for name in columns if name and _name(is_sound, table.cells(name))), None)


def _without_sounds(table: Table, sound: str) -> Issue:
    """Texts whose recordings are elsewhere are texts."""
    what = f"column '{sound}' names sounds, but none of the first ones is there: {table.path.name} is read as texts"
    return Issue("no-sounds", "note", what, (), f"for the sounds: {table.name}(audio={sound!r}), beside its files")


def _name(test: Callable[[str], bool], cells: Iterable[str]) -> bool:
    """Whether most of the first hundred that are filled are names of such files."""
    some = [cell for cell in cells if cell][:100]
    return bool(some) and 2 * sum(map(test, some)) > len(some)


def usable_splits(table: Table, column: str | None, asked: bool) -> bool:
    """A column of unknown words is an error when it was asked for, or when some of its words *are* splits."""
    if column is None:
        return False
    cells = [(number, row.get(column, "").strip()) for number, row in table.rows]
    wrong = [(number, cell) for number, cell in cells if cell and cell.lower() not in SPLITS]
    if not wrong:
        return True
    number, cell = wrong[0]
    if asked or len(wrong) < sum(1 for _, cell in cells if cell):
        raise DataError(f"{table.path}, row {number}: '{cell}' in column '{column}' is not a split",
                        "use train, valid and test, or leave the cell empty")  # fmt: skip
    table.issues.append(Issue("split-ignored", "warning", f"column '{column}' (such as '{cell}') does not say train, "
                              "valid or test: Graft makes its own split"))  # fmt: skip
    return False


def no_labels(table: Table, roles: dict[str, list[str]], names: str) -> list[Issue]:
    """Not an error: a corpus, and samples to predict on, often have other columns."""
    other = unnumbered(unexplained(table, roles))
    if not other:
        return []
    what = f"no column of {table.path.name} is called {names}; there are: {', '.join(table.columns[:20])}"
    hint = f"if one holds the labels, name it: {table.name}(label={other[0][:40]!r})"
    return [Issue("no-label-column", "note", what, (), hint)]


class Sides(NamedTuple):
    """The columns that say on which side of a split a row stands, and with which others."""

    split: str | None
    group: str | None

    def of(self, cells: Mapping[str, str]) -> tuple[str | None, str | None]:
        """The split and the group of a row."""
        split, group = (cells.get(name, "").strip() if name else "" for name in self)
        return SPLITS.get(split.lower()), group or None


def sides(table: Table, wanted: Wanted, roles: Mapping[str, Sequence[str]]) -> Sides:
    split = column(table, wanted, "split", roles["split"])
    usable = usable_splits(table, split, bool(wanted.get("split")))
    return Sides(split if usable else None, column(table, wanted, "group", roles["group"]))


# ---------------------------------------------------------------------------------------------------------- no header


class Guess(NamedTuple):
    """The columns of a table without a header, by their numbers; "" for what it does not seem to have."""

    text: str
    label: str


def headless(records: Sequence[Sequence[str]], wanted: Wanted) -> Guess | None:
    """None when the first record is a header. It is data when no name is usual or asked for, and its label stands in
    later records too; or when columns are asked for by numbers that it does not hold."""
    header = [cell.strip() for cell in records[0]]
    asked = [name for role, names in wanted.items() if role != "kind" for name in _listed(names)]
    known = {*_NUMBERING, *(word for words in (*IMAGE.values(), *TEXT.values()) for word in words)} - {""}
    numbers = bool(asked) and all(map(str.isdigit, asked))  # a label of the first row can be one of them
    if any(name in header for name in asked) and not (numbers and not all(map(str.isdigit, header))):
        return None
    if any(normal(cell) in known for cell in header):
        return None
    rows = [record for record in records if len(record) == len(header)]
    columns = [[cell.strip() for cell in cells] for cells in zip(*rows, strict=True)]
    if asked and not (numbers and all(0 < int(name) <= len(header) for name in asked)):
        return None
    files = any(_name(is_image, cells) or _name(is_sound, cells) for cells in columns)
    if wanted.get("image") or wanted.get("audio") or files:
        return None
    label = _label_column(columns)
    if not asked and (label is None or columns[label][0] not in columns[label][1:]):
        return None
    return _guess(columns, label, asked)


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _label_column(columns: Sequence[Sequence[str]]) -> int | None:
    """The one of few distinct values that repeat, none of them blank; of two, the shorter one."""
    fitting = []
    for place, cells in enumerate(columns):
        values = set(cells)
        if "" not in values and 2 <= len(values) <= len(cells) / 2:
            fitting.append((len(values), sum(map(len, cells)), place))
    return min(fitting)[2] if fitting else None


def _guess(columns: Sequence[Sequence[str]], label: int | None, asked: Sequence[str]) -> Guess:
    free = [place for place in range(len(columns)) if place != label and str(place + 1) not in asked]
    longest = max(free, key=lambda place: sum(map(len, columns[place])), default=None)
    text = "" if longest is None else str(longest + 1)
    return Guess(text, "" if label is None or str(label + 1) in asked else str(label + 1))
