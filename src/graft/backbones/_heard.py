"""What a trunk of sounds makes of a data set: which are resampled, what lies above its highest frequency, what of long
ones is not heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from graft import transcripts
from graft.backbones._sounds import STRETCHES, Sounds
from graft.types import Dataset, Issue, Sound

FRAMES = ("log_mel", "mfcc", "waves")  # fronts whose positions are frames; those of the others are windows of many
THREADS = 8  # that open files: most of the time they wait for the disk


def as_heard(dataset: Dataset, preprocess: Sounds, case: str) -> list[Issue]:
    """One line for each thing that was done to the sounds, with how many it was done to; and transcripts, in `case`,
    that take more frames than there are."""
    with ThreadPoolExecutor(THREADS) as pool:
        raws = pool.map(dataset.load, dataset.samples)
        found: dict[str, Sound] = {sample.key: raw for sample, raw in zip(dataset.samples, raws, strict=True)}
    issues = [*_resampled(found, preprocess.rate), *_partly(found, preprocess)]
    if dataset.kind != "transcript" or preprocess.front.json()["kind"] not in FRAMES:
        return issues
    frames = [preprocess.front.positions(preprocess.expected(sound)) for sound in found.values()]
    return [*issues, *transcripts.too_short(dataset, frames, case)]


def _resampled(found: dict[str, Sound], rate: int) -> Iterator[Issue]:
    rates = Counter(sound.rate for sound in found.values() if sound.rate != rate)
    if not rates:
        return
    listed = ", ".join(f"{count:,} of {one:,} Hz" for one, count in sorted(rates.items()))
    lower = sum(count for one, count in rates.items() if one < rate)
    what = f"sounds are resampled to the {rate:,} Hz that the trunk takes: {listed}"
    if lower:
        what += f"; {lower:,} of them hold nothing above half their rate, where the trunk also listens"
    yield Issue("resampled", "note", what)


def _partly(found: dict[str, Sound], preprocess: Sounds) -> Iterator[Issue]:
    lost = {key: preprocess.unheard(sound) for key, sound in found.items()}
    keys = tuple(sorted((key for key, seconds in lost.items() if seconds), key=lambda key: -lost[key]))
    if keys:
        what = (f"{len(keys):,} sounds are longer than the {preprocess.heard:g} s that are heard of one: {STRETCHES} "
                f"evenly spread stretches stand for all of it, at most {lost[keys[0]] / 60:.0f} minutes are left "
                "out")  # fmt: skip
        yield Issue("partly-heard", "warning", what, keys, "divide the long ones")
