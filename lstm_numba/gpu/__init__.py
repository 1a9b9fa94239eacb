"""The same layers on a CUDA device: `Layer(..., device="cuda")`.  Nothing here is imported before one is asked for."""
