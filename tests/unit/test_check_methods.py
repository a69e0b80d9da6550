"""The checks against references: cleanlab's own scores, known noise, and metadata that do or do not tell a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from graft import registry
from graft.checks import _metadata, _told
from graft.checks._seen import FOLDS, Seen
from graft.checks.label_errors import quality, suspects
from graft.types import Dataset, Issue, Sample, Sound, Text

SIZES = {"width": (300, 900), "height": (300, 900), "bytes": (20_000, 90_000), "format": "JPEG", "mode": "RGB"}


def seen_of(samples, modality="image", features=None, **more):
    classes = tuple(sorted({sample.label for sample in samples if sample.label is not None}))
    made = Dataset("made", modality, tuple(samples), classes, lambda s: None, lambda s: b"", **more)
    return Seen(made, features)


def found(name, seen):
    return list(registry.find("check", name)(seen))


def files(count, label, split="train", folder="", **about):
    """Images of a class whose sizes are `about`, each a value or a pair of bounds."""
    rng = np.random.default_rng(abs(hash_of(label, split)))
    rolled = [{key: int(rng.integers(*value)) if isinstance(value, tuple) else value
               for key, value in {**SIZES, **about}.items()} for _ in range(count)]  # fmt: skip
    return [Sample(f"{folder}{label}/{rng.integers(10**7):07d}_{i}.jpg", None, label, split, None, "", one)
            for i, one in enumerate(rolled)]  # fmt: skip


def hash_of(*words):
    return sum(ord(letter) * (i + 1) for i, letter in enumerate("/".join(words)))


# ---------------------------------------------------------------------------------------------------------- imbalance


@pytest.mark.parametrize(("many", "few", "severity"), [(40, 10, None), (50, 10, "note"), (400, 20, "warning")])
def test_imbalance_by_the_ratio_of_the_largest_and_the_smallest(many, few, severity):
    issues = found("imbalance", seen_of(files(many, "cat") + files(few, "dog") + files(many, "eel")))
    assert [issue.severity for issue in issues] == ([severity] if severity else [])
    assert not issues or (issues[0].keys == ("dog",) and issues[0].details == (f"{few} samples",))
    assert not issues or "always says" not in issues[0].what, "no class is the majority"


def test_imbalance_counts_what_is_trained_on_and_says_what_the_majority_gets():
    (issue,) = found("imbalance", seen_of(files(90, "cat") + files(10, "dog") + files(80, "dog", "test")))
    assert "(9 : 1)" in issue.what and "always says cat is right on 90 %" in issue.what
    assert "--class-weights balanced" in issue.hint


# ------------------------------------------------------------------------------------------------- classes and groups


def test_a_class_that_lost_its_samples_is_said_once():
    samples = files(5, "cat") + files(5, "dog") + files(5, "cat", "test")
    (issue,) = found("class_sets", seen_of(samples))
    assert issue.code == "class-lost-in-test" and issue.keys == ("dog",)
    said = Issue("class-not-in-split", "warning", "the reader has said so", ("dog",))
    assert not found("class_sets", seen_of(samples, issues=(said,)))


def test_names_tell_of_groups_unless_the_data_do():
    def scan(i):
        return Sample(f"ill/Patient_{i // 4}-{i}.png", None, "ill", ("train", "test")[i % 2])

    scans = [scan(i) for i in range(24)]
    (issue,) = found("straddling", seen_of(scans))
    assert "patient0, patient1, patient2" in issue.what and issue.what.count("6 of which") == 1
    assert len(issue.keys) == 24 and issue.details[0] == "patient0"
    assert not found("straddling", seen_of([replace(s, group=s.key[:14]) for s in scans]))
    assert not found("straddling", seen_of([replace(s, key=f"ill/clip_{i}.png") for i, s in enumerate(scans)]))
    assert not found("straddling", seen_of([replace(s, key=f"ill/patient{i}.png") for i, s in enumerate(scans)]))


def test_folds_keep_groups_whole_and_deal_classes_evenly():
    samples = [replace(s, group=f"g{i // 3}") for label in "abc" for i, s in enumerate(files(30, label))]
    samples = [replace(s, group=f"{s.label}{s.group}") for s in samples]
    seen = seen_of(samples)
    fold = seen.folds(np.arange(90))
    assert all(len(np.unique(fold[seen.groups == group])) == 1 for group in np.unique(seen.groups))
    assert all(np.ptp(np.bincount(fold[seen.targets == c], minlength=FOLDS)) <= 3 for c in range(3))


# ---------------------------------------------------------------------------------------------------------- shortcuts


def test_the_width_of_the_file_gives_a_class_away():
    samples = files(80, "covid", width=(1000, 1030)) + files(80, "normal", width=(300, 990))
    (issue,) = found("shortcuts", seen_of(samples))
    assert issue.severity == "warning" and "from the width of the file with 100.0 %" in issue.what
    assert "largest class: 50 %" in issue.what and "usual: covid 1,0" in issue.what and issue.hint


def test_sizes_that_differ_within_classes_are_no_shortcut():
    samples = files(80, "ants", width=(300, 900)) + files(80, "bees", width=(320, 920))
    assert not found("shortcuts", seen_of(samples))
    assert not found("shortcuts", seen_of([replace(s, about={}) for s in samples]))


def test_one_class_of_many_from_another_source_is_named():
    rest = [s for c in "abcdefgh" for s in files(30, c, width=(300, 900))]
    (issue,) = found("shortcuts", seen_of(rest + files(30, "scans", width=2048)))
    assert issue.what.startswith("class scans can be told without looking: from the width")


def test_only_all_properties_together_may_tell():
    """The class is whether both are large or both are small: neither alone says anything."""
    samples = [replace(s, label="same" if wide == high else "other") for wide in (0, 1) for high in (0, 1)
               for s in files(100, f"{wide}{high}", width=(300 + 400 * wide, 600 + 400 * wide),
                              height=(300 + 400 * high, 600 + 400 * high))]  # fmt: skip
    seen = seen_of(samples)
    sampled, columns = _told.sampled(seen), _metadata.of_files(seen.dataset.samples)
    assert [_told.told(sampled, [column]) for column in columns[:2]] == [None, None]
    assert _told.told(sampled, columns[:2]).right.value > 0.85


def test_compression_alone_is_a_note_as_it_may_come_of_the_content():
    samples = files(80, "sky", bytes=(5_000, 6_000)) + files(80, "wood", bytes=(60_000, 70_000))
    (issue,) = found("shortcuts", seen_of(samples))
    assert issue.severity == "note" and "compression" in issue.what


def test_groups_are_held_out_together():
    """Each group has a width of its own, and its class by chance: what was learned of one says nothing of another."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    samples = [replace(s, label="ab"[labels[g]], group=f"g{g}", about={**s.about, "width": 300 + 7 * g})
               for g in range(40) for s in files(10, "a")]  # fmt: skip
    assert not found("shortcuts", seen_of(samples))
    alone = seen_of([replace(s, group=None) for s in samples])
    assert found("shortcuts", alone), "without groups, the width would have told the class"


