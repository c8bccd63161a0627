"""The autoencoder that nano lives in."""

from diffusers import AutoencoderDC

_WIDTHS, _DEPTHS = (32, 48, 96, 192), (0, 1, 2, 2)


def build_autoencoder() -> AutoencoderDC:
    """nano's autoencoder with fresh weights: 4.3 M parameters, f8, 8 channels."""
    return AutoencoderDC(
        latent_channels=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_WIDTHS,
        decoder_block_out_channels=_WIDTHS,
        encoder_layers_per_block=_DEPTHS,
        decoder_layers_per_block=_DEPTHS,
        encoder_qkv_multiscales=((),) * 4,
        decoder_qkv_multiscales=((),) * 4,
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
    )
