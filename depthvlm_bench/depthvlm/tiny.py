"""Tiny random checkpoints that load through the ordinary code: for tests, trials on a CPU, and teaching."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.utils import logging

from depthvlm_bench.depthvlm.chat import DEPTH_ANSWER, DEPTH_PROMPT, IMAGE_TOKEN, SYSTEM, VIDEO_TOKEN
from depthvlm_bench.depthvlm.config import DepthVLMConfig
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.depthvlm.preprocess import MAX_PIXELS, MEAN, MIN_PIXELS, PREPROCESSOR, STD
from depthvlm_bench.errors import UsageError, unknown_name
from depthvlm_bench.records.files import write_json

Kind = Literal["depthvlm", "qwen3vl"]
KINDS: tuple[Kind, ...] = get_args(Kind)

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
PICTURE_START, PICTURE_END = "<|vision_start|>", "<|vision_end|>"
SPECIAL_TOKENS = (
    *(END_OF_TEXT, TURN_START, TURN_END),
    *(PICTURE_START, PICTURE_END, "<|vision_pad|>", IMAGE_TOKEN, VIDEO_TOKEN),
)
# Qwen's form of a conversation; each part of a message in a line of its own here.
CHAT_TEMPLATE = "".join(
    (
        "{%- for message in messages %}",
        "{{- '<|im_start|>' + message['role'] + '\\n' }}",
        "{%- if message['content'] is string %}{{- message['content'] }}",
        "{%- else %}{%- for part in message['content'] %}",
        "{%- if part['type'] == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}",
        "{%- elif part['type'] == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}",
        "{%- else %}{{- part['text'] }}{%- endif %}",
        "{%- endfor %}{%- endif %}",
        "{{- '<|im_end|>\\n' }}",
        "{%- endfor %}",
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    )
)


@dataclass(frozen=True)
class TinyShape:
    """How small a tiny model is.

    Attributes:
        hidden, layers: width and depth of the language model.
        vision_hidden, vision_layers: of the vision tower; its last three layers are the taps.
        vocabulary: tokens at most, special ones among them.
        head_type: dpt or mlp.
        head_features, head_out_channels: widths of a DPT head.
    """

    hidden: int = 64
    layers: int = 2
    vision_hidden: int = 32
    vision_layers: int = 3
    vocabulary: int = 512
    head_type: str = "dpt"
    head_features: int = 16
    head_out_channels: tuple[int, int, int, int] = (16, 32, 48, 64)


def make_tiny(
    folder: Path,
    *,
    seed: int = 0,
    kind: Kind = "depthvlm",
    texts: Sequence[str] = (),
    answer_m: float | None = None,
    **shape: Any,  # noqa: ANN401 - fields of TinyShape
) -> Path:
    """Write a complete checkpoint: configuration, weights, tokenizer, chat template, picture settings.

    Args:
        folder: made; must not hold a checkpoint.
        seed: of the weights.
        kind: with the depth head, or stock Qwen3-VL.
        texts: what the tokenizer is trained on, beside the depth prompt and its answer.
        answer_m: every pixel answers this depth, m; None: what random weights give.
        shape: fields of TinyShape.

    Returns:
        the folder.

    Raises:
        UsageError: a checkpoint is there, an unknown kind, or an answer that no head can give.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise unknown_name("kind of tiny model", kind, KINDS)
    if (folder / "config.json").exists():
        raise UsageError("there is a checkpoint already", where=folder, next_step="name another folder")
    if answer_m is not None and (kind == "qwen3vl" or not 0 < answer_m < math.inf):
        raise UsageError("an answer is a positive depth in metres, of a model with a depth head")
    form = TinyShape(**shape)
    tokenizer = byte_level_tokenizer((SYSTEM, DEPTH_PROMPT, DEPTH_ANSWER, *texts), form.vocabulary)
    model = _random_model(tiny_config(form, tokenizer, kind), seed)
    if answer_m is not None:
        answer_everywhere(model, answer_m)
    folder.mkdir(parents=True, exist_ok=True)
    with _without_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    normal = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3}
    named = {"image_processor_type": "Qwen2VLImageProcessor", "size": size}
    write_json(folder / "preprocessor_config.json", PREPROCESSOR | normal | named)
    return folder


