"""Writing a shard in another process: what travels there, and what is opened once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from depthvlm_bench import __version__
from depthvlm_bench.cards import DatasetCard
from depthvlm_bench.convert.plan import Plan, read_plan
from depthvlm_bench.convert.request import ConvertRequest, followed, open_source, options_of
from depthvlm_bench.convert.shards import convert_shard
from depthvlm_bench.engines.contract import Advance
from depthvlm_bench.errors import CheckError
from depthvlm_bench.frames import Converter, Source
from depthvlm_bench.records.receipts import ShardReceipt


@dataclass(frozen=True)
class ShardWork:
    """The work on any shard of one planned split; small enough to be sent with every shard.

    Attributes:
        converter: as registered; it travels by the names of its functions.
        request: what the user asked for, with absolute paths.
        folder: the set's folder, absolute.
        settings_hash: of the plan that is meant.
        version: of this package, where the plan was made.
    """

    converter: Converter
    request: ConvertRequest
    folder: Path
    settings_hash: str
    version: str = __version__

    def __call__(self, shard: int, advance: Advance) -> ShardReceipt:
        """Write one shard."""
        opened = _opened(self)
        return convert_shard(opened.plan, shard, opened.source, opened.card, self.folder, advance)


class _Opened(NamedTuple):
    work: ShardWork
    plan: Plan
    source: Source
    card: DatasetCard


# A process opens its tree once, however many shards it is given; another tree takes the place of the last.
_LAST: list[_Opened] = []


def _opened(work: ShardWork) -> _Opened:
    if not _LAST or _LAST[0].work != work:
        while _LAST:
            _LAST.pop().source.close()
        _LAST.append(_open(work))
    return _LAST[0]


def _open(work: ShardWork) -> _Opened:
    """Open plan and tree.

    Raises:
        CheckError: what is found here is not what the set was planned with.
    """
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if work.version != __version__:
        raise CheckError(
            "a worker has another depthvlm-bench than the run that planned",
            where=work.folder,
            why=f"{__version__}, planned with {work.version}",
            next_step="install the same version on every machine",
        )
    converter = followed(work.converter, work.request)
    plan = read_plan(work.folder, work.request.role)
    if plan is None or plan.settings.hash != work.settings_hash:
        raise CheckError(
            "the plan is not the one that this run began with",
            where=work.folder,
            why="gone" if plan is None else "its settings are others",
            next_step="run the command again, by itself",
        )
    source = open_source(converter, work.request.root, options_of(converter, work.request))
    return _Opened(work, plan, source, converter.card)
