"""Cost of a training frame, made and read back: python benchmarks/bench_convert.py [--raw FOLDER] [--short]

All figures are CPU milliseconds a frame on one thread, medians over rounds in which each variant takes turns.
FOLDER holds raw trees (scannetpp/, argoverse2/); without it ScanNet++ photographs are made, and Argoverse 2,
whose sweeps and calibration cannot be, is left out.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat, starmap
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read once, when numpy is loaded

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from raw_trees import copy_argoverse2, write_scannetpp
from timing import cpu_ms

from depthvlm_bench.convert.plan import require_valid_depth
from depthvlm_bench.convert.settings import SetSettings, make_settings
from depthvlm_bench.frames import Converter, DepthPoints, Frame, FrameRef, Picture, Source, Split
from depthvlm_bench.geometry.grids import ViewGrid
from depthvlm_bench.records.backends import (
    PILLOW,
    PixelMemory,
    TorchBackend,
    best_backend,
    decode_rgb,
    open_backend,
)
from depthvlm_bench.records.codec import canonical_grid, encode_record
from depthvlm_bench.records.pictures import encode_depth_png, encode_jpeg, render
from depthvlm_bench.records.reader import TRAINING_COLUMNS, training_item, training_rows
from depthvlm_bench.records.writer import write_rows
from depthvlm_bench.registry import load_converter
from depthvlm_bench.sampling.compat import in_range, nearest_resize

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Row:
    """A line of the table; `goal` is the largest share of `of` that it may take."""

    what: str
    ms: float
    of: str = ""
    share: float = 0.0
    goal: float = 0.0


@dataclass
class Bench:
    """One raw tree, opened, with the frames that are converted again and again."""

    converter: Converter
    root: Path
    work: Path

    def __post_init__(self) -> None:
        self.options = self.converter.options_type(every=1)
        self.source: Source = self.converter.open(self.root, self.options)
        self.split = Split("train", self.source.source_splits()[0])
        found = [ref for ref in self.source.index(self.split) if isinstance(ref, FrameRef)]
        self.refs: Sequence[FrameRef] = sorted(found, key=lambda ref: ref.order_key)
        self.frames = [self.source.read(ref) for ref in self.refs]
        self.grids = [canonical_grid(frame, self.converter.card) for frame in self.frames]

    def settings(self, backend: str) -> SetSettings:
        made = make_settings(
            self.converter, self.split, "strict", self.options, limit=None, keep_source_image=True
        )
        return replace(made, backend=backend)

    def shard(self, backend: str) -> Path:
        return self.work / f"{backend}.parquet"

    def convert(self, backend: str) -> None:
        """A shard as a conversion makes it, from the raw files to the renamed parquet file."""
        spec = self.settings(backend).record_spec(self.converter.card)

        def record(ref: FrameRef) -> dict[str, object]:
            frame = self.source.read(ref)
            require_valid_depth(frame, self.converter.card)
            return encode_record(frame, spec, None, None)

        write_rows(self.shard(backend), map(record, self.refs))

    def chain(self, backend: str) -> Callable[[], None]:
        """Decode, resize and encode alone."""
        maker = open_backend(backend)

        def run() -> None:
            for frame, grid in zip(self.frames, self.grids, strict=True):
                encode_jpeg(maker.canonical(frame, grid))

        return run

    def bare(self, backend: str) -> Callable[[], None]:
        """Decode, resize, encode, and a plain file flushed to disk."""
        maker = open_backend(backend)

        def run() -> None:
            with (self.work / "bare").open("wb") as file:
                for frame, grid in zip(self.frames, self.grids, strict=True):
                    file.write(encode_jpeg(maker.canonical(frame, grid)))
                file.flush()
                os.fsync(file.fileno())

        return run

    def rows(self, backend: str) -> Iterator[dict[str, Any]]:
        """Every row of the shard, undecoded."""
        with pq.ParquetFile(self.shard(backend)) as file:
            for group in range(file.num_row_groups):
                yield from training_rows(file.read_row_group(group, TRAINING_COLUMNS, use_threads=False))

    def random_rows(self, backend: str) -> Iterator[dict[str, Any]]:
        """As many rows as there are, each by itself out of its row group, as a shuffling loader reads."""
        with pq.ParquetFile(self.shard(backend)) as file:
            for row in np.random.default_rng(0).permutation(len(self.refs)):
                group, at = divmod(int(row), file.metadata.row_group(0).num_rows)
                table = file.read_row_group(group, TRAINING_COLUMNS, use_threads=False)
                yield from training_rows(table.slice(at, 1))

    def write_paper_depth(self) -> list[Path]:
        """Depth of each frame as the paper's scripts leave it: PNGs, for LiDAR of the picture's size."""
        paths = [self.work / f"depth-{index}.png" for index in range(len(self.frames))]
        for path, frame in zip(paths, self.frames, strict=True):
            path.write_bytes(encode_depth_png(paper_depth(frame)))
        return paths

    def from_raw(self, depths: Sequence[Path]) -> Callable[[], None]:
        """The paper's way: decode and resize picture and depth at every item, and count what is valid."""
        card = self.converter.card

        def item(frame: Frame, grid: ViewGrid, depth: Path) -> tuple[np.ndarray, np.ndarray, int]:
            size = (grid.full_width, grid.full_height)
            with Image.open(self.root / frame.picture.path) as file:
                pixels = np.array(file.convert("RGB").resize(size, Image.Resampling.BILINEAR))
            with Image.open(depth) as file:
                metres = np.asarray(file).astype(np.float32) / np.float32(frame.depth.depth_scale)
            resized = nearest_resize(in_range(metres, card.valid_min_m, card.valid_max_m), *size)
            return pixels, resized, int((resized > 0).sum())

        return each(item, self.frames, self.grids, depths)


