"""The byte-level model of the main job, trained by several processes, on one machine or on many.

    torchrun --standalone --nproc-per-node 2 -m examples.train_ddp --steps 200
    torchrun --standalone --nproc-per-node 4 -m examples.train_ddp --steps 400 --resume  # go on

Each process reads its share of the rows; DistributedDataParallel averages the gradients, over gloo on processors and
nccl on GPUs.  What a run computes depends on `--rows`, the rows of all processes together, and not on how many
processes share them.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import lstm_numba.torch as lt
from lstm_numba.errors import CheckpointError, LstmNumbaError
from lstm_numba.train import NATS_PER_BIT, checkpoint, cosine
from scripts.main_job.corpus import Corpus, python_source
from scripts.main_job.options import count, positive, whole
from scripts.main_job.trainer import Lanes

BYTES = 256
DECIDING = ("cell", "hidden", "layers", "width", "rows", "window", "rate", "warmup", "clip", "seed", "dtype", "horizon")


class Model(torch.nn.Module):
    """p(s_{t+1} | s_0 .. s_t) = softmax(W h_t + b),   h = layers(E[s])."""

    def __init__(self, cell: str, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(BYTES, width)
        self.recurrent = lt.Stack(cell, width, hidden, num_layers=layers)
        self.readout = torch.nn.Linear(hidden, BYTES)

    def forward(self, symbols: Tensor, state: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        output, last = self.recurrent(self.embedding(symbols), state)
        return self.readout(output), last


class Trainer:
    """One process of those that train: truncated BPTT with carried state, clipped by norm, Adam with a falling rate."""

    def __init__(self, options: argparse.Namespace, corpus: Corpus) -> None:
        self.options, self.corpus = options, corpus
        self.rank, self.processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpus() else torch.device("cpu")
        torch.manual_seed(options.seed)
        model = Model(options.cell, options.width, options.hidden, options.layers)
        self.model = model.to(self.device, getattr(torch, options.dtype))
        self.parallel = DistributedDataParallel(self.model) if dist.is_initialized() else self.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.99))
        self.lanes, self.rng = Lanes(corpus.training, options.rows, options.window), np.random.default_rng(options.seed)
        self.share = options.rows // self.processes
        self.step, self.shift, self.losses = 0, 0, []
        self.state: dict[str, Tensor] | None = None

    def advance(self) -> float:
        """Do one step; return the loss in bits per byte, the mean over all processes."""
        index = self.step % self.lanes.windows
        if index == 0:
            self.shift, self.state = int(self.rng.integers(len(self.lanes.data))), None
        inputs, targets = (self._own(torch.from_numpy(a).long(), 1) for a in self.lanes.batch(self.shift, index))
        scores, state = self.parallel(inputs, self.state)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self._set_rate()
        self.optimizer.step()
        self.state = {name: value.detach() for name, value in state.items()}
        self.step += 1
        self.losses.append(self._mean(loss.detach()) / NATS_PER_BIT)
        return self.losses[-1]

    def _own(self, rows: Tensor, axis: int) -> Tensor:
        """This process's rows of all."""
        return rows.narrow(axis, self.rank * self.share, self.share).to(self.device)

    def _set_rate(self) -> None:
        o = self.options
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(self.step, o.horizon, o.rate, o.warmup, floor=o.rate / 100)

    def _mean(self, value: Tensor) -> float:
        if self.processes > 1:
            dist.all_reduce(value)
        return value.item() / self.processes

    # --- checkpoints: arrays by name, no pickle, whole or not there

    def save(self, path: Path) -> None:
        """Write what all processes know; the first one does."""
        rows = {f"state.{name}": self._all_rows(value) for name, value in (self.state or {}).items()}
        if self.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, arrays_of({**self._tensors(), **rows}), self._facts())

    def _all_rows(self, own: Tensor) -> Tensor:
        if self.processes == 1:
            return own
        pieces = [torch.empty_like(own) for _ in range(self.processes)]
        dist.all_gather(pieces, own.contiguous())
        return torch.cat(pieces)

    def _tensors(self) -> dict[str, Tensor]:
        """Weights, and what the optimiser remembers of each."""
        found = {f"model.{name}": value.detach() for name, value in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                found[f"adam.{name}.{key}"] = value
        return found

    def _facts(self) -> dict[str, Any]:
        rng = self.rng.bit_generator.state
        progress = {"step": self.step, "shift": self.shift, "losses": self.losses, "rng": rng}
        return {**progress, "corpus": self.corpus.digest, "settings": settings_of(self.options)}

    def load(self, path: Path) -> None:
        """Continue where the file's run was, with however many processes there are now.

        Raises:
            CheckpointError: the file is damaged, or belongs to another model, other settings or another text.
        """
        arrays, facts = checkpoint.load(path)
        expected = {"corpus": self.corpus.digest, "settings": settings_of(self.options)}
        for what, value in expected.items():
            if facts.get(what) != value:
                raise CheckpointError(f"{path} was made with another {what}: {facts.get(what)}, here {value}.")
        self.state = {
            name.removeprefix("state."): self._own(torch.from_numpy(arrays.pop(name)), 0)
            for name in list(arrays)
            if name.startswith("state.")
        } or None
        self._remember_nothing_yet()
        tensors = self._tensors()
        checkpoint.restore(arrays_of(tensors), arrays)
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(arrays[name]))
        self.step, self.shift, self.losses = facts["step"], facts["shift"], facts["losses"]
        self.rng.bit_generator.state = facts["rng"]

    def _remember_nothing_yet(self) -> None:
        """Make the optimiser's tensors, by a step of rate 0 along gradients of 0."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.optimizer.step()


def arrays_of(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the result, beside the text."""
    return {name: getattr(options, name) for name in DECIDING}


