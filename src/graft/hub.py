"""Runs on the Hugging Face Hub: data only, and whole or not at all.

What goes is what a prediction needs, and the card: no sample, no name or hash of one, no report (it shows pictures of
the data), no path of this machine. What comes back is checked by its manifest, whoever has put it there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graft import bare, build, run, store
from graft.errors import GraftError, IntegrityError, ResourceError, UsageError
from graft.spec import parse
from graft.types import Json

PREFIX = "hub:"
MANIFEST, CARD = "manifest.json", "README.md"
ALWAYS = {"model.safetensors": "the weights", "backbone.json": "the architecture", "labels.json": "the class names",
          "preprocessing.json": "how inputs are prepared; of a trunk of words also its vocabulary",
          "recipe.json": "what was asked, the data by their bare name",
          "data.json": "counts and the fingerprint of the data"}  # fmt: skip
SOMETIMES = {run.CHOSEN: "the recipe that auto came to", "trust.json": "temperature and thresholds",
             "trust.safetensors": "scores of held-out samples, features of training samples",
             run.TRANSCRIPTS: "the training transcripts, which the decoder counts words in"}  # fmt: skip
OURS = {**ALWAYS, **SOMETIMES}
WORDS = {**OURS, MANIFEST: "sha256 of the files above", CARD: "the model card"}
DATA = ("name", "fingerprint", "pairs", "splits")  # of data.json
LOGIN = "hf auth login"
_NAME = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]*", re.ASCII)
Files = dict[str, bytes | Path]

# ---------------------------------------------------------------------------------------------------------------- push


def push(folder: Path, name: str, *, dry_run: bool = False, private: bool = False) -> Json:
    """{"repository", "files": [{"name", "bytes", "sha256", "holds"}], "pushed": bool, "url": str | None}.

    One commit. `dry_run` touches neither the network nor the disk. Raises UsageError for a name that is none, without a
    login or the right to write, and for a repository that holds something else; DataError, IntegrityError for a run
    that is not finished or damaged; ResourceError without a network.
    """
    _check_name(name)
    refuse(folder, "is on the hub already", f"graft push RUN {name}")
    run.verify(folder)
    files = _files(folder, name)
    listed = [{"name": one, **_facts(content), "holds": WORDS[one]} for one, content in files.items()]
    url = None if dry_run else _upload(name, files, private)
    return {"repository": name, "files": listed, "pushed": not dry_run, "url": url}


def refuse(folder: str | Path, why: str, command: str) -> None:
    """Raises UsageError for "hub:user/name", of verbs that need all that `graft fit` has left."""
    if str(folder).startswith(PREFIX):
        raise UsageError(f"{folder} {why}", f"give a folder that `graft fit` made: {command}")


def told(result: Json) -> list[str]:
    """Lines for the console: the files, and where they went."""
    files, name = result["files"], result["repository"]
    width = max(len(one["name"]) for one in files)
    lines = [f"{one['name']:<{width}}  {one['bytes']:>13,}  {one['sha256'][:12]}  {one['holds']}" for one in files]
    total = f"{len(files)} files, {sum(one['bytes'] for one in files):,} bytes"
    done = f"pushed        {result['url']} ({total})" if result["pushed"] else f"not sent      {total}, for {name}"
    return [*lines, done]


def _files(folder: Path, name: str) -> Files:
    """What goes, in its order; all but the tensors is small."""
    from graft.reporting.card import card

    made: Files = {one: folder / one for one in ("model.safetensors", "labels.json", "preprocessing.json")}
    made["backbone.json"] = _json(bare.source(store.read_json(folder / "backbone.json")))
    for one in ("recipe.json", run.CHOSEN):
        if (folder / one).exists():
            made[one] = _json(bare.recipe(store.read_json(folder / one)))
    data = store.read_json(folder / "data.json")
    made["data.json"] = _json({**{key: data[key] for key in DATA if key in data}, "name": bare.data(data["name"])})
    made |= {one: folder / one for one in run.TRUSTED if (folder / one).exists()}
    heard = _transcripts(folder)
    made |= {run.TRANSCRIPTS: _json(heard)} if heard is not None else {}
    made = {one: made[one] for one in OURS if one in made}
    signed = {"format": 1, "files": {one: _facts(content)["sha256"] for one, content in made.items()}}
    made[MANIFEST] = _json({"sha256": store.json_digest(signed), "content": signed})
    made[CARD] = card(folder, name).encode()
    return made


def _transcripts(folder: Path) -> list[str] | None:
    """None where there is no decoder, [] where it does not count; sorted, so that the order of samples is not told."""
    chosen = folder / run.CHOSEN
    task = parse(store.read_json(chosen if chosen.exists() else folder / "recipe.json")["task"])
    if task.name != build.TASKS["transcript"]:
        return None
    counts = task.options.get("lm", "none") != "none" or task.options.get("dictionary") == "train"
    lines = run.splits(folder) if counts else []
    return sorted(
        line["label"] for line in lines if line["split"] not in ("valid", "test") and line["label"] is not None
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _facts(content: bytes | Path) -> Json:
    if isinstance(content, Path):
        return {"bytes": content.stat().st_size, "sha256": store.sha256(content)}
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _upload(name: str, files: Files, private: bool) -> str:
    """One commit, which also removes those of our files that an earlier run has left there."""
    if store.offline():
        raise ResourceError("GRAFT_OFFLINE forbids the network", f"GRAFT_OFFLINE=0 graft push RUN {name}, or --dry-run")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="graft")
    with _refusals(name):
        there = _there(api, name, private)
        operations: list[Any] = [CommitOperationAdd(one, content) for one, content in files.items()]
        operations += [CommitOperationDelete(one) for one in sorted(OURS.keys() & there) if one not in files]
        made = api.create_commit(name, operations, commit_message="A run of Graft")
    return str(getattr(made, "repo_url", None) or f"{api.endpoint}/{name}")


def _there(api: Any, name: str, private: bool) -> set[str]:
    """The files of the repository, which is made if it is not there. Raises UsageError for one of something else."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(name)
    except RepositoryNotFoundError:
        api.create_repo(name, private=private)
        return set()
    if private and not found.private:
        raise UsageError(
            f"{name} is public already", f"make it private there, or: graft push RUN {name}-private --private"
        )
    files = set(api.list_repo_files(name)) - {".gitattributes"}
    if files and not {"recipe.json", MANIFEST} <= files:
        some = ", ".join(sorted(files)[:3])
        raise UsageError(f"{name} holds something else than a run of Graft ({some})", f"graft push RUN {name}-graft")
    return files


