"""Weight files: read without running code, fetched only when they were asked for, named by their content."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor, nn

from graft import store
from graft.checkpoint import digest
from graft.errors import DataError, IntegrityError, ResourceError

State = dict[str, Tensor]
NESTS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "model.", "backbone.", "encoder.", "_orig_mod.", "network.")
OFFLINE_CHOICES = "use weights that are here: bundled:<name>, local:<file>(arch=...), toy, or pretrained=False"
_SECONDS = 2.5  # to find out whether there is a network at all


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """The same for the same weights on every machine, in whatever order they are stored."""
    return digest(sorted(state.items()))


def read_checkpoint(path: Path) -> State:
    """Tensors by name from .safetensors, .npz, .pt, .pth, .th or .bin; the only place that opens such files.

    Raises DataError for a file that is missing or of another kind, IntegrityError for one that is damaged or that would
    have to run code.
    """
    if not path.is_file():
        raise DataError(f"there is no weight file {path}", "check the path: local:<file>(arch=...)")
    try:
        tensors = _tensors(_open(path))
    except (UnpicklingError, ValueError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "save the tensors alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        raise IntegrityError(f"{path} is damaged, or holds more than tensors: {first[:200]}", hint) from None
    if not tensors:
        raise DataError(f"{path} holds no tensors under names", "save it with torch.save(model.state_dict(), ...)")
    return tensors


def _open(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(content: Any) -> State:
    """The state dict in a checkpoint: the nest of tensors under the usual names, nearest first."""
    if not isinstance(content, Mapping):
        return {}
    found = {str(k): v.detach() for k, v in content.items() if isinstance(v, Tensor)}
    for nest in NESTS:
        if not found and isinstance(content.get(nest), Mapping):
            found = _tensors(content[nest])
    return found


def strip_prefixes(state: Mapping[str, Tensor], wanted: Iterable[str]) -> State:
    """Take away what wrappers put before the names: what all share, then what brings most names of `wanted` together.

    Names beside the prefix stay as they are: a self-supervised checkpoint keeps its head there.
    """
    known, names = set(wanted), dict(state)
    while names and (shared := [prefix for prefix in PREFIXES if _wraps(prefix, names) and not _wraps(prefix, known)]):
        names = _without_prefix(names, shared[0])
    options = [names, *(_without_prefix(names, prefix) for prefix in PREFIXES)]
    return max(options, key=lambda option: len(known & option.keys()))


def _wraps(prefix: str, names: Iterable[str]) -> bool:
    return all(name.startswith(prefix) for name in names)


def _without_prefix(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    head: tuple[str, ...] = (),
    what: str,
    hint: str | Callable[[], str],
) -> None:
    """Copy `state` into `module`; names that begin with one of `head` are left out, knowingly.

    Raises DataError that lists a few names which are missing, unexpected or of another shape, or values that are not
    finite. BatchNorm's counters may be missing: old checkpoints have none.
    """
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(head or ("\0",))}
    given = {name: tensor for name, tensor in state.items() if not name.startswith(head or ("\0",))}
    problems = differences(own, given)
    if problems:
        raise DataError(f"{what}: these are weights of another architecture. " + "; ".join(problems),
                        hint if isinstance(hint, str) else hint())  # fmt: skip
    bad = [name for name, tensor in given.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise DataError(f"{what}: '{bad[0]}' holds values that are not finite", "take an earlier checkpoint")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps `given` from fitting `own`, in words; empty when it fits."""
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    other = [f"{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
             for name in own if name in given and own[name].shape != given[name].shape]  # fmt: skip
    kinds = (("missing", missing), ("unexpected", unexpected), ("another shape", other))
    return [f"{kind} ({len(names)}): {', '.join(names[:3])}" for kind, names in kinds if names]


def download(url: str) -> Path:
    """A weight file of torchvision or timm, through torch's own cache. Raises ResourceError within seconds."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.is_file():
        return path
    require_network(url, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem.rpartition("-")[2]
    prefix = stem if len(stem) >= 8 and all(c in "0123456789abcdef" for c in stem) else None
    try:
        torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise ResourceError(f"cannot download {url}: {error}", f"try again, or {OFFLINE_CHOICES}") from None
    return path


def hub_file(repository: str, filename: str) -> Path:
    """One file of the hub, through its own cache. Raises ResourceError within seconds."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):
        return Path(cached)
    require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), f"{repository}/{filename}")
    try:
        return Path(hf_hub_download(repository, filename))
    except (HfHubHTTPError, OSError) as error:
        raise ResourceError(f"cannot download {repository}/{filename}: {error}", OFFLINE_CHOICES) from None


def require_network(url: str, what: str) -> None:
    """Raises ResourceError when the network is switched off, or does not answer within a few seconds."""
    if store.offline():
        raise ResourceError(f"{what} is not in the cache, and GRAFT_OFFLINE forbids the network", OFFLINE_CHOICES)
    if urlparse(url).scheme != "https":
        raise ResourceError(f"{what} would come over an unsafe connection: {url}", OFFLINE_CHOICES)
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https, checked above
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return  # something answers; the download itself will say what is wrong
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ResourceError(f"{what} is not in the cache, and {urlparse(url).netloc} cannot be reached: {reason}",
                            OFFLINE_CHOICES) from None  # fmt: skip
