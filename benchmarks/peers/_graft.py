"""Graft's side, which is the same for every peer that trains: by Feed + Loop, and as the whole `graft fit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _side import Json, early


def loop(job: Json) -> Iterator[Any]:
    """Read, decode, train, and validate after each epoch where there is a valid part: what the peers do, too.

    job: `recipe`; `early`: what is to be imported beforehand; `native` R: pictures are R x R
    already and are not resized before the centre is cut.
    """
    from graft import build, recipe
    from graft.data._sniff import open_data
    from graft.data._split import split
    from graft.train import Loop

    early("graft.features", *job.get("early", ()))
    yield "imported"
    asked = recipe.make(job["recipe"])
    data = split(open_data(asked.data), valid=asked.valid, test=asked.test)
    task, backbone = build.task_for(asked, data), build.backbone(asked.backbone)
    _native(backbone, job.get("native"))
    model = build.model(asked, backbone, task)
    train, valid, test = _feeds(asked, data, backbone, task)
    Loop(model, task, train, valid, asked, None, lambda event: None).run(build.flow(asked, model))
    yield "done"
    yield _accuracy(model, task, test) | _gap(job, test)


def whole(job: Json) -> Iterator[Any]:
    """`graft fit`: also the audit of the files, the features' scale, the sealed test and the run folder, read back."""
    from graft import api, recipe

    early(*job.get("early", ()))
    yield "imported"
    result = api.fit(recipe=recipe.make(job["recipe"]), out=f"{job['cold']}/run", controls=False)
    yield "done"
    yield {"score": result["test"]["accuracy"]["value"]}


def _feeds(asked: Any, data: Any, backbone: Any, task: Any) -> list[Any]:
    """Of the train, the valid and the test part."""
    import torch

    from graft import build
    from graft.device import precision
    from graft.features import Feed

    device = torch.device("cpu")
    return [Feed(data.part(name), backbone, device=device, dtype=precision(asked.precision, device),
                 augment=build.views(asked, backbone, task, name), views=asked.views)
            for name in ("train", "valid", "test")]  # fmt: skip


def _native(backbone: Any, side: int | None) -> None:
    from dataclasses import replace

    if side is not None:
        backbone.preprocess = replace(backbone.preprocess, resize=side)


def _accuracy(model: Any, task: Any, test: Any) -> Json:
    from graft.scoring import predict

    guesses = predict(model, task, test).values.argmax(1)
    return {"score": float((guesses == test.targets).float().mean()), "tested": len(test)}


def _gap(job: Json, test: Any) -> Json:
    """How far the frozen trunk's features are from the peer's, which it has written to `features`."""
    if "features" not in job:
        return {}
    import numpy as np

    theirs = np.load(job["features"])
    ours = test.pooled().numpy()[: len(theirs)]
    return {"largest_gap": float(np.abs(ours - theirs).max()), "largest_feature": float(np.abs(theirs).max())}
