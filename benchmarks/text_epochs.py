"""Seconds for one epoch on a sentence encoder: every way to move it, and the plain loop of transformers' Trainer.

    python benchmarks/text_epochs.py --data $GRAFT_DATA [--samples 1000] [--rounds 3]

AG News, MiniLM, batches of 32, fp32, one thread, no validation: the same texts and number of steps for all. The ways
take turns; the median over the rounds is given, in seconds of the processor, which other jobs change little. The first
epoch of a way whose trunk is frozen in part runs that part, once; later ones find it kept.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import _report
import torch
from text import ag_news

from graft import build
from graft.backbones.minilm import files, minilm
from graft.features import Feed
from graft.recipe import Recipe
from graft.train import Loop
from graft.types import Backbone, Dataset, Json

WAYS = {
    "linear probe": "linear_probe(epochs=3)",
    "last two blocks, cached prefix": "full(epochs=3, last=2)",
    "LoRA": "lora(epochs=3, start=None)",
    "BitFit": "bitfit(epochs=3, start=None)",
    "full": "full(epochs=3)",
}


def epochs(strategy: str, dataset: Dataset, trunk: Backbone) -> tuple[float, float]:
    """Processor seconds of the first epoch and of the last one."""
    recipe = Recipe("memory", task="classification", strategy=strategy, backbone="minilm", batch_size=32)
    task, backbone = build.task_for(recipe, dataset), copy.deepcopy(trunk)
    model = build.model(recipe, backbone, task)
    train, nothing = (
        Feed(part, backbone, device=torch.device("cpu")) for part in (dataset, dataset.where(lambda s: False))
    )
    train.decode()
    marks = [time.process_time()]

    def tell(event: Json) -> None:
        if event["event"] == "epoch":
            marks.append(time.process_time())

    Loop(model, task, train, nothing, recipe, None, tell).run(build.flow(recipe, model))
    return marks[1] - marks[0], marks[-1] - marks[-2]


def trainer(dataset: Dataset) -> float:
    """One epoch of transformers' Trainer on the same weights and texts: padding to the longest of a batch."""
    import transformers as library

    tokenizer: Any = library.AutoTokenizer.from_pretrained(str(files()))
    model = library.AutoModelForSequenceClassification.from_pretrained(str(files()), num_labels=len(dataset.classes))
    encoded = tokenizer([dataset.load(sample).text for sample in dataset.samples], truncation=True, max_length=256)
    columns = encoded["input_ids"], encoded["attention_mask"], dataset.targets().tolist()
    names = ("input_ids", "attention_mask", "labels")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        asked = library.TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=32, learning_rate=1e-4, use_cpu=True,
            report_to="none", save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        loop = library.Trainer(model, asked, library.DataCollatorWithPadding(tokenizer), rows)
        began = time.process_time()
        loop.train()
        return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFT_DATA", "data")))
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = ag_news(asked.data)
    dataset = dataset.replace(samples=dataset.samples[: asked.samples])
    trunk, found = minilm(), defaultdict[str, list[tuple[float, float]]](list)
    for number in range(asked.rounds):
        for name, strategy in WAYS.items():
            found[name].append(epochs(strategy, dataset, trunk))
        plain = trainer(dataset)
        found["plain Trainer, full"].append((plain, plain))
        print(
            f"round {number + 1}:",
            {name: [round(s, 1) for s in times[-1]] for name, times in found.items()},
            flush=True,
        )
    middle = {name: [statistics.median(column) for column in zip(*times, strict=True)] for name, times in found.items()}
    mark = middle["plain Trainer, full"][1]
    rows = [{"way": name, "first_epoch": first, "later_epochs": later, "faster_than_trainer": mark / later}
            for name, (first, later) in middle.items()]  # fmt: skip
    _report.report("text_epochs", rows, {"samples": asked.samples, "rounds": asked.rounds, "batch_size": 32})


if __name__ == "__main__":
    main()
