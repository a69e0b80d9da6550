"""Ludwig and Graft on the same sentence encoder: one epoch on 500 news items.

    python benchmarks/peers/vs_ludwig.py --data $GRAFT_DATA [--rounds 3] [--quick] [--threads N]

AG News, 500 texts to train on and 100 to validate, all-MiniLM-L6-v2 from its folder (nothing is fetched), the whole
network moving, batches of 32, at most 256 tokens, AdamW at 5e-5, fp32. The clock runs from the CSV file to the trained
model; the score is on 500 other texts. Left as Ludwig has it: it evaluates on the train and the test part, too, after
the epoch.

An environment of its own. Newer Ludwigs ask for Python 3.12: on 3.11 pip finds 0.11. It needs torchaudio, whose last
release fits torch 2.11, so the two sides do not run the same build.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _graft import loop, whole
from _side import Json, Peer, main
from vs_trainer import BATCH, LENGTH, LR, few

PINS = ("ludwig==0.11.0", "torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0", "setuptools<81")
LUDWIG = Peer("Ludwig", "ludwig", PINS, shared=False)


def peer(job: Json) -> Iterator[Any]:
    import pandas
    from ludwig.api import LudwigModel

    yield "imported"
    table = pandas.read_csv(job["table"])
    table["split"] = table["split"].map({"train": 0, "valid": 1, "test": 2})
    model = LudwigModel(_asked(job["model"]), backend="local")
    model.train(dataset=table, output_directory=job["cold"], skip_save_processed_input=True)
    yield "done"
    test = table[table["split"] == 2]
    said, _ = model.predict(dataset=test, output_directory=job["cold"])
    yield {"score": float((said["label_predictions"].values == test["label"].values).mean()), "tested": len(test)}


def _asked(model: str) -> Json:
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": model, "trainable": True}
    text = {"name": "text", "type": "text", "encoder": encoder, "preprocessing": {"max_sequence_length": LENGTH}}
    return {"input_features": [text], "output_features": [{"name": "label", "type": "category"}],
            "preprocessing": {"split": {"type": "fixed", "column": "split"}},
            "trainer": {"epochs": 1, "batch_size": BATCH, "learning_rate": LR,
                        "optimizer": {"type": "adamw"}}}  # fmt: skip


if __name__ == "__main__":
    main(__doc__ or "", LUDWIG, few, {"graft": loop, "whole": whole, "peer": peer})