@contextmanager
def _without_bars() -> Iterator[None]:
    """A checkpoint of a megabyte needs no progress bar; others keep theirs."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def byte_level_tokenizer(texts: Sequence[str], vocabulary: int = 512) -> Any:  # noqa: ANN401 - a tokenizer
    """A byte-level BPE tokenizer trained on texts, with Qwen's special tokens and form of conversation.

    Args:
        texts: where merges come from; any text can be encoded, whatever they hold.
        vocabulary: tokens at most; never less than the 256 bytes and the special tokens.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learned = max(vocabulary - len(SPECIAL_TOKENS), len(alphabet))
    trainer = trainers.BpeTrainer(vocab_size=learned, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    # Qwen's special tokens follow its vocabulary; the reader gets no clean-up of spaces.
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    extra = [token for token in SPECIAL_TOKENS if token not in (END_OF_TEXT, TURN_END)]
    build: Any = PreTrainedTokenizerFast  # transformers leaves it without types
    return build(
        tokenizer_object=bpe,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=extra,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_config(shape: TinyShape, tokenizer: Any, kind: Kind) -> Qwen3VLConfig:  # noqa: ANN401
    """The configuration of a tiny model whose embedding is as long as its tokenizer."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS}
    common: dict[str, Any] = {
        "text_config": _text_config(shape, len(tokenizer), ids),
        "vision_config": _vision_config(shape),
        "image_token_id": ids[IMAGE_TOKEN],
        "video_token_id": ids[VIDEO_TOKEN],
        "vision_start_token_id": ids[PICTURE_START],
        "vision_end_token_id": ids[PICTURE_END],
        "tie_word_embeddings": True,
    }
    if kind == "qwen3vl":
        return Qwen3VLConfig(**common)
    return DepthVLMConfig(
        **common,
        depth_head_type=shape.head_type,
        depth_head_features=shape.head_features,
        depth_head_out_channels=shape.head_out_channels,
        depth_head_mlp_hidden=shape.hidden,
    )


def _text_config(shape: TinyShape, vocabulary: int, ids: Mapping[str, int]) -> dict[str, Any]:
    heads, head_dim = max(2, shape.hidden // 16), 16
    return {
        "model_type": "qwen3_vl_text",
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": 2 * shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": head_dim,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_interleaved": True,
            "mrope_section": [4, 2, 2],
        },
        "tie_word_embeddings": True,
        "pad_token_id": ids[END_OF_TEXT],
        "eos_token_id": ids[TURN_END],
    }


def _vision_config(shape: TinyShape) -> dict[str, Any]:
    taps = [max(0, shape.vision_layers - behind) for behind in (3, 2, 1)]
    return {
        "model_type": "qwen3_vl_vision",
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": 2 * shape.vision_hidden,
        "num_heads": max(1, shape.vision_hidden // 16),
        "out_hidden_size": shape.hidden,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": taps,
    }


def _random_model(config: Qwen3VLConfig, seed: int) -> Any:  # noqa: ANN401 - a transformers model
    build: Any = (
        DepthVLMForConditionalGeneration
        if isinstance(config, DepthVLMConfig)
        else Qwen3VLForConditionalGeneration
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = build(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            _draw(name, weight, generator)
    text: Any = config.text_config
    model.generation_config.eos_token_id = [text.eos_token_id, text.pad_token_id]
    model.generation_config.pad_token_id = text.pad_token_id
    return model.eval()


def _draw(name: str, weight: torch.Tensor, generator: torch.Generator) -> None:
    """Norms are 1, biases 0, all else normal with the variance that keeps a layer's scale."""
    if weight.ndim == 1:
        weight.fill_(0.0 if name.endswith("bias") else 1.0)
        return
    # A transposed convolution with kernel = stride has one product a pixel: its inputs are the first axis.
    inputs = weight.shape[0] if ".resize_layers." in name else weight[0].numel()
    weight.normal_(0.0, 1 / math.sqrt(inputs), generator=generator)


def answer_everywhere(model: Any, depth_m: float) -> None:  # noqa: ANN401 - a model with a depth head
    """Set the head's last layer so that every pixel of every picture answers one depth, m."""
    head = model.depth_head
    last = head.mlp[2] if model.config.depth_head_type == "mlp" else head.scratch.output_conv2[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(depth_m + math.log(-math.expm1(-depth_m)))  # what softplus undoes
