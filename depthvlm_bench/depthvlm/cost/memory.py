"""Bytes at the peak, computed: weights, keys and values, and the widest activations.

Workspaces of kernels, fragments of the allocator and the framework itself come on top; attention is taken to
keep no matrix of all pairs (flash or memory-efficient kernels).
"""

from depthvlm_bench.depthvlm.cost.flops import HEAD_STRIDE_PX
from depthvlm_bench.depthvlm.cost.parameters import parameters
from depthvlm_bench.depthvlm.cost.sheets import DTYPE_BYTES, CostModel, Decoder, Dtype, Head, Size, Tower
from depthvlm_bench.depthvlm.cost.ways import MapCost

HEAD_DTYPE: Dtype = "float32"


def weight_bytes(model: CostModel, dtype: Dtype, head_dtype: Dtype = HEAD_DTYPE) -> dict[str, int]:
    """Bytes of the weights by part; the depth head has a dtype of its own."""
    kinds = {"depth head": head_dtype}
    return {name: n * DTYPE_BYTES[kinds.get(name, dtype)] for name, n in parameters(model).items()}


def cache_bytes_per_token(decoder: Decoder, dtype: Dtype) -> int:
    """Keys and values of one token over all layers, as transformers keeps them: latent ones unfolded."""
    if latent := decoder.latent:
        pair = decoder.heads * (latent.nope_dim + latent.rope_dim + latent.value_dim)
    else:
        pair = 2 * decoder.kv_heads * decoder.head_dim
    return decoder.layers * pair * DTYPE_BYTES[dtype]


def peak_bytes(cost: MapCost, dtype: Dtype, head_dtype: Dtype = HEAD_DTYPE) -> dict[str, int]:
    """Weights, keys and values at the end, and the largest of the activations that follow one another."""
    model, seen = cost.model, cost.seen
    decoder, tower = model.sizes.decoder, model.sizes.tower
    pictures = cost.together if cost.picture_each else 1
    taps = tower.taps * seen.tokens * decoder.hidden * DTYPE_BYTES[dtype]
    tokens = max(cost.kept, cost.together * (cost.prompt - cost.kept))
    stages = [
        pictures * seen.patches[0] * seen.patches[1] * _tower_bytes(tower, dtype),
        pictures * taps + tokens * _decoder_bytes(decoder, dtype),
        pictures * taps + cost.scored * (decoder.vocabulary + decoder.hidden) * DTYPE_BYTES[dtype],
    ]
    if model.head:
        stages.append(taps + head_bytes(model.head, seen.grid, head_dtype))
    cached = cost.kept + cost.together * (cost.longest - cost.kept)
    return {
        "weights": sum(weight_bytes(model, dtype, head_dtype).values()),
        "keys and values": cached * cache_bytes_per_token(decoder, dtype),
        "activations": max(stages),
    }


def head_bytes(head: Head, grid: Size, dtype: Dtype) -> int:
    """A depth head's widest step over one picture.

    DPT: right before its last convolution, the map of half the features and two of 32 channels at full size,
    the fused map at half and the finest tap at a quarter. MLP: the blocks of pixels, as they come and tiled.
    """
    pixels = grid[0] * grid[1] * HEAD_STRIDE_PX**2
    f = head.features
    values = 3 if head.kind == "mlp" else f // 2 + 2 * 32 + f // 4 + f // 16
    return pixels * values * DTYPE_BYTES[dtype]


def _tower_bytes(tower: Tower, dtype: Dtype) -> int:
    """Of one patch in a block's widest step: rotary embedding, which is in float32, or the MLP."""
    size, streams = DTYPE_BYTES[dtype], 2 * tower.width
    rotary = 3 * tower.width * size + 9 * tower.width * DTYPE_BYTES["float32"]
    return streams * size + max(rotary, (3 if tower.gated else 2) * tower.mlp * size)


def _decoder_bytes(decoder: Decoder, dtype: Dtype) -> int:
    """Of one token in a layer's widest step: residual and normed input beside the gated MLP."""
    return (2 * decoder.hidden + 3 * decoder.mlp) * DTYPE_BYTES[dtype]
