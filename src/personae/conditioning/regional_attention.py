"""Several people in one picture, each in a region of it: cross-attention that each position has with its own person.

    masks = region_masks([(0, 0, 0.5, 1), (0.5, 0, 1, 1)], grid=(16, 32), size=(128, 256))
    conditioning = regional_conditioning(text, tokens)      # one sequence with the faces of all
    with engaged([RegionalAttention(masks, tokens=3, faced=[True])], unet): ...

Every position of a cross-attention layer attends to the words and to the face tokens of its own region only; outside
all regions to the zeros that stand for no face. So each region has the conditioning of a picture of its person alone,
and self-attention and convolutions make one picture of them. A UNet with a class embedding also reads the faces from
the pooled text: what they change in a layer is then added region by region.

Legend: P people, M rows of a call, L positions of the text, T face tokens, C their width, (h, w) the latents' grid,
(H, W) the image's pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from personae.compiled import eagerly
from personae.conditioning.types import Conditioning
from personae.errors import BadOption
from personae.reading.photo import PhotoSource, load_photo
from personae.shapes import Bool, Float, Num
from personae.types import Array, Face, Identity, Photo

if TYPE_CHECKING:
    from personae.conditioning.types import Rows

# A box x0, y0, x1, y1 in shares of the image, or a mask, white where the person is to be; as rows of numbers, too.
Region = Sequence[float] | Sequence[Sequence[float]] | Array | PhotoSource
Size = tuple[int, int]  # height, width
_PICTURES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, Photo)
_BOX = "a box x0, y0, x1, y1 in shares of the image, 0 <= x0 < x1 <= 1"


def region_masks(regions: Sequence[Region], *, grid: Size, size: Size) -> Bool[Tensor, "P h w"]:
    """Regions as masks (P, h, w) bool on the latents' grid.

    Arguments:
        regions: boxes and masks, also mixed. A mask is a picture or an array (H, W), or one (h, w) as in a recipe; what
            is above half of its largest value belongs to the region. Regions may overlap: there, both people show.
        grid: (h, w), the cells of the latents.
        size: (H, W), the pixels of the image.

    Raises `BadOption` for anything else, and for a region in which no cell of the grid lies; `BadImage`.
    """
    masks = [_box(region, grid) if _is_box(region) else _mask(region, grid, size) for region in regions]
    for number, (mask, region) in enumerate(zip(masks, regions, strict=True), start=1):
        if not mask.any():
            raise BadOption(f"region {number} is too small to hold a face, got {region!r:.80}: make it larger")
    return torch.from_numpy(np.stack(masks))


def plain(regions: Sequence[Region], masks: Bool[Tensor, "P h w"]) -> list[Any]:
    """Regions as JSON values of the same meaning: boxes as they are, masks (P, h, w) on the latents' grid."""
    return [
        [float(edge) for edge in np.asarray(region)] if _is_box(region) else mask.int().tolist()
        for region, mask in zip(regions, masks, strict=True)
    ]


def regional_conditioning(text: Conditioning, tokens: Float[Tensor, "P T C"]) -> Conditioning:
    """The conditioning of a picture of P people, one row of L + P T positions.

    Arguments:
        text: one row, whose last T positions are overwritten by zeros.
        tokens: (P, T, C), the face tokens of each person, which follow the text; zeros for the words alone.
    """
    width = tokens.shape[1]
    none = torch.zeros_like(text.tokens[:, -width:])
    return Conditioning(
        tokens=torch.cat([text.tokens[:, :-width], none, tokens.to(none).flatten(0, 1)[None]], dim=1),
        pooled=text.pooled,
    )


def likeness_by_region(faces: Sequence[Face], people: Sequence[Identity], masks: Bool[Tensor, "P h w"]) -> list[float]:
    """(P,) the cosine of each person with the largest of the `faces` read in one picture whose middle lies in the
    person's mask (P, h, w); NaN where there is none."""
    height, width = masks.shape[1:]
    found = []
    for person, mask in zip(people, masks, strict=True):
        there = []
        for face in faces:
            assert face.photo is not None
            assert face.identity is not None
            left, top, right, bottom = face.detection.box
            tall, wide = face.photo.pixels.shape[:2]
            row, column = int((top + bottom) / 2 / tall * height), int((left + right) / 2 / wide * width)
            if mask[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]:
                there.append(float(face.identity.vector @ person.vector))
        found.append(there[0] if there else float("nan"))
    return found


