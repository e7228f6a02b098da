"""One model taken apart: parameters, operations and memory by part, seconds on declared devices."""

from dataclasses import asdict, dataclass
from typing import Any

from depthvlm_bench.depthvlm.cost.flops import Flops, causal_attention_flops, decoder_flops
from depthvlm_bench.depthvlm.cost.memory import HEAD_DTYPE, cache_bytes_per_token, peak_bytes
from depthvlm_bench.depthvlm.cost.parameters import parameters
from depthvlm_bench.depthvlm.cost.pictures import Picture, Profile
from depthvlm_bench.depthvlm.cost.seconds import estimated_seconds
from depthvlm_bench.depthvlm.cost.sheets import DTYPE_BYTES, CostModel, Dtype, devices
from depthvlm_bench.depthvlm.cost.ways import MapCost, map_costs


@dataclass(frozen=True)
class DeviceEstimate:
    """What a map would take on a declared device.

    Attributes:
        device, dtype, note: as declared; note says what the rate stands on.
        sustained_tflop_s: declared rate.
        seconds: estimate.
        fits: whether the computed peak is within its memory.
    """

    device: str
    dtype: Dtype
    sustained_tflop_s: float
    seconds: float
    fits: bool
    note: str


@dataclass(frozen=True)
class Breakdown:
    """All that is computed of one model and one picture, for the first way to run it.

    Attributes:
        model, way: whose, and which way.
        model_size, picture_tokens, prompt_tokens: the picture in the model, px, and tokens of one prompt.
        questions: prompts a map.
        parameters: by part.
        prefill: operations of one map up to the replies' first tokens, by part, attention in full.
        decode: operations of the decode steps, by part.
        causal_attention: language attention of one prompt whose kernel leaves out what is masked.
        all_logits: lm_head of one prompt where every position is scored, as stock code does.
        peak: bytes by dtype and part; the head is in HEAD_DTYPE.
        cache_bytes_per_token: by dtype.
        devices: estimates.
        source, from_memory, estimated: what the figures stand on.
    """

    model: str
    way: str
    model_size: tuple[int, int]
    picture_tokens: int
    prompt_tokens: int
    questions: int
    parameters: dict[str, int]
    prefill: Flops
    decode: Flops
    causal_attention: int
    all_logits: int
    peak: dict[Dtype, dict[str, int]]
    cache_bytes_per_token: dict[Dtype, int]
    devices: list[DeviceEstimate]
    source: str
    from_memory: tuple[str, ...]
    estimated: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, with a word on what each group is."""
        origin = {"parameters": "computed", "flops": "computed", "memory": "computed", "seconds": "estimate"}
        return {"origin": origin, "head_dtype": HEAD_DTYPE, **asdict(self)}


def break_down(model: CostModel, picture: Picture, profile: Profile = "native") -> Breakdown:
    """Take a model apart, for a full depth map of a picture."""
    cost = map_costs(model, picture, profile)[0]
    decoder = model.sizes.decoder
    return Breakdown(
        model=model.name,
        way=cost.variant,
        model_size=cost.seen.resized,
        picture_tokens=cost.seen.tokens,
        prompt_tokens=cost.prompt,
        questions=cost.questions,
        parameters=parameters(model),
        prefill=cost.prefill,
        decode=cost.decode,
        causal_attention=causal_attention_flops(decoder, cost.prompt),
        all_logits=decoder_flops(decoder, cost.prompt, logits=cost.prompt)["lm_head"],
        peak={dtype: peak_bytes(cost, dtype) for dtype in DTYPE_BYTES},
        cache_bytes_per_token={dtype: cache_bytes_per_token(decoder, dtype) for dtype in DTYPE_BYTES},
        devices=_estimates(cost),
        source="; ".join((model.sheet.source, model.sizes.source)),
        from_memory=model.sizes.from_memory,
        estimated=model.sheet.estimated,
    )


def _estimates(cost: MapCost) -> list[DeviceEstimate]:
    return [
        DeviceEstimate(
            device=device.title,
            dtype=device.dtype,
            sustained_tflop_s=device.sustained_tflop_s,
            seconds=estimated_seconds(cost, device),
            fits=sum(peak_bytes(cost, device.dtype).values()) <= device.memory_gb * 1e9,
            note=device.note,
        )
        for device in devices().values()
    ]