def each(work: Callable[..., object], *arguments: Iterable[Any]) -> Callable[[], None]:
    """The work on every set of arguments, its results thrown away: kept, they would need ever new memory."""
    calls = list(zip(*arguments, strict=True))
    return lambda: drain(starmap(work, calls))


def drain(results: Iterable[object]) -> None:
    """Make all results and keep none."""
    for _ in results:
        pass


def paper_depth(frame: Frame) -> np.ndarray:
    """Depth (h, w) uint16 of a frame on its raster."""
    depth = frame.depth
    if not isinstance(depth, DepthPoints):
        return depth.values.astype(np.uint16)
    raster = np.zeros((frame.camera.height, frame.camera.width), dtype=np.uint16)
    u, v = depth.source_pixels()
    raster[np.floor(v + 0.5).astype(int), np.floor(u + 0.5).astype(int)] = depth.z_raw
    return raster


def stages(bench: Bench, backend: str, rounds: int) -> list[Row]:
    """Where the time of a frame goes, each stage for itself."""
    units = len(bench.refs)
    pictures = [Picture(frame.picture.encoded, frame.picture.path) for frame in bench.frames]
    sources = [frame.source_picture() for frame in bench.frames]
    small = [render(source, grid) for source, grid in zip(sources, bench.grids, strict=True)]
    spec = bench.settings(backend).record_spec(bench.converter.card)
    rows = [encode_record(frame, spec, None, None) for frame in bench.frames]
    works: dict[str, Callable[[], object]] = {
        "decode, Pillow": each(Picture.decode, pictures),
        "decode, simplejpeg": each(decode_rgb, pictures),
        "resize, Pillow": each(render, sources, bench.grids),
        "encode, Pillow q95": each(encode_jpeg, small),
        "read files, camera, depth": each(bench.source.read, bench.refs),
        "write parquet, fsync": lambda: write_rows(bench.work / "rows.parquet", rows),
    }
    maker = open_backend(backend)
    if isinstance(maker, TorchBackend):
        sizes = [(grid.full_width, grid.full_height) for grid in bench.grids]
        pixels = [np.array(source.convert("RGBX")) for source in sources]
        works["resize, torch"] = each(lambda p, size: maker.resize(p, *size), pixels, sizes)
    return [Row(name, ms) for name, ms in cpu_ms(works, rounds=rounds, units=units).items()]


