"""BitFit: exactly the biases of the trunk move, and the head; and at which rates strategies train a trunk."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from graft import parts, registry
from graft.backbones.pixels import pixels
from graft.backbones.toy import toy
from graft.errors import UsageError
from graft.strategies.bitfit import bitfit
from graft.types import Backbone, Model

torch.set_num_threads(1)


def model(lr: float = 1e-3) -> Model:
    made = toy()
    info = dataclasses.replace(made.info, lr=lr)
    return Model(Backbone(info, list(made.stages), made.preprocess, made.readout), nn.Linear(32, 3))


def test_the_biases_and_the_head_are_all_that_moves() -> None:
    made = model()
    phase = next(bitfit(made, epochs=7, start=None))
    moving = {id(p) for group in phase.groups for p in group.params}
    names = {name for name, p in made.named_parameters() if id(p) in moving}
    assert names == {name for name, _ in made.named_parameters() if name.endswith("bias")} | {"head.weight"}
    assert phase.epochs == 7 and [group.lr for group in phase.groups] == [5e-3, 5e-3]


def test_a_transformer_has_a_bias_in_every_layer() -> None:
    """Of BERT: six linear layers and two normalisations a layer, and the embeddings' normalisation."""
    library = pytest.importorskip("transformers", reason="needs transformers")
    config = library.BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                                intermediate_size=24, max_position_embeddings=40)  # fmt: skip
    made, bert = toy(), library.BertModel(config, add_pooling_layer=False)
    backbone = Backbone(made.info, [bert.embeddings, *bert.encoder.layer], made.preprocess, made.readout)
    found = parts.biases(Model(backbone, nn.Linear(16, 2)))
    assert len(found) == 3 * (6 + 2) + 1
    assert sum(p.numel() for p in found) == 3 * (5 * 16 + 24 + 2 * 16) + 16


def test_tables_of_position_biases_are_weights() -> None:
    made = model()
    made.backbone.stages[0].relative_position_bias = nn.Parameter(torch.zeros(4, 4))
    assert all(p.ndim == 1 for p in parts.biases(made))


def test_a_trunk_without_biases_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UsageError) as error:
        next(bitfit(Model(pixels(), nn.Linear(pixels().info.dim, 2))))
    assert "no biases" in error.value.what and "lp_ft" in error.value.hint


def test_the_head_begins_as_a_probe() -> None:
    flow = bitfit(model())
    assert next(flow).name == "head, logistic"
    assert flow.send(None).name == "biases"  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------- rates


def rates(name: str, trunk: float, **options: object) -> list[list[float]]:
    """What the groups of each gradient phase of a strategy learn at, on a trunk of this rate."""
    flow, found, result = registry.find("strategy", name)(model(trunk), **options), [], None
    while True:
        try:
            phase = flow.send(result)
        except StopIteration:
            return found
        if phase.groups:
            found.append([group.lr for group in phase.groups])


USUAL = {  # with convolutional networks, whose rate is 1e-3
    "full": [[1e-2, 1e-3]],
    "lp_ft": [[1e-2], [1e-3, 1e-3]],
    "discriminative": [[1e-2], [3e-3 / 2.6**i for i in range(4)]],
    "norm_affine": [[3e-3, 3e-3]],
    "wise_ft": [[1e-3 / 2.6**i for i in range(4)]],
    "gradual": [[3e-3 / 2.6**i for i in range(opened)] for opened in (1, 2, 3, 4)],
    "contrastive": [[1e-3]],
    "bitfit": [[5e-3, 5e-3]],
}


@pytest.mark.parametrize("name", USUAL)
def test_rates_follow_the_trunk(name: str) -> None:
    assert rates(name, 1e-3) == USUAL[name], "convolutional networks train as they always did"
    alone = name in ("lp_ft", "discriminative")  # a head alone has a rate of its own
    for usual, found in list(zip(USUAL[name], rates(name, 2e-5), strict=True))[alone:]:
        assert found == pytest.approx([rate / 50 for rate in usual])


@pytest.mark.parametrize("name", USUAL)
def test_a_rate_that_is_asked_for_is_taken(name: str) -> None:
    trunk = 1 if name == "full" else 0  # its head learns at ten times the rate
    assert all(phase[trunk] == 0.5 for phase in rates(name, 1e-3, lr=0.5) if phase != [1e-2])


def test_rate() -> None:
    assert parts.rate(model(2e-5)) == 2e-5
    assert parts.rate(model(2e-5), 3.0) == pytest.approx(6e-5)
    assert parts.rate(model(2e-5), 3.0, 0.0) == 0.0, "zero is a rate"
