"""Small generative models: VAE, GAN, WAE, RAE. Not codecs, but `vae` and `dplc` build on them."""
