"""Are copies between train and test found? 100 of each kind are planted into real pictures, one kind at a time.

    python benchmarks/trust_leaks.py --data DATA

Pillow makes the copies of training images, and they are put into the test part as PNG. `found` are those in one group
with their image, `false` the other images in groups, but for copies that were seen by eye (COPIES: CIFAR-10 has some),
`split` the groups with samples on two sides of the split that a run would use. Rows without a kind are the data as they
came. The last ones hold 50 pairs of the same bytes under two labels, and count the pairs that are listed.
"""

from __future__ import annotations

import io
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import _options
from PIL import Image, ImageEnhance, ImageOps

from graft.data._audit import audit
from graft.data._split import split
from graft.data.folder import folder
from graft.types import Dataset

PLANTED, CONFLICTS = 100, 50
Change = Callable[[Image.Image, random.Random], Image.Image]
SETS = {"hymenoptera": ("train", "val"), "cifar10_png": ("train", "test")}  # and which parts
COPIES = frozenset(
    f"{kind}/{name}.png"
    for kind, names in {
        "airplane": "fighter_s_000203 stealth_fighter_s_000142 jumbo_jet_s_000888 jumbo_jet_s_001108 "
        "monoplane_s_000122 monoplane_s_000477 jumbo_jet_s_000151 jumbojet_s_000732",
        "automobile": "shooting_brake_s_000662 shooting_brake_s_001495 shooting_brake_s_000723 shooting_brake_s_000886 "
        "shooting_brake_s_001091 shooting_brake_s_001448 shooting_brake_s_001569 shooting_brake_s_001640 "
        "shooting_brake_s_000742 shooting_brake_s_001045",
        "bird": "sparrow_s_000070 sparrow_s_001667",
        "cat": "felis_domesticus_s_000343 felis_domesticus_s_000379 tabby_s_001562 tabby_s_000639",
        "deer": "caribou_s_000029 rangifer_tarandus_s_000738 mule_deer_s_001538 mule_deer_s_001921 stag_s_000199 "
        "stag_s_001489 fallow_deer_s_001633 fallow_deer_s_001087",
        "frog": "american_toad_s_001190 toad_s_001766 bufo_marinus_s_000399 toad_frog_s_000915 rana_pipiens_s_000882 "
        "leopard_frog_s_001615 leopard_frog_s_000830 rana_catesbeiana_s_001605",
        "horse": "buckskin_s_000122 buckskin_s_000171",
        "ship": "cargo_ship_s_001564 containership_s_000511",
    }.items()
    for name in names.split()
)


def reencoded(image: Image.Image, _: random.Random) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=60)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def scaled(by: float) -> Change:
    return lambda image, _: image.resize((round(image.width * by), round(image.height * by)), Image.Resampling.BICUBIC)


def cropped(side: float, back: bool = False) -> Change:
    """At any place; `back` at the size of the whole."""

    def change(image: Image.Image, chance: random.Random) -> Image.Image:
        width, height = round(image.width * side), round(image.height * side)
        left, upper = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
        cut = image.crop((left, upper, left + width, upper + height))
        return cut.resize(image.size, Image.Resampling.BICUBIC) if back else cut

    return change


def lit(by: float) -> Change:
    return lambda image, _: ImageEnhance.Brightness(image).enhance(by)


KINDS: Mapping[str, Change] = {
    "exact": lambda image, _: image,
    "JPEG, quality 60": reencoded,
    "half the size": scaled(0.5),
    "1.5 times the size": scaled(1.5),
    "crop, 95 % of sides": cropped(0.95),
    "the same, enlarged": cropped(0.95, back=True),
    "crop, 95 % of area": cropped(0.95**0.5),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "brightness +10 %": lit(1.1),
    "brightness -10 %": lit(0.9),
}


def measure(data: Path, quick: bool = False) -> list[dict[str, Any]]:
    """A row for each kind in each data set; `quick` takes hymenoptera alone."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ["hymenoptera"] if quick else SETS:
            root = Path(scratch) / name
            for part, source in zip(("train", "test"), SETS[name], strict=True):
                shutil.copytree(data / name / source, root / part)
            rows.append(_row(name, "", root, {}))
            rows += [_planted(name, kind, root) for kind in KINDS]
            rows.append(_conflicts(name, root))
    return rows


def _planted(name: str, kind: str, root: Path) -> dict[str, Any]:
    chance = random.Random(kind)
    sources = chance.sample(sorted(path for path in (root / "train").rglob("*.*")), PLANTED)
    planted = {}
    for source in sources:
        path = root / "test" / source.parent.name / f"planted {source.stem}.png"
        with Image.open(source) as image:
            KINDS[kind](image.convert("RGB"), chance).save(path)
        planted[_key(path, root)] = _key(source, root)
    row = _row(name, kind, root, planted)
    for key in planted:
        (root / key).unlink()
    return row


def _row(name: str, kind: str, root: Path, planted: Mapping[str, str]) -> dict[str, Any]:
    began = time.perf_counter()
    dataset = audit(folder(str(root)))
    seconds = time.perf_counter() - began
    groups = {sample.key: sample.group for sample in dataset.samples}
    found = [copy for copy, source in planted.items() if groups[copy] is not None and groups[copy] == groups[source]]
    known = {*planted, *planted.values()}
    false = [key for key, group in groups.items() if group and key not in known and key.split("/", 1)[1] not in COPIES]
    return {"what": name, "kind": kind, "images": len(dataset), "planted": len(planted), "found": len(found),
            "false": len(false), "split": _divided(dataset), "seconds": seconds, "names": sorted(false)}  # fmt: skip


def _divided(dataset: Dataset) -> int:
    """Groups on two sides of the split that a run would use."""
    parts = defaultdict(set)
    for sample in split(dataset).samples:
        parts[sample.group].add(sample.split)
    return sum(len(found) > 1 for group, found in parts.items() if group)


def _conflicts(name: str, root: Path) -> dict[str, Any]:
    chance = random.Random(0)
    sources = chance.sample(sorted(path for path in (root / "train").rglob("*.*")), CONFLICTS)
    labels = sorted(path.name for path in (root / "train").iterdir())
    planted = {}
    for source in sources:
        other = chance.choice([label for label in labels if label != source.parent.name])
        path = root / "train" / other / f"planted {source.name}"
        shutil.copy(source, path)
        planted[_key(path, root)] = _key(source, root)
    row = _row(name, "two labels", root, planted)
    listed = {key for i in audit(folder(str(root))).issues if i.code == "conflicting-labels" for key in i.keys}
    return row | {"found": sum(copy in listed and source in listed for copy, source in planted.items())}


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def main() -> None:
    made = _options.with_data(_options.parser(__doc__, "hymenoptera alone", rounds=1))
    asked = _options.read(made, *SETS)
    _options.finish("trust_leaks", measure(asked.data, asked.quick), {"planted": PLANTED}, asked)


if __name__ == "__main__":
    main()
