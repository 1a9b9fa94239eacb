"""The model: byte -> embedding -> recurrent layers of any cell -> softmax over the next byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lstm_numba as ln
from lstm_numba.train import NATS_PER_BIT, Embedding, Readout, checkpoint, cross_entropy, log_probabilities

BYTES = 256
EVALUATION_ROWS, EVALUATION_WINDOW = 16, 512

State = Mapping[str, Any] | None


@dataclass(frozen=True)
class Pass:
    """One window forward and backward: mean loss in nats, the state after it, the gradient of every parameter."""

    loss: float
    state: State
    gradients: dict[str, NDArray]


class LanguageModel:
    """p(s_{t+1} | s_0 .. s_t) = softmax(W h_t + b),   h = layers(E[s])."""

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        layers: int,
        width: int,
        seed: int = 0,
        threads: int = 1,
        dtype: str = "float32",
    ) -> None:
        rng = np.random.default_rng(seed)
        self.embedding = Embedding.random(BYTES, width, rng, dtype)
        self.readout = Readout.random(BYTES, hidden_size, rng, dtype)
        self.recurrent = ln.Stack(cell, width, hidden_size, layers=layers, seed=seed, threads=threads, dtype=dtype)
        ends = self.readout.weights, self.readout.bias
        self.parameters = self._named(self.embedding.table, self.recurrent.parameters, *ends)

    @staticmethod
    def _named(table: NDArray, recurrent: Mapping[str, NDArray], weights: NDArray, bias: NDArray) -> dict[str, NDArray]:
        inner = {f"recurrent.{name}": recurrent[name] for name in sorted(recurrent)}
        return {"embedding.E": table, **inner, "readout.W": weights, "readout.b": bias}

    def forward_backward(self, inputs: NDArray[np.uint8], targets: NDArray[np.uint8], state: State) -> Pass:
        """Truncated backpropagation through one window (T, B); the state enters as a constant."""
        run = self.recurrent.forward(self.embedding.forward(inputs), state)
        loss, d_scores = cross_entropy(self.readout.forward(run.output), targets)
        d_hidden, d_weights, d_bias = self.readout.backward(run.output, d_scores)
        grads = run.backward(d_hidden)
        d_table = self.embedding.backward(inputs, grads.x)
        return Pass(loss, run.state, self._named(d_table, grads.parameters, d_weights, d_bias))

    def bits(self, data: NDArray[np.uint8]) -> float:
        """Bits per byte of a text; every byte is predicted once, from the bytes before it.

        The text is read in 16 pieces side by side. Each starts from the zero state, so the first bytes of a piece are
        predicted with less context than they have: this counts against the model.
        """
        inputs, targets = _pieces(np.concatenate([np.zeros(1, np.uint8), data[:-1]])), _pieces(data)
        logs, state = np.empty(targets.shape, np.float64), None
        for start in range(0, len(inputs), EVALUATION_WINDOW):
            window = slice(start, start + EVALUATION_WINDOW)
            scores, state = self.predict(inputs[window], state)
            logs[window] = log_probabilities(scores, targets[window])
        return -float(logs.T.ravel()[: len(data)].mean()) / NATS_PER_BIT

    def predict(self, inputs: NDArray[np.uint8], state: State) -> tuple[NDArray, State]:
        """Return the scores of the byte after each input (T, B, 256), and the state."""
        run = self.recurrent.forward(self.embedding.forward(inputs), state, save=False)
        return self.readout.forward(run.output), run.state

    def write(self, prompt: bytes, length: int, temperature: float = 0.6, seed: int = 0) -> bytes:
        """Continue a text by drawing each byte from softmax(scores / temperature)."""
        rng, text, state = np.random.default_rng(seed), bytearray(prompt), None
        unread = prompt
        for _ in range(length):
            scores, state = self.predict(np.frombuffer(unread, np.uint8)[:, None], state)
            unread = bytes([_draw(scores[-1, 0] / temperature, rng)])
            text += unread
        return bytes(text)


def saved_model(path: Path | str, threads: int = 1) -> LanguageModel:
    """Make the model whose weights a run has written."""
    weights, facts = checkpoint.load(path)
    shape = {key: facts["settings"][key] for key in ("cell", "hidden_size", "layers", "width", "seed")}
    model = LanguageModel(**shape, threads=threads)
    checkpoint.restore(model.parameters, weights)
    return model


def _pieces(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut into 16 pieces of one length, side by side: (T, 16); the last is filled up with zeros."""
    length = -(-len(data) // EVALUATION_ROWS)
    padded = np.pad(data, (0, length * EVALUATION_ROWS - len(data)))
    return np.ascontiguousarray(padded.reshape(EVALUATION_ROWS, length).T)


def _draw(scores: NDArray, rng: np.random.Generator) -> int:
    """Draw from softmax(scores): the largest of scores + Gumbel noise."""
    return int(np.argmax(scores + rng.gumbel(size=len(scores))))
