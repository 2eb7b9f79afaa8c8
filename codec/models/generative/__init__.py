"""Small generative models: VAE, GAN, WAE, RAE. No codecs: `vae` and `dplc` are built from them."""
