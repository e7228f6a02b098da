"""Configuration as data: TOML and KEY=VALUE options become frozen dataclasses; unknown keys are errors."""

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from depthvlm_bench.errors import UsageError

T = TypeVar("T")


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: object) -> T:
    """Build a (nested) frozen dataclass from parsed TOML or JSON.

    Args:
        cls: the dataclass.
        mapping: keys as in the file.
        where: file or option named in errors.

    Raises:
        UsageError: unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise UsageError(f"{mapping!r} is not a table of keys", where=where)
    hints = get_type_hints(cls)
    for key in mapping:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(hints) or 'none'}"
            raise UsageError(f"unknown key {key!r}", where=where, why=hint)
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]  # T is a dataclass
        if field.name in mapping:
            values[field.name] = _convert(hints[field.name], mapping[field.name], f"{where}: {field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"missing key {field.name!r}", where=where)
    return cls(**values)


def load_toml(cls: type[T], path: Path | Traversable) -> T:
    """Read a TOML file into a dataclass; the errors of `from_mapping` name the file."""
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError("not valid TOML", where=path, why=str(error)) from error
    return from_mapping(cls, mapping, path.name)


def parse_options(cls: type[T], pairs: Sequence[str], where: str, *, defaults: T | None = None) -> T:
    """Build an options dataclass from KEY=VALUE strings, converting each value to its field's type.

    Args:
        cls: the dataclass.
        pairs: what the user typed.
        where: named in errors.
        defaults: values of the fields that no pair names; None: those of the class.
    """
    mapping: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise UsageError(f"option {pair!r} is not KEY=VALUE", where=where)
        name = key.strip().replace("-", "_")
        if name in mapping:
            raise UsageError(f"option {name!r} is given twice", where=where)
        mapping[name] = _from_text(hints.get(name, str), text.strip(), f"{where}: {name}")
    rest = vars(defaults) if defaults is not None else {}
    return from_mapping(cls, {**rest, **mapping}, where)


def _from_text(hint: Any, text: str, where: str) -> Any:  # noqa: ANN401
    kinds = [
        k
        for k in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
        if k is not NoneType
    ]
    if text.lower() in ("none", "null") and kinds != [hint]:
        return None
    kind = kinds[0]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{text!r} is neither true nor false", where=where)
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is not a number", where=where) from error
    if get_origin(kind) is tuple:
        return [
            _from_text(get_args(kind)[0], part.strip(), where) for part in text.split(",") if part.strip()
        ]
    return text


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    if hint is Any:
        return value
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{value} is not a finite number", where=where)
    if origin in (Union, UnionType):
        return None if value is None and NoneType in args else _convert(_only_kind(args), value, where)
    if origin is Literal and value in args:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) == len(value):
            return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if (
        isinstance(hint, type)
        and isinstance(value, hint)
        and (hint is not int or not isinstance(value, bool))
    ):
        return value
    expected = " | ".join(map(repr, args)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise UsageError(f"{value!r} is not {expected}", where=where)


def _only_kind(args: tuple[Any, ...]) -> Any:  # noqa: ANN401
    (kind,) = (arg for arg in args if arg is not NoneType)
    return kind
