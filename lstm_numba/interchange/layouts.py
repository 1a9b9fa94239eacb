"""How other libraries lay out the parameters of a cell.  Data only; `stacking.py` reads it.

A foreign array is blocks side by side along its gates' axis, and a block is called after our parameter:

    b_i    the parameter
    +b_i   a second addend of it, in libraries with two biases: added to it on the way in, zeros on the way out
    -      numbers that the cell does not read: ignored on the way in, zeros on the way out

A vector of ours that no array of a layout holds is 0 on the way in, and has to be 0 on the way out.  Gates have our
letters: i f g o, where others call g c, j or z, and r z n, where others call n h or g.  All GRUs here keep their state
with z, as ours do.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Stacked:
    """One foreign array.

    Attributes:
        key: what the library calls it.
        blocks: in their order.
        transposed: matrices are kept as (in, out), y = x @ M; else as (out, in).
        rows: a vector is cut into so many rows.
    """

    key: str
    blocks: tuple[str, ...]
    transposed: bool
    rows: int = 1


@dataclass(frozen=True)
class Layout:
    """A library's own cell: what it is called, which of ours computes the same, and its arrays."""

    library: str
    cell: str
    arrays: tuple[Stacked, ...]


def _out_in(**arrays: str) -> tuple[Stacked, ...]:
    return tuple(Stacked(key, tuple(blocks.split()), transposed=False) for key, blocks in arrays.items())


def _in_out(arrays: Mapping[str, str], rows: int = 1) -> tuple[Stacked, ...]:
    return tuple(
        Stacked(key, tuple(blocks.split()), transposed=True, rows=rows if key == "bias" else 1)
        for key, blocks in arrays.items()
    )


# Source: torch/nn/modules/rnn.py of torch 2.  Keys go on with _l0, _l0_reverse, _l1 ...; found by the number of gates.
TORCH: Mapping[int, Layout] = {
    4: Layout(
        "torch.nn.LSTM",
        "lstm",
        _out_in(
            weight_ih="W_i W_f W_g W_o",
            weight_hh="U_i U_f U_g U_o",
            bias_ih="b_i b_f b_g b_o",
            bias_hh="+b_i +b_f +b_g +b_o",
        ),
    ),
    3: Layout(
        "torch.nn.GRU",
        "gru_reset_after",
        _out_in(
            weight_ih="W_r W_z W_n",
            weight_hh="U_r U_z U_n",
            bias_ih="b_r b_z b_n",
            bias_hh="+b_r +b_z b_hn",
        ),
    ),
    1: Layout("torch.nn.RNN", "rnn", _out_in(weight_ih="W", weight_hh="U", bias_ih="b", bias_hh="+b")),
}
# The same with proj_size, found by its weight_hr.
TORCH_PROJECTED = Layout(
    "torch.nn.LSTM with proj_size",
    "lstm_projected",
    (*TORCH[4].arrays, *_out_in(weight_hr="W_hr")),
)

# Source: keras/src/layers/rnn of Keras 3, in the order of get_weights(); found by our cell's name.
KERAS: Mapping[str, Layout] = {
    "lstm": Layout(
        "keras.layers.LSTM",
        "lstm",
        _in_out({"kernel": "W_i W_f W_g W_o", "recurrent_kernel": "U_i U_f U_g U_o", "bias": "b_i b_f b_g b_o"}),
    ),
    "gru_reset_after": Layout(
        "keras.layers.GRU(reset_after=True)",
        "gru_reset_after",
        _in_out(
            {"kernel": "W_z W_r W_n", "recurrent_kernel": "U_z U_r U_n", "bias": "b_z b_r b_n +b_z +b_r b_hn"}, rows=2
        ),
    ),
    "gru": Layout(
        "keras.layers.GRU(reset_after=False)",
        "gru",
        _in_out({"kernel": "W_z W_r W_n", "recurrent_kernel": "U_z U_r U_n", "bias": "b_z b_r b_n"}),
    ),
    "rnn": Layout("keras.layers.SimpleRNN", "rnn", _in_out({"kernel": "W", "recurrent_kernel": "U", "bias": "b"})),
}

