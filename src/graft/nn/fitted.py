"""A head that was fitted, not trained: a probe with its arrays as buffers, beside linear and mlp heads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from graft.errors import IntegrityError, UsageError
from graft.rows import threads_for
from graft.types import Probe


@final
class Fitted(nn.Module):
    """(B, D) -> logits (B, classes). Without parameters; unfitted until `fit` or `load_state_dict` brings the arrays.

    Their shapes depend on the data (support vectors, trees), so what is loaded replaces what was there. They keep
    their precision: float64 is also what autocast leaves alone. A device without float64 cannot hold them.
    """

    def __init__(self, probe: Probe, classes: int) -> None:
        super().__init__()
        self.probe, self.classes = probe, classes

    def fit(self, features: Tensor, targets: Tensor) -> None:
        """(N, D) features and (N,) indices; the arrays come to the features' device. DataError as the probe says."""
        with threads_for(features.numel()), warnings.catch_warnings():
            # scikit-learn takes many classes of few samples for a regression
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            arrays = self.probe.fit(features, targets, self.classes)
        self._replace({name: array.to(features.device) for name, array in arrays.items()})

    def forward(self, x: Tensor) -> Tensor:
        """UsageError when nothing was fitted or loaded, IntegrityError when what was loaded is another probe's."""
        if not self._buffers:
            raise UsageError("this head was not fitted yet", "call fit(features, targets), or load a saved head")
        arrays = dict(self.named_buffers())
        try:
            return self.probe.logits(arrays, x)
        except KeyError as missing:
            raise IntegrityError(f"the head holds {sorted(arrays)}, but not the array {missing} that its probe needs",
                                 "load it with the probe that made it, or fit it again") from None  # fmt: skip

    def _replace(self, arrays: Mapping[str, Tensor]) -> None:
        self._buffers.clear()
        for name, array in arrays.items():
            self.register_buffer(name, array)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over all tensors under `prefix`; a fitted head misses the names it had, a fresh one misses any."""
        found = {name.removeprefix(prefix): t for name, t in state_dict.items() if name.startswith(prefix)}
        missing_keys += [prefix + name for name in (self._buffers or () if found else ("arrays",)) if name not in found]
        devices = {name: buffer.device for name, buffer in self.named_buffers()}
        if found:
            # copies: what was loaded must not change with the head, nor the head with it
            self._replace({name: t.detach().to(devices.get(name, t.device), copy=True) for name, t in found.items()})