# ------------------------------------------------------------------------------------------------------------ download


def folder_of(folder: str | Path) -> Path:
    """The run folder that a verb was given: a path, or "hub:user/name(@revision)", which is downloaded once, into the
    hub's own cache. Only files by our names are fetched, so nothing that could run code ever comes.

    Raises UsageError for a name that is none or a repository that is no run, IntegrityError for files that are not what
    their manifest says, ResourceError for what is neither in the cache nor within reach.
    """
    text = str(folder)
    if not text.startswith(PREFIX):
        return Path(folder)
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    _check_name(name)
    if ("@" in text and not _REVISION.fullmatch(revision)) or ".." in revision:
        raise UsageError(f"'{revision}' is no revision", f"a branch, a tag or a commit: {PREFIX}{name}@main")
    return _checked(_fetched(name, revision or None), name)


def _fetched(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*OURS, MANIFEST]
    with _refusals(name):
        found = snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=store.offline())
    return Path(found)


def _checked(folder: Path, name: str) -> Path:
    """Every file of ours is in the manifest, and nothing else is; run.load checks their hashes."""
    if not (folder / "recipe.json").is_file() or not (folder / MANIFEST).is_file():
        raise UsageError(f"{PREFIX}{name} is no run of Graft", f"a run is put there by: graft push RUN {name}")
    manifest = store.read_sealed_json(folder / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    there = {one for one in OURS if (folder / one).exists()}
    if not isinstance(files, dict) or files.keys() != there or not ALWAYS.keys() <= there:
        raise IntegrityError(f"the files of {PREFIX}{name} are not those that its manifest lists",
                             f"fetch it again: hf cache rm model/{name}; or ask who has put it there")  # fmt: skip
    return folder


# ---------------------------------------------------------------------------------------------------------------- both


def _check_name(name: str) -> None:
    """As the hub has it: user/name of letters, digits, - _ and ., at most 96 characters each."""
    parts = name.split("/")
    good = len(parts) == 2 and all(map(_NAME.fullmatch, parts))
    if not good or "--" in name or ".." in name or name.endswith(".git"):
        raise UsageError(f"'{name}' is no name on the hub", "write it as user/name, of letters, digits, - _ and .")


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """What the library says, in words with one thing to do; it raises what its network library raises, too."""
    try:
        yield
    except (GraftError, TypeError, AttributeError, KeyError):
        raise
    except Exception as error:
        raise _refusal(error, name) from None


def _refusal(error: Exception, name: str) -> GraftError:
    """By the kind of error, else by the status of the hub's answer."""
    from huggingface_hub import errors

    first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(f"{name} has no such revision", f"{PREFIX}{name} is the newest")
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401 and not _token():
        return UsageError(f"{name} is not there, or needs a login", LOGIN)
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        return UsageError(
            f"your login is not allowed to do this with {name}: {first}", f"{LOGIN}, as its owner, to write"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UsageError(f"there is no {name} on the hub that you may see", f"check the name, or: {LOGIN}")
    if isinstance(error, ValueError) and status is None:  # it has files, and none by our names
        return UsageError(f"{PREFIX}{name} is no run of Graft", f"a run is put there by: graft push RUN {name}")
    if isinstance(error, errors.LocalEntryNotFoundError) and store.offline():
        return ResourceError(f"{PREFIX}{name} is not in the hub's cache, and GRAFT_OFFLINE forbids the network",
                             "fetch it once: GRAFT_OFFLINE=0")  # fmt: skip
    return ResourceError(
        f"this did not work with {name} on the hub: {first}", "check the network, then run the command again"
    )


def _token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())
