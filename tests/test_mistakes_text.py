"""Every mistake that a user is likely to make with texts: the right exit code, what happened, where, and what fixes it.

All go through the command line, as in test_mistakes.py; the user's files are the same before and after. The trunk is a
BERT with random weights and a vocabulary of a hundred words.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from test_mistakes import Said, fill, graft, refused

transformers = pytest.importorskip("transformers", reason="needs transformers")
tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
torch.set_num_threads(1)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(95))]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
         "vocab_size": 100, "pad_token_id": 0, "max_position_embeddings": 64}  # fmt: skip
QUICK = ("--strategy", "linear_probe(epochs=1)", "--device", "cpu")
PROBE = ("--backbone", "transformers:bert", *QUICK)
TUNED = ("--backbone", "transformers:bert", "--strategy", "full(epochs=1)", "--device", "cpu")
OURS = ("run", "runs", "cache")  # what Graft may write


def files() -> dict[str, str]:
    """The user's files, all but what Graft may write."""
    found = [p for p in Path().rglob("*") if p.is_file() and p.parts[0] not in OURS]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def run(*words: object) -> Said:
    """The command line, which changes nothing of the user's, and shows no traceback."""
    before = files()
    said = graft(*words)
    assert files() == before and "Traceback" not in said.err
    return said


def works(*words: object) -> Said:
    said = run(*words)
    assert said.code == 0, said.err
    return said


