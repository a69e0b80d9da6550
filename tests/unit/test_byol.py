"""BYOL's loss against closed forms, and its teacher: what it is, what it follows, and what it never does."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.backbones.toy import toy
from graft.device import seeded
from graft.errors import UsageError
from graft.freeze import freeze, moving_state, set_modes
from graft.parts import group
from graft.tasks.byol import Byol, byol, regression
from graft.types import Batch, Inputs, Model, Phase, Task

torch.set_num_threads(1)


def made(momentum: float = 0.9) -> tuple[Task, Model]:
    """In training mode, with dropout off: two passes are then comparable."""
    task, backbone = byol(momentum=momentum, dim=8, hidden=16), toy(size=16)
    with seeded(0):
        head = task.head(backbone.info)
    assert isinstance(head, Byol)
    head.tie(backbone)
    model = Model(backbone, head).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return task, model


def batch(count: int = 6, seed: int = 0) -> Batch:
    pixels = torch.randn(2 * count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Batch(
        Inputs(pixels, truth=torch.arange(2).repeat(count)), torch.zeros(count, dtype=torch.long), torch.arange(count)
    )


def loss_of(task: Task, model: Model, of: Batch) -> Tensor:
    return task.loss(model.head, model.backbone(of.inputs), of)


def buffers(model: Model) -> dict[str, Tensor]:
    assert isinstance(model.head, Byol)
    return {name: tensor.clone() for name, tensor in model.head.teacher.named_buffers()}


def students(model: Model) -> dict[str, Tensor]:
    """What a teacher's buffers follow, under their names."""
    assert isinstance(model.head, Byol)
    parts = {"trunk": model.backbone, "projector": model.head.projector}
    return {f"{part}/{name.replace('.', '/')}": tensor.detach().clone()
            for part, module in parts.items() for name, tensor in module.named_parameters()}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the loss


def test_the_loss_of_equal_orthogonal_and_opposite_directions() -> None:
    x, y = torch.eye(4), torch.eye(4).roll(1, 0)
    for second, expected in ((x, 0.0), (y, 4.0), (-x, 8.0)):
        assert float(regression(x, 3 * second, x, second)) == pytest.approx(expected, abs=1e-6)


def test_each_view_guesses_the_teachers_other_one() -> None:
    a, b, ta, tb = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    unit = [F.normalize(one, dim=1) for one in (a, b, ta, tb)]
    both = (unit[0] - unit[3]).square().sum(1) + (unit[1] - unit[2]).square().sum(1)
    torch.testing.assert_close(regression(a, b, ta, tb), both.mean())


def test_the_task_is_the_loss_of_predictions_and_of_what_the_teacher_makes() -> None:
    task, model = made()
    other = deepcopy(model)  # as a teacher without momentum: before the first step it is the student itself
    found = loss_of(task, model, batch())
    assert isinstance(other.head, Byol)
    embedded = other.head(other.backbone(batch().inputs).pooled)
    guessed = other.head.predictor(embedded)
    expected = regression(guessed[::2], guessed[1::2], embedded[::2], embedded[1::2])
    torch.testing.assert_close(found, expected)


# ---------------------------------------------------------------------------------------------------- the teacher


def test_the_teacher_follows_one_step_behind() -> None:
    task, model = made(momentum=0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    expected = students(model)
    assert buffers(model).keys() > expected.keys()
    for step in range(4):
        now = students(model)
        expected = {name: 0.9 * tensor + 0.1 * now[name] for name, tensor in expected.items()}
        optimizer.zero_grad()
        loss_of(task, model, batch(seed=step)).backward()
        found = buffers(model)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)
        optimizer.step()
    assert any(not torch.equal(found[name], now[name]) for name in expected)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_teacher_follows_once_a_step_however_many_batches_make_it(accumulate: int, fused: bool) -> None:
    task, model = made(momentum=0.9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    expected = students(model)
    for step in range(4):
        now = students(model)
        expected = {name: 0.9 * tensor + 0.1 * now[name] for name, tensor in expected.items()}
        for part in range(accumulate):
            loss_of(task, model, batch(seed=10 * step + part)).backward()
            found = buffers(model)
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)
        optimizer.step()
        optimizer.zero_grad()


def test_before_the_first_step_it_is_a_copy_to_the_bit() -> None:
    task, model = made()
    loss_of(task, model, batch())
    found, now = buffers(model), students(model)
    assert all(torch.equal(found[name], tensor) for name, tensor in now.items())


def test_nothing_of_the_teacher_is_a_parameter_and_checkpoints_hold_it() -> None:
    _, model = made()
    own = {id(p) for p in model.backbone.parameters()}
    assert not any("teacher" in name for name, _ in model.named_parameters())
    assert not own & {id(p) for p in model.head.parameters()}
    assert not any(tensor.requires_grad for tensor in buffers(model).values())
    state, (_, other) = model.state_dict(), made()
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(state)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in state.items())
    assert sum(name.startswith("head.teacher.") for name in state) == len(buffers(model))


def test_the_best_epoch_brings_its_teacher_back() -> None:
    """What a phase keeps and restores are all tensors that it may change."""
    _, model = made()
    freeze(model, Phase("all", (group([model.backbone, model.head], 1e-3),), 1))
    set_modes(model, True)
    assert {f"head.teacher.{name}" for name in buffers(model)} <= moving_state(model).keys()


def test_gradients_never_come_through_the_teacher() -> None:
    task, model = made()
    loss_of(task, model, batch()).backward()
    _, other = made()
    assert isinstance(other.head, Byol)
    taught = other.head.taught(batch().inputs)
    assert not taught.requires_grad
    guessed = other.head.predictor(other.head(other.backbone(batch().inputs).pooled))
    regression(guessed[::2], guessed[1::2], taught[::2], taught[1::2]).backward()
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    for (name, mine), theirs in pairs:
        assert mine.grad is not None and theirs.grad is not None, name
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_batchnorm_of_the_teacher_sees_the_batch_and_keeps_statistics_of_its_own() -> None:
    _, model = made()
    assert isinstance(model.head, Byol)
    copy = deepcopy(model).train()
    assert isinstance(copy.head, Byol)
    torch.testing.assert_close(model.head.taught(batch().inputs), copy.head(copy.backbone(batch().inputs).pooled))
    theirs = {f"trunk/{name.replace('.', '/')}": tensor for name, tensor in copy.backbone.named_buffers()}
    found = buffers(model)
    assert len(theirs) == 6 and all(torch.allclose(found[name], tensor) for name, tensor in theirs.items())
    counted = [tensor for name, tensor in model.named_buffers() if name.endswith(".num_batches_tracked")]
    assert len(counted) == 4 and not any(counted), "the student has seen nothing yet"


def test_in_evaluation_nothing_changes() -> None:
    task, model = made()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    before = {name: tensor.clone() for name, tensor in model.eval().state_dict().items()}
    loss_of(task, model, batch())
    task.predict(model.head, model.backbone(batch().inputs))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_trunk_that_has_got_other_layers_is_refused() -> None:
    task, model = made()
    model.backbone.stages[3].add_module("more", nn.Conv2d(32, 32, 1))
    with pytest.raises(UsageError, match="put layers into the trunk"):
        loss_of(task, model, batch())


@pytest.mark.parametrize("momentum", [0, 1, 1.5, "a"])
def test_a_momentum_lies_between_none_and_all(momentum: float) -> None:
    with pytest.raises(UsageError, match="momentum"):
        byol(momentum=momentum)
