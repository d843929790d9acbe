"""Other tools' recipes, each giving the number that its tool publishes, so that new results can stand beside old ones.

- ``LUO2016``: mean |dy/dx| and the threshold size of Luo et al., "Understanding the Effective Receptive Field in Deep
  Convolutional Neural Networks", NeurIPS 2016, section 3.
- ``REPLKNET``: the share of the input that a square must cover, of Ding et al., "Scaling Up Your Kernels to 31x31",
  CVPR 2022, table 8.
- ``OPENERF``: rectified gradients, with the share of their sum within Euclidean radii.
- ``NEURAL_API``: the report of ``TNNet.EffectiveReceptiveFieldReport`` in CAI Neural API.
- ``VMAMBA``: the fifth root of rectified gradients, as VMamba's figure draws it, and squares that hold shares of it.
- ``ENERGY``: squared gradients, of which the variance analysis of Luo et al. speaks.
"""

from typing import Any

from .energy import ENERGY
from .luo import LUO2016
from .neural_api import NEURAL_API
from .openerf import OPENERF
from .protocol import Protocol
from .replknet import REPLKNET
from .vmamba import VMAMBA

PROTOCOLS: dict[str, Protocol[Any]] = {
    protocol.name: protocol for protocol in (LUO2016, REPLKNET, OPENERF, NEURAL_API, VMAMBA, ENERGY)
}

__all__ = ["ENERGY", "LUO2016", "NEURAL_API", "OPENERF", "PROTOCOLS", "REPLKNET", "VMAMBA", "Protocol"]
