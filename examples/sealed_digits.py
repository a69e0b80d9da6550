"""The digits that a run on `digits` kept sealed, as PNG files in class folders: files that training has never seen.

python examples/sealed_digits.py runs/demo photos
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(run: Path, out: Path) -> None:
    images = load_digits().images
    lines = [json.loads(line) for line in (run / "splits.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["split"] == "test":
            (out / line["label"]).mkdir(parents=True, exist_ok=True)
            pixels = np.rint(images[int(line["key"])] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).save(out / line["label"] / f"{line['key']}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
