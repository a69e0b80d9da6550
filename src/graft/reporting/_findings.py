"""What was found in the data, the worst first, and what to do about it; what the run has cost; how to repeat it."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from graft.console import duration
from graft.reporting._facts import Facts
from graft.reporting._parts import Album, Table
from graft.reporting._samples import card
from graft.reporting._words import Words, count, missing
from graft.showing.expense import CORE, GPU, IDLE
from graft.types import Json

SEVERITIES = ("error", "warning", "note")
DEFAULTS = {"image": "bundled:tiny64", "text": "minilm", "audio": "bundled:words8k"}  # those of zoo.py, which has torch
FILES, SUSPECTS, WORTH = 100, 24, 50  # listed of a finding; pictures of suspected labels, and of samples to label


class Finding(NamedTuple):
    severity: str
    title: str
    what: str
    number: str
    hint: str
    files: list[tuple[str, str]]  # and what is said of each
    more: str


def findings(facts: Facts, w: Words, album: Album) -> Json:
    order = sorted(facts.issues, key=lambda issue: _rank(issue.get("severity", "note")))
    suspects = [card(one, album) for one in (facts.shown.get("suspects") or [])[:SUSPECTS]]
    numbers = [sum(issue.get("severity") == severity for issue in order) for severity in SEVERITIES]
    lead = w("findings.lead", errors=numbers[0], warnings=numbers[1], notes=numbers[2]) if order else w("findings.none")
    return {
        "rows": [_finding(issue, w) for issue in order],
        "suspects": suspects,
        "lead": lead,
        "parts": _parts(facts, w),
    }


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _finding(issue: Json, w: Words) -> Finding:
    keys, details = issue.get("keys") or [], issue.get("details") or []
    code, severity = str(issue.get("code", "")), str(issue.get("severity", "note"))
    said = details if len(details) == len(keys) else [""] * len(keys)
    more = w("files.more", n=count(len(keys) - FILES)) if len(keys) > FILES else ""
    title = w.maybe(f"issue.{code}", code.replace("-", " "))
    number = count(issue.get("count", len(keys))) if issue.get("count") else ""
    files = [(str(key), str(one)) for key, one in zip(keys[:FILES], said, strict=False)]
    return Finding(severity if severity in SEVERITIES else "note", title, str(issue.get("what", "")), number,
                   str(issue.get("hint", "")), files, more)  # fmt: skip


def _parts(facts: Facts, w: Words) -> Table | None:
    """Samples of each class in each part; of many classes only the sums."""
    parts = facts.data.get("splits") or {}
    names = [name for name in ("train", "valid", "test") if name in parts]
    if not names:
        return None
    classes = [one for one in parts[names[0]].get("classes") or {} if any(parts[p]["classes"].get(one) for p in names)]
    rows = [[name, *(count(parts[p]["classes"].get(name, 0)) for p in names)] for name in classes]
    rows.append([w("all"), *(count(parts[p].get("samples", 0)) for p in names)])
    return Table([w("col.class"), *(w(f"col.{name}") for name in names)], rows)


def worth(facts: Facts, w: Words, album: Album) -> Json | None:
    """Samples that are most worth a label; those that stand among the findings already are only named."""
    found = facts.shown.get("next") or {}
    items = (found.get("items") or [])[:WORTH]
    if not items:
        return None
    source = "suspects" if found.get("source") == "suspects" else "unlabelled"
    above = {one["item"].get("key") for one in (facts.shown.get("suspects") or [])[:SUSPECTS]}
    new = [one for one in items if one.get("key") not in above]
    return {
        "lead": w(f"next.{source}", n=len(items), of=count(found.get("of") or len(items))),
        "above": w("next.above") if len(new) < len(items) else "",
        "shots": album.shots(new, WORTH),
        "named": [str(one.get("key", "")) for one in items],
    }


def todo(facts: Facts, w: Words) -> list[str]:
    """Findings to correct first; and what a run of a named way can still be asked."""
    hints = [w("next.correct", title=w.maybe(f"issue.{i.get('code')}", str(i.get("code"))), hint=i["hint"])
             for i in facts.issues if i.get("severity") in ("error", "warning") and i.get("hint")]  # fmt: skip
    named = not facts.ladder and facts.scores and not facts.adapted
    further = _trunk(facts, w) if facts.pretext else [w("next.ladder")] if named else []
    return [*list(dict.fromkeys(hints))[:5], *further]


def _trunk(facts: Facts, w: Words) -> list[str]:
    """What to do with a trunk that learned without labels."""
    run, began = shlex.quote(str(facts.folder)), shlex.quote(str(facts.recipe.get("backbone", "")))
    if facts.backbone.get("sha256"):
        return [w("next.trunk", before=began, run=run), w("next.fit", run=run)]
    default = DEFAULTS.get(facts.modality, "auto")
    return [w("next.trunk.scratch", default=default, run=run), w("next.fit", run=run)]


# -------------------------------------------------------------------------------------------------------------- cost


def costs(facts: Facts, w: Words, price: float | None, watts: float | None) -> Json:
    """Time, energy (an estimate, unless `watts` were metered), and money if an hour has a price."""
    kept = facts.shown.get("cost") or {}
    seconds = float(kept.get("seconds") or facts.result.get("seconds") or 0.0)
    power, assumption = _power(facts, kept, w, watts)
    energy = power * seconds / 3600
    rows = [[w("cost.time"), duration(seconds), w("cost.time.how")], [w("cost.energy"), _energy(energy), assumption]]
    if price is not None:
        rows.append([w("cost.money"), f"{price * seconds / 3600:,.4g}", w("cost.money.how", price=f"{price:g}")])
    head = [w("col.what"), w("col.value"), w("col.how")]
    return {"table": Table(head, rows, (0, 2)), "stages": _stages(facts, kept, seconds, w), "priced": price is not None}


def _power(facts: Facts, kept: Json, w: Words, watts: float | None) -> tuple[float, str]:
    """Watts, and where they come from."""
    if watts is not None:
        return watts, w("cost.given", watts=f"{watts:g}")
    gpu = kept.get("gpu", facts.environment.get("gpu"))
    busy = kept.get("busy")
    if missing(busy):
        busy = facts.environment.get("threads") or facts.environment.get("cores") or 1
    if not missing(kept.get("watts")):
        return float(kept["watts"]), w("cost.assumed", watts=f"{kept['watts']:.0f}", busy=f"{busy:.1f}",
                                       gpu=gpu or w("cost.no_gpu"))  # fmt: skip
    power = IDLE + CORE * float(busy or 1) + (GPU if gpu else 0.0)
    return power, w("cost.assumed", watts=f"{power:.0f}", busy=f"{busy:.1f}", gpu=gpu or w("cost.no_gpu"))


def _energy(watt_hours: float) -> str:
    return f"{watt_hours / 1000:,.2f} kWh" if watt_hours >= 1000 else f"{watt_hours:.3g} Wh"


def _stages(facts: Facts, kept: Json, seconds: float, w: Words) -> list[Json]:
    """Where the time went, with bars."""
    stages = [(w.maybe(f"stage.{name}", name), float(spent)) for name, spent in (kept.get("stages") or {}).items()]
    if not stages:
        rungs = (facts.ladder or {}).get("rungs") or []
        stages = [(w("stage.choice"), sum(r.get("seconds") or 0.0 for r in rungs))] if rungs else []
        stages.append((w("stage.training"), sum(p.get("seconds") or 0.0 for p in facts.result.get("phases") or [])))
        stages.append((w("stage.rest"), max(0.0, seconds - sum(spent for _, spent in stages))))
    longest = max((spent for _, spent in stages), default=0.0) or 1.0
    return [{"name": name, "seconds": duration(spent), "width": 100 * spent / longest} for name, spent in stages]


# ------------------------------------------------------------------------------------------------------------ repeat


def repeat(facts: Facts, w: Words) -> Json:
    folder, recipe = shlex.quote(str(facts.folder)), facts.folder / "recipe.json"
    asked = facts.adapted or facts.result.get("adapted_from")
    again = f"graft fit --recipe {shlex.quote(str(recipe))} --out {w('again.out')}"
    if asked:
        again = f"graft adapt {shlex.quote(str(asked.get('parent')))} {shlex.quote(str(asked.get('data')))}" \
                f" --method {shlex.quote(str(asked.get('method')))}"  # fmt: skip
    commands = [(w("again.repeat"), again)]
    if facts.ladder and (facts.folder / "chosen.json").exists():
        chosen = shlex.quote(str(facts.folder / "chosen.json"))
        commands.append((w("again.chosen"), f"graft fit --recipe {chosen} --out {w('again.out')}"))
    if facts.pretext:
        commands.append((w("again.trunk"), f"graft fit {w('again.data')} --backbone trained:{folder}"))
    else:
        commands.append((w("again.predict"), f"graft predict {folder} {w('again.files')}"))
        commands.append((w("again.evaluate"), f"graft evaluate {folder} {w('again.data')}"))
    openings = [[str(one.get("when", "")), str(one.get("why", ""))] for one in facts.openings]
    return {"commands": commands, "facts": Table([w("col.what"), w("col.value")], _facts(facts, w), (0, 1)),
            "openings": Table([w("col.when"), w("col.why")], openings, (0, 1)) if openings else None,
            "recipe": Table([w("col.setting"), w("col.value")], _recipe(facts), (0, 1)),
            "bitwise": w("again.bitwise")}  # fmt: skip


def _recipe(facts: Facts) -> list[list[str]]:
    return [[name, ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)]
            for name, value in facts.recipe.items()]  # fmt: skip


def _facts(facts: Facts, w: Words) -> list[list[str]]:
    machine, trunk = facts.environment, facts.backbone
    versions = ", ".join(f"{name} {version}" for name, version in (machine.get("libraries") or {}).items())
    rows = [
        ("fact.data", facts.recipe.get("data")),
        ("fact.fingerprint", facts.data.get("fingerprint")),
        ("fact.seed", facts.recipe.get("seed")),
        ("fact.backbone", trunk.get("source")),
        ("fact.weights", trunk.get("sha256")),
        ("fact.licence", trunk.get("licence")),
        ("fact.pretrained", trunk.get("pretrained_on")),
        ("fact.commit", machine.get("commit")),
        ("fact.versions", f"Python {machine['python']}, {versions}" if machine.get("python") else versions),
        ("fact.machine", ", ".join(str(machine[k]) for k in ("system", "processor", "gpu") if machine.get(k))),
        ("fact.threads", machine.get("threads")),
    ]
    return [[w(key), str(value)] for key, value in rows if value not in (None, "")]
