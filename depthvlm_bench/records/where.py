"""Selecting records by their tags: expressions such as `indoor & real` or `outdoor & light == 'night'`."""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from depthvlm_bench.cards import Tags
from depthvlm_bench.errors import UsageError

Selects = Callable[[Mapping[str, Any]], bool]
TAG_NAMES = tuple(field.name for field in fields(Tags))


def parse_where(expression: str | None) -> Selects:
    """A predicate over a record's tags.

    A bare word is true where any tag has that value, or where the yes/no tag of that name is set. `&`, `|`
    and `~` (also `and`, `or`, `not`) combine; `tag == 'value'` names the tag.

    Raises:
        UsageError: the expression cannot be read.
    """
    if expression is None:
        return lambda _tags: True
    if not expression.strip():
        raise UsageError("cannot read --where: it is empty", next_step="for instance --where 'indoor & real'")
    try:
        return _predicate(ast.parse(_spelt_out(expression).strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"cannot read --where {expression!r}",
            why=str(error),
            next_step="for instance --where 'indoor & real'",
        ) from error


def normal_where(expression: str | None) -> str | None:
    """The one spelling of a selection, so that `indoor&real` and `indoor & real` are the same; checked."""
    if expression is None:
        return None
    parse_where(expression)
    words = ast.unparse(ast.parse(_spelt_out(expression).strip(), mode="eval"))
    return words.replace(" and ", " & ").replace(" or ", " | ").replace("not ", "~")


def _spelt_out(expression: str) -> str:
    """Operators as words, outside quotes: Python binds `&` tighter than `==`, users do not."""
    pieces = re.split(r"""('[^']*'|"[^"]*")""", expression)
    plain = (piece.replace("&", " and ").replace("|", " or ").replace("~", " not ") for piece in pieces[::2])
    quoted = [*pieces[1::2], ""]
    return "".join(a + b for a, b in zip(plain, quoted, strict=True))


def _predicate(node: ast.expr) -> Selects:
    match node:
        case ast.BoolOp(operator, operands):
            parts = [_predicate(operand) for operand in operands]
            combine = all if isinstance(operator, ast.And) else any
            return lambda tags: combine(part(tags) for part in parts)
        case ast.UnaryOp(ast.Not(), operand):
            inner = _predicate(operand)
            return lambda tags: not inner(tags)
        case ast.Compare(ast.Name(tag), [ast.Eq()], [ast.Constant(value)]) if tag in TAG_NAMES:
            return lambda tags: tags.get(tag) == value
        case ast.Name(word):
            return lambda tags: tags.get(word) is True or word in tags.values()
    raise ValueError(f"{ast.unparse(node)!r} is not understood; tags are {', '.join(TAG_NAMES)}")
