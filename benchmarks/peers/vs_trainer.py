"""A plain transformers Trainer and Graft on MiniLM, all of it moving: one epoch on AG News.

    python benchmarks/peers/vs_trainer.py --data $GRAFT_DATA [--rounds 3] [--quick] [--rows NAME] [--threads N]

2,000 texts (title and text as one), batches of 32, at most 256 tokens, the published weights of all-MiniLM-L6-v2, AdamW
at 5e-5 with a cosine to 0, gradients clipped at 1, dropout as the weights' config has it, no validation (so Trainer by
default); fp32 in both or bf16 autocast in both. The clock runs from the CSV file to the trained model: tokenising and
loading the weights included. The score is on 1,000 other texts, which both sides encode after it.

Trainer pads each batch to its longest text; the second kind of row asks it for batches of like lengths, as Graft's own
are. Not the same: Trainer's head is BERT's pooler and a linear layer on the first token, Graft's a linear layer on the
mean of the tokens. The environment sees the torch and transformers that are installed beside Graft.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _graft import loop, whole
from _side import Bout, Json, Peer, early, main

TRAINER = Peer("Trainer", "trainer", ("transformers==5.23.0", "accelerate==1.15.0"))
BATCH, LR, LENGTH = 32, 5e-5, 256
EARLY = ("transformers.models.bert.modeling_bert", "transformers:AutoTokenizer", "transformers:AutoModel")
SAMPLING = {"": "random", ", group_by_length": "group_by_length"}


def prepare(asked: argparse.Namespace, work: Path) -> list[Bout]:
    from graft.backbones.minilm import files

    table, sizes = work / "news.csv", {"train": 128, "test": 64}
    write(asked.data, table, sizes if asked.quick else {"train": 2000, "test": 1000})
    made = []
    for precision, goal in (("fp32", None), ("bf16", 1.5)):
        for name, sampling in SAMPLING.items():
            job = {"table": str(table), "model": str(files()), "precision": precision, "sampling": sampling}
            ours = {"recipe": recipe(table, precision), "early": EARLY}
            made.append(Bout(f"full epoch, {precision}{name}", ours, job, goal, whole=not name))
    return made


def few(asked: argparse.Namespace, work: Path) -> list[Bout]:
    """What peers that take long are asked: one epoch on 500 texts, with 100 to validate."""
    from graft.backbones.minilm import files

    table, sizes = work / "news.csv", {"train": 64, "valid": 32, "test": 32}
    write(asked.data, table, sizes if asked.quick else {"train": 500, "valid": 100, "test": 500})
    ours = {"recipe": recipe(table, "fp32", valid=0.15), "early": EARLY}
    theirs = {"table": str(table), "model": str(files())}
    return [Bout("full epoch, fp32", ours, theirs, whole=True)]


def write(data: Path, table: Path, sizes: dict[str, int]) -> None:
    """Every second row of AG News' test file, as benchmarks/text.py has them: so many in each part."""
    folder = data / "ag_news_test"
    names = (folder / "classes.txt").read_text(encoding="utf-8").split("\n")
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(f"{title} {text}", names[int(label) - 1]) for label, title, text in csv.reader(file)][1::2]
    parts = [part for part, count in sizes.items() for _ in range(count)]
    with table.open("w", encoding="utf-8", newline="") as file:
        found = ((*row, part) for row, part in zip(rows, parts, strict=False))
        csv.writer(file).writerows([("text", "label", "split"), *found])


def recipe(table: Path, precision: str, valid: float = 0.0) -> Json:
    return {"data": str(table), "backbone": f"minilm(length={LENGTH})", "optimizer": "adamw", "weight_decay": 0.0,
            "strategy": f"full(epochs=1, lr={LR}, head_lr={LR})", "schedule": "cosine", "batch_size": BATCH,
            "clip": 1.0, "ema": 0.0, "valid": valid, "precision": precision, "device": "cpu"}  # fmt: skip


def peer(job: Json) -> Iterator[Any]:
    import transformers as library

    early(*EARLY, *(f"transformers:{name}" for name in ("Trainer", "TrainingArguments", "DataCollatorWithPadding")))
    early("transformers:AutoModelForSequenceClassification", "accelerate")
    yield "imported"
    library.utils.logging.set_verbosity_error()
    tokenizer = library.AutoTokenizer.from_pretrained(job["model"])
    rows, classes = _rows(job["table"])
    train = _encoded(tokenizer, rows["train"], classes)
    model = library.AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=len(classes))
    asked = library.TrainingArguments(
        job["cold"], num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=LR, use_cpu=True,
        lr_scheduler_type="cosine", bf16=job["precision"] == "bf16", train_sampling_strategy=job["sampling"],
        report_to="none", save_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    loop = library.Trainer(model, asked, library.DataCollatorWithPadding(tokenizer), train)
    loop.train()
    yield "done"
    said = loop.predict(_encoded(tokenizer, rows["test"], classes))
    yield {"score": float((said.predictions.argmax(1) == said.label_ids).mean()), "tested": len(said.label_ids)}


def _rows(table: str) -> tuple[dict[str, list[Json]], list[str]]:
    """The rows of each part, and the classes."""
    with Path(table).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = {part: [row for row in rows if row["split"] == part] for part in ("train", "test")}
    return parts, sorted({row["label"] for row in rows})


def _encoded(tokenizer: Any, rows: list[Json], classes: list[str]) -> list[Json]:
    made = tokenizer([row["text"] for row in rows], truncation=True, max_length=LENGTH)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": classes.index(row["label"])}
        for row, ids, mask in zip(rows, made["input_ids"], made["attention_mask"], strict=True)
    ]


if __name__ == "__main__":
    main(__doc__ or "", TRAINER, prepare, {"graft": loop, "whole": whole, "peer": peer})
