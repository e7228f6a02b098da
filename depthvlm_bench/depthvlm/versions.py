"""Which transformers DepthVLM runs on; asked of the installed package's metadata, without importing it."""

import re
from importlib.metadata import PackageNotFoundError, version

from depthvlm_bench.errors import UsageError

# The first whose Qwen3-VL takes token types and image features that were computed before.
OLDEST = (5, 23)


def check_transformers(found: str | None = None) -> None:
    """Refuse a transformers that is too old; none at all is for whoever needs it to find.

    Args:
        found: the version; None: that of the installed package.

    Raises:
        UsageError: it is too old.
    """
    if found is None:
        try:
            found = version("transformers")
        except PackageNotFoundError:
            return
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(
            f"transformers {found} is too old for DepthVLM",
            why=f"{oldest} is the first whose Qwen3-VL takes features that were computed before",
            next_step=f'pip install "transformers>={oldest}"',
        )
