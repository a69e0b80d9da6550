"""The sections of the model card, each from facts alone: one that has none is left out. See card.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graft import bare
from graft.console import Figure, duration, figure
from graft.intervals import wilson
from graft.reporting._english_codes import CODES
from graft.reporting._facts import Facts
from graft.reporting._markdown import code, table, text
from graft.spec import parse
from graft.tables import points
from graft.types import Json

WIDE, MANY, ROWS = 0.3, 100, 50  # of an interval; class names that are listed; rows of a table
SHOWN = 12  # findings
SEVERITIES = ("error", "warning", "note")
PARTS = {"test": "sealed test part", "valid": "validation part"}
KINDS = {"classification": "A classifier of {what}", "multilabel": "A multi-label classifier of {what}",
         "regression": "A regression on {what}", "token_classification": "A tagger of the words of {what}",
         "question_answering": "A reader that answers questions from {what}", "ctc": "A speech recogniser",
         "mlm": "A trunk for {what}, trained by guessing hidden words",
         "masked_spectrogram": "A trunk for {what}, trained by guessing hidden frames",
         "simclr": "A trunk for {what}, trained by telling them apart by their views",
         "vicreg": "A trunk for {what}, trained on pairs of views",
         "byol": "A trunk for {what}, trained by guessing one view from another",
         "rotation": "A trunk for {what}, trained by guessing how they are turned",
         "jigsaw": "A trunk for {what}, trained by putting their tiles in order",
         "masked_autoencoder": "A trunk for {what}, trained by painting hidden patches"}  # fmt: skip
WHAT = {"image": "images", "text": "texts", "audio": "sounds"}


def known(facts: Facts) -> list[str]:
    """Names that may hold a path of this machine, and stand in sentences."""
    trunks = [str((rung.get("recipe") or {}).get("backbone", "")) for rung in (facts.ladder or {}).get("rungs", ())]
    asked = str(facts.recipe.get("backbone", "")).split(" + ")
    adapted = facts.adapted or {}
    data = [str(one.get("data", "")) for one in (facts.recipe, adapted)]
    return [*trunks, *asked, str(facts.backbone.get("source", "")), *data, str(adapted.get("parent", ""))]


def title(facts: Facts) -> str:
    name = parse(str(facts.recipe.get("task", "classification"))).name
    noun = KINDS.get(name, "A model of {what}").format(what=WHAT.get(facts.modality, "data"))
    way, trunk = (str(facts.recipe.get(key, "")) for key in ("strategy", "backbone"))
    how = f": {code(bare.value_of(way))} on {code(bare.backbone(trunk))}" if "auto" not in (way, trunk) else ""
    return f"{noun}, fitted to {code(bare.data(facts.name))} by Graft{how}."


def classes(facts: Facts, names: Sequence[str]) -> str:
    if not names or parse(str(facts.recipe.get("task", ""))).name == "ctc":
        return ""
    rest = f", and {len(names) - MANY:,} more (labels.json)" if len(names) > MANY else ""
    return f"Its {len(names):,} classes: {', '.join(map(code, names[:MANY]))}{rest}."


def verdict(facts: Facts) -> str:
    said = (facts.ladder or {}).get("verdict", {}).get("sentences", ())
    return "\n".join(f"- {text(bare.sentence(one, known(facts)))}" for one in said if one.strip())


def adapted(facts: Facts) -> str:
    """What an adaptation came to."""
    found, result = facts.adapted, facts.result
    if not found:
        return ""
    labels = "with" if found.get("labels_used") else "without"
    said = [f"Adapted by {code(found.get('method'))} to {found.get('samples', 0):,} samples of "
            f"{code(bare.data(str(found.get('data', ''))))}, {labels} their labels."]  # fmt: skip
    if result.get("gain"):
        before, after = (figure(facts.metric, _figure(result[name])) for name in ("before", "after"))
        gain = points(result["gain"], facts.metric)
        said.append(f"{text(facts.metric)} before: {before}; after: {after}; difference: {gain} "
                    f"({text(result.get('measured_on', ''))}).")  # fmt: skip
    return "\n\n".join(said)


def score(facts: Facts) -> str:
    """Every figure, and of the baselines the one that the run was chosen by."""
    if not facts.scores:
        return ""
    rows = [[text(name), figure(name, _figure(found))] for name, found in facts.scores.items()]
    rows += [[f"{text(facts.metric)}, {text(name)} (baseline)", figure(facts.metric, _figure(found[facts.metric]))]
             for name, found in (facts.result.get("baselines") or {}).items() if facts.metric in found]  # fmt: skip
    opened = f", opened {_times(len(facts.openings))}" if facts.part == "test" and facts.openings else ""
    said = f"On the {PARTS[facts.part]}{opened}: {facts.scored:,} samples; 95 % intervals in brackets."
    return "\n\n".join([said, table(("figure", "value"), rows), *_looks(facts)])


def _looks(facts: Facts) -> Iterator[str]:
    """Of a trunk that learned without labels, how its features came on."""
    if not facts.looks:
        return
    first, last = facts.looks[0], facts.looks[-1]
    yield (f"Effective rank of its features: {first['rank']:.1f} at the start, {last['rank']:.1f} of {last['of']} as "
           f"it is kept; spread {first['spread']:.2f} and {last['spread']:.2f}.")  # fmt: skip
    if last.get("knn") is not None and last.get("queries"):
        before, after = (_rate(wilson(look["knn"] * look["queries"], look["queries"])._asdict())
                         for look in (first, last))  # fmt: skip
        yield (f"k-NN accuracy by these features on {last['queries']:,} labelled samples, of whose labels nothing was "
               f"learned: {before} at the start, {after} as it is kept; the most frequent class: "
               f"{_share(last['majority'])}.")  # fmt: skip


def per_class(facts: Facts) -> str:
    found = facts.report.get("per_class") or []
    if not found:
        return ""
    worst = sorted(found, key=lambda row: row["f1"])[:ROWS]
    rows = [[code(row["label"], cell=True), f"{row['support']:,}", _share(row["precision"]),
             _share(row["recall"], row.get("recall_interval")), _share(row["f1"], row.get("f1_interval"))]
            for row in worst]  # fmt: skip
    left = f"The {ROWS} of {len(found):,} classes with the lowest F1.\n\n" if len(found) > ROWS else ""
    return left + table(("class", "samples", "precision", "recall", "F1"), rows)


def data(facts: Facts) -> str:
    parts = facts.data.get("splits") or {}
    if not parts:
        return ""
    counts = ", ".join(f"{part['samples']:,} {name}" for name, part in parts.items() if part["samples"])
    said = [f"{code(bare.data(facts.name))}: {counts} samples."]
    train = (parts.get("train") or {}).get("classes") or {}
    if train:
        most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        rarest = (
            f", the rarest {code(least)} ({train[least]:,})" if train[least] < train[most] else ", like every other"
        )
        said.append(
            f"The most frequent of {len(train):,} classes is {code(most)} ({train[most]:,} for training){rarest}."
        )
    if facts.data.get("fingerprint"):
        said.append(f"Fingerprint of contents, labels and split: {code(facts.data['fingerprint'])}.")
    return "\n".join(said)


def confidence(facts: Facts) -> str:
    found = facts.result.get("confidence") or {}
    return "\n".join(f"- {one}" for one in _confidence(found)) if found else ""


def _confidence(found: Json) -> Iterator[str]:
    """On the sealed test part, which neither the weights nor the temperature have seen."""
    if "ece" in found:
        made = f" ({text(found['made_on'])})" if found.get("made_on") else ""
        before, after = (_rate(found["ece"][name]) for name in ("before", "after"))
        yield (f"Expected calibration error {after}; {before} before the temperature {found['temperature']:.3g}{made}, "
               f"on {found['samples']:,} samples.")  # fmt: skip
    if "brier" in found:
        yield f"Brier score {figure('brier', _figure(found['brier']['after']))}."
    for name, sets in (found.get("sets") or {}).items():
        yield (f"Sets of classes ({code(name)}) stated to hold the right class in {100 * sets['stated']:g} %: "
               f"they do in {_rate(sets['coverage'])}, with {sets['size']:.2f} classes on average{_few(sets)}."
               )  # fmt: skip
    if found.get("unlike"):
        strange = found["unlike"]
        yield (f"Samples unlike the training data are flagged: of these, which are like it, "
               f"{_rate(strange['flagged'])}, by a threshold made for {100 * strange['stated']:g} %.")  # fmt: skip
    yield from (f"{text(note)}." for note in found.get("notes") or ())


def _few(sets: Json) -> str:
    """Why less than what is stated may be no broken promise."""
    least, found = sets.get("least"), sets["coverage"]
    if least is None or found["high"] >= sets["stated"] or found["value"] < least:
        return ""
    return f"; so few held-out samples promise no more than {100 * least:.0f} %"


def limits(facts: Facts) -> str:
    said = [*_unsure(facts), *_findings(facts.issues)]
    return "\n".join(f"- {one}" for one in said)


def _unsure(facts: Facts) -> Iterator[str]:
    """Classes of which the test part says little."""
    rows = facts.report.get("per_class") or []
    wide = [
        row
        for row in rows
        if row.get("recall_interval") and row["recall_interval"][1] - row["recall_interval"][0] > WIDE
    ]
    if wide:
        few = ", ".join(f"{code(row['label'])} ({row['support']:,})" for row in wide[:SHOWN])
        rest = f", and {len(wide) - SHOWN:,} more" if len(wide) > SHOWN else ""
        yield (f"The recall of {len(wide):,} of {len(rows):,} classes is known to no better than {100 * WIDE:.0f} "
               f"points, as too few samples were scored: {few}{rest}.")  # fmt: skip
    known = set(facts.report.get("classes") or ())  # of transcripts these are words, which somebody has said
    rare = [row for row in facts.report.get("most_confused") or [] if row.get("count")]
    rare = [row for row in rare if {row["actual"], row["predicted"]} <= known][:3]
    if rare:
        pairs = (f"{code(row['actual'])} as {code(row['predicted'])} ({row['count']:,})" for row in rare)
        yield f"Confused most: {', '.join(pairs)}."


def _findings(issues: Sequence[Json]) -> Iterator[str]:
    """What was found in the data, by title and count alone: the sentences of findings hold words of the data, such as
    names of files, of folders and of groups."""
    ranked = sorted(issues, key=_rank)
    for one in ranked[:SHOWN]:
        title = CODES.get(f"issue.{one.get('code')}", "Another finding")
        count = one.get("count")
        yield f"{SEVERITIES[_rank(one)]}: {text(title)}" + (f" ({count:,})" if isinstance(count, int) and count else "")
    if len(ranked) > SHOWN:
        yield f"and {len(ranked) - SHOWN:,} more findings"


def _rank(issue: Json) -> int:
    said = issue.get("severity")
    return SEVERITIES.index(said) if said in SEVERITIES else len(SEVERITIES) - 1


def cost(facts: Facts) -> str:
    seconds = facts.result.get("seconds")
    if not seconds:
        return ""
    asked, env = (facts.ladder or {}).get("budget"), facts.environment
    budget = f", within a budget of {duration(asked)}" if asked else ""
    where = env.get("gpu") or env.get("processor")
    spent = facts.shown.get("cost") or {}
    energy = f" Energy: about {spent['watt_hours']:.3g} Wh, {text(spent['assumption'])}." if spent else ""
    return f"{duration(seconds)} in all{budget}" + (f", on {text(where)}" if where else "") + f".{energy}"


def licence(facts: Facts) -> str:
    trunk, said = facts.backbone, []
    if trunk.get("source"):
        size = f", {trunk['parameters']:,} parameters" if trunk.get("parameters") else ""
        said.append(f"Trunk: {code(bare.backbone(trunk['source']))}{size}.")
    if trunk.get("pretrained_on"):
        said.append(f"Pretrained on: {text(bare.sentence(trunk['pretrained_on']))}.")
    if trunk.get("licence"):
        said.append(f"Its licence: {text(trunk['licence'])}.")
    if trunk.get("sha256"):
        said.append(f"sha256 of its weights: {code(trunk['sha256'])}.")
    return "\n".join(said)


def _figure(found: Json) -> Figure:
    return Figure(found["value"], found["low"], found["high"])


def _rate(found: Json) -> str:
    return figure("accuracy", _figure(found))


def _share(value: float, interval: Sequence[float] | None = None) -> str:
    inside = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * value:.1f} %{inside}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
