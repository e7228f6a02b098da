"""dvbench predict: a model on photographs of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthvlm_bench.cli.chosen_model import checkpoint_option, model_option
from depthvlm_bench.cli.common import examples, json_option, option_option, print_json

if TYPE_CHECKING:
    from PIL import Image

    from depthvlm_bench.errors import DvbenchError
    from depthvlm_bench.predict.contracts import DenseMap, Model
    from depthvlm_bench.predict.photos import Lens, Photo
    from depthvlm_bench.viz.photo import Written

EXAMPLES = (
    "dvbench predict photo.jpg --model depthvlm-4b",
    "dvbench predict a.jpg b.jpg --model depthvlm-4b --checkpoint DIR --fov 69 --out depths",
    "dvbench predict photo.jpg --model depthvlm-4b -o question='What is nearest to me?'",
)


@click.command("predict", epilog=examples(*EXAMPLES))
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@model_option
@checkpoint_option
@click.option("--fx", "fx_px", type=float, metavar="PX", help="Focal length, px of the upright photograph.")
@click.option("--fov", "fov_deg", type=float, metavar="DEGREES", help="Horizontal field of view.")
@click.option("--exif", "must_exif", is_flag=True, help="Take the focal length from EXIF, or refuse.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("predictions"),
    show_default=True,
    help="Folder for what is written.",
)
@option_option
@json_option
def command(
    photos: tuple[Path, ...],
    name: str,
    checkpoint: str | None,
    fx_px: float | None,
    fov_deg: float | None,
    must_exif: bool,
    out: Path,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Depth, point cloud and answer for photographs.

    Each gives NAME.npy (metres, of the photograph's size), NAME.depth.png (16 bit), NAME.colour.png, NAME.ply
    (camera frame, metres) and NAME.json. Without --fx, --fov or --exif the focal length comes from EXIF if it
    tells, else one is assumed; which, is said.
    """
    from depthvlm_bench.cli.chosen_model import choose_model
    from depthvlm_bench.errors import DvbenchError, PartialError, UsageError
    from depthvlm_bench.scoring.evaluate import identity_of

    if sum((fx_px is not None, fov_deg is not None, must_exif)) > 1:
        raise UsageError("--fx, --fov and --exif exclude each other")
    model, options = choose_model(name, checkpoint, pairs, preset={"text": True})
    _require_maps(model)
    faults: list[DvbenchError] = []
    asked = _opened(photos, fx_px, fov_deg, must_exif, faults)
    done: list[dict[str, Any]] = []
    if asked:
        asker = _Asker(model, options, {"model": model.card.id, **identity_of(model, options).loaded})
    for one in asked:
        try:
            done.append(asker.write(one, out))
        except DvbenchError as error:
            _tell(error, faults, len(photos))
            continue
        if not as_json:
            _print(one, done[-1])
    if as_json:
        print_json(done)
    if len(faults) == len(photos):
        raise faults[0]
    if faults:
        raise PartialError(f"{len(faults)} of {len(photos)} photographs have no depth", why="named above")


def _require_maps(model: "Model") -> None:
    from depthvlm_bench.errors import UsageError

    if model.card.kind != "dense":
        raise UsageError(f"{model.card.id} answers points and gives no map", next_step="dvbench models")
    if model.card.fitted:
        raise UsageError(f"{model.card.id} is fitted on converted sets", next_step="dvbench eval")


@dataclass(frozen=True)
class _Asked:
    """A photograph, its camera, and the stem of what is written of it."""

    photo: "Photo"
    lens: "Lens"
    stem: str


def _opened(
    paths: Sequence[Path],
    fx_px: float | None,
    fov_deg: float | None,
    must_exif: bool,
    faults: "list[DvbenchError]",
) -> list[_Asked]:
    """The photographs that can be asked about, found out before time is spent on a model."""
    from depthvlm_bench.errors import DvbenchError
    from depthvlm_bench.predict.photos import lens_of, open_photo

    asked: list[_Asked] = []
    for path in paths:
        try:
            photo = open_photo(path)
            lens = lens_of(photo, fx_px=fx_px, fov_deg=fov_deg, must_exif=must_exif)
        except DvbenchError as error:
            _tell(error, faults, len(paths))
            continue
        taken = {one.stem for one in asked}
        stems = [path.stem, *(f"{path.stem}-{number}" for number in range(2, len(paths) + 2))]
        asked.append(_Asked(photo, lens, next(stem for stem in stems if stem not in taken)))
    return asked


