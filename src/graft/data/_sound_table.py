"""The rows of a table of sounds: each names a file inside the folder of the table, and perhaps what is said in it.

Manifests of NeMo (audio_filepath, text, duration) and tables of Common Voice (path, sentence, client_id; the files lie
in clips/) are such tables.
"""

from __future__ import annotations

from graft.data import _columns, _labels, _paths
from graft.data._table import Rows, Table, Wanted
from graft.types import Issue, Sample


def read(table: Table, wanted: Wanted) -> Rows:
    """Rows -> samples, with or without a label. Raises DataError for a missing column, or when no row can be used."""
    roles = _columns.AUDIO
    audio = None if wanted.get("audio") else _columns.sound_column(table)
    audio = audio or _columns.column(table, wanted, "audio", roles["audio"])
    if audio is None:
        raise _columns.missing(table, "audio", "path")
    labels = _labels.of_sounds(table, wanted)
    if not labels.columns:
        table.issues += _no_labels(table)
    sides = _columns.sides(table, wanted, roles)
    root, offset = table.path.resolve().parent, _columns.find(table, ["offset"])
    inner = _paths.inner(table, audio) or ""
    samples, keys = [], set[str]()
    for number, cells in table.rows:
        text = cells.get(audio, "").strip()
        if offset and _is_stretch(table, number, text, cells.get(offset, "")):
            continue
        source = _paths.checked(table, number, text if not text or _paths.URL.match(text) else inner + text, root)
        if source is not None:
            label = _labels.read(table, labels, number, cells)
            key = text if text not in keys else f"{text} (row {number})"
            keys.add(key)
            samples.append(Sample(key, source, label, *sides.of(cells)))
    _labels.require_some(table, labels, samples, "sound")
    return Rows("audio", labels.kind, (audio, *labels.columns), samples)


def _is_stretch(table: Table, number: int, text: str, offset: str) -> bool:
    """Whether a row means only a part of its file, which is listed then."""
    try:
        stretch = float(offset or 0) != 0
    except ValueError:
        stretch = False
    if stretch:
        table.bad["segment"].append(f"row {number}: {text[:200]} from {offset.strip()} s")
    return stretch


def _no_labels(table: Table) -> list[Issue]:
    """Not an error: sounds to predict on often come with other columns."""
    other = _columns.unnumbered(_columns.unexplained(table, _columns.AUDIO))
    if not other:
        return []
    what = f"no column of {table.path.name} is called label or transcript; there are: {', '.join(table.columns[:20])}"
    hint = f"if one holds the labels, name it: {table.name}(label={other[0][:40]!r})"
    return [Issue("no-label-column", "note", what, (), hint)]
