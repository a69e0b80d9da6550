"""The model card of a run: Markdown with the hub's YAML, filled from facts alone.

Sections follow Mitchell et al. 2019 (Model Cards for Model Reporting, arXiv:1810.03993): what it predicts, figures with
intervals, data, limits. What a run does not know, such as its language or the intended use, is not written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graft import bare
from graft.console import Figure, figure
from graft.reporting import _card_text as sections
from graft.reporting._facts import Facts, read
from graft.reporting._markdown import text
from graft.spec import parse
from graft.store import read_json, replacing
from graft.types import Json

NAME = "README.md"
PIPELINES = {
    ("classification", "image"): "image-classification", ("classification", "text"): "text-classification",
    ("classification", "audio"): "audio-classification", ("multilabel", "image"): "image-classification",
    ("multilabel", "text"): "text-classification", ("multilabel", "audio"): "audio-classification",
    ("token_classification", "text"): "token-classification", ("question_answering", "text"): "question-answering",
    ("ctc", "audio"): "automatic-speech-recognition", ("mlm", "text"): "fill-mask",
}  # fmt: skip
# the hub's names of licences that the weights of trunks come under: https://huggingface.co/docs/hub/repositories-licenses
LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
            "cc-by-nc-sa-4.0", "agpl-3.0", "gpl-3.0", "lgpl-3.0", "openrail", "unlicense")  # fmt: skip
UNSAID = ("see ", "unknown", "none needed")  # how Info.licence begins where no licence is known


def card(folder: Path, name: str = "") -> str:
    """The card as text; `name` is user/name on the hub, where it will lie there. Raises DataError for a folder that
    holds no finished run, IntegrityError for a damaged file."""
    facts = read(folder)
    parts = [f"# {_headline(facts, name)}", sections.title(facts), sections.classes(facts, _classes(folder))]
    for title, said in _sections(facts, name):
        parts += [f"## {title}", said] if said else []
    return f"---\n{_metadata(facts, name)}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def write(folder: Path) -> Path:
    """Write README.md into the run folder; returns its path."""
    made = card(folder)
    with replacing(folder / NAME) as temporary:
        temporary.write_text(made, encoding="utf-8")
    return folder / NAME


def _classes(folder: Path) -> list[str]:
    return [str(label) for label in read_json(folder / "labels.json")]


def _headline(facts: Facts, name: str) -> str:
    return text(name.partition("/")[2] or bare.data(facts.name))


def _sections(facts: Facts, name: str) -> Iterator[tuple[str, str]]:
    yield "Verdict", sections.verdict(facts)
    yield "Adaptation", sections.adapted(facts)
    yield "Score", sections.score(facts)
    yield "Classes", sections.per_class(facts)
    yield "Calibration and coverage", sections.confidence(facts)
    yield "Limits", sections.limits(facts)
    yield "Data", sections.data(facts)
    yield "Cost", sections.cost(facts)
    yield "How to use it", _use(facts, name)
    yield "How to repeat it", _repeat(facts)
    yield "Weights and licence", sections.licence(facts)


def _use(facts: Facts, name: str) -> str:
    run = f"hub:{name}" if name else "RUN"
    where = "" if name else "RUN is the folder of this file.\n\n"
    shell = f"```\ngraft predict {run} DATA\n```"
    python = f'```python\nimport graft\n\nrows, issues = graft.predict("{run}", "DATA")\n```'
    if facts.pretext:
        fetched = f"hf download {name} --local-dir RUN\n" if name else ""
        return f"{where}As the trunk of another run:\n\n```\n{fetched}graft fit DATA --backbone trained:RUN\n```"
    return f"{where}{shell}\n\n{python}\n\nBoth read safetensors and JSON alone: nothing of this run is executed."


def _repeat(facts: Facts) -> str:
    """The command, and what it was run with."""
    if facts.adapted:
        return ""
    versions = facts.environment.get("libraries") or {}
    with_ = ", ".join(f"{name} {versions[name]}" for name in ("graft-ml", "torch") if name in versions)
    python, seed = facts.environment.get("python"), facts.recipe.get("seed")
    said = f"Made with {text(with_)}{f', Python {python}' if python else ''}, seed {seed}." if with_ else ""
    return f"```\ngraft fit DATA --recipe recipe.json\n```\n\n{said}".strip()


# ------------------------------------------------------------------------------------------------------------ metadata


def _metadata(facts: Facts, name: str) -> str:
    """The YAML of the hub. What is None is left out."""
    from huggingface_hub import ModelCardData

    task, modality = parse(str(facts.recipe.get("task", ""))).name, facts.modality
    results = _results(facts, PIPELINES.get((task, modality)) or task.replace("_", "-"))
    terms: Any = licence(str(facts.backbone.get("licence", "")))
    made: Any = ModelCardData(
        library_name="graft",
        pipeline_tag=PIPELINES.get((task, modality)),
        base_model=base_model(facts.backbone),
        tags=["graft", "transfer-learning", *([modality] if modality else [])],
        model_name=(name.partition("/")[2] or bare.data(facts.name)) if results else None,
        eval_results=results or None,
        **terms,
    )
    return str(made.to_yaml()).rstrip()


def _results(facts: Facts, task: str) -> list[Any]:
    """Every figure of the scored part, with its interval and the number of samples in words."""
    from huggingface_hub import EvalResult

    dataset, split = bare.data(facts.name), "test" if facts.part == "test" else "validation"
    slug = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "data"
    after = {facts.metric: facts.result["after"]} if facts.adapted and facts.result.get("after") else {}
    known = {name: found for name, found in (after or facts.scores).items() if math.isfinite(found["value"])}
    return [EvalResult(task_type=task, dataset_type=slug, dataset_name=dataset, dataset_split=split, metric_type=name,
                       metric_value=round(found["value"], 6), metric_name=_in_words(name, found, facts))
            for name, found in known.items()]  # fmt: skip


def _in_words(name: str, found: Json, facts: Facts) -> str:
    said = figure(name, Figure(found["value"], found["low"], found["high"]))
    samples = facts.adapted["samples"] if facts.adapted else facts.scored
    return f"{name}: {said}, 95 % interval, n = {samples:,}"


def licence(said: str) -> dict[str, str]:
    """The licence of the weights as the hub writes it: one that it knows, or "other" and its name; {}: not known."""
    weights = said.partition("weights: ")[2] or said
    if not weights or weights.lower().startswith(UNSAID):
        return {}
    slug = re.sub(r"[^a-z0-9.]+", "-", weights.partition(";")[0].lower()).strip("-")
    return {"license": slug} if weights.lower() in LICENCES else {"license": "other", "license_name": slug}


def base_model(trunk: Json) -> str | None:
    """The id on the hub of the weights that the trunk began with; None where they are not from there, or it cannot be
    told from a folder of the same name."""
    source = parse(str(trunk.get("source") or "none"))
    if source.name == "trained":
        return base_model((trunk.get("config") or {}).get("backbone") or {})
    if not trunk.get("sha256"):
        return None
    if source.name == "minilm":
        from graft.backbones.minilm import REVISION

        return REVISION
    if source.name == "timm":
        return _timm_id(source.target or "")
    return source.target if source.name == "transformers" and _on_hub(source.target or "") else None


def _timm_id(name: str) -> str | None:
    from timm.models import get_pretrained_cfg

    found = getattr(get_pretrained_cfg(name), "hf_hub_id", None)
    return found if found and "/" in found and not found.endswith("/") else None


def _on_hub(name: str) -> bool:
    from graft.backbones._hub import cached

    return name.count("/") == 1 and not Path(name).exists() and cached(name)
