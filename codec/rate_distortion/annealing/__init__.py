"""R_p(D) of a generative model by annealed importance sampling.

`rd_curve.py` is where it starts. Every module but `settings.py` and `executors.py` imports torch.
"""
