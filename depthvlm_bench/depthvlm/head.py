"""The depth heads: four sets of image-token features to a dense metric depth map.

Convention: features are (images, h*w, channels) in raster order of the merged token grid (h, w), ordered
[ViT low, ViT middle, ViT high, language model]; depth is z-depth in metres. Structure and parameter names are
those of the published weights (arXiv 2605.15876).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

FeatureMode = Literal["llm_last", "concat", "sum"]
FEATURE_MODES: tuple[FeatureMode, ...] = get_args(FeatureMode)
TAPS = 4
DPT_FEATURES = 256
DPT_OUT_CHANNELS = (256, 512, 1024, 1024)
STRIDE_PX = 32
# Channels between the last two convolutions: fixed in the published head, whatever its other widths.
LAST_CHANNELS = 32
INIT_STD = 0.02

Grid = tuple[int, int]


def resize(maps: Tensor, size: Grid) -> Tensor:
    """Bilinear resize of (N, C, H, W) to `size` with corners aligned: the only resize the model knows."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    resized: Tensor = functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)
    return resized


class _ResidualUnit(nn.Module):  # type: ignore[misc, unused-ignore]
    """relu(x) + conv2(relu(conv1(relu(x)))).

    The published weights were trained with a ReLU that overwrote its input, so the residual branch carries
    the rectified x, not x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rectified = functional.relu(x)
        summed: Tensor = rectified + self.conv2(functional.relu(self.conv1(rectified)))
        return summed


class _Fusion(nn.Module):  # type: ignore[misc, unused-ignore]
    """Adds a finer map to the coarser path, refines, resizes, and mixes channels, in this order."""

    def __init__(self, channels: int, *, coarsest: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if not coarsest:
            self.resConfUnit1 = _ResidualUnit(channels)
        self.resConfUnit2 = _ResidualUnit(channels)

    def forward(self, path: Tensor | None, finer: Tensor, size: Grid) -> Tensor:
        fused: Tensor = finer if path is None else path + self.resConfUnit1(finer)
        mixed: Tensor = self.out_conv(resize(self.resConfUnit2(fused), size))
        return mixed


class _Scratch(nn.Module):  # type: ignore[misc, unused-ignore]
    """All that follows the four feature maps; a module of its own only because the weights are named so."""

    def __init__(self, features: int, out_channels: Sequence[int]) -> None:
        super().__init__()
        for level, channels in enumerate(out_channels, start=1):
            self.add_module(f"layer{level}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{level}", _Fusion(features, coarsest=level == TAPS))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, LAST_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(LAST_CHANNELS, 1, 1),
        )

    def forward(self, maps: list[Tensor], output_size: Grid) -> Tensor:
        """Maps, finest first, to (N, 1, H, W) before Softplus."""
        path: Tensor | None = None
        for level in range(TAPS, 0, -1):
            finer = getattr(self, f"layer{level}_rn")(maps.pop())
            height, width = (2 * side for side in finer.shape[-2:])
            size = tuple(maps[-1].shape[-2:]) if maps else (height, width)
            path = getattr(self, f"refinenet{level}")(path, finer, size)
        logits: Tensor = self.output_conv2(resize(self.output_conv1(path), output_size))
        return logits


class DptHead(nn.Module):  # type: ignore[misc, unused-ignore]
    """Dense prediction head over four taps: convolutions at strides 4, 8, 16 and 32, fused coarse to fine.

    Args:
        dim_in: channels of every tap (the language model's width).
        features: width of the fusion path.
        out_channels: width of each tap's map, ViT low first.
    """

    def __init__(
        self, dim_in: int, features: int = DPT_FEATURES, out_channels: Sequence[int] = DPT_OUT_CHANNELS
    ) -> None:
        super().__init__()
        if len(out_channels) != TAPS:
            raise ValueError(f"out_channels has {len(out_channels)} widths, the head has {TAPS} taps")
        first, second, third, _ = out_channels
        self.norm = nn.LayerNorm(dim_in)
        self.projects = nn.ModuleList(nn.Conv2d(dim_in, channels, 1) for channels in out_channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, kernel_size=8, stride=8),
                nn.ConvTranspose2d(second, second, kernel_size=4, stride=4),
                nn.ConvTranspose2d(third, third, kernel_size=2, stride=2),
                nn.Identity(),
            ]
        )
        self.scratch = _Scratch(features, out_channels)
        self.gradient_checkpointing = False

    def forward(self, taps: Sequence[Tensor], grid: Grid, output_size: Grid | None = None) -> Tensor:
        """Depth of N images of one grid.

        Args:
            taps: four tensors (N, h*w, dim_in); cast to the head's own dtype.
            grid: (h, w), merged tokens.
            output_size: (H, W) of the answer, px; None: 32 times the grid.

        Returns:
            (N, H, W) in metres, in the head's dtype; the last resize is before the last convolutions.
        """
        dtype, (height, width) = self.norm.weight.dtype, grid
        maps = []
        for tap, project, enlarge in zip(taps, self.projects, self.resize_layers, strict=True):
            tokens = self.norm(tap.to(dtype))
            maps.append(enlarge(project(tokens.transpose(1, 2).reshape(len(tap), -1, height, width))))
        logits = self.scratch(maps, output_size or (STRIDE_PX * height, STRIDE_PX * width))
        return functional.softplus(logits.squeeze(1).to(dtype))

    def peak_bytes(self, grid: Grid, output_size: Grid | None = None) -> int:
        """Estimated working memory of one image without gradients, at most a fifth above what a CPU takes.

        Two copies, as convolutions lay maps out anew, of the finest fused map and of what the last wide
        convolution reads and writes: 2.4 GB in float32 for a picture of 1342x1006.
        """
        height, width = output_size or (STRIDE_PX * grid[0], STRIDE_PX * grid[1])
        weight = self.scratch.output_conv1.weight
        fused = weight.shape[1] * (STRIDE_PX // 2) ** 2 * grid[0] * grid[1]
        last = (weight.shape[0] + LAST_CHANNELS) * height * width
        return int(2 * (fused + last) * weight.element_size())


class MlpHead(nn.Module):  # type: ignore[misc, unused-ignore]
    """The ablation: every token's features to its own block of pixels by two linear layers.

    Args:
        dim_in: channels of every tap.
        hidden: width of the hidden layer.
        patch: side of a token's block, px.
        feature_mode: which taps are read: the last, all side by side, or their sum.
    """

    def __init__(
        self,
        dim_in: int,
        hidden: int = 1024,
        patch: int = STRIDE_PX,
        feature_mode: FeatureMode = "llm_last",
    ) -> None:
        super().__init__()
        if feature_mode not in FEATURE_MODES:
            raise ValueError(f"feature_mode is one of {', '.join(FEATURE_MODES)}, not {feature_mode!r}")
        self.patch, self.feature_mode = patch, feature_mode
        width = TAPS * dim_in if feature_mode == "concat" else dim_in
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, patch * patch))
        self.gradient_checkpointing = False

    def forward(self, taps: Sequence[Tensor], grid: Grid, output_size: Grid | None = None) -> Tensor:
        """Depth of N images of one grid; as DptHead.forward, but the resize is right before Softplus."""
        dtype, (height, width), side = self.norm.weight.dtype, grid, self.patch
        blocks: Tensor = self.mlp(self.norm(self._features([tap.to(dtype) for tap in taps])))
        tiled = blocks.reshape(-1, height, width, side, side).permute(0, 1, 3, 2, 4)
        logits = tiled.reshape(-1, 1, height * side, width * side)
        if output_size is not None:
            logits = resize(logits.to(dtype), output_size)
        return functional.softplus(logits.squeeze(1).to(dtype))

    def _features(self, taps: Sequence[Tensor]) -> Tensor:
        if self.feature_mode == "llm_last":
            return taps[-1]
        if self.feature_mode == "concat":
            return torch.cat(list(taps), dim=-1)
        return torch.stack(list(taps)).sum(dim=0)

    def peak_bytes(self, grid: Grid, output_size: Grid | None = None) -> int:
        """Estimated working memory of one image without gradients."""
        height, width = output_size or (self.patch * grid[0], self.patch * grid[1])
        channels = sum(parameter.shape[0] for parameter in self.mlp.parameters() if parameter.ndim == 2)
        tokens = grid[0] * grid[1] * 2 * (self.norm.weight.numel() + channels)
        return int((tokens + 3 * height * width) * self.norm.weight.element_size())


DepthHead = DptHead | MlpHead


def initialise(head: DepthHead, seed: int) -> None:
    """The paper's start: every kernel from N(0, 0.02), biases 0, norm weight 1; about 0.69 m everywhere."""
    # Drawn on the CPU, so that a seed means the same weights on every device.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name == "norm.weight":
                parameter.fill_(1.0)
            elif parameter.ndim == 1:
                parameter.zero_()
            else:
                parameter.copy_(INIT_STD * torch.randn(parameter.shape, generator=generator))
