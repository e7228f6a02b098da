"""The depth heads: golden vectors, the published tensor table, and what can be said without weights."""

import math

import pytest

pytest.importorskip("torch")

import torch
from depthvlm_golden import closed_form_taps, needs_golden, set_closed_form, vectors

from depthvlm_bench.depthvlm import head as heads
from depthvlm_bench.depthvlm.head import DptHead, MlpHead, initialise, resize

GRID = (2, 3)
# The published checkpoint's head (4B), name -> shape.
PUBLISHED = {
    "norm.weight": (2560,),
    "norm.bias": (2560,),
    **{f"projects.{k}.weight": (c, 2560, 1, 1) for k, c in enumerate((256, 512, 1024, 1024))},
    **{f"projects.{k}.bias": (c,) for k, c in enumerate((256, 512, 1024, 1024))},
    "resize_layers.0.weight": (256, 256, 8, 8),
    "resize_layers.1.weight": (512, 512, 4, 4),
    "resize_layers.2.weight": (1024, 1024, 2, 2),
    **{f"resize_layers.{k}.bias": (c,) for k, c in enumerate((256, 512, 1024))},
    **{f"scratch.layer{k}_rn.weight": (256, c, 3, 3) for k, c in ((1, 256), (2, 512), (3, 1024), (4, 1024))},
    **{f"scratch.refinenet{k}.out_conv.weight": (256, 256, 1, 1) for k in (1, 2, 3, 4)},
    **{f"scratch.refinenet{k}.out_conv.bias": (256,) for k in (1, 2, 3, 4)},
    **{
        f"scratch.refinenet{k}.resConfUnit{unit}.conv{conv}.{part}": shape
        for unit, levels in ((1, (1, 2, 3)), (2, (1, 2, 3, 4)))
        for k in levels
        for conv in (1, 2)
        for part, shape in (("weight", (256, 256, 3, 3)), ("bias", (256,)))
    },
    "scratch.output_conv1.weight": (128, 256, 3, 3),
    "scratch.output_conv1.bias": (128,),
    "scratch.output_conv2.0.weight": (32, 128, 3, 3),
    "scratch.output_conv2.0.bias": (32,),
    "scratch.output_conv2.2.weight": (1, 32, 1, 1),
    "scratch.output_conv2.2.bias": (1,),
}


def small_head(seed: int = 0) -> DptHead:
    head = DptHead(8, 4, (4, 5, 6, 7))
    initialise(head, seed)
    for parameter in head.parameters():
        if parameter.ndim > 1:
            parameter.data *= 10
    return head


def taps(images: int = 1, channels: int = 8, tokens: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(images, tokens, channels, generator=generator) for _ in range(4)]


def test_the_published_head_has_62_tensors_of_the_published_shapes() -> None:
    with torch.device("meta"):
        head = DptHead(2560)
    assert {name: tuple(t.shape) for name, t in head.state_dict().items()} == PUBLISHED
    assert len(PUBLISHED) == 62
    assert sum(p.numel() for p in head.parameters()) == 35_145_921


@pytest.mark.parametrize("width", [64, 2048, 4096, 5120])
def test_a_head_grows_with_the_language_models_width_alone(width: int) -> None:
    with torch.device("meta"):
        head = DptHead(width)
    assert sum(p.numel() for p in head.parameters()) == 2818 * width + 27_931_841


@needs_golden
@pytest.mark.parametrize(("key", "size"), [("fullhead.depth", None), ("fullhead.depth_50x70", (50, 70))])
def test_the_dpt_head_gives_the_golden_depth(key: str, size: tuple[int, int] | None) -> None:
    head = DptHead(64)
    set_closed_form(head)
    with torch.no_grad():
        depth = head(closed_form_taps(), GRID, size)
    torch.testing.assert_close(depth[0], torch.from_numpy(vectors("expected")[key]), rtol=1e-4, atol=1e-4)


@needs_golden
@pytest.mark.parametrize("mode", ["llm_last", "concat", "sum"])
@pytest.mark.parametrize(("suffix", "size"), [("", None), ("_20x30", (20, 30))])
def test_the_mlp_head_gives_the_golden_depth(mode: str, suffix: str, size: tuple[int, int] | None) -> None:
    head = MlpHead(64, hidden=32, patch=8, feature_mode=mode)
    set_closed_form(head)
    with torch.no_grad():
        depth = head(closed_form_taps(), GRID, size)
    expected = torch.from_numpy(vectors("expected")[f"mlphead.{mode}{suffix}"])
    torch.testing.assert_close(depth[0], expected, rtol=1e-4, atol=1e-4)


