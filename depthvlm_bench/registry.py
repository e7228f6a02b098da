"""What exists: converters and models, found through entry points, third parties' included."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from depthvlm_bench.errors import CheckError, unknown_name

if TYPE_CHECKING:
    from depthvlm_bench.frames import Converter
    from depthvlm_bench.predict.contracts import Model

CONVERTERS = "depthvlm_bench.converters"
MODELS = "depthvlm_bench.models"


def names(group: str) -> list[str]:
    """Registered names of a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load_converter(name: str) -> "Converter":
    """The converter of a dataset; UsageError with a hint for an unknown name."""
    return cast("Converter", _load(CONVERTERS, "dataset", name, "dvbench datasets"))


def load_model(name: str) -> "Model":
    """The model of a name; UsageError with a hint for an unknown name."""
    return cast("Model", _load(MODELS, "model", name, "dvbench models"))


def each(group: str) -> Iterator[tuple[str, object | CheckError]]:
    """Every registered object of a group; one that fails to import yields its error and hides no other."""
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        try:
            yield point.name, _import(point)
        except CheckError as error:
            yield point.name, error


def _load(group: str, kind: str, name: str, listing: str) -> object:
    found = list(entry_points(group=group, name=name))
    if not found:
        raise unknown_name(kind, name, names(group), next_step=f"{listing} lists what there is")
    return _import(found[0])


def _import(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # a plug-in may fail in any way, and must not hide another
        package = point.dist.name if point.dist else "unknown package"
        raise CheckError(
            f"plug-in {point.name!r} cannot be imported",
            where=f"{point.value} of {package}",
            why=f"{type(error).__name__}: {error}",
            next_step="reinstall or remove that package",
        ) from error
