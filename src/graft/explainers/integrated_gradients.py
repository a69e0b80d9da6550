"""Integrated gradients: the gradient along the way from nothing to the sample (Sundararajan et al. 2017).

arXiv:1703.01365, by captum. Their sum is the difference of the log-odds between the two ends. Nothing is, of an image,
its mean colour; of a sound, its quietest level; of a text, padding in place of each token, which agrees with occlusion
far better than the mask token does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.errors import UsageError
from graft.explainers._asked import Answer, Question, Word
from graft.explainers._gradients import captum, differentiable, something
from graft.explainers._sounds import laid_out, quietest
from graft.explainers._words import Span, spans
from graft.types import Inputs, Text

FEW = 8  # points of the way that go through the network together
METHOD = "integrated_gradients"


def integrated_gradients(question: Question, *, steps: int = 50) -> Answer:
    """Of images on normalised pixels, summed over colours; of sounds on what the network is given; of texts on the
    vectors of tokens, summed to words. `steps`: points of the way. Raises UsageError where a text's trunk has no
    vectors, and for a head without gradient; MissingExtra without captum."""
    if steps < 2:
        raise UsageError(f"steps={steps} is no way from nothing to the sample", "choose steps=50")
    inputs = question.inputs([question.raw])
    if question.modality == "text":
        return Answer(words=_of_text(question, inputs, steps))
    preprocess = question.model.backbone.preprocess.json()
    quiet = mean_colour(inputs.x) if question.modality == "image" else quietest(preprocess["front"], inputs.x)
    if quiet is None:
        raise question.refused(METHOD, "of what it hears it is not known what silence is")
    found = _integrated(question, inputs, quiet, steps)
    if question.modality == "image":
        return Answer(found[0].sum(0).cpu())
    samples = len(question.model.backbone.preprocess.sample(question.raw))
    return Answer(*laid_out(preprocess, found, inputs.x, samples))


def mean_colour(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same, of one colour each."""
    return x.mean((2, 3), keepdim=True).expand_as(x).clone()


def _integrated(question: Question, inputs: Inputs, quiet: Tensor, steps: int) -> Tensor:
    attr = captum()
    with differentiable(question, METHOD, inputs):
        made = attr.IntegratedGradients(question.score)
        found: Tensor = made.attribute(inputs.x.clone(), quiet, additional_forward_args=(inputs.mask,), n_steps=steps,
                                       internal_batch_size=FEW)  # fmt: skip
    return something(question, METHOD, found)


# ------------------------------------------------------------------------------------------------------------- texts


def _of_text(question: Question, inputs: Inputs, steps: int) -> tuple[Word, ...]:
    table = _table(question)
    if table is None or inputs.places is None:
        raise question.refused(METHOD, "it has no vectors of words")
    half, start = _starts(question, inputs)
    attr, quiet = captum(), inputs.x.clone()
    quiet[0, half >= 0, 0] = question.model.backbone.preprocess.json().get("pad", 0)
    with differentiable(question, METHOD, inputs):
        made = attr.LayerIntegratedGradients(question.score, table)
        found = made.attribute(inputs.x, quiet, additional_forward_args=(inputs.mask,), n_steps=steps,
                               internal_batch_size=FEW)  # fmt: skip
    each = something(question, METHOD, found).flatten(0, 1).sum(-1).cpu()[: len(half)]  # windows one after the other
    return tuple(Word(*span, float(each[_within(half, start, span)].sum())) for span in spans(question.raw))


def _within(half: Tensor, start: Tensor, span: Span) -> Tensor:
    return (half == span[0]) & (start >= span[1]) & (start < span[2])


def _table(question: Question) -> nn.Embedding | None:
    """The vectors of words: of all tables of the first stage, which may have positions and types, the largest."""
    tables = [part for part in question.model.backbone.stages[0].modules() if isinstance(part, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings, default=None)


def _starts(question: Question, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """(T,) the half of the text that each token belongs to, -1 for none, and the character that it begins at."""
    assert inputs.places is not None, "texts have places"
    start = inputs.places[0, :, 0].cpu()
    text: Text = question.raw
    if text.pair is None:
        return torch.where(start >= 0, 0, -1), start
    half = torch.where(start >= 0, 1, -1)  # of two texts only the second has places
    alone = question.inputs([Text(text.text)])
    assert alone.places is not None, "texts have places"
    size = min(len(start), alone.x.shape[1])
    same = (alone.x[0, :size, 0] == inputs.x[0, :size, 0]).cpu() & (start[:size] < 0)
    first = alone.places[0, :size, 0].cpu()
    mine = same.cummin(0).values & (first >= 0)  # as far as the first text is read alike alone
    half[:size][mine], start[:size][mine] = 0, first[mine]
    return half, start
