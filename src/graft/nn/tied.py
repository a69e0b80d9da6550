"""A head whose last layer is the table of words that the trunk has (Press & Wolf 2017, arXiv:1608.05859)."""

from __future__ import annotations

from torch import nn

from graft.types import Backbone


class Tied(nn.Module):
    """A head that looks up `words` (V, D) in the trunk, where they move with it; no parameter of its own."""

    def tie(self, backbone: Backbone) -> None:
        """To the table that the source names in `heads["words"]`."""
        self._words = (backbone.heads["words"],)  # in a tuple: a part of the trunk, not of the head
