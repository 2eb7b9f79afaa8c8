"""R_p(D) of a generative model by annealed importance sampling."""
