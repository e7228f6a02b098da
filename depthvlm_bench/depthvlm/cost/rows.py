"""Rows of the efficiency table: every figure says whether it was measured, computed or estimated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from depthvlm_bench.depthvlm.cost.measure import Measured
from depthvlm_bench.depthvlm.cost.memory import peak_bytes
from depthvlm_bench.depthvlm.cost.seconds import estimated_seconds
from depthvlm_bench.depthvlm.cost.sheets import Device
from depthvlm_bench.depthvlm.cost.ways import MapCost

Origin = Literal["measured", "computed", "estimate"]
TERA, GIGA = 1e12, 1e9
HEADERS = (
    "model",
    "way",
    "questions",
    "prefill tokens",
    "decode steps",
    "TFLOP",
    "x",
    "seconds",
    "peak GB",
    "figures",
)
DIGITS = 3
COUNTED_BELOW = 10**6


@dataclass(frozen=True)
class Figure:
    """A number and where it is from; None: not known."""

    value: float | None
    origin: Origin


@dataclass(frozen=True)
class Row:
    """One way of making one full depth map.

    Attributes:
        model, way: what makes it, and how.
        questions: prompts a map.
        prefill_tokens, decode_steps: tokens that enter the language model at once, and one at a time.
        flops, seconds, peak_bytes: work, time and highest memory of the whole map.
        remark: whether it ran, and if so on what.
    """

    model: str
    way: str
    questions: int
    prefill_tokens: Figure
    decode_steps: Figure
    flops: Figure
    seconds: Figure
    peak_bytes: Figure
    remark: str


def computed_row(cost: MapCost, device: Device) -> Row:
    """A row computed from sizes, with seconds estimated for a declared device."""
    peak = sum(peak_bytes(cost, device.dtype).values())
    return Row(
        model=cost.model.name,
        way=cost.variant,
        questions=cost.questions,
        prefill_tokens=Figure(cost.prefill_tokens, "computed"),
        decode_steps=Figure(cost.decode_steps, "computed"),
        flops=Figure(cost.flops, "computed"),
        seconds=Figure(estimated_seconds(cost, device), "estimate"),
        peak_bytes=Figure(peak, "computed"),
        remark="computed",
    )


def measured_row(measured: Measured, name: str) -> Row:
    """A row of a model that ran here, under the name it was asked for by."""
    runs = f"{len(measured.runs_s)} runs" + (f" of {measured.asked} questions" if measured.scaled else "")
    return Row(
        model=name,
        way="a map a call" if measured.kind == "dense" else "a question a pixel",
        questions=measured.questions,
        prefill_tokens=Figure(measured.watched.prefill_tokens, "measured"),
        decode_steps=Figure(measured.watched.decode_steps, "measured"),
        flops=Figure(measured.watched.flops, "measured"),
        seconds=Figure(measured.seconds, "measured"),
        peak_bytes=Figure(measured.peak_bytes, "measured"),
        remark=f"measured: {measured.device_name}, {runs}; GB of {measured.peak_of}",
    )


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's cells under HEADERS; x is operations over those of the first row that has any."""
    base = next((row.flops.value for row in rows if row.flops.value), None)
    return [
        (
            row.model,
            row.way,
            counted(row.questions),
            *(
                "-" if figure.value is None else counted(figure.value)
                for figure in (row.prefill_tokens, row.decode_steps)
            ),
            _shown(row.flops, TERA),
            short(row.flops.value / base) if base and row.flops.value else "-",
            _shown(row.seconds) + duration(row.seconds.value),
            _shown(row.peak_bytes, GIGA),
            row.remark,
        )
        for row in rows
    ]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with every figure's value and origin."""
    names = ("prefill_tokens", "decode_steps", "flops", "seconds", "peak_bytes")
    return [
        {"model": row.model, "way": row.way, "questions": row.questions, "remark": row.remark}
        | {name: vars(getattr(row, name)) for name in names}
        for row in rows
    ]


def markdown(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in markdown: the first two columns and the last are text, the others numbers."""
    rule = ["---" if i in (0, 1, len(headers) - 1) else "---:" for i in range(len(headers))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (headers, rule, *lines))


def short(value: float) -> str:
    """Three significant digits, thousands apart, no exponent: 0.0517, 18.1, 59,800,000."""
    if not value:
        return "0"
    if value == int(value) and abs(value) < 10**DIGITS:
        return str(int(value))
    rounded = float(f"{value:.{DIGITS}g}")
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def counted(number: float) -> str:
    """A number of things: to the last digit below a million, else as `short`."""
    return f"{number:,.0f}" if number < COUNTED_BELOW and number == int(number) else short(number)


def duration(seconds: float | None) -> str:
    """Minutes, hours or days of a long time, in brackets; nothing for a short one."""
    units = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
    for unit, length in units:
        if seconds is not None and seconds >= 2 * length:
            return f" ({short(seconds / length)} {unit})"
    return ""


def _shown(figure: Figure, unit: float = 1.0) -> str:
    if figure.value is None:
        return "-"
    return ("~" if figure.origin == "estimate" else "") + short(figure.value / unit)