def _tell(error: "DvbenchError", faults: "list[DvbenchError]", photos: int) -> None:
    """Keep a photograph's fault; said at once where there are others to go on with."""
    faults.append(error)
    if photos > 1:
        click.echo(f"error: {error.one_line()}", err=True)


class _Asker:
    """A loaded model; `known` is what its answers were made with."""

    def __init__(self, model: "Model", options: Any, known: dict[str, Any]) -> None:  # noqa: ANN401
        self.card, self.known = model.card, known
        self.predictor: Any = model.build()
        self.predictor.load(options)

    def write(self, asked: _Asked, out: Path) -> dict[str, Any]:
        """Ask about one photograph and write all that comes of it; returns its facts."""
        from depthvlm_bench.records.files import write_json
        from depthvlm_bench.viz.photo import write_prediction

        picture = asked.photo.picture()
        dense = self._map(asked, picture)
        written = write_prediction(out, asked.stem, picture, asked.lens.camera, dense)
        facts = _facts(asked, dense, written) | {"made_with": self.known}
        path = out / f"{asked.stem}.json"
        write_json(path, facts)
        return facts | {"files": {**written.files, "facts": path}}

    def _map(self, asked: _Asked, picture: "Image.Image") -> "DenseMap":
        from depthvlm_bench.predict.contracts import DenseMap, View
        from depthvlm_bench.predict.memory import Portions

        takes = self.card.camera not in ("ignored", "unsupported")
        view = View(asked.stem, picture, asked.lens.camera if takes else None)
        ((_, maps),) = Portions(1, click.echo).each([view], self.predictor.predict, lambda one: one.id)
        dense = maps[0]
        assert isinstance(dense, DenseMap)
        return dense


def _facts(asked: _Asked, dense: "DenseMap", written: "Written") -> dict[str, Any]:
    camera = asked.lens.camera
    return {
        "photo": asked.photo.path.name,
        "orientation": asked.photo.orientation,
        "camera": {name: getattr(camera, name) for name in camera.__dataclass_fields__},
        "focal_length": asked.lens.known,
        "focal_length_says": asked.lens.says,
        "map_size": list(dense.depth_m.shape[::-1]),
        "depth_range_m": written.range_m,
        "depth_png_units_per_m": written.depth_scale,
        "depth_png_too_far_pixels": written.beyond,
        "cloud_points": written.points,
        "answer": dense.text,
    }


def _print(asked: _Asked, facts: dict[str, Any]) -> None:
    width, height = asked.photo.size
    turned = f", EXIF orientation {asked.photo.orientation} applied" if asked.photo.orientation != 1 else ""
    click.echo(f"{asked.photo.path}: {width}x{height}{turned}")
    click.echo(f"  {asked.lens.says}")
    span, size = facts["depth_range_m"], "x".join(map(str, facts["map_size"]))
    found = f"{span[0]:.2f} to {span[1]:.2f} m" if span else "none"
    click.echo(f"  depth {found}, on a map of {size}")
    if facts["answer"] is not None:
        click.echo(f"  answer: {facts['answer'] or '(nothing)'}")
    for kind, path in facts["files"].items():
        click.echo(f"  {path}{_remark(kind, facts)}")


def _remark(kind: str, facts: dict[str, Any]) -> str:
    """What has to be known of a file to read it."""
    if kind == "png":
        far = facts["depth_png_too_far_pixels"]
        lost = f", {far} pixels too far for it" if far else ""
        return f"  ({facts['depth_png_units_per_m']:g} units a metre, 0 unknown{lost})"
    return f"  ({facts['cloud_points']} points)" if kind == "cloud" else ""