class RegionalAttention:
    """A `UNetHook` that confines each person's face tokens to a region. Engage it after hooks that set attention
    processors of their own.

    Every guidance term of the request must be `regional_conditioning`.

    Arguments:
        masks: (P, h, w) bool, where each person is.
        tokens: T, of each person.
        faced: of each guidance term, whether it holds the faces.
        added: (P, C), what each person adds to the pooled text, for a UNet with a class embedding; None: it has none.
    """

    def __init__(
        self,
        masks: Bool[Tensor, "P h w"],
        *,
        tokens: int,
        faced: Sequence[bool],
        added: Float[Tensor, "P C"] | None = None,
    ) -> None:
        self.masks, self.tokens, self.added = masks, tokens, added
        self.faced = torch.tensor(list(faced))
        self._unet: Any = None  # while engaged
        self._biases: dict[tuple[int, int], Tensor] = {}  # by the number of positions, and of tokens
        self._time: Tensor | None = None  # (M, E) the time's embedding in the call in progress
        self._classes: tuple[Tensor, Tensor] | None = None  # (M, E) of the text, (M, P, E) with the face of each

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """With the regions in every cross-attention of `unet` inside the block."""
        with ExitStack() as stack:
            stack.callback(self._forget)
            stack.enter_context(eagerly(unet))
            for module in unet.modules():
                if isinstance(module, BasicTransformerBlock) and module.attn2 is not None:
                    stack.callback(module.attn2.set_processor, module.attn2.processor)
                    module.attn2.set_processor(_Masked(module.attn2.processor, self._bias))
            self._unet = unet
            if self.added is not None:
                stack.callback(unet.time_embedding.register_forward_hook(self._keep_time).remove)
                for module in unet.modules():
                    if isinstance(module, ResnetBlock2D) and module.time_emb_proj is not None:
                        hook = module.norm2.register_forward_pre_hook(partial(self._apart, module))
                        stack.callback(hook.remove)
            yield

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """None: attention and residual blocks take the regions."""
        if self.added is not None and conditioning.pooled is not None:
            terms = torch.zeros_like(rows.images) if rows.terms is None else rows.terms
            faced = (rows.conditional & self.faced[terms]).to(conditioning.pooled.device)
            added = self.added.to(conditioning.pooled) * faced[:, None, None]  # (M, P, C)
            embed = self._unet.class_embedding
            self._classes = embed(conditioning.pooled), embed(conditioning.pooled[:, None] + added)
        return {}

    def _forget(self) -> None:
        self._biases.clear()
        self._unet = self._time = self._classes = None

    # -------------------------------------------------------------- attention

    def _bias(self, positions: int, keys: int, like: Tensor) -> Float[Tensor, "1 positions keys"]:
        """(1, positions, keys): 0 where a position sees a token, minus infinity where it does not."""
        if (positions, keys) not in self._biases:
            own = shrunk(self.masks, _level(self.masks.shape[1:], positions)).flatten(1).T  # (positions, P)
            nobody = ~own.any(1, keepdim=True)
            slots = torch.cat([nobody, own], dim=1).repeat_interleave(self.tokens, dim=1)
            words = torch.ones(positions, keys - slots.shape[1], dtype=torch.bool)
            visible = torch.cat([words, slots], dim=1)[None].to(like.device)
            bias = torch.zeros(visible.shape, device=like.device, dtype=like.dtype)
            self._biases[positions, keys] = bias.masked_fill(~visible, float("-inf"))
        return self._biases[positions, keys]

    # -------------------------------------------------------------- class embedding

    def _keep_time(self, _module: Any, _inputs: Any, embedded: Tensor) -> None:
        self._time = embedded

    def _apart(self, block: ResnetBlock2D, _norm: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        """What a residual block is about to normalise: its map plus, everywhere, what time and text say. In each
        region, what its person adds to that."""
        (x,), time = inputs, self._time
        assert time is not None
        assert self._classes is not None
        text, faces = self._classes
        own = shrunk(self.masks, (x.shape[2], x.shape[3])).to(x)  # (P, h, w)
        own = own / own.sum(0).clamp(min=1)
        more = _projected(block, time[:, None] + faces) - _projected(block, time + text)[:, None]
        return (x + torch.einsum("phw,mpc->mchw", own, more),)


def shrunk(masks: Bool[Tensor, "P _ _"], size: Size) -> Bool[Tensor, "P h w"]:
    """Masks (P, h, w) bool on a coarser grid: the cells that lie in them by half, and of one with none, its best."""
    cover = adaptive_avg_pool2d(masks.float(), size)
    return cover >= cover.amax((1, 2), keepdim=True).clamp(max=0.5)


class _Masked:
    """A cross-attention layer's own processor, with the bias of its size."""

    def __init__(self, processor: Any, bias: Any) -> None:
        self.processor, self.bias = processor, bias

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        # An IP-Adapter hands its own tokens on beside the text's; these are seen from everywhere.
        text = encoder_hidden_states[0] if isinstance(encoder_hidden_states, tuple) else encoder_hidden_states
        bias = self.bias(hidden_states.shape[1], text.shape[1], hidden_states).expand(len(hidden_states), -1, -1)
        return self.processor(attention, hidden_states, encoder_hidden_states, attention_mask=bias, **kwargs)


def _projected(block: ResnetBlock2D, embedding: Tensor) -> Tensor:
    """As the block itself does before it adds."""
    return block.time_emb_proj(embedding if block.skip_time_act else block.nonlinearity(embedding))


def _level(grid: Sequence[int], positions: int) -> Size:
    """The UNet's grid with so many positions: each level halves the sides of the one before."""
    height, width = grid
    while height * width > positions:
        height, width = (height + 1) // 2, (width + 1) // 2
    assert height * width == positions, f"no level of {tuple(grid)} has {positions} positions"
    return height, width


def _is_box(region: Any) -> bool:
    if isinstance(region, _PICTURES):
        return False
    try:
        return np.asarray(region).shape == (4,)
    except ValueError:  # rows of different lengths
        return False


def _box(region: Any, grid: Size) -> Bool[Array, "h w"]:
    """(h, w) bool: the cells whose middle lies in the box."""
    try:
        x0, y0, x1, y1 = (float(edge) for edge in region)
    except (TypeError, ValueError) as error:
        raise BadOption(f"a region is {_BOX}, got {region!r}") from error
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise BadOption(f"a region is {_BOX}, got {region!r}")
    across, down = ((np.arange(side) + 0.5) / side for side in reversed(grid))
    return ((down >= y0) & (down < y1))[:, None] & ((across >= x0) & (across < x1))


def _mask(region: Any, grid: Size, size: Size) -> Bool[Array, "h w"]:
    """(h, w) bool: the cells that lie in the mask by half."""
    if isinstance(region, _PICTURES):
        mask = load_photo(region).pixels.mean(-1)
    else:
        try:
            mask = np.asarray(region, dtype=np.float64)
        except (TypeError, ValueError):
            mask = np.zeros(0)
    if mask.ndim != 2:
        raise BadOption(f"a region is {_BOX}, or a mask (height, width), got {region!r:.80}")
    if mask.shape not in (size, grid):
        got = " x ".join(map(str, mask.shape))
        raise BadOption(
            f"a mask is as large as the image, {size[0]} x {size[1]} (height x width), or as its latents, "
            f"{grid[0]} x {grid[1]}; got {got}: resize it"
        )
    inside = torch.from_numpy(mask > mask.max() / 2)[None]
    return adaptive_avg_pool2d(inside.float(), grid)[0].numpy() >= 0.5
