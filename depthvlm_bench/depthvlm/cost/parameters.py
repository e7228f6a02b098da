"""Parameters by part, counted from sizes: those of the modules that transformers builds from them."""

from collections.abc import Callable

from depthvlm_bench.depthvlm.cost.sheets import CostModel, Decoder, Head, Tower


def parameters(model: CostModel) -> dict[str, int]:
    """Parameters of each part: vision tower, connector, language model, lm_head, depth head.

    A tied lm_head has none of its own: the embedding is counted in the language model.
    """
    decoder, tower = model.sizes.decoder, model.sizes.tower
    parts = {
        "vision tower": tower_parameters(tower),
        "connectors": connector_parameters(tower, decoder.hidden),
        "language model": decoder_parameters(decoder),
        "lm_head": 0 if decoder.tied else decoder.vocabulary * decoder.hidden,
    }
    if model.head:
        parts["depth head"] = head_parameters(model.head, decoder.hidden)
    return parts


def decoder_parameters(decoder: Decoder) -> int:
    """Embedding, layers and final norm; without lm_head."""
    own_norms = (2 * decoder.head_dim if decoder.qk_norm else 0) + 2 * decoder.hidden
    if decoder.latent:
        own_norms += decoder.latent.q_rank + decoder.latent.kv_rank
    layer = decoder_layer_weights(decoder) + own_norms
    return decoder.vocabulary * decoder.hidden + decoder.layers * layer + decoder.hidden


def decoder_layer_weights(decoder: Decoder) -> int:
    """Weights of one layer's matrix products: what one token is multiplied with."""
    values = decoder.heads * decoder.value_dim
    if latent := decoder.latent:
        queries = decoder.hidden * latent.q_rank + latent.q_rank * decoder.heads * (
            latent.nope_dim + latent.rope_dim
        )
        keys_values = decoder.hidden * (latent.kv_rank + latent.rope_dim)
        keys_values += latent.kv_rank * decoder.heads * (latent.nope_dim + latent.value_dim)
    else:
        queries = decoder.hidden * decoder.heads * decoder.head_dim
        keys_values = 2 * decoder.hidden * decoder.kv_heads * decoder.head_dim
    return queries + keys_values + values * decoder.hidden + 3 * decoder.hidden * decoder.mlp


def tower_parameters(tower: Tower) -> int:
    """Patch embedding, position table, blocks and the norms around them; without connectors."""
    width, norm = tower.width, _norm(tower.norm)
    patch = patch_weights(tower) + (width if tower.patch_bias else 0)
    biases = 4 * width + (2 if tower.gated else 1) * tower.mlp + width if tower.bias else 0
    block = block_weights(tower) + biases + 2 * norm(width)
    around = (tower.norm_before + tower.norm_after) * norm(width)
    return patch + tower.position_rows * width + tower.layers * block + around


def patch_weights(tower: Tower) -> int:
    """Weights of the patch embedding, for RGB."""
    return 3 * tower.frames * tower.patch_px**2 * tower.width


def block_weights(tower: Tower) -> int:
    """Weights of one block's matrix products."""
    return 4 * tower.width**2 + (3 if tower.gated else 2) * tower.width * tower.mlp


def connector_parameters(tower: Tower, hidden: int) -> int:
    """The connector to the language model and the taps, which are connectors normed over whole tokens."""
    joined, inner = tower.merge**2 * tower.width, _inner(tower, hidden)
    layers = connector_weights(tower, hidden) + inner + hidden
    norm = _norm(tower.connector_norm)
    return (1 + tower.taps) * layers + norm(tower.width) + tower.taps * norm(joined)


def connector_weights(tower: Tower, hidden: int) -> int:
    """Weights of one connector's two linear layers."""
    inner = _inner(tower, hidden)
    return tower.merge**2 * tower.width * inner + inner * hidden


def head_parameters(head: Head, hidden: int) -> int:
    """Parameters of a depth head on features of `hidden` channels."""
    if head.kind == "mlp":
        into, side = head.inputs * hidden, 32
        return 2 * into + into * head.mlp_hidden + head.mlp_hidden + (head.mlp_hidden + 1) * side**2
    f, (a, b, c, d) = head.features, head.out_channels
    projects = sum((hidden + 1) * out for out in head.out_channels)
    resizes = (64 * a + 1) * a + (16 * b + 1) * b + (4 * c + 1) * c
    to_features = 9 * f * (a + b + c + d)
    units, outs = 7 * 2 * (9 * f + 1) * f, 4 * (f + 1) * f
    last = (9 * f + 1) * (f // 2) + (9 * (f // 2) + 1) * 32 + 33
    return 2 * hidden + projects + resizes + to_features + units + outs + last


def _inner(tower: Tower, hidden: int) -> int:
    return tower.merge**2 * tower.width if tower.connector_inner == "in" else hidden


def _norm(kind: str | None) -> Callable[[int], int]:
    """Parameters of a norm over a width: weight and bias, weight alone, or none."""
    weights = {"layer": 2, "rms": 1, None: 0}[kind]
    return lambda width: weights * width
