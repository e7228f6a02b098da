"""Scoring predictions made elsewhere: matched, checked for suspicions, and scored like any run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from depthvlm_bench.errors import DataMissingError
from depthvlm_bench.frames import NoOptions
from depthvlm_bench.predict.contracts import Model, Predictor
from depthvlm_bench.predict.outside.answers import Answers, read_answers
from depthvlm_bench.predict.outside.declared import Declaration
from depthvlm_bench.predict.outside.evidence import Suspicion
from depthvlm_bench.predict.outside.match import Files, Match, find_files, match_ids, match_maps
from depthvlm_bench.predict.outside.model import FILES_OPTION, AnswersPredictor, MapsPredictor, outside_card
from depthvlm_bench.predict.outside.readings import Sample
from depthvlm_bench.predict.outside.sampling import answer_samples, map_samples, spread_out
from depthvlm_bench.predict.outside.suspicions import suspicions
from depthvlm_bench.predict.runner import LIST_COLUMNS, RunSettings, check_settings, predict
from depthvlm_bench.predict.store import RunStore
from depthvlm_bench.progress import Progress
from depthvlm_bench.records.files import only_one
from depthvlm_bench.records.reader import RecordSet
from depthvlm_bench.results.provenance import collect
from depthvlm_bench.results.schema import Result
from depthvlm_bench.scoring.evaluate import asked_lists, run_spec, score_and_write
from depthvlm_bench.scoring.protocol import Protocol
from depthvlm_bench.scoring.scorer import wanted_rows

# Digits of the files' hash that stand in a run's options, and so in its label.
HASH_DIGITS = 16
EMPTY_SHOWN = 20


@dataclass(frozen=True)
class OutsideScore:
    """What one set's predictions came to.

    Attributes:
        label: the model, with what was declared and the files' hash.
        predicted, resumed: images read now, and found in an earlier run of the same files.
        missing: ids without a prediction, in the set's order; where there are any the result is partial.
        unanswered: points without an answer of images that have some; misses.
        suspicions: faults the predictions seem to have.
    """

    label: str
    records: RecordSet
    run: Path
    predicted: int
    resumed: int
    missing: tuple[str, ...]
    unanswered: int
    suspicions: tuple[Suspicion, ...]
    results: tuple[Result, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Outside:
    """A folder of predictions, opened against some sets.

    Attributes:
        answers: of a folder of point answers; None: it holds maps.
        match: of a folder of maps.
        strangers: files, or ids of answers, that belong to no record of the sets.
    """

    files: Files
    declaration: Declaration
    answers: Answers | None
    match: Match
    strangers: tuple[str, ...]

    @property
    def model(self) -> str:
        """The declared name."""
        return str(self.declaration.model)

    @property
    def settings(self) -> RunSettings:
        """How the model was asked, as declared."""
        known = self.declaration.camera == "known"
        return RunSettings(
            input=self.declaration.covers, camera_known=known, lists=("points", "points_balanced")
        )

    def ids(self) -> set[str]:
        """Records with a prediction, of all sets."""
        return set(self.match.found) if self.answers is None else _answered(self.answers)


def open_predictions(folder: Path, declaration: Declaration, sets: Sequence[RecordSet]) -> Outside:
    """Match a folder with the records of the sets.

    Raises:
        CheckError: a file or id fits two records, two files fit one, or answers cannot be read.
        DataMissingError: nothing in the folder belongs to the sets.
    """
    files = find_files(folder)
    frames: dict[str, str] = {}
    sizes: dict[str, dict[str, int]] = {name: {} for name in LIST_COLUMNS}
    for records in sets:
        for row in records.points(["id", "frame", *LIST_COLUMNS.values()]).to_pylist():
            frames[row["id"]] = row["frame"]
            for name, column in LIST_COLUMNS.items():
                sizes[name][row["id"]] = len(row[column] or ())
    outside = _open_answers(files, declaration, frames, sizes) if files.answers else None
    outside = outside or _open_maps(files, declaration, frames)
    if not outside.ids() & frames.keys():
        an_id = next(iter(frames), "")
        raise DataMissingError(
            "no prediction belongs to a record of the chosen sets",
            where=folder,
            why=f"found for instance {(outside.strangers or ('nothing',))[0]!r}, looked for {an_id!r}",
            next_step="name maps (the `id` of answers) by record id or frame; docs/predictions.md",
        )
    return outside


def _open_maps(files: Files, declaration: Declaration, frames: Mapping[str, str]) -> Outside:
    match = match_maps(files, frames)
    strangers = tuple(files.name(path) for path in (*match.strangers, *files.others))
    return Outside(files, declaration, None, match, strangers)


def _open_answers(
    files: Files, declaration: Declaration, frames: Mapping[str, str], sizes: Mapping[str, Mapping[str, int]]
) -> Outside:
    answers = read_answers(files.answers, declaration)
    answers = answers.under(match_ids(answers.places(), frames))
    answers.check_sizes(sizes)
    strangers = (*sorted(_answered(answers) - frames.keys()), *(files.name(path) for path in files.others))
    return Outside(files, declaration, answers, Match({}, ()), strangers)


def _answered(answers: Answers) -> set[str]:
    return {record for name in LIST_COLUMNS for record in answers.ids(name)}


def score_predictions(
    outside: Outside,
    records: RecordSet,
    protocol: Protocol,
    out: Path,
    progress: Progress,
    where: str | None = None,
) -> OutsideScore | None:
    """Score one set as `eval` would; None where none of its (selected) records has a prediction.

    Raises:
        CheckError: a map that is needed cannot be read; the line names it.
    """
    wanted = [row["id"] for row in wanted_rows(records, where)]
    there = outside.ids()
    given = [record for record in wanted if record in there]
    if not given:
        return None
    suspected = tuple(
        item
        for item in suspicions(_samples(outside, records, given))
        if not (item.declare == "kind = ray" and outside.declaration.kind == "distance")
    )
    kind: Literal["dense", "point"] = "dense" if outside.answers is None else "point"
    card = outside_card(outside.model, kind, outside.declaration.kind)
    check_settings(card, outside.settings)
    model = Model(card, partial(_predictor, outside, "points", progress))
    store = _store(outside, model, records, out)
    with only_one(store.folder, "another process scores these predictions"):
        told = {"suspicions": [asdict(item) for item in suspected], "files": outside.files.home.name}
        store.open({"settings": asdict(outside.settings), **collect(), **told})
        predicted = _predict(outside, model, records, given, store, progress)
    results, paths = score_and_write(store, model, records, protocol, out, where)
    return OutsideScore(
        label=store.spec.label,
        records=records,
        run=store.folder,
        predicted=len(predicted),
        resumed=len(given) - len(predicted),
        missing=tuple(record for record in wanted if record not in _complete(outside, protocol)),
        unanswered=_unanswered(outside, records, given, protocol),
        suspicions=suspected,
        results=results,
        paths=paths,
    )


def _complete(outside: Outside, protocol: Protocol) -> set[str]:
    """Records with a prediction of the list that the protocol asks: a result is complete with all of them."""
    return outside.ids() if outside.answers is None else outside.answers.ids(protocol.points)


def _samples(outside: Outside, records: RecordSet, given: Sequence[str]) -> list[Sample]:
    ids = spread_out(given)
    if outside.answers is None:
        return map_samples(records, outside.match.found, outside.declaration, ids)
    return answer_samples(records, outside.answers, outside.declaration, given)


def _store(outside: Outside, model: Model, records: RecordSet, out: Path) -> RunStore:
    """The run that these files are on this set: another file, or other content, is another run."""
    ids = set(records.points(["id"])["id"].to_pylist())
    used = [path for record, path in outside.match.found.items() if record in ids] or outside.files.answers
    options = outside.declaration.told() | {FILES_OPTION: outside.files.hash(used)[:HASH_DIGITS]}
    spec = run_spec(model, NoOptions(), {}, records, outside.settings)
    return RunStore(out / "runs", replace(spec, options=options))


def _predict(
    outside: Outside,
    model: Model,
    records: RecordSet,
    given: Sequence[str],
    store: RunStore,
    progress: Progress,
) -> set[str]:
    """Read what is not in the run yet; point answers one list at a time, since a view does not name it."""
    before = {record for ids in store.done().values() for record in ids}
    lists = asked_lists(model, outside.settings)
    for names in [lists] if outside.answers is None else [(name,) for name in lists]:
        build = partial(_predictor, outside, names[0], progress)
        wanted = set(given) if outside.answers is None else outside.answers.ids(names[0]) & set(given)
        settings = replace(outside.settings, lists=names)
        predict(replace(model, build=build), NoOptions(), records, wanted, settings, store, progress)
    return set(given) - before


def _predictor(outside: Outside, name: str, progress: Progress) -> Predictor:
    if outside.answers is not None:
        return AnswersPredictor(outside.answers.by_list.get(name, {}), outside.declaration)
    return MapsPredictor(outside.match.found, outside.declaration, _told_of_empty(outside.files, progress))


def _told_of_empty(files: Files, progress: Progress) -> Callable[[Path], None]:
    """Says which maps hold nothing; the first few by name."""
    seen: list[Path] = []

    def tell(path: Path) -> None:
        seen.append(path)
        if len(seen) <= EMPTY_SHOWN:
            progress.note(f"{files.name(path)} holds no finite positive depth: all its points are misses")
        elif len(seen) == EMPTY_SHOWN + 1:
            progress.note("more maps hold no finite positive depth; they are not named")

    return tell


def _unanswered(outside: Outside, records: RecordSet, given: Sequence[str], protocol: Protocol) -> int:
    """Points of the protocol's list that an answered record leaves open."""
    if outside.answers is None:
        return 0
    answers, column = outside.answers.by_list.get(protocol.points, {}), LIST_COLUMNS[protocol.points]
    asked = {row["id"]: len(row[column] or ()) for row in records.points(["id", column]).to_pylist()}
    return sum(asked[record] - len(answers[record]) for record in given if record in answers)
