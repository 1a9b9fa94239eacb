"""Checks and speeds on a CUDA device, for a machine that has nothing but the packages and this repository."""
