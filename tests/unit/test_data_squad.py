"""Questions and answers: where answers stand, who answers "yes", what has no answer, and which belong together."""

import json

import pytest

from graft.data._audit import audit
from graft.data._split import split
from graft.data.squad import squad
from graft.errors import DataError
from graft.types import Answers, Text

PASSAGE = "The Panthers had 308 points. They had 24 interceptions, and 24 more in 2016 😀 שלום."


def question(key, *answers, text="How many?", **more):
    return {"id": key, "question": text, "answers": [{"text": t, "answer_start": s} for t, s in answers], **more}


def write(root, *questions, title="Super Bowl", context=PASSAGE, data=None):
    data = data or [{"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}]
    (root / "q.json").write_text(json.dumps({"version": "1.1", "data": data}), encoding="utf-8")
    return str(root / "q.json")


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def labels(dataset):
    return [sample.label for sample in dataset.samples]


def test_questions_and_answers(tmp_path):
    found = squad(write(tmp_path, question("q1", ("308", 17), ("308 points", 17)), question("q2", ("שלום", 78))))
    assert (found.modality, found.kind, found.classes) == ("text", "answers", ())
    assert found.load(found.samples[0]) == Text("How many?", PASSAGE) and found.samples[0].key == "q1"
    assert labels(found) == [Answers(("308", "308 points"), (17, 17)), Answers(("שלום",), (78,))]
    assert set(codes(found)) == {"grouped"} and codes(found)["grouped"].severity == "note"


def test_no_answer_and_not_known(tmp_path):
    impossible = question("q1", is_impossible=True, plausible_answers=[{"text": "308", "answer_start": 17}])
    unknown = {"id": "q3", "question": "Who?"}
    found = squad(write(tmp_path, impossible, question("q2"), unknown))
    assert labels(found) == [Answers((), ()), Answers((), ()), None] and found.kind == "answers"
    assert squad(write(tmp_path, unknown)).kind == "none"


def test_yes_and_no(tmp_path):
    found = squad(write(tmp_path, question("q1", ("yes", -1)), question("q2", ("No", -1)), question("q3", ("Yes", 3))))
    assert labels(found) == [Answers(("yes",), (-1,)), Answers(("No",), (-1,))]
    assert codes(found)["answer-absent"].keys == ("q3: 'Yes'",)


def test_answers_at_the_wrong_place_are_looked_for_nearby(tmp_path):
    given = [("24", 40), ("24", 58), ("308 ", 15), (" 308\n", 17), ("24", -1), ("24", 38)]
    found = squad(write(tmp_path, *(question(f"q{i}", answer) for i, answer in enumerate(given, 1))))
    places = [sample.label.starts[0] for sample in found.samples]
    assert places == [38, 60, 17, 17, 38, 38] and found.samples[3].label.texts == ("308",)
    for sample in found.samples:
        assert PASSAGE.startswith(sample.label.texts[0], sample.label.starts[0])
    assert codes(found)["answer-moved"].keys == ("q1", "q2", "q3", "q4", "q5")


def test_answers_that_stand_nowhere_are_listed(tmp_path):
    odd = {"id": "q4", "question": "?", "answers": [3, {"text": None}, {"text": "308", "answer_start": "17"}]}
    found = squad(write(tmp_path, question("q1", ("309", 17)), question("q2", ("x y", 1), ("308", 17)),
                        question("q3", ("", 4)), odd))  # fmt: skip
    assert [s.key for s in found.samples] == ["q2"] and labels(found) == [Answers(("308",), (17,))]
    assert len(codes(found)["answer-absent"].keys) == 6


def article(title, count=2, **more):
    passage = {
        "context": f"A passage about {title}.",
        "qas": [question(f"{title} {i}", ("about", 10)) for i in range(count)],
    }
    return {
        "title": title,
        "paragraphs": [passage, {**passage, "qas": [question(f"{title} x", ("about", 10))]}],
        **more,
    }


def test_articles_are_groups_and_stay_whole(tmp_path):
    found = squad(write(tmp_path, data=[article(f"t{i}") for i in range(10)]))
    assert [s.group for s in found.samples[:4]] == ["t0", "t0", "t0", "t1"] and "10 articles" in codes(found)[
        "grouped"
    ].what
    sides = {}
    for sample in split(audit(found)).samples:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert len(sides) == 10 and all(len(side) == 1 for side in sides.values())


def test_few_articles_are_divided_by_passage(tmp_path):
    for data in ([article("t0"), article("t1")], [{**article(f"t{i}"), "title": None} for i in range(5)]):
        found = squad(write(tmp_path, data=data))
        groups = [s.group for s in found.samples[:3]]
        assert groups[0] == groups[1] != groups[2] and "passage" in codes(found)["grouped"].what


def test_an_id_given_twice(tmp_path):
    found = squad(write(tmp_path, question("q", ("308", 17)), question("q", ("24", 38)), question(None, ("24", 38))))
    assert [s.key for s in found.samples] == ["q", "q (2)", "data[0].paragraphs[0].qas[2]"]


def test_broken_pieces_are_listed(tmp_path):
    good = article("fine")
    data = [good, 7, {"title": "t"}, {"paragraphs": [{"qas": [question("q", ("a", 0))]}, {"context": "c"}]},
            {"paragraphs": [{"context": "c", "qas": ["?", {"id": "z"}]}]}]  # fmt: skip
    found = squad(write(tmp_path, data=data))
    assert len(found) == 3 and len(codes(found)["bad-row"].keys) == 6


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"data": {}}', '{"data": []}', '{"data": [{"paragraphs": []}]}', "[" * 99999]
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(DataError) as caught:
        squad(str(tmp_path / "q.json"))
    assert caught.value.hint


def test_one_passage_under_many_questions_is_no_copy(tmp_path):
    long = "word after word of a passage that is long enough to have many phrases of three words in it " * 3
    same = [
        question(f"q{i}", ("passage", 21), text=f"Is this question number {i} about the passage?") for i in range(6)
    ]
    same.append(question("again", ("word", 0), text="IS this question number 3  about the passage?"))
    found = audit(squad(write(tmp_path, *same, context=long)))
    assert codes(found)["exact-copies"].keys == ("q3", "again")
    assert not {"near-copies", "conflicting-labels"} & set(codes(found))
