"""A recurrent network over words: a table of vectors, then bidirectional LSTMs (Hochreiter & Schmidhuber 1997; Graves &
Schmidhuber 2005). Real positions come first, padding after them; padding changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Lookup(nn.Module):
    """Ids and types (B, T, 2), mask (B, T) -> the vectors (B, T, D) of a table (V, D), zeros for padding.

    Row 0 is no word: it is zeros, and stays so.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        table[0] = 0
        self.table = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        vectors: Tensor = self.table(x[..., 0])
        return vectors * mask.unsqueeze(-1)


class BiLSTM(nn.Module):
    """(B, T, inputs), mask (B, T) -> (B, T, 2 * hidden): each position as seen from the left and from the right."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_ih"):  # the forget gates begin open (Jozefowicz et al. 2015)
                nn.init.ones_(bias.data[hidden : 2 * hidden])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        sizes = mask.sum(1).cpu()
        packed = pack_padded_sequence(self.dropout(x), sizes, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def lstm(table: Tensor, hidden: int, layers: int, dropout: float) -> list[nn.Module]:
    """The stages, input first: the table (V, D), then `layers` of BiLSTM."""
    widths = [table.shape[1]] + [2 * hidden] * (layers - 1)
    return [Lookup(table), *(BiLSTM(width, hidden, dropout) for width in widths)]


def random_table(rows: int, dim: int, deviation: float = 0.1) -> Tensor:
    """(rows, dim), normal."""
    return torch.randn(rows, dim) * deviation
