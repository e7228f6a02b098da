"""NYU Depth V2's official split, and the file splits.mat in which it was published."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.io import loadmat

from depthvlm_bench.cards import official_names
from depthvlm_bench.converters._mat import MAT_ERRORS
from depthvlm_bench.errors import CheckError


def official_numbers(dataset: str) -> dict[str, list[int]]:
    """Numbers of the pictures of each split, counted from 1; their names are nyu_0001 and so on."""
    names = official_names(dataset)
    return {split: [int(name.removeprefix("nyu_")) for name in names[split]] for split in names}


def check_splits(path: Path, official: Mapping[str, Sequence[int]]) -> None:
    """Compare a splits.mat (columns trainNdxs, testNdxs, counted from 1) with the official numbers.

    Raises:
        CheckError: it cannot be read, or puts other pictures into a split.
    """
    try:
        variables = loadmat(path, variable_names=[f"{split}Ndxs" for split in official])
        listed = {split: {int(n) for n in variables[f"{split}Ndxs"].ravel()} for split in official}
    except MAT_ERRORS as error:
        why, remedy = f"{type(error).__name__}: {error}", "remove it: the split comes with the package"
        raise CheckError("a list of splits cannot be read", where=path, why=why, next_step=remedy) from error
    for split, numbers in official.items():
        found, common = listed[split], len(listed[split] & set(numbers))
        if found != set(numbers):
            raise CheckError(
                "this splits.mat is not the official split of NYU Depth V2",
                where=path,
                why=f"{split}: it has {len(found)} pictures, {common} of them of the official {len(numbers)}",
                next_step="remove it: the split comes with the package",
            )