def test_sounds_and_texts_by_what_the_audit_has_not_said():
    about = {"format": "WAV", "channels": 1, "bytes": 16_000}
    sounds = [Sample(f"{label}/{i}.wav", None, label, about={**about, "rate": rate, "seconds": 1 + i % 9 / 10})
              for label, rate in (("a", 8000), ("b", 16000)) for i in range(40)]  # fmt: skip
    (issue,) = found("shortcuts", seen_of(sounds, "audio"))
    assert "from the rate with 100.0 %" in issue.what
    said = Issue("rate-tells-classes", "warning", "said by the audit")
    assert not found("shortcuts", seen_of(sounds, "audio", issues=(said,)))
    texts = [Sample(f"row {i}", Text("x"), ("ham", "spam")[i % 2], about={"characters": 20 + i + 900 * (i % 2)})
             for i in range(80)]  # fmt: skip
    (issue,) = found("shortcuts", seen_of(texts, "text"))
    assert "number of characters" in issue.what


# ------------------------------------------------------------------------------------------------------------ sources


def renamed(samples, name):
    return [replace(s, key=name(i, s)) for i, s in enumerate(samples)]


CATS = files(60, "cat") + files(60, "dog")


def test_names_that_repeat_the_class_are_normal():
    assert not found("sources", seen_of(CATS))
    assert not found("sources", seen_of(renamed(CATS, lambda i, s: f"all/{s.label}.{i}.jpg")))
    assert not found("sources", seen_of(renamed(CATS, lambda i, s: f"train/{s.label}s/{s.label}_{i}.jpg")))
    assert not found("sources", seen_of([replace(s, key=f"row {i}") for i, s in enumerate(CATS)]))


