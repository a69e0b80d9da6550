"""Everything a run was asked: one definition for the keyword arguments, the flags and recipe.json.

No torch here: the command line reads these fields to make its flags and must answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from graft.errors import UsageError, did_you_mean
from graft.spec import fits, in_words


def _of(default: Any, words: str) -> Any:
    return field(default=default, metadata={"help": words})


AUTO = "auto"  # the strategy, and the backbone, that are chosen by measurement
PRETEXT = {
    "image": ("simclr", "vicreg", "byol", "rotation", "jigsaw", "masked_autoencoder"),
    "text": ("mlm",),
    "audio": ("masked_spectrogram",),
}  # tasks whose labels come from the samples; the first is what a trunk is pretrained by where there are no labels


def pretext(task: str) -> bool:
    """Whether a task makes its labels from the samples: by its name, which stands before any options."""
    name = task.partition("(")[0].strip().replace("-", "_")
    return any(name in tasks for tasks in PRETEXT.values())


@dataclass(frozen=True)
class Recipe:
    """Values are strings, numbers and None, so a recipe is JSON both ways and `graft fit --recipe` repeats it."""

    data: str = field(metadata={"help": "a folder, a .csv or .jsonl file, or a data set by name such as digits"})
    backbone: str = _of(
        AUTO, "the pretrained trunk: torchvision:resnet18, timm:..., local:<file>, bundled:...; auto takes several"
    )
    task: str = _of(AUTO, "what the labels mean; auto: what they look like (graft list task)")
    strategy: str = _of(AUTO, "what moves, and when: auto measures; or lp_ft, ridge, ... (graft list strategy, probe)")
    budget: str = _of("10m", "time that auto may take, such as 90s, 10m or 1h")
    epsilon: float = _of(0.3, "points of gain that are not worth another rung of auto")
    features: str = _of("last", "what a probe sees: last (stage), or the means of all stages")
    terms: tuple[str, ...] = _of((), "what else is minimised, such as l2_sp(alpha=0.01); may be given several times")
    head: str = _of("linear", "linear or mlp(hidden=(1024, 512), dropout=0.5)")
    loss: str = _of("cross_entropy", "cross_entropy, binary or mse")
    label_smoothing: float = _of(0.0, "share of the target that is spread over all classes")
    class_weights: str | None = _of(None, "balanced: rare classes count more")
    optimizer: str = _of("adamw", "sgd, adam, adamw or rmsprop, with options: sgd(momentum=0.9)")
    schedule: str = _of("cosine", "constant, step, cosine, one_cycle, triangular, inverse_time or plateau")
    weight_decay: float = _of(1e-4, "not applied to biases and normalisation")
    batch_size: int = _of(64, "samples in a batch")
    accumulate: int = _of(1, "batches whose gradients are added before a step")
    clip: float = _of(1.0, "largest norm of the gradient; 0: no limit")
    ema: float = _of(0.99, "decay of the moving average of weights; 0: none")
    patience: int | None = _of(None, "epochs without a better validation score that end a phase; the best one is kept")
    augment: str = _of("basic", "none, basic or trivial; of sounds basic(noise=(5, 30), speed=0.1, ...) or specaugment")
    mix: str | None = _of(None, "mixup(alpha=0.1) or cutmix(alpha=1.0)")
    views: int = _of(0, "augmented views that a frozen prefix is run on and kept for; 0: the plain view alone")
    batchnorm: str = _of("auto", "statistics of moving BatchNorm: train, eval, or auto (eval for small data)")
    precision: str = _of("auto", "fp32, bf16 or fp16; auto: bf16 where the processor has it and features stay the same")
    engine: str = _of("eager", "what runs a frozen trunk: eager, compiled, openvino or onnxruntime")
    device: str = _of("auto", "cpu, cuda, ...")
    watch: str | None = _of(None, "labelled data by which a trunk is watched (k-NN) while it learns without labels")
    valid: float = _of(0.15, "share that chooses, where the data have no valid part")
    test: float = _of(0.15, "share that is sealed until the end, where the data have no test part")
    sealed: str | None = _of(None, "the given part that is the sealed test, where it is not called test")
    seed: int = _of(0, "decides the split, the order, the views and the random weights")

    def json(self) -> dict[str, Any]:
        return {**self.__dict__, "terms": list(self.terms)}


def make(record: dict[str, Any]) -> Recipe:
    """A recipe from its JSON. Raises UsageError for a field that no recipe has."""
    known = [f.name for f in fields(Recipe)]
    for key in record:
        if key not in known:
            raise UsageError(f"a recipe has no '{key}'", did_you_mean(key, known))
    if not record.get("data"):
        raise UsageError("no data are named", "graft fit FOLDER")
    terms = record.get("terms") or ()
    made = {**record, "terms": tuple(terms) if isinstance(terms, list) else terms}
    for key, kind in get_type_hints(Recipe).items():
        if key in made and not fits(made[key], kind):
            hint = f"{key} takes {in_words(kind, 'null')}"
            raise UsageError(f"{key} is {made[key]!r}, which is not what it takes", hint)
    return Recipe(**made)