def frames(bench: Bench, backend: str, rounds: int) -> list[Row]:
    """Whole frames against their parts, and items read back against the raw files."""
    raw = bench.from_raw(bench.write_paper_depth())
    bench.convert(backend)
    memory = PixelMemory()
    works: dict[str, Callable[[], object]] = {
        "one decode": each(decode_rgb, (frame.picture for frame in bench.frames)),
        "all-Pillow chain": bench.chain(PILLOW),
        "chain": bench.chain(backend),
        "bare": bench.bare(backend),
        "whole": lambda: bench.convert(backend),
        "from raw": raw,
        "item": lambda: drain(map(training_item, bench.rows(backend), repeat(memory))),
        "parquet": lambda: drain(bench.rows(backend)),
        "random": lambda: drain(bench.random_rows(backend)),
    }
    ms = cpu_ms(works, rounds=rounds, units=len(bench.refs))
    indoor = not isinstance(bench.frames[0].depth, DepthPoints)
    pillow = ms["all-Pillow chain"]
    return [
        Row("decode, simplejpeg", ms["one decode"]),
        Row("decode + resize + encode, all Pillow", pillow),
        _share("decode + resize + encode", ms["chain"], "all Pillow", pillow, 0.45 if indoor else 0),
        _share("  and written", ms["bare"], "all Pillow", pillow),
        _share("whole frame", ms["whole"], "all Pillow", pillow, 0.6 if indoor else 0),
        _share("whole frame", ms["whole"], "bare", ms["bare"], 1.5 if indoor else 0),
        _share("whole frame", ms["whole"], "one decode", ms["one decode"], 0 if indoor else 3.5),
        Row("item from raw files", ms["from raw"]),
        _share("item read back", ms["item"], "from raw", ms["from raw"], 1 / 7),
        Row("  of that parquet, row after row", ms["parquet"]),
        Row("parquet, a row by itself", ms["random"]),
    ]


def _share(what: str, ms: float, of: str, base_ms: float, goal: float = 0.0) -> Row:
    return Row(what, ms, of, ms / base_ms, goal)


def bytes_a_frame(bench: Bench, backend: str) -> str:
    """What a frame takes in the raw tree and in the shard."""
    bench.convert(backend)
    table = pq.read_table(bench.shard(backend), columns=["image", "depth"])
    pictures = np.mean([len(value["bytes"]) for value in table["image"].to_pylist()])
    source = np.mean([len(frame.picture.encoded) for frame in bench.frames])
    shard = bench.shard(backend).stat().st_size / len(bench.refs)
    paper = np.mean([path.stat().st_size for path in bench.write_paper_depth()])
    return (
        f"bytes a frame: {shard:,.0f} in the shard, of which picture {pictures:,.0f}; "
        f"raw picture {source:,.0f}, depth as 16-bit PNG {paper:,.0f}"
    )


def show(title: str, rows: Sequence[Row]) -> None:
    """One table; a goal that is missed is marked, and nothing else comes of it."""
    print(f"\n{title}\n{'':40}{'CPU ms':>8}{'frames/s':>10}   {'share':<24}goal")
    for row in rows:
        share = f"{row.share:.3f} of {row.of}" if row.of else ""
        goal = "" if not row.goal else f"<= {row.goal:.3f}" + ("" if row.share <= row.goal else "  MISSED")
        print(f"{row.what:40}{row.ms:8.2f}{1000 / row.ms:10.1f}   {share:<24}{goal}".rstrip())


def trees(raw: Path | None, work: Path) -> list[tuple[str, str, Path]]:
    """(title, dataset, root) of what can be converted."""
    scannetpp, argoverse2 = work / "scannetpp", work / "argoverse2"
    if raw is None:
        write_scannetpp(scannetpp)
        print("no --raw FOLDER: made photographs, and no Argoverse 2")
        return [("ScanNet++, made photographs 1920x1440", "scannetpp", scannetpp)]
    copy_argoverse2(raw / "argoverse2", argoverse2)
    return [
        ("ScanNet++, 1920x1440", "scannetpp", raw / "scannetpp"),
        ("Argoverse 2, seven cameras, made photographs 2048x1550 q90", "argoverse2", argoverse2),
    ]


def main() -> None:
    """Print the tables of each tree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--raw", type=Path, default=REAL if REAL.is_dir() else None)
    parser.add_argument("--short", action="store_true", help="two rounds instead of nine")
    parser.add_argument("--backend", default=best_backend())
    options = parser.parse_args()
    rounds = 2 if options.short else 9
    print(f"backend {options.backend}; {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for title, dataset, root in trees(options.raw, Path(folder)):
            work = Path(folder) / f"made-{dataset}"
            work.mkdir()
            bench = Bench(load_converter(dataset), root, work)
            show(f"{title}: {len(bench.refs)} frames", frames(bench, options.backend, rounds))
            show("stages", stages(bench, options.backend, rounds))
            print(bytes_a_frame(bench, options.backend))


if __name__ == "__main__":
    main()