def on_gpus() -> bool:
    return torch.cuda.is_available()


def train(options: argparse.Namespace, corpus: Corpus) -> list[float]:
    """Run this process's part; return the losses of all steps."""
    trainer = Trainer(options, corpus)
    if options.resume:
        trainer.load(options.checkpoint)
    while trainer.step < options.steps:
        loss = trainer.advance()
        last = trainer.step == options.steps
        if trainer.step % options.every == 0 or last:
            trainer.save(options.checkpoint)
            if trainer.rank == 0:
                print(f"step {trainer.step:5}  {loss:.4f} bits per byte", flush=True)
    return trainer.losses


# --- the group of processes


def ended(number: int, _: Any) -> None:
    """torchrun ends those that are left, often before they see that one is gone: once, and they say the same."""
    signal.signal(number, signal.SIG_IGN)
    raise RuntimeError("torchrun ended this one, because another had ended")


@contextmanager
def group() -> Iterator[None]:
    """The processes that torchrun has started, or this one alone."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    signal.signal(signal.SIGTERM, ended)
    dist.init_process_group("nccl" if on_gpus() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torchrun -m examples.train_ddp", description=__doc__.split("\n")[0])
    parser.add_argument("--cell", default="lstm")
    for name, default in {"hidden": 256, "layers": 1, "width": 64, "window": 32}.items():
        parser.add_argument(f"--{name}", type=whole, default=default)
    for name, default in {"warmup": 50, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=count, default=default)
    parser.add_argument("--rows", type=whole, default=32, help="of all processes together (32)")
    parser.add_argument("--steps", type=whole, default=200, help="to train in all (200)")
    parser.add_argument("--horizon", type=whole, default=1000, help="steps until the rate has fallen (1000)")
    parser.add_argument("--rate", type=positive, default=8e-3)
    parser.add_argument("--clip", type=positive, default=1.0)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--every", type=whole, default=50, help="steps between checkpoints (50)")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/ddp.checkpoint"))
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    options = parser.parse_args(arguments)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if options.rows % processes:
        parser.error(f"--rows {options.rows} must be a multiple of the number of processes, {processes}")
    return options


def main() -> int:
    options = parsed()
    try:
        with group():
            train(options, python_source())
    except LstmNumbaError as error:
        print(f"examples.train_ddp: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:  # what a collective raises when the other side is gone
        if "WORLD_SIZE" not in os.environ:
            raise
        print(
            f"examples.train_ddp: the processes lost each other: {str(error).splitlines()[0]}\n"
            f"    {options.checkpoint} is whole; start them again with --resume.",
            file=sys.stderr,
        )
        return 1
    return 0


def leave(code: int) -> None:
    """End this process without taking the interpreter down.

    The threads of gloo outlive their group where a model of DistributedDataParallel was, and one that asks for the
    interpreter while it goes down aborts the process: 2 of 22 runs with torch 2.13.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
