"""The split: stratified, groups whole, stable under renaming and growth, and nothing is lost without a word."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.data._split import split, strata
from graft.errors import DataError, UsageError
from graft.types import Answers, Dataset, Issue, Sample


def samples(count, classes="ab", **fields):
    return [Sample(f"{i}.png", i, classes[i % len(classes)], digest=f"d{i}", **fields) for i in range(count)]


def dataset(rows):
    classes = tuple(sorted({row.label for row in rows if row.label is not None}))
    return Dataset("test", "image", tuple(rows), classes, lambda sample: None, lambda sample: b"")


def codes(found):
    return {issue.code: issue for issue in found.issues}


def parts(found):
    return {sample.key: sample.split for sample in found.samples}


def test_shares_are_kept_in_every_class():
    found = split(dataset(samples(400, "aaab")))
    counts = Counter((s.label, s.split) for s in found.samples)
    assert counts == {("a", "train"): 210, ("a", "valid"): 45, ("a", "test"): 45,
                      ("b", "train"): 70, ("b", "valid"): 15, ("b", "test"): 15}  # fmt: skip
    assert found.issues == ()


def test_names_and_order_do_not_matter_and_the_seed_does():
    rows = samples(200)
    first = {s.digest: s.split for s in split(dataset(rows)).samples}
    shuffled = [replace(s, key="x" + s.key) for s in random.Random(1).sample(rows, len(rows))]
    assert {s.digest: s.split for s in split(dataset(shuffled)).samples} == first
    assert {s.digest: s.split for s in split(dataset(rows), seed=1).samples} != first


def test_new_samples_move_few_others():
    rows = samples(1000)
    before, after = parts(split(dataset(rows[:990]))), parts(split(dataset(rows)))
    assert sum(after[key] != part for key, part in before.items()) <= 12


def test_groups_are_never_divided():
    rows = [replace(s, group=f"p{i // 7}") for i, s in enumerate(samples(700))]
    found = split(dataset(rows))
    sides = {}
    for sample in found.samples:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert all(len(side) == 1 for side in sides.values())
    shares = Counter(s.split for s in found.samples)
    assert abs(shares["test"] - 105) <= 10 and abs(shares["valid"] - 105) <= 10


def test_large_groups_still_leave_something_to_test():
    rows = [replace(s, group=f"p{i % 8 // 2}{s.label}") for i, s in enumerate(samples(80))]
    counts = Counter((s.label, s.split) for s in split(dataset(rows)).samples)
    assert all(counts[label, part] > 0 for label in "ab" for part in ("train", "valid", "test"))


def test_small_classes():
    rows = samples(40) + [Sample("c1", 0, "c", digest="c1")]
    rows += [Sample(f"d{i}", 0, "d", digest=f"dd{i}") for i in range(2)]
    rows += [Sample(f"e{i}", 0, "e", digest=f"ee{i}") for i in range(3)]
    found = split(dataset(rows))
    count = Counter((s.label, s.split) for s in found.samples)
    assert count["c", "train"] == 1 and codes(found)["train-only-class"].keys == ("c",)
    assert count["d", "train"] == count["d", "test"] == 1
    assert count["e", "train"] == count["e", "valid"] == count["e", "test"] == 1


def test_given_parts_are_kept_and_missing_ones_carved_out_of_train():
    rows = samples(200, split="train") + [
        replace(s, key=f"t{s.key}", digest=f"t{s.digest}", split="test") for s in samples(50)
    ]
    found = split(dataset(rows))
    assert Counter(s.split for s in found.samples) == {"train": 170, "valid": 30, "test": 50}
    assert all(parts(found)[f"t{s.key}"] == "test" for s in samples(50))


def test_a_sealed_valid_part_becomes_the_test_part():
    rows = samples(200, split="train") + [
        replace(s, key=f"v{s.key}", digest=f"v{s.digest}", split="valid") for s in samples(50)
    ]
    found = split(dataset(rows), sealed="valid")
    assert Counter(s.split for s in found.samples) == {"train": 170, "valid": 30, "test": 50}
    assert all(s.key.startswith("v") == (s.split == "test") for s in found.samples)
    with pytest.raises(UsageError):
        split(dataset(samples(200)), sealed="valid")
    with pytest.raises(UsageError):
        split(dataset([*rows, Sample("x", 0, "a", "test")]), sealed="valid")


def test_copies_across_given_parts_leave_training():
    rows = samples(100, split="train")
    rows += [
        replace(s, key=f"t{s.key}", split="test", digest=s.digest if i < 5 else f"t{i}")
        for i, s in enumerate(samples(40))
    ]
    rows += [
        replace(s, key=f"v{s.key}", split="valid", digest=s.digest if i < 8 else f"v{i}")
        for i, s in enumerate(samples(40))
    ]
    found = split(dataset(rows))
    lost = {s.key for s in rows} - set(parts(found))
    assert lost == {f"{i}.png" for i in range(8)} | {f"v{i}.png" for i in range(5)}
    assert set(codes(found)["leak"].keys) == lost and len(found.part("test")) == 40


def test_near_copies_that_the_audit_found_leave_training():
    rows = [
        *samples(100, split="train"),
        *(replace(s, key=f"t{s.key}", digest=f"t{s.key}", split="test") for s in samples(40)),
    ]
    rows[3] = replace(rows[3], group="copies:x")
    rows[101] = replace(rows[101], group="copies:x")
    audited = dataset(rows).replace(issues=(Issue("leak", "warning", "1", ("7.png",)),))
    found = split(audited)
    assert {s.key for s in rows} - set(parts(found)) == {"3.png", "7.png"}
    leaks = [issue for issue in found.issues if issue.code == "leak"]
    assert len(leaks) == 1 and set(leaks[0].keys) == {"3.png", "7.png"}


def test_given_groups_across_given_parts_are_warned_of_and_kept():
    rows = samples(100, split="train", group=None)
    rows[0] = replace(rows[0], group="p1")
    rows += [replace(s, key=f"t{s.key}", digest=f"t{s.key}", split="test", group="p1" if i == 0 else None)
             for i, s in enumerate(samples(20))]  # fmt: skip
    found = split(dataset(rows), valid=0)
    assert len(found) == 120 and codes(found)["group-straddles"].keys == ("p1",)


def test_samples_without_a_part_follow_their_group():
    rows = samples(100, split="train") + [
        replace(s, key=f"t{s.key}", digest=f"t{s.key}", split="test") for s in samples(20)
    ]
    rows[-1] = replace(rows[-1], group="p1")
    rows.append(Sample("late", 0, "a", None, "p1", "late"))
    assert parts(split(dataset(rows)))["late"] == "test"


def test_exact_copies_inside_one_part_stay():
    rows = samples(100) + [replace(s, key=f"copy{s.key}", group=f"copies:{s.digest}") for s in samples(100)]
    rows[:100] = [replace(s, group=f"copies:{s.digest}") for s in rows[:100]]
    found = split(dataset(rows))
    assert len(found) == 200 and all(parts(found)[f"copy{i}.png"] == parts(found)[f"{i}.png"] for i in range(100))


def test_unlabelled_samples_among_labelled_are_listed():
    rows = [*samples(40), Sample("u", 0, None, digest="u")]
    found = split(dataset(rows))
    assert len(found) == 40 and codes(found)["unlabelled"].keys == ("u",)
    assert len(split(dataset([replace(s, label=None) for s in samples(40)]))) == 40


def test_no_part_without_a_share():
    found = split(dataset(samples(100)), valid=0, test=0.2)
    assert Counter(s.split for s in found.samples) == {"train": 80, "test": 20}


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (0.6, 0.5), (1, 0), (0, 1)])
def test_impossible_shares(shares):
    with pytest.raises(UsageError):
        split(dataset(samples(100)), valid=shares[0], test=shares[1])


def test_too_few_samples_to_measure_anything():
    with pytest.raises(DataError, match="too few samples for a test part"):
        split(dataset(samples(2)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([None, "g1", "g2", "g3", "g4"]), st.integers(0, 30)),
        min_size=12, max_size=60,
    ),
    st.integers(0, 5),
)  # fmt: skip
def test_promises_hold_for_any_data(rows, seed):
    made = [Sample(f"{i}", i, label, None, group, f"d{digest}") for i, (label, group, digest) in enumerate(rows)]
    try:
        found = split(dataset(made), seed=seed)
    except DataError:
        return
    assert {s.key for s in found.samples} == {s.key for s in made}
    assert {s.split for s in found.samples} <= {"train", "valid", "test"}
    assert {s.label for s in found.part("train").samples} == {s.label for s in made}
    sides = {}
    for sample in found.samples:
        sides.setdefault(sample.group or sample.key, set()).add(sample.split)
    assert all(len(side) == 1 for side in sides.values())


# ------------------------------------------------------------------------------------------- labels that are no classes


def of_kind(kind, labels, **fields):
    rows = [Sample(f"{i}", i, label, digest=f"d{i}", **fields) for i, label in enumerate(labels)]
    names = sorted({name for label in labels if kind in ("labels", "tags") for name in label or ()})
    return Dataset("test", "text", tuple(rows), tuple(names), lambda sample: None, lambda sample: b"", kind=kind)


def test_strata_of_classes_are_the_classes():
    assert strata(dataset([*samples(4), Sample("u", 0, None)])) == ["a", "b", "a", "b", None]


def test_strata_of_numbers_are_fifths():
    values = [float(i) for i in random.Random(0).sample(range(100), 100)]
    found = strata(of_kind("number", [*values, None]))
    assert found[:-1] == [str(int(value) // 20 + 1) for value in values] and found[-1] is None
    assert set(strata(of_kind("number", [1.0] * 5))) == {"5"} and strata(of_kind("number", [None])) == [None]


def test_strata_of_several_labels_are_the_rarest():
    rows = [("a", "b"), ("a",), ("a", "c"), (), None, ("b", "c"), ("a", "b")]
    assert strata(of_kind("labels", rows)) == ["b", "a", "c", None, None, "c", "b"]


def test_tags_answers_and_none_are_one_stratum():
    assert strata(of_kind("tags", [("O", "B-x"), ("O",), None])) == ["all", "all", None]
    assert strata(of_kind("answers", [Answers((), ()), Answers(("a",), (1,))])) == ["all", "all"]
    assert strata(of_kind("none", [None, None])) == ["all", "all"]


def test_numbers_are_divided_evenly():
    found = split(of_kind("number", [float(i) for i in range(200)]))
    counts = Counter((int(s.label) // 40, s.split) for s in found.samples)
    assert all(counts[fifth, part] == count for fifth in range(5)
               for part, count in (("train", 28), ("valid", 6), ("test", 6)))  # fmt: skip
    assert found.issues == ()


def test_rare_labels_stand_in_every_part_and_lonely_ones_are_said():
    rows = [("common",) if i % 20 else ("common", "rare") for i in range(200)] + [("lonely",), (), ()]
    found = split(of_kind("labels", rows))
    have = {part: {name for s in found.part(part).samples for name in s.label} for part in ("train", "valid", "test")}
    assert all({"common", "rare"} <= names for names in have.values()) and "lonely" in have["train"]
    assert codes(found)["train-only-class"].keys == ("lonely",) and len(found) == 203


@pytest.mark.parametrize("kind, label", [("tags", ("O", "B-x")), ("answers", Answers(("a",), (0,))), ("none", None)])
def test_groups_hold_for_every_kind(kind, label):
    made = of_kind(kind, [label] * 210)
    made = made.replace(samples=tuple(replace(s, group=f"g{i // 7}") for i, s in enumerate(made.samples)))
    found = split(made)
    sides = {}
    for sample in found.samples:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert len(found) == 210 and all(len(side) == 1 for side in sides.values()) and found.issues == ()
    assert min(Counter(s.split for s in found.samples).values()) >= 28


def test_the_unlabelled_among_numbers_and_answers_are_listed():
    for kind, label in (("number", 1.5), ("answers", Answers((), ()))):
        found = split(of_kind(kind, [label] * 20 + [None]))
        assert len(found) == 20 and codes(found)["unlabelled"].keys == ("20",)
    assert len(split(of_kind("labels", [("a",)] * 20 + [()]))) == 21