def test_the_residual_branch_carries_the_rectified_input() -> None:
    unit = heads._ResidualUnit(2)
    for parameter in unit.parameters():
        parameter.data.zero_()
    x = torch.tensor([-2.0, 3.0]).reshape(1, 2, 1, 1)
    assert unit(x).flatten().tolist() == [0.0, 3.0]
    assert x.flatten().tolist() == [-2.0, 3.0]


def test_a_resize_keeps_the_corners_and_is_linear_between_them() -> None:
    ramp = torch.tensor([[0.0, 3.0]]).reshape(1, 1, 1, 2)
    assert resize(ramp, (1, 4)).flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_map_has_32_pixels_a_token_or_the_size_asked() -> None:
    head = small_head()
    assert head(taps(), GRID).shape == (1, 64, 96)
    assert head(taps(), GRID, (10, 20)).shape == (1, 10, 20)


def test_images_run_together_get_what_each_gets_alone() -> None:
    head, both = small_head(), taps(images=2)
    alone = [head([tap[i : i + 1] for tap in both], GRID)[0] for i in range(2)]
    torch.testing.assert_close(head(both, GRID), torch.stack(alone))
    assert not torch.allclose(alone[0], alone[1])


def test_rows_and_columns_of_tokens_are_not_exchanged() -> None:
    head = MlpHead(1, hidden=2, patch=2, feature_mode="sum")
    head.norm = torch.nn.Identity()
    head.norm.weight = torch.zeros(1)
    head.mlp = torch.nn.Linear(1, 4, bias=False)
    head.mlp.weight.data.copy_(torch.tensor([[1.0], [1.1], [1.2], [1.3]]))
    tokens = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]).reshape(1, 6, 1) / 4
    expected = [
        [10, 11, 20, 22, 30, 33],
        [12, 13, 24, 26, 36, 39],
        [40, 44, 50, 55, 60, 66],
        [48, 52, 60, 65, 72, 78],
    ]
    logits = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(head([tokens] * 4, GRID)[0], torch.nn.functional.softplus(logits))


def test_depth_is_never_negative_and_has_no_upper_bound() -> None:
    head = small_head()
    head.scratch.output_conv2[2].bias.data.fill_(5000.0)
    far = head(taps(), GRID)
    head.scratch.output_conv2[2].bias.data.fill_(-5000.0)
    near = head(taps(), GRID)
    assert far.min() > 1000 and 0 <= near.min() <= near.max() < 1e-6


def test_a_fresh_head_answers_softplus_of_zero_everywhere() -> None:
    head = DptHead(64)
    initialise(head, 0)
    with torch.no_grad():
        depth = head(closed_form_taps(), GRID)
    assert depth.mean() == pytest.approx(math.log(2), abs=0.02)
    kernels = torch.cat([p.detach().flatten() for p in head.parameters() if p.ndim > 1])
    assert kernels.std() == pytest.approx(0.02, rel=0.01)
    assert all(p.abs().sum() == 0 for name, p in head.named_parameters() if name.endswith("bias"))
    assert bool((head.norm.weight == 1).all())


def test_a_seed_fixes_a_fresh_head() -> None:
    first, again, other = small_head(3), small_head(3), small_head(4)
    assert torch.equal(first.projects[0].weight, again.projects[0].weight)
    assert not torch.equal(first.projects[0].weight, other.projects[0].weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_computes_and_answers_in_the_dtype_of_its_weights(dtype: torch.dtype) -> None:
    head = small_head().to(dtype)
    assert head([tap.bfloat16() for tap in taps()], GRID).dtype == dtype


def test_autocast_leaves_softplus_in_float32() -> None:
    head = small_head()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth = head(taps(), GRID)
    assert depth.dtype == torch.float32


@pytest.mark.parametrize("head", [DptHead(8, 4, (4, 5, 6, 7)), MlpHead(8, 16)], ids=["dpt", "mlp"])
def test_the_working_memory_grows_with_the_picture(head: heads.DepthHead) -> None:
    assert 3.9 < head.peak_bytes((8, 8)) / head.peak_bytes((4, 4)) < 4.1
    assert head.peak_bytes((4, 4), (512, 512)) > head.peak_bytes((4, 4), (64, 64))


def test_the_published_head_takes_little_more_than_the_2200_mb_measured_for_a_canonical_picture() -> None:
    with torch.device("meta"):
        head = DptHead(2560)
    assert 2.2e9 < head.peak_bytes((32, 42)) < 1.2 * 2.2e9


def test_widths_and_modes_that_make_no_head_are_refused() -> None:
    with pytest.raises(ValueError, match="4 taps"):
        DptHead(8, 4, (4, 5, 6))
    with pytest.raises(ValueError, match="feature_mode"):
        MlpHead(8, feature_mode="first")
