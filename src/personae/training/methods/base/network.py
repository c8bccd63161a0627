"""Text encoder and UNet of nano, and both as the one module that is trained."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from personae.conditioning.arc2face import encode_tokens, id_token
from personae.conditioning.types import Conditioning
from personae.sampling.fast import modes
from personae.shapes import Float, Int

WIDTH = 256  # of the text encoder and so of the cross-attention
_HEAD = 32  # channels of an attention head
# Of the UNet's blocks, by the cells of its latents a side: 19.6 and 5.5 M parameters.
_WIDTHS = {16: (128, 192, 224), 12: (64, 96, 128)}


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """nano's text encoder with fresh weights: 2.6 M parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(channels: int = 8, cells: int = 16) -> UNet2DConditionModel:
    """nano's UNet with fresh weights, no attention at full size. channels, cells: of the latents, and a side."""
    widths = _WIDTHS[cells]
    return UNet2DConditionModel(
        sample_size=cells,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=tuple(width // _HEAD for width in widths),  # heads, despite the name
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=WIDTH,
    )


def for_words(text_encoder: CLIPTextModel, before: CLIPTokenizer, now: CLIPTokenizer) -> CLIPTextModel:
    """A text encoder for another vocabulary: a token of both keeps its embedding, others have a fresh one. As it is, if
    the vocabularies are the same."""
    known, wanted = before.get_vocab(), now.get_vocab()
    if known == wanted:
        return text_encoder
    config = text_encoder.config.to_dict() | {
        "vocab_size": len(now),
        **{f"{name}_token_id": getattr(now, f"{name}_token_id") for name in ("bos", "eos", "pad")},
    }
    other = CLIPTextModel(CLIPTextConfig.from_dict(config))
    words = other.get_input_embeddings().weight.detach().clone()
    for token, number in wanted.items():
        if token in known:
            words[number] = text_encoder.get_input_embeddings().weight[known[token]].detach()
    state = text_encoder.state_dict()
    (place,) = [name for name in state if name.endswith("token_embedding.weight")]
    other.load_state_dict(state | {place: words})
    return other


class IdentityToFace(nn.Module):
    """Tokens and identity vectors to the UNet's prediction: what is trained, as one module."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, placeholder: int) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.placeholder = text_encoder, unet, placeholder

    @classmethod
    def of(
        cls, tokenizer: CLIPTokenizer, folder: Path | None, *, channels: int = 8, cells: int = 16
    ) -> "IdentityToFace":
        """With the weights of an export, or fresh ones, for a vocabulary and for latents of `channels` and `cells` a
        side; of a base for other latents, the text encoder alone."""
        if folder is None:
            text_encoder, unet = build_text_encoder(tokenizer), build_unet(channels, cells)
        else:
            text_encoder = for_words(
                CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
                CLIPTokenizer.from_pretrained(folder / "tokenizer"),
                tokenizer,
            )
            unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
            if unet.config.in_channels != channels:
                unet = build_unet(channels, cells)
            unet.register_to_config(sample_size=cells)
        if modes.device_for(None).type == "cpu":
            # Over sequences this short, the backward of torch's fused attention takes a third of a CPU's step.
            unet.set_attn_processor(AttnProcessor())
            text_encoder.set_attn_implementation("eager")
        return cls(text_encoder, unet, id_token(tokenizer))

    def condition(self, tokens: Tensor, vectors: Tensor) -> Conditioning:
        """tokens (N, L), vectors (N, D): the vector overwrites the placeholder's embedding wherever it occurs."""
        return encode_tokens(self.text_encoder, tokens, tokens == self.placeholder, vectors)

    def has_person(self, tokens: Tensor) -> Tensor:
        """(N,) bool: which rows of tokens (N, L) hold the placeholder, and so are about their person."""
        return (tokens == self.placeholder).any(-1)

    def forward(
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
    ) -> Float[Tensor, "N c h w"]:
        return self.predict(noisy, times, self.condition(tokens, vectors))

    def predict(self, noisy: Tensor, times: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity (N, c, h, w) of noisy latents (N, c, h, w) at times (N,), 0 clean to 1 noise."""
        return self.unet(noisy, times * 1000, conditioning.tokens, class_labels=conditioning.pooled, return_dict=False)[
            0
        ]
