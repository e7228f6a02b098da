"""One shard: a pure function of its plan rows, the settings and the raw tree."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.candidates import frame_boundary
from depthvlm_bench.convert.plan import Plan, require_valid_depth, require_z
from depthvlm_bench.convert.plan_rows import PlannedFrame
from depthvlm_bench.errors import PartialError
from depthvlm_bench.frames import Skip, Source
from depthvlm_bench.hashing import sha256_file
from depthvlm_bench.records.codec import encode_record
from depthvlm_bench.records.receipts import ShardReceipt, codec_versions
from depthvlm_bench.records.writer import write_rows


def _untold(_frames: int) -> None:
    """Where nobody wants to hear of progress."""


def convert_shard(
    plan: Plan,
    index: int,
    source: Source,
    card: DatasetCard,
    folder: Path,
    advance: Callable[[int], None] = _untold,
) -> ShardReceipt:
    """Read, encode and write the frames of one shard; its receipt is written last.

    Args:
        plan: the split's plan.
        index: which shard.
        source: the raw tree.
        card: the dataset's card.
        folder: the set's folder.
        advance: told of every frame that is done, kept or not.

    Raises:
        OSError: the shard cannot be written; it names the file.
        PartialError: an evaluation frame that could be read while planning no longer can.
    """
    skips: list[Skip] = []
    path = folder / "data" / plan.shard_file(index)
    try:
        written = write_rows(path, _records(plan, plan.shard(index), source, card, skips, advance))
    except OSError as error:  # what the source may raise has become a skip: this is the output
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    receipt = ShardReceipt(
        key=plan.shard_key(index),
        file=path.name,
        rows=written,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        skips=tuple(skips),
        versions=codec_versions(plan.settings.backend),
    )
    receipt.write(folder)
    return receipt


def _records(
    plan: Plan,
    frames: tuple[PlannedFrame, ...],
    source: Source,
    card: DatasetCard,
    skips: list[Skip],
    advance: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    spec = plan.settings.record_spec(card)
    for planned in frames:
        encoded: list[dict[str, Any]] = []
        with frame_boundary(planned.ref.id, skips):
            frame = source.read(planned.ref)
            require_valid_depth(frame, card)
            if plan.settings.sampling == "strict":
                require_z(frame)
            encoded.append(
                encode_record(frame, spec, planned.points, planned.points_balanced, planned.listed)
            )
        if not encoded and plan.settings.role == "eval":
            raise PartialError(
                "a frame that was planned for evaluation can no longer be read",
                where=planned.ref.id,
                why=f"{skips[-1].reason}: {skips[-1].detail}",
                next_step="restore the file and run again, or plan anew with --replan",
            )
        yield from encoded
        advance(1)
