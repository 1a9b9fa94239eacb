"""onnxruntime's RNN, LSTM and GRU: inference in float32."""

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Data
from tests.oracles.onnx_models import CELLS, Session


def build(data: Data) -> Candidate | None:
    """A session with our weights."""
    case = data.case
    if case.cell not in CELLS or case.mode != "infer" or case.dtype != "float32":
        return None
    session = Session(case.cell, data.layer.parameters, threads=case.threads)
    return Candidate("onnxruntime", lambda: session.forward(data.x, data.state), lambda result: {"output": result[0]})
