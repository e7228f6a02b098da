"""Writing a shard in another process: what travels there, and what is opened once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from depthvlm_bench import __version__
from depthvlm_bench.convert.plan import Plan, read_plan
from depthvlm_bench.convert.request import ConvertRequest, kept_open
from depthvlm_bench.convert.shards import convert_shard
from depthvlm_bench.engines.contract import Advance
from depthvlm_bench.errors import CheckError
from depthvlm_bench.frames import Converter
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
        plan = _plan_of(self)
        source, card = kept_open(self.converter, self.request)
        return convert_shard(plan, shard, source, card, self.folder, advance)


class _Opened(NamedTuple):
    work: ShardWork
    plan: Plan


_LAST: list[_Opened] = []


def _plan_of(work: ShardWork) -> Plan:
    """The plan of the work, read once.

    Raises:
        CheckError: what is found here is not what the set was planned with.
    """
    if not _LAST or _LAST[0].work != work:
        _LAST[:] = [_Opened(work, _read(work))]
    return _LAST[0].plan


def hold_arrow_small() -> None:
    """Let Arrow, in this process, use one thread and give memory back: its own pool keeps 60 MB of it."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    pa.set_memory_pool(pa.system_memory_pool())


def _read(work: ShardWork) -> Plan:
    hold_arrow_small()
    if work.version != __version__:
        raise CheckError(
            "a worker has another depthvlm-bench than the run that planned",
            where=work.folder,
            why=f"{__version__}, planned with {work.version}",
            next_step="install the same version on every machine",
        )
    plan = read_plan(work.folder, work.request.role)
    if plan is None or plan.settings.hash != work.settings_hash:
        raise CheckError(
            "the plan is not the one that this run began with",
            where=work.folder,
            why="gone" if plan is None else "its settings are others",
            next_step="run the command again, by itself",
        )
    return plan