def test_a_code_for_the_class_is_a_note():
    (issue,) = found(
        "sources", seen_of(renamed(CATS, lambda i, s: f"all/{'xq' if s.label == 'cat' else 'zr'}_{i}.jpg"))
    )
    assert issue.severity == "note" and issue.hint.startswith("fine if")


def test_classes_from_different_folders_are_a_warning():
    places = {"cat": ("north", "west"), "dog": ("south", "east")}
    (issue,) = found("sources", seen_of(renamed(CATS, lambda i, s: f"{places[s.label][i % 2]}/{s.label}/{i}.jpg")))
    assert issue.severity == "warning" and "from the folder with 100.0 %" in issue.what


@pytest.mark.parametrize(("name", "form"), [("IM-0115-0001", "A-0"), ("kjr21a-4", "x-0"), ("a b c d", "a "),
                                            ("1b6c72e180_12", "x_0"), ("img (12)", "a 0)")])  # fmt: skip
def test_the_form_of_a_name(name, form):
    assert _metadata._names(Sample(f"x/{name}.jpg", None, "zebra"))[1].startswith(form)


# ------------------------------------------------------------------------------------------------------- wrong labels


def noisy(rate, features, truth, seed=0):
    """Features of known classes, and labels of which a share is wrong: what may be seen, and which these are."""
    rng, count = np.random.default_rng(seed), len(truth)
    wrong = rng.choice(count, round(rate * count), replace=False)
    given = truth.copy()
    given[wrong] = (truth[wrong] + rng.integers(1, truth.max() + 1, len(wrong))) % (truth.max() + 1)
    samples = [Sample(f"{i}.png", None, f"c{label}", "train", None, f"{i}") for i, label in enumerate(given)]
    return seen_of(samples, features=features.astype(np.float32)), np.isin(np.arange(count), wrong)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x, y.astype(np.int64)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_planted_label_errors_are_ranked_first_and_counted(digits, rate):
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    seen, wrong = noisy(rate, *digits)
    held = seen.held_out
    assert roc_auc_score(wrong[held.rows], -quality(held)) >= 0.95
    first = np.argsort(quality(held))[: wrong.sum()]
    assert wrong[held.rows[first]].mean() >= 0.8
    (issue,) = found("label_errors", seen)
    assert issue.severity == "warning" and 0.7 * wrong.sum() < len(issue.keys) < 1.3 * wrong.sum()
    assert "are probably wrong" in issue.what
    assert issue.details[0].startswith("given c") and "looks like c" in issue.details[0]


def test_clean_labels_are_at_most_a_note(digits):
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    seen, _ = noisy(0.0, *digits)
    issues = found("label_errors", seen)
    assert all(issue.severity == "note" and len(issue.keys) <= 10 for issue in issues)


def test_classes_that_overlap_are_no_label_errors():
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    rng = np.random.default_rng(0)
    truth = np.arange(600) % 3
    features = rng.normal(size=(600, 8)) + 1.2 * np.eye(3, 8)[truth]
    seen, _ = noisy(0.0, features, truth)
    assert not suspects(seen.held_out).wrong and (seen.held_out.said.argmax(1) != truth).mean() > 0.15


def test_very_wide_features_are_projected_and_say_the_same(digits):
    x, y = digits
    wide = np.zeros((len(x), 5000), np.float32)
    wide[:, 78 * np.arange(64)] = x
    seen, wrong = noisy(0.1, wide, y)
    assert roc_auc_score(wrong[seen.held_out.rows], -quality(seen.held_out)) > 0.9


def test_with_little_time_whole_folds_are_judged_and_the_same_is_said(digits):
    x, y = digits
    wide = np.concatenate([x, np.zeros((len(x), 1000))], 1) @ np.linalg.qr(np.random.default_rng(0).normal(
        size=(1064, 1064)))[0]  # fmt: skip
    whole, wrong = noisy(0.1, wide, y)
    first = replace(whole, seconds=0.0).held_out
    assert np.array_equal(first.rows, np.flatnonzero(whole.folds(np.arange(len(y))) == 0))
    every, ample = whole.held_out, replace(whole, seconds=1000.0).held_out
    assert np.array_equal(ample.rows, every.rows) and np.array_equal(
        ample.said[np.isin(ample.rows, first.rows)], first.said
    )
    assert roc_auc_score(wrong, -quality(ample)) > roc_auc_score(wrong, -quality(every)) - 0.01


