"""Images in folders: one folder per class, with or without train/ valid/ test/ above them.

    flowers/rose/1.jpg                          classes only: Graft splits
    flowers/train/rose/1.jpg, flowers/test/...  given splits (valid, val and validation mean the same)
    photos/1.jpg                                no class folders: unlabelled, to predict on

Images may lie deeper below their class folder. Nothing outside the folder is ever read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from graft.data._files import SPLITS, UNSUPPORTED, image_files, is_image, is_junk, readable
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample

Parts = tuple[str, ...]


def folder(path: str) -> Dataset:
    """A folder or one image file. Raises DataError when it does not exist or holds no image."""
    root = Path(path).expanduser()
    if root.is_file():
        return image_files(root.name, [Sample(readable(root.name), root)], [], root.resolve().parent)
    if not root.is_dir():
        raise DataError(f"there is no folder {path}", "check the path: ls " + str(root.parent))
    scan = _scan(root.resolve())
    if not scan.images:
        raise _nothing(path, scan)
    base = _base(scan)
    samples, loose = _label(scan, base)
    issues = [*scan.issues(), *_notes(scan, base, loose)]
    return image_files(root.resolve().name, samples, issues, scan.root)


#####
def _nothing(path: str, scan: _Scan) -> DataError:
    if scan.outside:
        return DataError(f"{path} holds only links that lead out of it (such as {scan.outside[0]}), and they are not "
                         "followed", "copy the images into the folder")  # fmt: skip
    found = len(scan.ignored) + len(scan.unsupported)
    seen = f"{found} other files, such as {(scan.unsupported + scan.ignored)[0]}" if found else "it is empty"
    return DataError(f"there are no images in {path} ({seen})", "put JPEG or PNG files into one folder per class")