def tokenizer(words: list[str]) -> tokenizers.Tokenizer:
    ids = {word: i for i, word in enumerate(words)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as save_pretrained writes it."""
    root = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SMALL)).save_pretrained(root)
    tokenizer(WORDS).save(str(root / "tokenizer.json"))
    return root


def rows(count: int = 12, seed: int = 0) -> list[str]:
    """Texts of eight words in two classes."""
    chance = random.Random(seed)
    return [" ".join(f"w{chance.randrange(45) + 45 * (i % 2)}" for _ in range(8)) + f",{'ab'[i % 2]}"
            for i in range(count)]  # fmt: skip


def table(name: str, lines: list[str], header: str = "text,label", encoding: str = "utf-8") -> str:
    Path(name).write_bytes("".join(f"{line}\n" for line in (header, *lines)).encode(encoding))
    return name


@pytest.fixture(autouse=True)
def here(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the trunk bert/ and the table texts.csv; an empty cache, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    shutil.copytree(bert, "bert")
    table("texts.csv", rows())


@pytest.fixture(scope="session")
def trained(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    file = table(str(root / "texts.csv"), rows())
    trunk = ("--backbone", f"transformers:{bert}")
    said = graft("fit", file, "--out", root / "run", *trunk, *QUICK, "-q")
    assert said.code == 0, said.err
    return root / "run"


# --------------------------------------------------------------------------------------------------------------- files


def test_latin_1_works_and_is_said() -> None:
    table("latin.csv", [f"caf\xe9 {row}" for row in rows()], encoding="latin-1")
    assert "latin.csv is not UTF-8 (row 2): read as Latin-1" in works("fit", "latin.csv", *PROBE).err


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_forms_of_unicode_work(encoding: str) -> None:
    table("t.csv", rows(), encoding=encoding)
    assert "12 text samples, 2 classes" in works("fit", "t.csv", *PROBE).err


def test_utf_16_that_is_cut() -> None:
    Path("t.csv").write_bytes("text,label\n".encode("utf-16")[:-1])
    refused(run("fit", "t.csv", *PROBE), 3, "t.csv is not utf-16", "save it as UTF-8")


def test_right_to_left_and_emoji_work(trained: Path) -> None:
    table("rtl.csv", [f"שלום \u202e {chr(0x1F600)}\u200d👩‍👩‍👧 {row}" for row in rows()])
    works("fit", "rtl.csv", *PROBE)
    assert len(works("predict", trained, "rtl.csv").out.splitlines()) == 12


EMPTY = [
    ("text,label\n", "has a header and no rows", "add one row per text"),
    ("", "t.csv is empty", "text,label"),
    ("\n\n\n", "t.csv is empty", "text,label"),
    ("text,label\n" + " ,a\n ,b\n" * 6, "none of the 12 samples", "empty text"),
    ("text,label\nw1,x\nw2,x\nw3,x\nw4,x\n", "only one class, 'x'", "text and label"),
    ("text,label\nw1 w2,a\nw3 w4,b\n", "too few samples", "at least three"),
    ("text,label\nw1,\nw2,\n", "rows without a label", "fill in the label"),
    ("text,art\nw1,a\nw2,b\n", "has no labels", "name it: t.csv(label='art')"),
    ("satz,art\nw1,a\nw2,b\n", "has no column 'text'; its columns are: 'satz', 'art'", "t.csv(text='satz')"),
    ("text,label,label\nw1,a,b\n", "two columns called 'label'", "text,label"),
    ('text,label\n"' + "w1 " * 70_000, "row 2: a quote is never closed", "stray quote"),
]


@pytest.mark.parametrize(("content", "what", "fix"), EMPTY, ids=[what[:24] for _, what, _ in EMPTY])
def test_tables_that_leave_nothing_to_learn(content: str, what: str, fix: str) -> None:
    Path("t.csv").write_text(content)
    refused(run("fit", "t.csv", *PROBE, "-q"), 3, what, fix)
    assert not Path("runs").exists(), "a run folder was left behind"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("w1 " * 3_400_000, "a text of 10,200,000 characters: longer than 1,000,000"), ("w1\0w2", "NUL at character 3"),
     (" ", "empty text")],
)  # fmt: skip
def test_a_bad_cell_is_left_out_and_listed(cell: str, reason: str) -> None:
    table("t.csv", [*rows(), f"{cell},a"])
    said = works("fit", "t.csv", "--json", *PROBE)
    issue = next(i for i in json.loads(said.out)["issues"] if i["code"] == "unreadable")
    assert issue["keys"] == ["row 14"] and reason in issue["what"] and reason in said.err


def test_labels_with_stray_blanks_and_another_case() -> None:
    table("t.csv", [row if i % 3 else row.replace(",", ", ").upper() for i, row in enumerate(rows(24))])
    said = works("fit", "t.csv", *PROBE)
    assert "differ only in case" in said.err and "without the blanks around them" in said.err


def test_columns_that_do_not_exist(trained: Path) -> None:
    refused(run("fit", "texts.csv(text='txet')", *PROBE), 3, "no column 'txet'", "did you mean 'text'?")
    for flags in (["fit", "texts.csv", *PROBE], ["predict", trained, "texts.csv"], ["evaluate", trained, "texts.csv"],
                  ["rank", "texts.csv"], ["compare", "texts.csv", "--strategy", "centroid"]):  # fmt: skip
        quiet = [] if flags[0] in ("predict", "evaluate") else ["-q"]
        refused(run(*flags, "--text", "txet", *quiet), 3, "no column 'txet'", "did you mean 'text'?")
        refused(run(*flags, "--label", "labl", *quiet), 3, "no column 'labl'", "did you mean 'label'?")
        refused(run(*flags, "--pair", "b", *quiet), 3, "no column 'b' (pair='b')", "choose from: label, text")
    refused(run("pretrain", "texts.csv", "--text", "txet", "-q"), 3, "no column 'txet'", "did you mean 'text'?")


def test_a_folder_of_parts_that_do_not_agree() -> None:
    Path("parts").mkdir()
    table("parts/train.csv", rows())
    table("parts/test.csv", rows(6, 1), header="sentence,label")
    refused(run("fit", "parts", *PROBE), 3, "test.csv has no column 'text', from which train.csv is read", "'sentence'")


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [("w1\nw2\n\nw3\nw4\n", "has no labels", "a tag behind each word"),
     ("w1 O\nw2 O\n\nw3 O\n", "every word is outside (O)", "labels"),
     ("w1 NOUN\nw2 VERB\n\nw3 NOUN\n", "tags without O, such as NOUN: only entities in IOB2 are learned", "B-person"),
     ("", "holds no sentences", "one word and its tag in each line"),
     ("w1 O\nw2\n\nw3\nw4 O\n", "holds no sentences", "one word and its tag")],
)  # fmt: skip
def test_conll_without_anything_to_learn(content: str, what: str, fix: str) -> None:
    Path("t.conll").write_text(content)
    refused(run("fit", "t.conll", *TUNED, "-q"), 3, what, fix)


PASSAGE = '{"data": [{"paragraphs": [{"context": "w1 w2", "qas": %s}]}]}'
SQUAD = [
    ('{"data": [{"paragraphs"', "t.json is not JSON", "check the file"),
    ('["paragraphs"]', "no list of articles under 'data'", '"paragraphs"'),
    (PASSAGE % "{}", "data[0].paragraphs[0] has no list 'qas'", '"qas"'),
    (PASSAGE % '[{"id": "q1", "question": "w1", "answers": [{"text": "w9", "answer_start": 0}]}]',
     "no answer of t.json stands in its passage (q1: 'w9', and 0 more)", "belong together"),
    ('{"a": 1}', "neither questions as SQuAD does, nor the parts", "train"),
    ("", "t.json is not JSON", "check the file"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "what", "fix"), SQUAD, ids=[what[:20] for _, what, _ in SQUAD])
def test_squad_that_is_broken(content: str, what: str, fix: str) -> None:
    Path("t.json").write_text(content)
    refused(run("fit", "t.json", *TUNED, "-q"), 3, what, fix)


# ------------------------------------------------------------------------------------------------- columns, as flags


def test_flags_are_the_options_of_the_data() -> None:
    file = table("t.csv", [f"x,{row}" for row in rows()], header="a,body,topic")
    works("fit", file, "--text", "body", "--pair", "a", "--label", "topic", "--out", "run", *PROBE)
    written = json.loads(Path("run/recipe.json").read_text())["data"]
    assert written == "t.csv(text='body', label='topic', pair='a')"
    again = works("fit", written, "--out", "run", "--resume", "--json", *PROBE)
    assert json.loads(again.out)["already_done"]
    asked = ("--text", "body", "--pair", "a", "--label", "topic")
    assert json.loads(works("evaluate", "run", file, *asked, "--json").out)["samples"] == 12
    assert len(works("predict", "run", file, *asked).out.splitlines()) == 12
    works("compare", file, "--text", "body", "--label", "topic", "--strategy", "centroid", *PROBE[:2])


def test_flags_that_contradict_the_data() -> None:
    said = run("fit", "texts.csv(text='text')", "--text", "label", *PROBE)
    refused(said, 2, "--text is 'label', but the data say text='text'", "texts.csv(text='label')")
    refused(run("fit", "texts.csv(number='label')", "--label", "label", *PROBE), 2, "label and number are given")
    fill(Path("photos"))
    refused(run("fit", "photos", "--text", "body", "--backbone", "toy", *QUICK), 2, "folder:photos(text='body')")
    refused(run("fit", "none.csv", "--text", "body", *PROBE), 3, "there is no folder or file 'none.csv'")
    refused(run("fit", "--text", "body", *PROBE), 2, "no data are named")


def test_a_run_is_never_written_into_the_data() -> None:
    Path("parts").mkdir()
    table("parts/train.csv", rows(), header="body,topic")
    for data in (["parts"], ["parts", "--text", "body", "--label", "topic"]):
        refused(run("fit", *data, "--out", "parts/run", *PROBE), 2, "written into the data", "--out")


# -------------------------------------------------------------------------------------------------- trunks of others


def test_weights_as_a_pickle_only() -> None:
    state = transformers.BertModel.from_pretrained("bert").state_dict()
    torch.save(state, "bert/pytorch_model.bin")
    os.remove("bert/model.safetensors")
    refused(run("fit", "texts.csv", *PROBE, "-q"), 3, "transformers:bert", "safetensors")


def test_code_of_a_checkpoint_never_runs() -> None:
    config = {**json.loads(Path("bert/config.json").read_text()), "auto_map": {"AutoModel": "code.Model"}}
    Path("bert/code.py").write_text("open('owned', 'w')")
    Path("bert/config.json").write_text(json.dumps(config))
    works("fit", "texts.csv", *PROBE)  # of a type that the library knows: the code is not needed
    del config["model_type"]
    Path("bert/config.json").write_text(json.dumps(config))
    refused(run("fit", "texts.csv", *PROBE, "-q"), 2, "brings its own code, which is never run", "another model")
    assert not Path("owned").exists()


def test_the_tokeniser_of_another_model() -> None:
    tokenizer([*WORDS, *(f"v{i}" for i in range(50))]).save("bert/tokenizer.json")
    refused(run("fit", "texts.csv", *PROBE, "-q"), 3, "has 150 tokens, and its weights know 100", "of one model")
    Path("bert/tokenizer.json").write_text("{")
    refused(run("fit", "texts.csv", *PROBE, "-q"), 3, "tokenizer.json of bert is damaged", "again")
    os.remove("bert/tokenizer.json")
    refused(run("fit", "texts.csv", *PROBE, "-q"), 3, "bert", "tokenizer.json")


def test_weights_that_are_not_finite() -> None:
    model = transformers.BertModel.from_pretrained("bert")
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0] = float("nan")
    model.save_pretrained("bert")
    refused(run("fit", "texts.csv", *PROBE, "-q"), 3, "not finite: encoder.layer.0.output.dense.weight", "again")


def vectors(name: str, row: str = "") -> tuple[str, ...]:
    chance = np.random.default_rng(0)
    lines = [f"w{i} " + " ".join(f"{x:.3f}" for x in chance.normal(size=4)) for i in range(95)]
    Path(name).write_text("\n".join([*lines[:5], *([row] if row else []), *lines[5:]]) + "\n")
    return ("--backbone", f"vectors:{name}", *QUICK)


def test_files_of_word_vectors() -> None:
    works("fit", "texts.csv", *vectors("good.txt"))
    nan = run("fit", "texts.csv", *vectors("nan.txt", "w5 0.1 nan 0.2 0.3"), "-q")
    refused(nan, 3, "nan.txt, row 6", "'w5'", "not finite")
    ragged = run("fit", "texts.csv", *vectors("ragged.txt", "w5 0.1 0.2 0.3"), "-q")
    refused(ragged, 3, "ragged.txt, row 6 has 3 values", "4", "leave the row out")
    Path("kept.bin").write_bytes(pickle.dumps({"w1": [0.1]}))
    refused(run("fit", "texts.csv", "--backbone", "vectors:kept.bin", *QUICK, "-q"), 6, "kept.bin", "pickle")
    refused(run("fit", "texts.csv", "--backbone", "vectors:no.txt", *QUICK, "-q"), 3, "no file of word vectors no.txt")


def test_a_trunk_of_the_other_modality() -> None:
    fill(Path("photos"))
    for trunk in ("bundled:tiny64", "toy"):
        refused(run("fit", "texts.csv", "--backbone", trunk, *QUICK, "-q"), 3, "is for image", "graft list backbone")
        refused(run("rank", "texts.csv", "--backbone", trunk, "-q"), 3, "is for image", "a trunk for text")
        refused(run("compare", "texts.csv", "--backbone", trunk, "--strategy", "centroid", "-q"), 3, "is for image")
    for trunk in ("transformers:bert", "tfidf"):
        refused(run("fit", "photos", "--backbone", trunk, *QUICK, "-q"), 3, "is for text", "a trunk for image")


@pytest.mark.parametrize(
    ("trunk", "what", "fix"),
    [("transformers:bert(long='window')", "long='window'", "did you mean 'windows'?"),
     ("transformers:bert(long='cut')", "long='cut'", "choose from: truncate, windows"),
     ("transformers:bert(lnog='windows')", "lnog", "did you mean 'long'?"),
     ("transformers:bert(pooling='men')", "pooling 'men'", "did you mean 'mean'?"),
     ("transformers:bert(length=1000)", "length=1000", "choose 8 to 64 tokens"),
     ("transformers:bert(length='long')", "length is 'long'", "a whole number"),
     ("lstm(dim=0)", "dim=0", "choose dim >= 1"), ("tfidf(term=9)", "term", "did you mean 'terms'?"),
     ("minilmm", "minilmm", "did you mean 'minilm'?")],
)  # fmt: skip
def test_options_of_a_trunk(trunk: str, what: str, fix: str) -> None:
    refused(run("fit", "texts.csv", "--backbone", trunk, *QUICK, "-q"), 2, what, fix)


def test_long_is_no_flag() -> None:
    """The argument parser's own words, as for every flag that does not exist."""
    said = run("fit", "texts.csv", "--long", "windows", *PROBE)
    assert said.code == 2 and "No such option: --long" in said.err


# ------------------------------------------------------------------------------------------------- ways that do not fit


def numbers() -> str:
    return table("numbers.csv", [f"{row.split(',')[0]},{i / 8}" for i, row in enumerate(rows(30))])


def tags() -> str:
    Path("tags.conll").write_text("".join(f"w{i} O\nw{i + 1} B-x\nw{i + 2} O\n\n" for i in range(20)))
    return "tags.conll"


TASKS = [
    ("texts", "regression", "regression learns from numbers, and texts.csv has classes", "--task classification"),
    ("texts", "token_classification", "learns from tags of words, and texts.csv has classes", "--task classification"),
    ("texts", "question_answering", "learns from answers to questions", "--task classification"),
    ("texts", "multilabel", "learns from several labels", "--task classification"),
    ("numbers", "classification", "learns from classes, and numbers.csv has numbers", "--task regression"),
    ("tags", "classification", "learns from classes, and tags.conll has tags", "--task token_classification"),
]


@pytest.mark.parametrize(("data", "task", "what", "fix"), TASKS, ids=[f"{data} {task}" for data, task, _, _ in TASKS])
def test_a_task_for_other_labels(data: str, task: str, what: str, fix: str) -> None:
    file = {"texts": lambda: "texts.csv", "numbers": numbers, "tags": tags}[data]()
    refused(run("fit", file, *TUNED, "--task", task, "-q"), 2, what, fix)


@pytest.mark.parametrize("strategy", ["full(epochs=1)", "linear_probe(epochs=1)"])
@pytest.mark.parametrize("mix", ["mixup(alpha=0.2)", "cutmix"])
def test_texts_are_not_mixed(mix: str, strategy: str) -> None:
    """The ids of two words have no mean."""
    flags = ("--backbone", "transformers:bert", "--strategy", strategy, "--mix", mix)
    refused(run("fit", "texts.csv", *flags, "-q"), 2, "mix", "leave --mix out")


@pytest.mark.parametrize("flag", [("--augment", "trivial"), ("--views", "2")])
def test_texts_have_no_views(flag: tuple[str, str]) -> None:
    refused(run("fit", "texts.csv", *TUNED, *flag, "-q"), 2, f"{flag[0]} makes views of images", f"leave {flag[0]} out")


def test_classes_that_are_numbers() -> None:
    table("stars.csv", [f"{row[:-1]}{i % 5}" for i, row in enumerate(rows(30))])
    refused(run("fit", "stars.csv", *TUNED, "--task", "regression", "-q"), 2, "stars.csv has classes",
            "stars.csv(number='column')")  # fmt: skip
    said = run("fit", "stars.csv", "--label", "label", *TUNED, "--task", "regression", "-q")
    refused(said, 2, "stars.csv(number='label')")


@pytest.mark.parametrize("data", ["numbers", "tags", "several"])
@pytest.mark.parametrize("probe", ["logistic", "ridge", "centroid"])
def test_a_probe_learns_classes(data: str, probe: str) -> None:
    lines = [json.dumps({"text": row.split(",")[0], "label": [row[-1], "c"]}) for row in rows(20)]
    Path("several.jsonl").write_text("\n".join(lines))
    file = {"several": lambda: "several.jsonl", "numbers": numbers, "tags": tags}[data]()
    said = run("fit", file, "--backbone", "transformers:bert", "--strategy", probe, "-q")
    refused(said, 2, probe, "--strategy")


@pytest.mark.parametrize(
    ("trunk", "strategy", "what"),
    [("toy", "lora(epochs=1)", "no linear layers of attention"),
     ("bundled:tiny64", "lora(epochs=1)", "no linear layers of attention"),
     ("toy", "lora(epochs=1, targets=('querry',))", "no linear layer called 'querry'"),
     ("pixels", "bitfit(epochs=1)", "no biases to move")],
)  # fmt: skip
def test_a_strategy_with_nothing_to_move(trunk: str, strategy: str, what: str) -> None:
    pytest.importorskip("peft", reason="needs peft")
    fill(Path("photos"))
    refused(run("fit", "photos", "--backbone", trunk, "--strategy", strategy, "-q"), 2, what)


def test_layers_of_a_text_trunk_that_do_not_exist() -> None:
    pytest.importorskip("peft", reason="needs peft")
    flags = ("--backbone", "transformers:bert", "--strategy", "lora(targets=('q_proj',))", "-q")
    refused(run("fit", "texts.csv", *flags), 2, "no linear layer called 'q_proj'", "query")


@pytest.mark.parametrize("strategy", ["lora(epoch=1)", "bitfit(epoch=1)", "contrastive(epoch=1)"])
def test_options_of_strategies_for_texts(strategy: str) -> None:
    refused(run("fit", "texts.csv", "--strategy", strategy, "-q"), 2, "epoch", "did you mean 'epochs'?")


# -------------------------------------------------------------------------------------------- predict and evaluate


def test_predict_on_a_table_without_its_column(trained: Path) -> None:
    table("other.csv", ["x,1", "y,2"], header="satz,nummer")
    refused(run("predict", trained, "other.csv"), 3, "no column 'text'", "other.csv(text='satz')")
    assert len(works("predict", trained, "other.csv", "--text", "satz").out.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "what"),
    [("", "is empty"), ("text\n", "has a header and no rows"), ("text\n \n \n", "can be read: empty text")],
)
def test_predict_on_nothing(content: str, what: str, trained: Path) -> None:
    Path("empty.csv").write_text(content)
    refused(run("predict", trained, "empty.csv"), 3, "empty.csv", what)


def test_predict_lists_what_it_cannot_read(trained: Path) -> None:
    table("new.csv", ["1,w1 w2", "2,   ", "3,w3"], header="id,text")
    found = [json.loads(line) for line in works("predict", trained, "new.csv", "--json").out.splitlines()]
    assert {row["path"]: row.get("error") for row in found} == {"row 2": None, "row 3": "empty text", "row 4": None}


def test_evaluate_with_other_labels(trained: Path) -> None:
    table("unseen.csv", [*rows(6, 1), "w1 w2,z"])
    refused(run("evaluate", trained, "unseen.csv"), 3, "classes that the run does not know: z", "rename the class")
    table("none.csv", ["w1 w2", "w3"], header="text")
    refused(run("evaluate", trained, "none.csv"), 3, "label")


@pytest.mark.parametrize("make", [numbers, tags])
def test_evaluate_with_another_kind_of_labels(make, trained: Path) -> None:
    refused(run("evaluate", trained, make()), 3, "learns from classes")


def test_a_run_on_texts_and_a_folder_of_images(trained: Path) -> None:
    fill(Path("photos"), each=2)
    for verb in ("predict", "evaluate"):
        refused(run(verb, trained, "photos"), 3, "text", "image")
