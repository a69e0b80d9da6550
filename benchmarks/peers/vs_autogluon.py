"""AutoGluon's MultiModalPredictor and Graft on the same sentence encoder: one epoch on 500 news items.

    python benchmarks/peers/vs_autogluon.py --data $GRAFT_DATA [--rounds 3] [--quick] [--threads N]

AG News, 500 texts to train on and 100 to validate, all-MiniLM-L6-v2 from its folder (nothing is fetched), the whole
network moving, batches of 32, at most 256 tokens, AdamW at 5e-5, fp32. The clock runs from the CSV file to the trained
model; the score is on 500 other texts. Left as AutoGluon has it: the rate falls by 0.9 from layer to layer, warm-up,
checkpoints on disk and an average of the best, loader processes.

An environment of its own: AutoGluon asks for an older torch, so the two sides do not run the same build. The `===`
keeps pip from a build of torch for processors alone, where it finds one, that does not fit torchvision's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _graft import loop, whole
from _side import Json, Peer, main
from vs_trainer import BATCH, LENGTH, LR, few

PINS = ("autogluon.multimodal==1.6.3", "torch===2.13.0", "torchvision==0.28.0", "setuptools<81")
AUTOGLUON = Peer("AutoGluon", "autogluon", PINS, shared=False)


def peer(job: Json) -> Iterator[Any]:
    import pandas
    from autogluon.multimodal import MultiModalPredictor

    yield "imported"
    table = pandas.read_csv(job["table"])
    train, valid, test = (table[table["split"] == part][["text", "label"]] for part in ("train", "valid", "test"))
    folder = f"{job['cold']}/predictor"
    predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=folder, verbosity=0)
    predictor.fit(train, tuning_data=valid, hyperparameters=_asked(job["model"]))
    yield "done"
    yield {"score": float((predictor.predict(test) == test["label"]).mean()), "tested": len(test)}


def _asked(model: str) -> Json:
    text = {"checkpoint_name": model, "max_text_len": LENGTH}
    return {"model.names": ["hf_text"], **{f"model.hf_text.{key}": value for key, value in text.items()},
            "optim.max_epochs": 1, "optim.lr": LR, "env.batch_size": BATCH, "env.per_gpu_batch_size": BATCH,
            "env.num_gpus": 0, "env.precision": 32}  # fmt: skip


if __name__ == "__main__":
    main(__doc__ or "", AUTOGLUON, few, {"graft": loop, "whole": whole, "peer": peer})
