"""Text encoder and UNet of nano, and both as the one module that is trained."""

from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from personae.conditioning.arc2face import encode_tokens
from personae.conditioning.types import Conditioning

WIDTH = 256  # of the text encoder and so of the cross-attention


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


def build_unet(channels: int = 8) -> UNet2DConditionModel:
    """nano's UNet with fresh weights: 19.6 M parameters, no attention at the full 16 x 16. channels: of the latents."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(128, 192, 224),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=(4, 6, 7),  # heads, despite the name: 32 channels each
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=WIDTH,
    )


class IdentityToFace(nn.Module):
    """Tokens and identity vectors to the UNet's prediction: what is trained, as one module."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, placeholder: int) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.placeholder = text_encoder, unet, placeholder

    def condition(self, tokens: Tensor, vectors: Tensor) -> Conditioning:
        """tokens (N, L), vectors (N, D): the vector overwrites the placeholder's embedding wherever it occurs."""
        return encode_tokens(self.text_encoder, tokens, tokens == self.placeholder, vectors)

    def asked(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """(N,) bool: which rows are about their person."""
        return (tokens == self.placeholder).any(-1)

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor, vectors: Tensor) -> Tensor:
        return self.predict(noisy, times, self.condition(tokens, vectors))

    def predict(self, noisy: Tensor, times: Tensor, told: Conditioning) -> Tensor:
        return self.unet(noisy, times * 1000, told.tokens, class_labels=told.pooled, return_dict=False)[0]
