"""Text: expressions, step functions, sequence kernels, modules, the manifest of them all."""
