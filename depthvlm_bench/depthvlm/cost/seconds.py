"""Seconds, estimated from what a device is declared to sustain: an assumption, never a measurement."""

import math

from depthvlm_bench.depthvlm.cost.memory import cache_bytes_per_token, weight_bytes
from depthvlm_bench.depthvlm.cost.sheets import Device, Dtype
from depthvlm_bench.depthvlm.cost.ways import MapCost

# What a decode step does not read: it has no picture and no head.
NOT_IN_DECODE = ("vision tower", "connectors", "depth head")


def estimated_seconds(cost: MapCost, device: Device) -> float:
    """Time of the prefills at the declared rate, and of the decode steps.

    A decode step takes as long as its operations at that rate, or as reading the language model once a batch
    and every sequence's keys and values, whichever is longer.
    """
    rate = device.sustained_tflop_s * 1e12
    prefill_s = sum(cost.prefill.values()) / rate
    reading_s = decode_bytes(cost, device.dtype) / (device.bandwidth_gb_s * 1e9)
    return prefill_s + max(sum(cost.decode.values()) / rate, reading_s)


def decode_bytes(cost: MapCost, dtype: Dtype) -> int:
    """Bytes that all decode steps read: weights once a step and batch, keys and values once a step."""
    weights = weight_bytes(cost.model, dtype)
    read = sum(size for part, size in weights.items() if part not in NOT_IN_DECODE)
    passes = cost.decode_steps // cost.questions * math.ceil(cost.questions / cost.together)
    return passes * read + cost.pairs_read * cache_bytes_per_token(cost.model.sizes.decoder, dtype)
