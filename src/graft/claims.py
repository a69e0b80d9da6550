"""What may be written where: a run never into a folder that holds anything else, nothing among the user's own data, and
no file over one that Graft has not made."""

from __future__ import annotations

from pathlib import Path

from graft import run
from graft.data._sniff import without_options
from graft.errors import DataError, UsageError
from graft.recipe import Recipe
from graft.recipe import make as make_recipe
from graft.store import Kind, place, read_json

OURS = ("recipe.json", run.LOCK)  # either says that a folder is a run
OUR_PAGE = b'<meta name="generator" content="Graft">'
PAGE = Kind("page", (".html", ".htm"), lambda start: OUR_PAGE in start[:2000], "report of Graft", "report.html")


def claim(recipe: Recipe, out: str | None, resume: bool) -> Path:
    """The run folder: new, or one that may be continued."""
    _check_out(recipe, out)
    newest = run.newest_folder(recipe.data) if resume and out is None else None
    folder = newest or run.new_folder(recipe.data, out)
    if not (folder / "recipe.json").exists():
        return folder
    if not resume:
        raise UsageError(f"{folder} holds a run already", "add --resume to go on with it, or choose another --out")
    changed = run.difference(make_recipe(read_json(folder / "recipe.json")), recipe)
    if changed:
        what = f"{folder} was made by another recipe: {'; '.join(changed)}"
        raise DataError(what, "repeat the options that it was begun with, or choose another --out")
    return folder


def _check_out(recipe: Recipe, out: str | None) -> None:
    """A run is never written among somebody's own files."""
    folder, data = Path(out or "runs").resolve(), Path(without_options(recipe.data))
    if data.is_dir() and folder.is_relative_to(data.resolve()):
        raise UsageError(f"the run would be written into the data, {data}", "choose an --out outside of it")
    if out and folder.is_dir() and any(folder.iterdir()) and not any((folder / n).exists() for n in OURS):
        raise UsageError(f"{out} holds files that are no run", "choose another --out")


def page_place(out: str, folder: Path) -> Path:
    """Where a report of the run in `folder` goes. Raises UsageError for what store.place refuses."""
    data = Path(without_options(make_recipe(read_json(folder / "recipe.json")).data)).expanduser()
    return place(Path(out).expanduser(), data, PAGE)
