"""Opening checkpoints: the published one, our own, or a stock Qwen3-VL that gets a fresh head."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from depthvlm_bench.depthvlm.checkpoint import CONFIG, PICKLED, find_checkpoint, read_checkpoint, some
from depthvlm_bench.depthvlm.head import initialise
from depthvlm_bench.depthvlm.keys import describe
from depthvlm_bench.depthvlm.modeling import DepthVLMForConditionalGeneration
from depthvlm_bench.depthvlm.register import register
from depthvlm_bench.errors import CheckError, UsageError, unknown_name
from depthvlm_bench.records.files import write_json

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
HEAD_DTYPES = ("float32", "bfloat16")


def load_depthvlm(
    path_or_repo: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "bfloat16",
    device: str = "cpu",
    attention: str = "sdpa",
    head_dtype: str = "float32",
    init_head: bool = False,
    head_options: Mapping[str, Any] | None = None,
    head_seed: int = 0,
) -> DepthVLMForConditionalGeneration:
    """Open a checkpoint, in eval mode; every tensor of its files is used, or the call fails by name.

    Args:
        path_or_repo: a folder, or a hub repository OWNER/NAME.
        revision: commit of the repository; required with one.
        dtype: of all but the head: bfloat16, float16 or float32.
        device: cpu, cuda, cuda:1, ...
        attention: sdpa, eager, flash_attention_2, ...
        head_dtype: float32; bfloat16 rounds depth as the published evaluation did.
        init_head: give a checkpoint without a head a fresh one, initialised as in the paper.
        head_options: fields of DepthVLMConfig for a fresh head (`depth_head_type`, ...).
        head_seed: of a fresh head's weights.

    Raises:
        UsageError: an unknown dtype, device or attention; init_head where there is a head.
        DataMissingError: no such folder or repository, or files of it missing.
        CheckError: no Qwen3-VL, no depth head, or tensors missing, foreign or of another shape.
    """
    _check_request(dtype, head_dtype, device)
    if head_options and not init_head:
        raise UsageError("head_options go with init_head", why="a stored head has the widths of its tensors")
    checkpoint = read_checkpoint(find_checkpoint(path_or_repo, revision))
    config = describe(checkpoint, init_head=init_head, head_options=head_options)
    register()
    try:
        with _unreported() if init_head else nullcontext():
            loaded: Any = DepthVLMForConditionalGeneration.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=DTYPES[dtype],
                attn_implementation=attention,
                device_map=None if device == "cpu" else {"": device},
                use_safetensors=True,
                output_loading_info=True,
            )
    except (ImportError, ValueError) as error:
        raise UsageError("the model cannot be loaded so", where=checkpoint.folder, why=str(error)) from error
    model, report = loaded
    _check_report(checkpoint.folder, report, init_head=init_head)
    if init_head:
        initialise(model.depth_head, head_seed)
    model.depth_head.to(DTYPES[head_dtype])
    ready: DepthVLMForConditionalGeneration = model.eval()
    return ready


def convert_checkpoint(source: str | Path, target: Path, *, revision: str | None = None) -> list[str]:
    """Write a checkpoint under our own model type: the same weights, byte for byte, and a new config.json.

    Stock transformers would open a published checkpoint as a language model and drop its depth head with no
    more than a warning; it refuses the converted one.

    Args:
        source: a folder, or a hub repository OWNER/NAME.
        target: a folder that is not there yet.
        revision: commit of the repository; required with one.

    Returns:
        names of files that were left out: code and pickled weights.

    Raises:
        as load_depthvlm; UsageError where the target exists.
    """
    if target.exists():
        raise UsageError("the target exists", where=target, next_step="name a folder that is not there yet")
    checkpoint = read_checkpoint(find_checkpoint(source, revision))
    config = describe(checkpoint)
    files = sorted(path for path in checkpoint.folder.iterdir() if path.is_file() and path.name != CONFIG)
    left_out = [path.name for path in files if path.suffix in (*PICKLED, ".py")]
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for path in files:
        if path.name not in left_out:
            shutil.copyfile(path, unfinished / path.name)
    head = {name: value for name, value in config.to_dict().items() if name.startswith("depth_")}
    own = {"model_type": config.model_type, "architectures": config.architectures}
    write_json(unfinished / CONFIG, {**checkpoint.config, **own, **head})
    unfinished.rename(target)
    return left_out


def _check_request(dtype: str, head_dtype: str, device: str) -> None:
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if head_dtype not in HEAD_DTYPES:
        raise unknown_name("head dtype", head_dtype, HEAD_DTYPES)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise UsageError(f"device {device!r} is not usable here", why=why, next_step="use cpu") from error


@contextmanager
def _unreported() -> Iterator[None]:
    """Keep transformers from listing the 62 tensors of a fresh head as missing."""
    log = logging.getLogger("transformers.modeling_utils")

    def says_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    log.addFilter(says_other)
    try:
        yield
    finally:
        log.removeFilter(says_other)


def _check_report(folder: Path, report: Mapping[str, Any], *, init_head: bool) -> None:
    """What transformers itself says of the loading; nothing may be left over."""
    faults = {name: set(map(str, values)) for name, values in report.items() if values}
    if init_head:
        faults["missing_keys"] = {
            name for name in faults.get("missing_keys", ()) if not name.startswith("depth_head.")
        }
    found = [f"{name}: {some(values)}" for name, values in faults.items() if values]
    if found:
        raise CheckError("the weights were not loaded as they are", where=folder, why="; ".join(found))
