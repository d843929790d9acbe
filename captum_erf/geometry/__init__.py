"""Theoretical receptive fields: the part of the input that can influence a unit, for any network."""
