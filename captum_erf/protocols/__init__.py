"""Other tools' recipes, each giving the number that its tool publishes; see :mod:`captum_erf.protocols.protocol`."""

from .protocol import ENERGY, LUO2016, NEURAL_API, OPENERF, PROTOCOLS, REPLKNET, Protocol

__all__ = ["ENERGY", "LUO2016", "NEURAL_API", "OPENERF", "PROTOCOLS", "REPLKNET", "Protocol"]
