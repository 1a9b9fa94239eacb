"""Cells with other activations, and with clipped sums.

Truth: the functions as ONNX defines them, in NumPy, and the ladder of `derive verify`.
"""

import numpy as np
import pytest

import derive
from derive import verify
from derive.activated import ACTIVATIONS, activated
from derive.errors import OptionError

LSTM = derive.cells["lstm"]
U = np.array([-40, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 40])
# Source: the operators of ONNX, opset 22; Affine and ScaledTanh of opset 1; silu, mish and hard_tanh as in torch.
FORMULAS = {
    "sigmoid": 1 / (1 + np.exp(-U)),
    "tanh": np.tanh(U),
    "relu": np.maximum(U, 0),
    "softplus": np.log1p(np.exp(U)),
    "softsign": U / (1 + np.abs(U)),
    "linear": U,
    "affine(0.3, -2)": 0.3 * U - 2,
    "scaled_tanh(1.7159, 2/3)": 1.7159 * np.tanh(U * 2 / 3),
    "hard_sigmoid": np.clip(0.2 * U + 0.5, 0, 1),
    "hard_sigmoid(0.25, beta=0.1)": np.clip(0.25 * U + 0.1, 0, 1),
    "leaky_relu": np.where(U < 0, 0.01 * U, U),
    "thresholded_relu(alpha=0.7)": np.where(U > 0.7, U, 0),
    "elu": np.where(U < 0, np.exp(np.minimum(U, 0)) - 1, U),
    "silu": U / (1 + np.exp(-U)),
    "mish": U * np.tanh(np.log1p(np.exp(U))),
    "hard_tanh": np.clip(U, -1, 1),
    "clip(-2, high=0.5)": np.clip(U, -2, 0.5),
    "elu(2.5e-1)": np.where(U < 0, 0.25 * (np.exp(np.minimum(U, 0)) - 1), U),
}


def outputs(activations, clip=None):
    """What each activation makes of the sum 1 x, x from U: one cell with a state for each."""
    names = [f"y_{k}" for k in range(len(activations))]
    lines = [f"states: {' '.join(names)}", "parameters: W[H,N]", *(f"{name} = tanh(W @ x)" for name in names)]
    cell = activated(derive.parse("\n".join(lines), "summing"), dict(zip(names, activations, strict=True)), clip)
    layer = derive.build(cell)(1, 1, dtype="float64")
    layer.parameters["W"] = np.ones((1, 1))
    state = layer.forward(U[None, :, None]).state
    return [state[name][:, 0] for name in names]


def test_an_activation_is_what_onnx_says():
    assert {text.partition("(")[0] for text in FORMULAS} == ACTIVATIONS.keys()
    found = dict(zip(FORMULAS, outputs(FORMULAS), strict=True))
    assert [a for a, y in FORMULAS.items() if not np.allclose(found[a], y, rtol=1e-13, atol=1e-15)] == []


def test_a_sum_is_clipped_before_it_is_activated():
    assert np.array_equal(outputs(["affine(2, 0)"], clip=0.5)[0], 2 * np.clip(U, -0.5, 0.5))


def test_only_what_is_named_changes_and_only_sums_are_clipped():
    cell = activated(LSTM, {"o": "softsign", "h": "relu"}, clip=2)
    assert cell.chosen == {"activations": {"o": "softsign", "h": "relu"}, "clip": 2.0}
    texts = {e.lhs.name: str(e.rhs) for e in cell.equations}
    assert texts["i"] == "sigmoid(a_i)"
    assert texts["a_i"].startswith("maximum(-2, minimum(2, ")
    assert texts["h"] == "o*relu(c)"
    assert {e.lhs: e.rhs for e in activated(LSTM, {"o": "softsign"}).equations}.items() >= {
        e.lhs: e.rhs for e in LSTM.equations if e.lhs.name != "o"
    }.items()


def test_numbers_are_spelled_in_one_way():
    chosen = activated(LSTM, {"g": "elu(2)", "h": "scaled_tanh(15e-1, beta=2/3)", "i": "affine( 1/2,-3 )"}).chosen
    assert chosen["activations"] == {
        "g": "elu(alpha=2.0)",
        "h": "scaled_tanh(alpha=1.5, beta=2/3)",
        "i": "affine(alpha=0.5, beta=-3.0)",
    }


def test_a_name_that_the_cell_has_is_left_alone():
    cell = derive.parse("states: h\nparameters: W[H,N] a_h\nh = tanh(W @ x + a_h * h_prev)", "taken")
    assert "a_h_" in activated(cell, {"h": "elu"}).values


def test_an_option_of_the_cell_stays_chosen():
    cell = activated(derive.cells["peephole"].variant(peepholes="io"), clip=1)
    assert cell.chosen == {"peepholes": "io", "clip": 1.0}
    assert cell.variant(**cell.chosen) is cell


@pytest.mark.parametrize(
    ("activations", "clip", "words"),
    [
        (["elu"], None, "activations must be a dict"),
        ({"q": "elu"}, None, "no equation of 'q' applies one activation; these do: i, f, g, o, h"),
        ({"c": "elu"}, None, "no equation of 'c'"),
        ({"i": "elo"}, None, "'elo', which is not one. Did you mean elu"),
        ({"i": 3}, None, 'the activation of i is 3, expected a name such as "softsign"'),
        ({"i": "elu(1, 2)"}, None, "elu takes alpha, each a number and once; got '2'"),
        ({"i": "elu(1, alpha=2)"}, None, "got 'alpha=2'"),
        ({"i": "elu(nan)"}, None, "got 'nan'"),
        ({"i": "softsign(1)"}, None, "softsign takes no parameters"),
        ({"i": "affine(2)"}, None, r"affine, needs beta: write affine\(beta=...\)"),
        ({"i": "thresholded_relu"}, None, "needs alpha"),
        (None, 0, "clip must be a number above 0, got 0"),
        (None, float("inf"), "got inf"),
        (None, True, "got True"),
    ],
)
def test_what_cannot_be_is_refused(activations, clip, words):
    with pytest.raises(OptionError, match=words):
        activated(LSTM, activations, clip)


def test_a_cell_without_a_sum_to_clip_says_so():
    cell = derive.parse("states: h\nparameters: W[H,N]\nh = W @ x + tanh(h_prev)", "no_sum")
    with pytest.raises(OptionError, match="none to clip"):
        activated(cell, clip=1)


@pytest.mark.slow
def test_it_climbs_the_ladder():
    report = verify.run([activated(derive.cells["rnn"], {"h": "elu"}, clip=1.5)], quick=True)
    assert report.ok, report.text()
