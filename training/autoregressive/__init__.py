"""Training of the autoregressive models of black-and-white digits."""
