"""How a conversion is carried out: by how many workers, where, and which part of it. It decides no byte."""

from dataclasses import dataclass
from typing import Literal

from depthvlm_bench.engines.contract import Engine
from depthvlm_bench.engines.here import ThisProcess
from depthvlm_bench.engines.local import LocalProcesses
from depthvlm_bench.engines.ray import RayTasks
from depthvlm_bench.errors import UsageError


@dataclass(frozen=True)
class Execution:
    """Where the shards are written.

    Attributes:
        workers: processes; None: one here, or all the CPUs that Ray has.
        address: of a Ray cluster; None: Ray on this machine.
        shards: first and last shard of an array job, as file names count them; None: all.
    """

    workers: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    shards: tuple[int, int] | None = None

    def make_engine(self) -> Engine:
        """The engine meant.

        Raises:
            UsageError: settings that contradict each other.
            DataMissingError: Ray is not installed.
        """
        if self.engine == "ray":
            if self.shards is not None:
                raise UsageError("--shards goes with no --engine ray", why="Ray hands out all shards itself")
            if self.address is not None and self.workers is not None:
                raise UsageError("--workers goes with no --address", why="a cluster has its own CPUs")
            return RayTasks(self.address, self.workers)
        if self.address is not None:
            raise UsageError("--address goes with --engine ray")
        return ThisProcess() if self.workers in (None, 1) else LocalProcesses(self.workers or 1)
