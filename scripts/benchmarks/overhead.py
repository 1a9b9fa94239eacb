"""What the torch module costs over the call of the layer that it stands for.   python -m scripts.benchmarks.overhead

Small layers, where the kernels take little: forward and backward of both, interleaved, the difference of the medians.
"""

import sys

from scripts.benchmarks import threads

CELLS, SIZE = ("rnn", "lstm", "gru_reset_after"), (20, 1, 32, 32)


def main() -> int:
    threads.pin(1)
    from scripts.benchmarks import timing
    from scripts.benchmarks.candidate import ours
    from scripts.benchmarks.cases import Case, Data
    from scripts.benchmarks.peers import own_torch

    print("| cell | layer, us | torch module, us | difference, us |\n| --- | --- | --- | --- |")
    for cell in CELLS:
        data = Data(Case(cell, SIZE))
        times = timing.interleave([ours(data), own_torch.build(data)], seconds=3)
        layer, module = (1e6 * time.median for time in times.values())
        print(f"| {cell} | {layer:.0f} | {module:.0f} | {module - layer:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
