"""Effective receptive fields of PyTorch networks (Luo et al., NeurIPS 2016) as a Captum attribution."""

__version__ = "0.1.0"
