"""From tokens to the place of an answer and back, whatever the number of windows that a passage is read in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.tasks import _token_head
from graft.tasks._answers import NO, NOTHING, NULL, SPAN, YES, Gold
from graft.types import Features

NEVER = -1e9  # the score of a place in the list of answers that is empty
COPIES = 4  # windows overlap, so one answer may be found that often
INFINITY = float("inf")


class AnswerHead(nn.Module):
    """Tokens (B, T, D) -> start and end (B, T, 2); pooled (B, D) -> span, yes, no (B, 3), where that is asked for."""

    def __init__(self, spec: str, dim: int, yes_no: bool) -> None:
        super().__init__()
        self.span = _token_head.build(spec, dim, 2)
        self.kind = _token_head.build(spec, dim, 3) if yes_no else None


class Logs(NamedTuple):
    """Log-probabilities: of positions (B, T), -inf where no answer can be, and of span, yes and no (B, 3)."""

    starts: Tensor
    ends: Tensor
    kinds: Tensor | None


def logs(head: AnswerHead, features: Features) -> Logs:
    """The passage and the first position of the sequence, which says "no answer", compete with one another."""
    assert features.tokens is not None, "this task needs tokens"
    allowed = passage(features)
    allowed[:, 0] = True
    scores = head.span(features.tokens).float().masked_fill(~allowed.unsqueeze(2), -INFINITY)
    starts, ends = scores.log_softmax(1).unbind(2)
    kinds = None if head.kind is None else head.kind(features.pooled).float().log_softmax(1)
    return Logs(starts, ends, kinds)


def passage(features: Features) -> Tensor:
    """(B, T) True where a token is part of the passage."""
    assert features.places is not None, "answers are found by their places"
    real = features.places[..., 0] >= 0
    return real if features.mask is None else real & features.mask


def correct(gold: Gold, features: Features) -> tuple[Tensor, Tensor]:
    """(B, T) each: where the first good answer starts and ends, in every window that shows it.

    Rows without any True: the answer is not known, is no part of the passage, or was cut off.
    """
    assert features.places is not None, "answers are found by their places"
    known, (start, end) = passage(features), features.places.unbind(2)
    low, high = gold.spans[:, 0, :1], gold.spans[:, 0, 1:]
    inside = known & (start < high) & (end > low) & (low >= 0)
    inside = inside & (torch.where(known, end, -1).amax(1, keepdim=True) >= high)
    first = torch.where(inside, start, torch.iinfo(start.dtype).max).amin(1, keepdim=True)
    last = torch.where(inside, end, -1).amax(1, keepdim=True)
    at_start, at_end = inside & (start == first), inside & (end == last)
    null = gold.kinds() == NULL
    at_start[:, 0] |= null
    at_end[:, 0] |= null
    return at_start, at_end


def marginal(logs: Tensor, right: Tensor) -> Tensor:
    """-log of the probability of all right positions together (Clark & Gardner 2018, 1710.10723): (B, T) -> (B,)."""
    return -logs.masked_fill(~right, -INFINITY).logsumexp(1)


def best(made: Logs, features: Features, n: int, longest: int) -> Tensor:
    """(B, n, 4): the n best answers, best first: characters [start, end), log-probability, kind.

    A row of [-1, -1, NEVER, NOTHING] is an empty place. Kinds other than SPAN have no characters.
    """
    spans = _spans(made, features, n, longest)
    null = _no_span(made.starts[:, 0] + made.ends[:, 0], NULL)
    answers = torch.cat([spans, null], 1)
    if made.kinds is not None:
        answers[..., 2] += made.kinds[:, :1] * (answers[..., 3] != NOTHING)
        others = (_no_span(made.kinds[:, i], kind) for i, kind in ((1, YES), (2, NO)))
        answers = torch.cat([answers, *others], 1)
    empty = answers.new_tensor([-1, -1, NEVER, NOTHING]).expand(len(answers), n, -1)
    answers = torch.cat([answers, empty], 1)
    order = answers[..., 2].argsort(dim=1, descending=True, stable=True)[:, :n]
    return answers.gather(1, order.unsqueeze(2).expand(-1, -1, 4))


def _spans(made: Logs, features: Features, n: int, longest: int) -> Tensor:
    """(B, K, 4) the best spans of the passage; those that are the same characters again are empty places."""
    assert features.places is not None, "answers are found by their places"
    start, end = features.places.unbind(2)
    outside, width = ~passage(features), min(longest, start.shape[1])
    outside[:, 0] = True
    starts, ends = (x.masked_fill(outside, -INFINITY) for x in (made.starts, made.ends))
    ordered = _band(start, width, -1) >= start.unsqueeze(2)  # the next window begins before the end of this one
    scores = (starts.unsqueeze(2) + _band(ends, width, -INFINITY)).masked_fill(~ordered, -INFINITY).flatten(1)
    top = scores.topk(min(COPIES * n, scores.shape[1]), dim=1)
    first = top.indices // width
    last = (first + top.indices % width).clamp(max=start.shape[1] - 1)
    places = torch.stack([start.gather(1, first), end.gather(1, last)], 2)
    again = (places.unsqueeze(2) == places.unsqueeze(1)).all(3).tril(-1).any(2)
    found = torch.cat([places.float(), torch.stack([top.values, torch.full_like(top.values, SPAN)], 2)], 2)
    empty = found.new_tensor([-1, -1, NEVER, NOTHING])
    return torch.where((again | top.values.isinf()).unsqueeze(2), empty, found)


def _band(x: Tensor, width: int, beyond: float) -> Tensor:
    """(B, T) -> (B, T, width): at each position what stands there and at the next ones."""
    return F.pad(x, (0, width - 1), value=beyond).unfold(1, width, 1)


def _no_span(score: Tensor, kind: int) -> Tensor:
    """(B,) log-probabilities -> (B, 1, 4)"""
    none = torch.full_like(score, -1)
    return torch.stack([none, none, score, torch.full_like(score, kind)], 1).unsqueeze(1)
