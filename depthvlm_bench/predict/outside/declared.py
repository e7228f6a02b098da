"""What the maker of predictions declares of them: unit, kind of depth, what the maps cover."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from depthvlm_bench.config import load_toml, parse_options
from depthvlm_bench.conventions import FloatArray
from depthvlm_bench.errors import UsageError

DECLARATION_FILE = "predictions.toml"
# Units a metre; the inch and the foot are the international ones.
UNITS = {"m": 1.0, "dm": 10.0, "cm": 100.0, "mm": 1000.0, "km": 0.001, "in": 1 / 0.0254, "ft": 1 / 0.3048}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

Kind = Literal["z", "ray", "distance", "disparity"]


@dataclass(frozen=True)
class Declaration:
    """What the values mean; nothing of it is ever guessed.

    Attributes:
        model: the name in results and tables; None: that of the folder.
        unit: m, dm, cm, mm, km, in or ft; None: as `scale` says, else metres.
        scale: the same as a number, units a metre. Of disparity: depth_m = scale / value.
        png_scale: units a metre of integer maps (png, integer tiff, npy and npz); None: as unit or scale say.
        kind: z-depth, distance along the ray, answers to "how far is it?" (compared with z, and with ray
            distance beside), or disparity (only with its scale).
        resize: how a map of another size is brought to the picture's.
        covers: the picture that the maps cover and the model was shown.
        camera: whether the model was given the intrinsics.
    """

    model: str | None = None
    unit: str | None = None
    scale: float | None = None
    png_scale: float | None = None
    kind: Kind = "z"
    resize: Literal["bilinear", "nearest"] = "bilinear"
    covers: Literal["canonical", "native"] = "canonical"
    camera: Literal["known", "unknown"] = "known"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (UsageError)."""
        if self.unit is not None and self.unit not in UNITS:
            raise UsageError(f"unknown unit {self.unit!r}", why=f"known: {', '.join(UNITS)}; or use scale")
        if self.unit is not None and self.scale is not None:
            raise UsageError("unit and scale say the same thing", next_step="declare one of them")
        for name, value in (("scale", self.scale), ("png_scale", self.png_scale)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a positive number", why=f"got {value}")
        if self.kind == "disparity" and self.scale is None:
            why = "depth_m = scale / value, and nothing else says how large scale is"
            raise UsageError("disparity has to be declared with its scale", why=why, next_step="-o scale=FxB")
        if self.kind == "ray" and self.camera == "unknown":
            why = "ray distance becomes z-depth through the camera"
            raise UsageError(
                "kind = ray does not go with camera = unknown", why=why, next_step="give z-depth"
            )

    @property
    def units_a_metre(self) -> float:
        """What float values are divided by."""
        return UNITS[self.unit] if self.unit is not None else self.scale or 1.0

    @property
    def integer_units_a_metre(self) -> float | None:
        """What integer values are divided by; None: it is declared nowhere."""
        if self.png_scale is not None:
            return self.png_scale
        return None if self.unit is None and self.scale is None else self.units_a_metre

    def metres(self, values: npt.ArrayLike, *, integer: bool = False) -> FloatArray:
        """Values as stored -> metres (z or along the ray), float64, any shape; 0 / 0 and x / 0 are NaN."""
        stored = np.asarray(values, dtype=np.float64)
        if self.kind == "disparity":
            inverse = stored / self.png_scale if integer and self.png_scale else stored
            usable = np.where(inverse == 0, np.nan, inverse)
            return np.asarray(float(self.scale or np.nan) / usable)
        return np.asarray(stored / ((self.integer_units_a_metre if integer else None) or self.units_a_metre))

    def told(self) -> dict[str, Any]:
        """What differs from the defaults, without the name: part of a run's identity."""
        plain = asdict(Declaration())
        return {key: value for key, value in asdict(self).items() if key != "model" and value != plain[key]}


def read_declaration(folder: Path, pairs: Sequence[str] = (), name: str | None = None) -> Declaration:
    """The declaration of a folder (or of the folder of a file); KEY=VALUE pairs and `name` override its file.

    Raises:
        UsageError: unknown keys, values of the wrong kind, contradictions, or a name that is no file name.
    """
    home = folder if folder.is_dir() else folder.parent
    path = home / DECLARATION_FILE
    declared = load_toml(Declaration, path) if path.is_file() else Declaration()
    given = {pair.partition("=")[0].strip().replace("-", "_") for pair in pairs}
    flags = parse_options(Declaration, _with_scale(pairs, given, declared), f"-o of {DECLARATION_FILE}")
    changes = {key: getattr(flags, key) for key in given}
    if "unit" in given or "scale" in given:
        changes = {"unit": None, "scale": None} | changes
    declared = replace(declared, **changes)
    declared = replace(declared, model=name or declared.model or _stem(folder))
    if not NAME.fullmatch(declared.model or ""):
        why = "it becomes part of file names: letters, digits and . _ + - only"
        raise UsageError(f"{declared.model!r} cannot name a model", why=why, next_step="--name NAME")
    return declared


def _with_scale(pairs: Sequence[str], given: set[str], declared: Declaration) -> list[str]:
    """The pairs, with the file's scale where a flag names a kind that needs it."""
    inherits = "kind" in given and not given & {"scale", "unit"} and declared.scale is not None
    return [*pairs, f"scale={declared.scale!r}"] if inherits else list(pairs)


def _stem(folder: Path) -> str:
    resolved = folder.resolve()
    return resolved.name if resolved.is_dir() else resolved.stem