# Source: the operators' schemas of ONNX, opset 7 and later; B is the input's biases, then the state's.
ONNX: Mapping[str, Layout] = {
    "lstm": Layout(
        "ONNX LSTM",
        "lstm",
        _out_in(W="W_i W_o W_f W_g", R="U_i U_o U_f U_g", B="b_i b_o b_f b_g +b_i +b_o +b_f +b_g"),
    ),
    "peephole": Layout(
        "ONNX LSTM",
        "peephole",
        _out_in(W="W_i W_o W_f W_g", R="U_i U_o U_f U_g", B="b_i b_o b_f b_g +b_i +b_o +b_f +b_g", P="p_i p_o p_f"),
    ),
    "coupled": Layout(
        "ONNX LSTM with input_forget=1",
        "coupled",
        _out_in(W="W_i W_o - W_g", R="U_i U_o - U_g", B="b_i b_o - b_g +b_i +b_o - +b_g"),
    ),
    "gru": Layout("ONNX GRU", "gru", _out_in(W="W_z W_r W_n", R="U_z U_r U_n", B="b_z b_r b_n +b_z +b_r +b_n")),
    "gru_reset_after": Layout(
        "ONNX GRU with linear_before_reset=1",
        "gru_reset_after",
        _out_in(W="W_z W_r W_n", R="U_z U_r U_n", B="b_z b_r b_n +b_z +b_r b_hn"),
    ),
    "rnn": Layout("ONNX RNN", "rnn", _out_in(W="W", R="U", B="b +b")),
}

# Source: flax/linen/recurrent.py and flax/nnx/nn/recurrent.py of Flax 0.12.  linen.OptimizedLSTMCell has the parameters
# of linen.LSTMCell; nnx.GRUCell has no b_hn.
_LSTM_EACH = {"ii": "W_i", "if": "W_f", "ig": "W_g", "io": "W_o", "hi": "U_i", "hf": "U_f", "hg": "U_g", "ho": "U_o"}
_LSTM_BIASES = {"hi.bias": "b_i", "hf.bias": "b_f", "hg.bias": "b_g", "ho.bias": "b_o"}
_GRU_EACH = {"ir": "W_r", "iz": "W_z", "in": "W_n", "hr": "U_r", "hz": "U_z", "hn": "U_n"}
_GRU_BIASES = {"ir.bias": "b_r", "iz.bias": "b_z", "in.bias": "b_n", "hn.bias": "b_hn"}


def _kernels(blocks: Mapping[str, str]) -> dict[str, str]:
    return {f"{key}.kernel": block for key, block in blocks.items()}


FLAX: Mapping[str, Layout] = {
    "linen.LSTMCell": Layout("flax.linen.LSTMCell", "lstm", _in_out(_kernels(_LSTM_EACH) | _LSTM_BIASES)),
    "linen.GRUCell": Layout("flax.linen.GRUCell", "gru_reset_after", _in_out(_kernels(_GRU_EACH) | _GRU_BIASES)),
    "linen.SimpleCell": Layout(
        "flax.linen.SimpleCell", "rnn", _in_out({"i.kernel": "W", "h.kernel": "U", "i.bias": "b"})
    ),
    "nnx.LSTMCell": Layout(
        "flax.nnx.LSTMCell",
        "lstm",
        _in_out(_kernels({{"if": "if_"}.get(key, key): block for key, block in _LSTM_EACH.items()}) | _LSTM_BIASES),
    ),
    "nnx.OptimizedLSTMCell": Layout(
        "flax.nnx.OptimizedLSTMCell",
        "lstm",
        _in_out(
            {
                "dense_i.kernel": "W_i W_f W_g W_o",
                "dense_h.kernel": "U_i U_f U_g U_o",
                "dense_h.bias": "b_i b_f b_g b_o",
            }
        ),
    ),
    "nnx.GRUCell": Layout(
        "flax.nnx.GRUCell",
        "gru_reset_after",
        _in_out({"dense_i.kernel": "W_r W_z W_n", "dense_h.kernel": "U_r U_z U_n", "dense_i.bias": "b_r b_z b_n"}),
    ),
    "nnx.SimpleCell": Layout(
        "flax.nnx.SimpleCell",
        "rnn",
        _in_out({"dense_i.kernel": "W", "dense_h.kernel": "U", "dense_i.bias": "b"}),
    ),
}
