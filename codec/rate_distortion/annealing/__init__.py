"""R_p(D) of a generative model by sequential Monte Carlo, from the prior or from references that
are fitted to each image.

`rd_curve.py` is where it starts. Every module but `settings.py` and `executors.py` imports torch.
"""