def test_many_wide_features_are_judged_by_their_components(digits, monkeypatch):
    asked = []
    monkeypatch.setattr("graft.checks._seen.components", lambda x, most=512: asked.append(most) or x[:, :64])
    monkeypatch.setattr("graft.checks._seen.CELLS", 1_000_000)
    x, y = digits
    assert noisy(0.1, np.pad(x, ((0, 0), (0, 1000))), y)[0].held_out is not None and asked == [1024]
    assert noisy(0.1, x, y)[0].held_out is not None and asked == [1024]


def test_a_probe_that_only_guesses_says_nothing():
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    truth = np.arange(300) % 2
    features = np.random.default_rng(0).normal(size=(300, 6)) + 0.2 * truth[:, None]
    assert not found("label_errors", noisy(0.0, features, truth)[0])


def test_the_ranking_is_that_of_cleanlab(digits):
    rank = pytest.importorskip("cleanlab.rank", reason="needs cleanlab")
    held = noisy(0.1, *digits)[0].held_out
    theirs = rank.get_label_quality_scores(held.truth, held.said.astype(np.float64))
    assert np.allclose(theirs, quality(held), atol=1e-6)


def test_a_text_is_shown_where_its_key_only_says_the_row():
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    seen, wrong = noisy(0.05, np.eye(2)[np.arange(200) % 2] * 9 + np.random.default_rng(0).normal(size=(200, 2)),
                        np.arange(200) % 2)  # fmt: skip
    words = [replace(s, key=f"row {i}", source=Text("word  " * 40)) for i, s in enumerate(seen.dataset.samples)]
    (issue,) = found("label_errors", seen_of(words, "text", seen.features))
    assert issue.details[0].endswith('word..."') or issue.details[0].endswith('..."') and len(issue.details[0]) < 130


def test_a_class_in_one_group_is_not_judged():
    """Held out together, no other sample could say what the class is."""
    x = np.random.default_rng(0).normal(size=(90, 4)) + 6 * np.eye(3, 4)[np.arange(90) % 3]
    seen, _ = noisy(0.0, x, np.arange(90) % 3)
    samples = [replace(s, group="one") if s.label == "c2" else s for s in seen.dataset.samples]
    held = seen_of(samples, features=seen.features).held_out
    assert set(held.truth.tolist()) == {0, 1}


# -------------------------------------------------------------------------------------------------------------- leaks


def test_copies_of_the_test_part_in_train_raise_the_score():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(240, 300)).astype(np.float32), np.arange(240) % 2
    samples = [Sample(f"{i}", None, "ab"[y[i]], "test" if i < 80 else "train") for i in range(240)]
    whole = seen_of(samples, features=x)
    leaks = whole.dataset.replace(samples=tuple(replace(s, key=f"copy {s.key}") for s in samples[:80]))
    seen = Seen(whole.dataset, x, 0, leaks, x[:80])
    assert seen.leaking.copies == 80 and seen.leaking.given.mean() > 0.9 > 0.65 > seen.leaking.clean.mean()
    (issue,) = found("leak_score", seen)
    assert issue.severity == "warning" and "with the 80 copies" in issue.what and "points" in issue.what


def test_leaks_that_are_worth_nothing_are_a_note():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    x = (rng.normal(size=(240, 4)) + 8 * np.eye(2, 4)[y]).astype(np.float32)
    samples = [Sample(f"{i}", None, "ab"[y[i]], "test" if i < 80 else "train") for i in range(240)]
    whole = seen_of(samples, features=x)
    (issue,) = found("leak_score", Seen(whole.dataset, x, 0, whole.dataset.part("test"), x[:80]))
    assert issue.severity == "note" and "within noise" in issue.what


def test_sound_is_not_read_by_checks_of_metadata():
    def refuse(*where):
        raise AssertionError("a check of metadata read a sound")

    sound = Sound(8000, 8000, 1, refuse)
    samples = [Sample(f"{label}/{i}.wav", sound, label, "train") for label in "ab" for i in range(30)]
    assert not any(found(name, seen_of(samples, "audio")) for name in registry.names("check"))
