"""The rows of a table of sounds: each names a file inside the folder of the table, and perhaps what is said in it.

Manifests of NeMo (audio_filepath, text, duration) and tables of Common Voice (path, sentence, client_id; the files lie
in clips/) are such tables.
"""

from __future__ import annotations

from graft.data import _columns, _file_rows, _labels, _paths
from graft.data._table import Rows, Table, Wanted


def read(table: Table, wanted: Wanted) -> Rows:
    """Rows -> samples, with or without a label. Raises DataError for a missing column, or when no row can be used."""
    roles = _columns.AUDIO
    audio = None if wanted.get("audio") else _columns.sound_column(table)
    audio = audio or _columns.column(table, wanted, "audio", roles["audio"])
    if audio is None:
        raise _columns.missing(table, "audio", "path")
    labels = _labels.of_sounds(table, wanted)
    if not labels.columns:
        table.issues += _columns.no_labels(table, _columns.AUDIO, "label or transcript")
    sides, offset = _columns.sides(table, wanted, roles), _columns.find(table, ["offset"])
    inner = _paths.inner(table, audio) or ""
    skip = (lambda number, text, cells: _is_stretch(table, number, text, cells.get(offset, ""))) if offset else None
    samples = _file_rows.samples(table, audio, labels, sides, inner, skip)
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
