"""Numbers out of free text as DepthLM's evaluator finds them: for its protocol only.

Our own models say what they answered; nothing else here searches texts for numbers.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from depthvlm_bench.errors import DataMissingError, UsageError


def depthlm_values(texts: Sequence[str | None]) -> list[float | None]:
    """The first result of math-verify's `parse` of each whole text, as a number; None where there is none.

    It reads no <answer> tags and no units, takes the last number of many, and "2-3" as a difference.
    Source: `delta1_metric` of github.com/facebookresearch/DepthLM_Official, described by behaviour.

    Raises:
        UsageError: no point has a text.
        DataMissingError: math-verify is not installed.
    """
    if texts and not any(text is not None for text in texts):
        raise UsageError(
            "depthlm-compat-1 reads texts, and these predictions have none",
            why="it scores what a language model wrote",
            next_step="another --protocol, or point answers with raw_text",
        )
    parse = _math_verify()
    known = {text: _number(parse, text) for text in dict.fromkeys(texts) if text is not None}
    return [None if text is None else known[text] for text in texts]


@cache
def _math_verify() -> Callable[[str], list[Any]]:
    try:
        found: Callable[[str], list[Any]] = import_module("math_verify").parse
    except ImportError as error:
        raise DataMissingError(
            "math-verify is not installed",
            why="depthlm-compat-1 reads texts with it",
            next_step="pip install 'depthvlm-bench[depthlm]'",
        ) from error
    return found


def _number(parse: Callable[[str], list[Any]], text: str) -> float | None:
    """Whatever cannot be read as one real number is none, as in the evaluator."""
    try:
        return float(parse(text)[0])
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
        return None
