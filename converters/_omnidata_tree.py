"""Where Omnidata's downloader leaves a view's files: KIND/DATASET/SCENE/point_P_view_V_domain_KIND.png."""

import os
import re
from pathlib import Path
from typing import NamedTuple

RGB, INFO, MASK = "rgb", "point_info", "mask_valid"
# Kinds that a camera file's name may say in point_info/; the first one there is taken.
INFO_KINDS = (INFO, "fixatedpose")
# Panoramas have `view_equirectangular` instead of a number; hidden copies of archives begin with a dot.
FILE = re.compile(r"(point_(\d+)_view_(\d+))_domain_(\w+)\.(?:png|json)", re.ASCII)


class View(NamedTuple):
    """A view by its numbers, which sort as numbers, and by the text that its files begin with."""

    point: int
    number: int
    stem: str


def view_path(domain: str, dataset: str, scene: str, stem: str, kind: str = "") -> str:
    """Relative path of a view's file; `kind` where its name says another than its folder."""
    suffix = "json" if domain == INFO else "png"
    return f"{domain}/{dataset}/{scene}/{stem}_domain_{kind or domain}.{suffix}"


def view_kinds(folder: Path, domain: str) -> dict[View, str]:
    """Views that a scene's folder has a file of -> the kind that its name says."""
    kinds = INFO_KINDS if domain == INFO else (domain,)
    found: dict[View, str] = {}
    with os.scandir(folder) as entries:
        matches = [match for match in map(FILE.fullmatch, (entry.name for entry in entries)) if match]
    for match in matches:
        view, kind = View(int(match[2]), int(match[3]), match[1]), match[4]
        if kind in kinds and kinds.index(kind) <= kinds.index(found.get(view, kinds[-1])):
            found[view] = kind
    return found


def scene_folders(folder: Path) -> set[str]:
    """Names of the scenes below KIND/DATASET; none where there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))}
