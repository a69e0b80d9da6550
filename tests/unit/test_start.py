"""How heads begin, for each kind of label; pairs of one class; the check of a flow; the scale of numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graft import build, parts
from graft.backbones.toy import toy
from graft.errors import DataError, UsageError
from graft.nn import heads
from graft.order import Pairs
from graft.recipe import Recipe
from graft.tasks.classification import classification
from graft.tasks.multilabel import multilabel
from graft.tasks.regression import regression
from graft.tasks.token_classification import token_classification
from graft.types import Model, Predictions

STARTED = ("norm_affine", "wise_ft", "bitfit", "lp_ft(start='auto')", "discriminative(start='auto')", "soup")
OTHERS = {"labels": multilabel(("a", "b")), "number": regression(), "tags": token_classification(("O", "B-a")),
          "mlp": classification(("a", "b"), head="mlp")}  # fmt: skip


def model_of(task) -> Model:
    backbone = toy(pretrained=False)
    return Model(backbone, task.head(backbone.info))


@pytest.mark.parametrize("strategy", STARTED)
@pytest.mark.parametrize("kind", OTHERS)
def test_a_head_that_no_probe_solves_begins_with_a_short_linear_probe(strategy: str, kind: str) -> None:
    found = next(build.flow(Recipe("x", strategy=strategy), model_of(OTHERS[kind])))
    assert found.name == "head" and found.solve is None and found.epochs == 5


@pytest.mark.parametrize("strategy", STARTED)
def test_a_linear_head_of_classes_is_solved(strategy: str) -> None:
    found = next(build.flow(Recipe("x", strategy=strategy), model_of(classification(("a", "b")))))
    assert found.name == "head, logistic" and found.solve is not None


@pytest.mark.parametrize("strategy", ["solved", "contrastive", "lp_ft(start='ridge')"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_needs_classes_says_so_before_it_trains(strategy: str, kind: str) -> None:
    with pytest.raises(UsageError, match="no probe can solve this head"):
        build.check_flow(Recipe("x", strategy=strategy), model_of(OTHERS[kind]), OTHERS[kind])


@pytest.mark.parametrize("strategy", ["contrastive(probe='knn')", "bitfit(start='knn')", "solved(probe='svm_rbf')"])
def test_a_probe_that_is_no_linear_head_is_refused_before_anything_is_trained(strategy: str) -> None:
    with pytest.raises(UsageError, match="is no linear head to start from"):
        task = classification(("a", "b"))
        build.check_flow(Recipe("x", strategy=strategy), model_of(task), task)


@pytest.mark.parametrize("probe", ["logistic", "ridge", "svm_linear"])
def test_linear_probes_solve_the_head(probe: str) -> None:
    model = Model(toy(pretrained=False), nn.Linear(2, 2))
    x = torch.randn(40, 2)
    parts.solver(model, probe)(x, (x[:, 0] > 0).long())
    assert (model.head(x).argmax(1) == (x[:, 0] > 0)).float().mean() > 0.9


# ------------------------------------------------------------------------------------------------------------- pairs


def test_partners_are_any_other_of_the_class() -> None:
    targets = torch.tensor([0, 1, 0, 2, 0, 1, -1])
    pairs, found = Pairs(targets), {}
    for step in range(200):
        drawn = pairs.partners(torch.arange(7), 0, "pairs", 0, step)
        assert torch.equal(targets[drawn], targets)
        for row, other in enumerate(drawn.tolist()):
            found.setdefault(row, []).append(other)
    assert set(found[0]) == {2, 4} and set(found[2]) == {0, 4} and set(found[1]) == {5}
    assert set(found[3]) == {3} and set(found[6]) == {6}, "alone in its class"
    assert 60 < found[0].count(2) < 140
    rows = torch.tensor([4, 0])
    assert torch.equal(pairs.partners(rows, 1, 5), Pairs(targets).partners(rows, 1, 5))


# ------------------------------------------------------------------------------------------------------------- tasks


def test_the_scale_of_numbers_is_numpys_and_no_overflow() -> None:
    labels = [1.0, 2.5, -3.0]
    assert build._scale(labels) == pytest.approx((np.mean(labels), np.std(labels)))
    assert build._scale([4.0, 4.0]) == (4.0, 1.0)
    with pytest.raises(DataError, match=r"2e\+200"):
        build._scale([1e200, 2e200])


def test_an_option_that_a_task_does_not_have_is_named_as_it_was_said() -> None:
    with pytest.raises(UsageError) as error:
        build.task(Recipe("x", task="regression", label_smoothing=0.1), (), scale=(0.0, 1.0))
    assert error.value.what == "regression has no label_smoothing" and "--label-smoothing" in error.value.hint


def test_each_is_measured_by_the_training_variance_which_an_outlier_does_not_swell() -> None:
    values, truth = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1.5, 2.0, 100.0])
    each = regression(scale=(2.0, 2.0)).each(Predictions(values), truth)
    np.testing.assert_allclose(each, 1 - np.array([0.5, 0.0, 97.0]) ** 2 / 4)
    plain = regression()
    assert float(plain.each(Predictions(values), truth).mean()) == pytest.approx(
        plain.score(Predictions(values), truth)["r2"]
    )


def test_features_that_are_mostly_zero_are_not_standardised() -> None:
    assert isinstance(heads.build("linear", 3, 2, standardize=False), nn.Linear)
    asked = heads.build("linear(standardize=True)", 3, 2, standardize=False)
    assert isinstance(asked, nn.Sequential), "what was asked for stays"
