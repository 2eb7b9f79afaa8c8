"""R_p(D) of a generative model by sequential Monte Carlo, starting from the prior or from
references that are fitted to each image.

`rd_curve.py` is the entry point. All modules except `settings.py` and `executors.py` import torch.
"""
