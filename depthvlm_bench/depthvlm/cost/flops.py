"""Floating-point operations: two for each multiply-add of a matrix product or convolution, nothing else.

That is what `torch.utils.flop_counter` counts, attention in full: of the products of queries with keys, a
causal kernel may leave half out. Norms, activations, softmax, rotary embeddings and resizes are not counted;
together they are below one part in a hundred of models of this kind.
"""

from depthvlm_bench.depthvlm.cost.parameters import (
    block_weights,
    connector_weights,
    decoder_layer_weights,
    patch_weights,
)
from depthvlm_bench.depthvlm.cost.sheets import Decoder, Head, Size, Tower

Flops = dict[str, int]
HEAD_STRIDE_PX = 32


def tower_flops(tower: Tower, hidden: int, patches: Size) -> Flops:
    """One picture through the vision tower and its connectors; patches is (columns, rows)."""
    count = patches[0] * patches[1]
    windows = sum(n * n for n in window_patches(tower, patches))
    full = tower.full_layers if tower.window_px else tower.layers
    pairs = full * count**2 + (tower.layers - full) * windows
    connectors = (1 + tower.taps) * connector_weights(tower, hidden)
    return {
        "vision linear": 2 * count * (patch_weights(tower) + tower.layers * block_weights(tower)),
        "vision attention": 4 * tower.width * pairs,
        "connectors": 2 * (count // tower.merge**2) * connectors,
    }


def window_patches(tower: Tower, patches: Size) -> list[int]:
    """Patches of each attention window; windows at the right and lower edge are smaller."""
    side = tower.window_px // tower.patch_px
    if not side:
        return []
    columns, rows = ([min(side, length - start) for start in range(0, length, side)] for length in patches)
    return [width * height for height in rows for width in columns]


def decoder_flops(decoder: Decoder, tokens: int, *, past: int = 0, logits: int = 1) -> Flops:
    """Tokens through the language model at once, after `past` tokens whose keys and values are kept.

    Args:
        decoder: sizes.
        tokens: how many.
        past: how many came before.
        logits: positions at which the next token is scored.
    """
    return {
        "language linear": 2 * tokens * decoder.layers * decoder_layer_weights(decoder),
        "language attention": _pair_flops(decoder) * tokens * (past + tokens),
        "lm_head": 2 * logits * decoder.vocabulary * decoder.hidden,
    }


def decode_flops(decoder: Decoder, steps: int, *, past: int) -> Flops:
    """Steps of one token each, after `past` tokens: step i attends to past + i tokens, its own included."""
    pairs = steps * past + steps * (steps + 1) // 2
    return {
        "language linear": 2 * steps * decoder.layers * decoder_layer_weights(decoder),
        "language attention": _pair_flops(decoder) * pairs,
        "lm_head": 2 * steps * decoder.vocabulary * decoder.hidden,
    }


def causal_attention_flops(decoder: Decoder, tokens: int) -> int:
    """Attention of a prefill whose kernel leaves out what the causal mask hides."""
    return _pair_flops(decoder) * tokens * (tokens + 1) // 2


def head_flops(head: Head, hidden: int, grid: Size) -> Flops:
    """A depth head over one picture; grid is (columns, rows) of tokens of 32 px."""
    tokens = grid[0] * grid[1]
    if head.kind == "mlp":
        weights = head.inputs * hidden * head.mlp_hidden + head.mlp_hidden * HEAD_STRIDE_PX**2
        return {"depth head": 2 * tokens * weights}
    f, (a, b, c, d) = head.features, head.out_channels
    projects = hidden * (a + b + c + d)
    resizes = 64 * a * a + 16 * b * b + 4 * c * c
    to_features = 9 * f * (64 * a + 16 * b + 4 * c + d)
    # Residual units of two 3x3 convolutions: one on the coarsest map, two on each finer one.
    units = 18 * f * f * (1 + 2 * 4 + 2 * 16 + 2 * 64)
    outs = f * f * (4 + 16 + 64 + 256)
    first = 9 * f * (f // 2) * 256
    last = (9 * (f // 2) * 32 + 32) * HEAD_STRIDE_PX**2
    return {"depth head": 2 * tokens * (projects + resizes + to_features + units + outs + first + last)}


def add(*parts: Flops) -> Flops:
    """Sums by part, in the order of first appearance."""
    total: Flops = {}
    for flops in parts:
        for name, value in flops.items():
            total[name] = total.get(name, 0) + value
    return total


def times(flops: Flops, number: int) -> Flops:
    """The same work, `number` times."""
    return {name: value * number for name, value in flops.items()}


def _pair_flops(decoder: Decoder) -> int:
    """Both products of attention for one pair of query and key, over heads and layers."""
    query = decoder.latent.nope_dim + decoder.latent.rope_dim if decoder.latent else decoder.head_dim
    return 2 * decoder.layers * decoder.heads * (query + decoder.value_dim)
