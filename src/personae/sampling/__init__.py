"""From noise to images: guidance, schedulers, the loop, the autoencoder."""
