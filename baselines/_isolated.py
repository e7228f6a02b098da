"""What adapters of models in workers share: options, the environment and weights they ask for, identity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from depthvlm_bench.errors import UsageError
from depthvlm_bench.predict.contracts import Identity, Model, ModelCard
from depthvlm_bench.predict.isolated.environments import Environment, find
from depthvlm_bench.predict.isolated.predictor import IsolatedPredictor, WorkerSetup
from depthvlm_bench.predict.isolated.weights import FoundWeights, Published, find_weights

# Where and how fast, not what: no part of what identifies a run.
PLACES = ("device", "checkpoint", "revision", "python", "code", "timeout_s", "load_timeout_s")
OWN = "own interpreter"
MOST_LEVEL = 9


@dataclass(frozen=True)
class IsolatedOptions:
    """How a model in a worker is loaded.

    Attributes:
        checkpoint: a folder or file of weights, or a hub repository ORG/NAME; null: the published ones.
        revision: of a repository.
        device: a torch device; auto: the GPU where there is one.
        python: interpreter to run in; null: that of `dvbench env create`.
        code: folder of the model's own code; null: that in the environment.
        timeout_s: how long an answer to one picture may take.
        load_timeout_s: how long loading may take.
    """

    checkpoint: str | None = None
    revision: str | None = None
    device: str = "auto"
    python: Path | None = None
    code: Path | None = None
    timeout_s: float = 300.0
    load_timeout_s: float = 1800.0


def check_level(level: int) -> None:
    """Refuse what is no resolution level (UsageError)."""
    if not 0 <= level <= MOST_LEVEL:
        raise UsageError(f"resolution_level is 0 to {MOST_LEVEL}, not {level}")


@dataclass(frozen=True)
class Isolated:
    """One model in a worker.

    Attributes:
        card: its card; the card's family is the name of its environment.
        published: its weights.
        worker: file name of its worker-side module, beside this one.
        fixed: what that module is told beside the options.
    """

    card: ModelCard
    published: Published
    worker: str
    fixed: Mapping[str, Any]

    def setup(self, options: Any) -> WorkerSetup:  # noqa: ANN401 - IsolatedOptions or a family's own
        """What the worker is made of; DataMissingError where the environment or weights are not there."""
        environment = self._environment(options)
        code = self._code(options, environment)
        found = self.weights(options)
        told = {**self.settings(options), "device": options.device}
        told |= {"weights": {name: str(path) for name, path in found.paths.items()}}
        return WorkerSetup(
            model=self.card.id,
            python=_python(options, environment),
            module=Path(__file__).with_name(self.worker),
            options=told | {"code": [str(folder) for folder in code]},
            code=code,
            load_limit_s=options.load_timeout_s,
            answer_limit_s=options.timeout_s,
            next_step=f"dvbench env remove {self.card.family} && dvbench env create {self.card.family}",
        )

    def settings(self, options: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """All that decides an answer, apart from weights and environment."""
        plain = {field.name: getattr(options, field.name) for field in fields(options)}
        return {k: v for k, v in plain.items() if k not in PLACES} | dict(self.fixed)

    def weights(self, options: Any) -> FoundWeights:  # noqa: ANN401 - as above
        """The weights that the options ask for."""
        return find_weights(self.published, options.checkpoint, options.revision)

    def identify(self, options: Any) -> Identity:  # noqa: ANN401 - as above
        """Weights by content, settings, and what is installed in the environment."""
        environment = self._environment(options)
        found = self.weights(options)
        digest = found.content_sha256()
        default = type(options)()
        plain = {field.name: getattr(options, field.name) for field in fields(options)}
        changed = {k: v for k, v in plain.items() if k not in PLACES and v != getattr(default, k)}
        if options.checkpoint is not None or options.revision is not None:
            # Rows of a table are told apart by this: two folders of one name are not the same weights.
            changed["checkpoint"] = f"{found.name}@{digest[:8]}"
        loaded = {**self.settings(options), "checkpoint": found.name, "revision": found.commit}
        loaded |= {"content_sha256": digest, "environment": self.card.family, "packages": OWN}
        machine: dict[str, Any] = {"device": options.device, "python": str(options.python)}
        if environment is not None:
            loaded["packages"] = environment.content_sha256
            machine["python"] = environment.python_version
        return Identity(changed, loaded, machine)

    def _environment(self, options: Any) -> Environment | None:  # noqa: ANN401 - as above
        return None if options.python is not None else find(self.card.family)

    def _code(self, options: Any, environment: Environment | None) -> tuple[Path, ...]:  # noqa: ANN401
        if options.code is not None:
            return (Path(options.code).expanduser().resolve(),)
        return () if environment is None else environment.code


def _python(options: Any, environment: Environment | None) -> Path:  # noqa: ANN401 - as above
    if environment is not None:
        return environment.python
    return Path(options.python).expanduser().absolute()  # a link into an environment must stay one


def isolated_model(
    isolated: Isolated,
    options_type: type = IsolatedOptions,
    wrap: Callable[[Callable[[Any], WorkerSetup]], Any] = IsolatedPredictor,
) -> Model:
    """The registered model of an adapter in a worker.

    Args:
        isolated: the model.
        options_type: its options.
        wrap: makes the predictor from options -> setup.
    """
    return Model(isolated.card, partial(wrap, isolated.setup), options_type, identify=isolated.identify)
