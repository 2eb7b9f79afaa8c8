"""Training of the codec of vector quantisation, `codec.models.vq.networks`."""
