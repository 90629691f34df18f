"""Begin: a compression is given a folder of its own, or is held against the one in it."""

from pathlib import Path
from typing import Any

from nas.compression.running.folder import CompressionFolder, has_compression
from nas.compression.running.recipe import RecipeFile, as_data, to_yaml
from nas.compression.running.start import Start, teacher_fingerprints
from nas.models.folder import fingerprint, write_model
from nas.problem.run_file import differences
from search_spaces.graphs.errors import UserError

# What a compression has written that was killed before it began.
BEFORE = ("run.lock", "original", "recipe.yaml")


def check_folder(folder: CompressionFolder, resume: bool) -> None:
    if resume:
        folder.about()
    elif has_compression(folder.path):
        raise UserError(
            f"{folder.path} already holds a compression; go on with it with --resume, or choose "
            "another folder with --to or --set name=NAME"
        )
    elif folder.path.exists() and any(map(is_others, folder.path.iterdir())):
        raise UserError(
            f"{folder.path} is there and holds something else; choose another folder with --to or "
            "--set name=NAME"
        )


def is_others(item: Path) -> bool:
    """Whether an entry of a folder is not what a compression left that was killed at once."""
    return not (item.name in BEFORE or item.name.startswith("."))


def begin_or_check(start: Start, file: RecipeFile, folder: CompressionFolder) -> None:
    """Writes what the compression is, or makes sure that it is this one.

    Raises:
        UserError: If the recipe, the network or the data is another; the first key that differs
            is named.
    """
    about: dict[str, Any] = {
        "model": start.given,
        "model_fingerprint": fingerprint(start.stored.model),
        "is_trained": start.is_trained,
        "teachers": teacher_fingerprints(file.recipe()),
        "data": start.data,
        "recipe": as_data(file),
    }
    if not has_compression(folder.path):
        write_model(folder.original, start.stored)
        folder.begin(to_yaml(file), about)
        return
    known = folder.about()
    changed = differences(without_place(known["recipe"]), without_place(about["recipe"]))
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UserError(
            f"the recipe must be that of {folder.path} to go on with it, but {changed[0]}{more}; "
            "change it back, or compress into another folder"
        )
    if known["model_fingerprint"] != about["model_fingerprint"]:
        raise UserError(
            f"{start.given} is not the network that {folder.path} began with; give that one, or "
            "compress into another folder"
        )
    if known["data"].get("fingerprints") != start.data["fingerprints"]:
        raise UserError(
            f"the images differ from those that {folder.path} began with; restore them, or "
            "compress into another folder"
        )
    if known.get("teachers") != about["teachers"]:
        raise UserError(
            f"a teacher is not the one that {folder.path} began with; restore it, or compress "
            "into another folder"
        )


def without_place(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns a recipe without where its data lies, which the images' fingerprints stand for."""
    data = {key: v for key, v in recipe["data"].items() if not key.endswith("path")}
    return {**recipe, "data": data}
