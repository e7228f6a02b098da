"""dvbench convert: a raw tree becomes a parquet set."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from depthvlm_bench.cli.common import (
    ScreenProgress,
    examples,
    json_option,
    option_option,
    out_option,
    print_json,
    root_option,
    workspace_option,
)

if TYPE_CHECKING:
    from depthvlm_bench.convert.request import ConvertRequest
    from depthvlm_bench.convert.run import ConvertSummary
    from depthvlm_bench.frames import Converter


SHOWN_DIFFERENCES = 20


def shard_range(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """First and last shard of `40-49`, both included; `7` is one."""
    if value is None:
        return None
    first, dash, last = value.partition("-")
    numbers = (first, last if dash else first)
    if not all(number.isdecimal() for number in numbers) or int(numbers[0]) > int(numbers[1]):
        raise click.BadParameter(f"{value!r} is no range of shards such as 0-99")
    return int(numbers[0]), int(numbers[1])


@click.command(
    "convert",
    epilog=examples(
        "dvbench convert nuscenes --root /data/nuscenes",
        "dvbench convert scannetpp --root /data/scannetpp --split train --workers 8",
    ),
)
@click.argument("dataset")
@root_option
@click.option("--split", type=click.Choice(["eval", "train"]), default="eval", show_default=True)
@click.option("--source-split", help="A split of the dataset itself, instead of the first one present.")
@click.option(
    "--allow-overlap", is_flag=True, help="Allow an evaluation set from a training split; never ranked."
)
@click.option("--sampling", type=click.Choice(["strict", "compat"]), default="strict", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many images.")
@click.option("--shard-rows", type=click.IntRange(min=1), help="Rows a shard.  [default: about 256 MB]")
@click.option("--no-source-image", is_flag=True, help="Leave the source bytes out of an evaluation set.")
@click.option(
    "--max-skip-share", type=click.FloatRange(0, 1), default=0.01, show_default=True,
    help="A training split that loses a larger share of its frames is not finished.",
)  # fmt: skip
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rebuild exactly the set that this manifest pins, and name every difference.",
)
@click.option(
    "--annotations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Follow a published list (JSONL); --root is the folder of its rgb/ and depth/.",
)
@click.option(
    "--workers", type=click.IntRange(min=1),
    help="Processes that write shards; the bytes are the same with any number.  [default: 1; ray: all CPUs]",
)  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", help="Of a running Ray cluster, e.g. auto.  [default: Ray on this machine]")
@click.option(
    "--shards",
    callback=shard_range,
    metavar="A-B",
    help="Only these shards, as file names count them: a job of an array (docs/cluster.md).",
)
@click.option("--retry-skipped", is_flag=True, help="Write shards anew that left frames out.")
@click.option("--replan", is_flag=True, help="Forget an earlier plan and its shards.")
@click.option("--dry-run", is_flag=True, help="Plan, print, write nothing.")
@out_option("set folders", "WORKSPACE/data")
@option_option
@workspace_option
@json_option
def command(
    dataset: str,
    root: Path,
    split: str,
    source_split: str | None,
    allow_overlap: bool,
    sampling: str,
    limit: int | None,
    shard_rows: int | None,
    no_source_image: bool,
    max_skip_share: float,
    manifest: Path | None,
    annotations: Path | None,
    workers: int | None,
    engine: Literal["local", "ray"],
    address: str | None,
    shards: tuple[int, int] | None,
    retry_skipped: bool,
    replan: bool,
    dry_run: bool,
    out: Path | None,
    pairs: tuple[str, ...],
    workspace: Path,
    as_json: bool,
) -> None:
    """Convert one split of DATASET from its official raw tree.

    The same command resumes what an earlier run left unfinished.
    """
    from depthvlm_bench.config import parse_options
    from depthvlm_bench.convert.execution import Execution
    from depthvlm_bench.convert.request import ConvertRequest
    from depthvlm_bench.convert.run import convert
    from depthvlm_bench.convert.work import hold_arrow_small
    from depthvlm_bench.registry import load_converter

    converter = load_converter(dataset)
    request = ConvertRequest(
        root=root,
        data=out or workspace / "data",
        role="train" if split == "train" else "eval",
        options=parse_options(
            converter.options_type,
            pairs,
            f"-o of {dataset}",
            defaults=converter.compat if sampling == "compat" else None,
        ),
        source_split=source_split,
        allow_overlap=allow_overlap,
        limit=limit,
        keep_source_image=not no_source_image,
        shard_rows=shard_rows,
        max_skip_share=max_skip_share,
        retry_skipped=retry_skipped,
        replan=replan,
        manifest=manifest,
        sampling=sampling,
        annotations=annotations,
    )
    if dry_run:
        _dry_run(converter, request, as_json=as_json)
        return
    execution = Execution(workers, engine, address, shards)
    hold_arrow_small()
    summary = convert(converter, request, ScreenProgress(), execution)
    if as_json:
        print_json(asdict(summary))
    else:
        print_summary(summary)
    if manifest is not None and summary.finished:
        _compare(summary, manifest, quiet=as_json)


def print_summary(summary: "ConvertSummary") -> None:
    """The few lines that say what a conversion did, and what is there."""
    from depthvlm_bench.records.receipts import reasons_text

    settings = summary.settings
    shards = f"{summary.shards} shard" + ("s" if summary.shards > 1 else "")
    click.echo(
        f"{summary.set_name} ({settings.role} from {settings.source_split}): {summary.images} images, "
        f"{summary.bytes / 1e6:.1f} MB in {shards}"
    )
    if not summary.finished:
        click.echo(
            f"  {summary.shards_there} of {shards} are there; the job that writes the last finishes the set"
        )
    elif summary.shards_resumed == summary.shards:
        click.echo("  resumed: nothing was left to do (--replan looks at the raw tree again)")
    elif summary.plan_resumed and summary.shards_resumed:
        click.echo(f"  resumed: {summary.shards_resumed} of {shards} were there already")
    if summary.skips:
        click.echo(f"  left out: {reasons_text(summary.skips)}")
    if summary.replaced or summary.dropped:
        absent = ", the share of absent scenes included" if "missing_scene" in summary.skips else ""
        click.echo(f"  images replaced: {summary.replaced}, without a substitute: {summary.dropped}{absent}")
    if summary.area_without_truth is not None:
        bare = f"{summary.area_without_truth:.1%}"
        click.echo(f"  {summary.points:,} points; picture area without ground truth: {bare}")
    if settings.set_kind == "overlap":
        click.echo("  made from a training split: marked `overlap`, shown unranked")
    elif settings.set_kind != "strict":
        click.echo(f"  a {settings.set_kind} set: for reproducing published numbers, never ranked")
    elif summary.finished and summary.subset:
        click.echo(
            f"  warning: a subset ({summary.images} of {summary.images_of_the_full_set} images); "
            "ranked within its own manifest"
        )
    if summary.finished:
        click.echo(f"  manifest {summary.manifest_hash[:12]}  {summary.folder}")


def _compare(summary: "ConvertSummary", manifest: Path, *, quiet: bool) -> None:
    """Say how the rebuilt set differs from its manifest; any difference is a failed check."""
    from depthvlm_bench.errors import CheckError

    if not summary.differences:
        earlier = (
            " (as built by an earlier run; --replan reads the raw tree again)"
            if summary.shards_resumed
            else ""
        )
        click.echo(f"  rebuilt exactly: every image, point and depth is the manifest's{earlier}", err=quiet)
        return
    for difference in summary.differences[:SHOWN_DIFFERENCES]:
        click.echo(f"  {difference.what:<8}{difference.id}: {difference.detail}", err=quiet)
    raise CheckError(
        f"the rebuilt set differs from its manifest in {len(summary.differences)} places",
        where=manifest,
        why=f"the first {min(SHOWN_DIFFERENCES, len(summary.differences))} are named above; --json names all",
        next_step="compare your download with the dataset's official release",
    )


def _dry_run(converter: "Converter", request: "ConvertRequest", *, as_json: bool) -> None:
    from depthvlm_bench.convert.request import followed, open_source
    from depthvlm_bench.convert.run import plan_split, resolve_split
    from depthvlm_bench.records.receipts import count_reasons, reasons_text

    converter = followed(converter, request)
    source = open_source(converter, request.root, request.options)
    try:
        chosen = resolve_split(converter, request, source)
        plan, _ = plan_split(converter, request, source, chosen, ScreenProgress())
    finally:
        source.close()
    if as_json:
        counts = {"images": len(plan.frames), "shards": plan.shards, "skips": count_reasons(plan.skips)}
        print_json({"set": chosen.set_name, "split": asdict(chosen.split)} | counts)
        return
    click.echo(
        f"would write {request.data / chosen.set_name}: {chosen.split.role} from {chosen.split.source}, "
        f"{len(plan.frames)} images in {plan.shards} shards of {plan.shard_rows}; "
        f"left out so far: {reasons_text(count_reasons(plan.skips))}"
    )
