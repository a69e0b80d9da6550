"""sentence-transformers' `encode` and Graft's extraction: texts through all-MiniLM-L6-v2, nothing kept before.

    python benchmarks/peers/vs_encode.py --data $GRAFT_DATA [--rounds 3] [--quick] [--rows NAME] [--threads N]

The same published weights and texts: 2,000 short ones (Banking77), 2,000 news items (AG News), 240 passages (XQuAD).
`encode` as it comes: fp32, batches of 32, sorted. Graft: Feed(...).pooled() with an empty cache, in fp32, or in bf16
against the same fp32 of `encode`. The clock runs from texts to vectors, tokenising included; loading the model counts
as import. The score is the share of texts whose nearest neighbour is the one that `encode` finds; `cosine` is the mean
with its vectors. The environment sees the torch and transformers that are installed beside Graft.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _side import Bout, Json, Peer, main

ENCODE = Peer("SentenceTransformer", "encode", ("sentence-transformers==6.2.0", "transformers==5.23.0"))


def prepare(asked: argparse.Namespace, work: Path) -> list[Bout]:
    from graft.backbones.minilm import files

    made = []
    for name, found in _texts(asked.data).items():
        chosen = list(dict.fromkeys(found))[: 64 if asked.quick else 2000]  # a double would be its own neighbour
        table = work / f"{name}.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text",), *((text,) for text in chosen)])
        job = {"table": str(table), "model": str(files()), "reference": str(work / f"{name}.npy")}
        for precision, ran, goal in (("fp32", "fp32", 2.0), ("bf16", "bf16 against fp32", 3.5)):
            about = {"precision": {"graft": precision, "peer": "fp32"}, "texts": len(chosen)}
            made.append(Bout(f"{name}, {ran}", job | {"precision": precision}, job, goal, about=about))
    return made


def _texts(data: Path) -> dict[str, list[str]]:
    with (data / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        short = [line["text"].strip() for line in csv.DictReader(file)]
    with (data / "ag_news_test" / "test.csv").open(encoding="utf-8", newline="") as file:
        news = [f"{title} {text}".strip() for _, title, text in csv.reader(file)]
    articles = json.loads(next((data / "xquad").glob("*en.json")).read_text(encoding="utf-8"))["data"]
    passages = [part["context"].strip() for article in articles for part in article["paragraphs"]]
    return {"short texts": short, "news": news, "passages": passages}


def graft(job: Json) -> Iterator[Any]:
    import torch

    from graft import build
    from graft.cache import Cache
    from graft.data._audit import audit
    from graft.data._sniff import open_data
    from graft.device import precision
    from graft.features import Feed

    trunk, device = build.backbone("minilm").eval(), torch.device("cpu")
    data = audit(open_data(f"{job['table']}(text='text')"))
    yield "imported"
    dtype = precision(job["precision"], device)
    feed = Feed(data, trunk, device=device, dtype=dtype, cache=Cache.default(), targets=torch.empty(0))
    found = feed.pooled().numpy()
    yield "done"
    yield _compared(found, job)


def peer(job: Json) -> Iterator[Any]:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["model"], device="cpu")
    with Path(job["table"]).open(encoding="utf-8", newline="") as file:
        texts = [line["text"] for line in csv.DictReader(file)]
    yield "imported"
    found = model.encode(texts)
    yield "done"
    if not Path(job["reference"]).is_file():
        np.save(job["reference"], found)
    yield _compared(found, job)


def _compared(found: Any, job: Json) -> Json:
    """With the vectors of the peer's first lap, (N, D) both."""
    import numpy as np

    theirs = np.load(job["reference"])
    assert found.shape == theirs.shape, f"{found.shape} vectors here, {theirs.shape} there"
    ours, theirs = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (found, theirs))
    near = [(x @ x.T - 2 * np.eye(len(x), dtype=x.dtype)).argmax(1) for x in (ours, theirs)]
    return {"score": float((near[0] == near[1]).mean()), "cosine": float((ours * theirs).sum(1).mean())}


if __name__ == "__main__":
    main(__doc__ or "", ENCODE, prepare, {"graft": graft, "peer": peer})
