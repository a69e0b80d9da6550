"""A BERT of random weights with a vocabulary of its own, made from the texts that it is trained on: bert(layers=4).

Words are lower-cased and lose their accents, as in BERT's uncased models (Devlin et al. 2019, arXiv:1810.04805). What
is rare is spelt in pieces, down to bytes, so that no text of any language is unknown (Sennrich et al. 2016,
arXiv:1508.07909; Radford et al. 2019). Not WordPiece: the library's trainer makes another vocabulary each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graft.backbones._encoder import Pooling, stages
from graft.backbones._hub import configuration
from graft.backbones._tokens import Tokens
from graft.errors import DataError, MissingExtra, UsageError
from graft.spec import Spec
from graft.types import Backbone, Corpus, Info, Json, Raw, Text

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # with the ids 0 to 4
BYTES = 256  # tokens that any vocabulary has beside these
SMALL = 512  # features up to which the trunk is fine-tuned at a higher rate


def bert(
    *,
    layers: int = 4,
    dim: int = 256,
    heads: int = 4,
    vocabulary: int = 8000,
    length: int = 128,
    pretrained: bool = True,
    corpus: Corpus | None = None,
    config: Json | None = None,
) -> Backbone:
    """`dim` features of `layers` layers with `heads` heads; at most `vocabulary` tokens; windows of `length` tokens.

    The weights are random whatever `pretrained` says. `corpus` gives the texts of the vocabulary; a rebuild has
    `config`, what Info.config held, in its place, and gets the tokeniser from the run. Raises UsageError for sizes that
    do not fit together and without texts, DataError for what are no texts, MissingExtra.
    """
    try:
        import tokenizers  # noqa: F401
        from transformers import AutoModel
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "text") from None
    asked = {"layers": layers, "dim": dim, "heads": heads, "vocabulary": vocabulary, "length": length}
    _check(asked)
    text = "" if config else tokenizer(corpus, vocabulary)
    mask = SPECIAL.index("[MASK]")
    preprocess = Tokens(text, length, mask=mask)
    known = config or {"model": _model(asked, len(preprocess.vocabulary))}
    model: Any = AutoModel.from_config(configuration(known["model"], "bert"), trust_remote_code=False).float()
    cut, notes = stages(model, length)
    count = sum(p.numel() for stage in cut for p in stage.parameters())
    info = Info(Spec("bert", None, asked), "text", dim, "Apache-2.0", "", count, notes=notes,
                lr=1e-4 if dim <= SMALL else 3e-5, config=known)  # fmt: skip
    return Backbone(info, cut, preprocess, Pooling("mean", False, length), {"words": model.get_input_embeddings()})


def tokenizer(corpus: Corpus | None, size: int) -> str:
    """A tokenizer.json as text, with at most `size` tokens; the same for the same texts."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if corpus is None:
        raise UsageError("bert makes its vocabulary from texts, and there are none here", "graft pretrain corpus.txt")
    made = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106 - not a password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    blank = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)  # a mark before every word
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), blank])
    made.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL),
                                  initial_alphabet=letters, show_progress=False)  # fmt: skip
    made.train_from_iterator(_texts(corpus()), trainer)
    special = [(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return str(made.to_str())


def _texts(raws: Iterable[Raw]) -> Iterator[str]:
    for raw in raws:
        if not isinstance(raw, Text):
            raise DataError("bert is for text, and these are other samples", "leave it out: graft list backbone")
        yield raw.text
        if raw.pair is not None:
            yield raw.pair


def _model(asked: dict[str, int], size: int) -> Json:
    """A config.json."""
    return {
        "model_type": "bert",
        "vocab_size": size,
        "hidden_size": asked["dim"],
        "num_hidden_layers": asked["layers"],
        "num_attention_heads": asked["heads"],
        "intermediate_size": 4 * asked["dim"],
        "max_position_embeddings": asked["length"],
        "pad_token_id": SPECIAL.index("[PAD]"),
    }


def _check(asked: dict[str, int]) -> None:
    least = {"layers": 1, "dim": 1, "heads": 1, "vocabulary": len(SPECIAL) + BYTES, "length": 8}
    for name, value in asked.items():
        if value < least[name]:
            raise UsageError(f"{name}={value} is too small", f"choose {name}={least[name]} or more")
    if asked["dim"] % asked["heads"]:
        what = f"dim={asked['dim']} cannot be shared by {asked['heads']} heads"
        raise UsageError(what, f"choose a multiple: dim={asked['heads'] * max(1, asked['dim'] // asked['heads'])}")
