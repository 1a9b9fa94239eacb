"""The ladder: a cell's kernels held against its equations, rung by rung, and a failure explained."""
