"""Training of the distribution-preserving codec, `codec.models.dplc.networks`."""
