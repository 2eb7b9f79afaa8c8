"""Small generative models: VAE, GAN, WAE, RAE."""
