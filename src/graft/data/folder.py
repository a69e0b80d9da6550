"""Images in folders: one folder per class, with or without train/ valid/ test/ above them.

    flowers/rose/1.jpg                          classes only: Graft splits
    flowers/train/rose/1.jpg, flowers/test/...  given splits (valid, val and validation mean the same)
    photos/1.jpg                                no class folders: unlabelled, to predict on

Images may lie deeper below their class folder. Nothing outside the folder is ever read.
"""

from __future__ import annotations

from pathlib import Path

from graft.data import _walk
from graft.data._files import IMAGES, image_files, readable
from graft.errors import DataError
from graft.types import Dataset, Sample

HINT = "put images (JPEG, PNG), sounds (WAV, FLAC) or texts (.txt) into one folder per class"


def folder(path: str) -> Dataset:
    """A folder or one image file. Raises DataError when it does not exist or holds no image."""
    root = Path(path).expanduser()
    if root.is_file():
        return image_files(root.name, [Sample(readable(root.name), root)], [], root.resolve().parent)
    if not root.is_dir():
        raise DataError(f"there is no folder {path}", "check the path: ls " + str(root.parent))
    scan = _walk.walk(root.resolve(), "images", IMAGES)
    if not scan.files:
        raise _walk.nothing(path, scan, HINT)
    base = _walk.base_of(scan)
    samples, loose = _walk.label(scan, base)
    issues = [*scan.issues(), *_walk.notes(scan, base, loose)]
    return image_files(root.resolve().name, samples, issues, scan.root)
