"""The kernels on the CPU: the words of the generated text on SIMD registers, compiled, cached, run on threads."""
