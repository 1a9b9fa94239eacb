"""The cells of Keras and Flax, typed from those libraries: one step of row vectors on their own arrays.

Truth of a second origin where the libraries are not installed; nothing here knows lstm_numba.

    step(weights, x (B, N), state) -> new state
"""

import numpy as np


def logistic(a):
    return 1 / (1 + np.exp(-a))


# --- Keras 3, keras/src/layers/rnn/{lstm,gru,simple_rnn}.py: weights as get_weights() lists them


def keras_lstm(weights, x, state):
    kernel, recurrent_kernel, bias = weights
    h, c = state
    i, f, candidate, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    c = logistic(f) * c + logistic(i) * np.tanh(candidate)
    return logistic(o) * np.tanh(c), c


def keras_gru_reset_after(weights, x, state):
    kernel, recurrent_kernel, (input_bias, recurrent_bias) = weights
    (h,) = state
    x_z, x_r, x_h = np.split(x @ kernel + input_bias, 3, axis=1)
    recurrent_z, recurrent_r, recurrent_h = np.split(h @ recurrent_kernel + recurrent_bias, 3, axis=1)
    z, r = logistic(x_z + recurrent_z), logistic(x_r + recurrent_r)
    return (z * h + (1 - z) * np.tanh(x_h + r * recurrent_h),)


def keras_gru(weights, x, state):
    kernel, recurrent_kernel, bias = weights
    (h,), units = state, len(recurrent_kernel)
    x_z, x_r, x_h = np.split(x @ kernel + bias, 3, axis=1)
    z = logistic(x_z + h @ recurrent_kernel[:, :units])
    r = logistic(x_r + h @ recurrent_kernel[:, units : 2 * units])
    return (z * h + (1 - z) * np.tanh(x_h + (r * h) @ recurrent_kernel[:, 2 * units :]),)


def keras_rnn(weights, x, state):
    kernel, recurrent_kernel, bias = weights
    return (np.tanh(x @ kernel + state[0] @ recurrent_kernel + bias),)


KERAS = {
    "lstm": keras_lstm,
    "gru_reset_after": keras_gru_reset_after,
    "gru": keras_gru,
    "rnn": keras_rnn,
}

# --- Flax, flax/linen/recurrent.py and flax/nnx/nn/recurrent.py: parameters as nested dicts


def dense(parameters, name, inputs):
    part = parameters[name]
    return inputs @ part["kernel"] + part.get("bias", 0)


def flax_lstm(p, x, state):
    h, c = state
    forget = "if" if "if" in p else "if_"
    i, g, o = (dense(p, f"i{gate}", x) + dense(p, f"h{gate}", h) for gate in "igo")
    f = dense(p, forget, x) + dense(p, "hf", h)
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


def flax_optimized_lstm(p, x, state):
    h, c = state
    i, f, g, o = np.split(dense(p, "dense_i", x) + dense(p, "dense_h", h), 4, axis=1)
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


def flax_gru(p, x, state):
    (h,) = state
    r, z = (logistic(dense(p, f"i{gate}", x) + dense(p, f"h{gate}", h)) for gate in "rz")
    n = np.tanh(dense(p, "in", x) + r * dense(p, "hn", h))
    return ((1 - z) * n + z * h,)


def flax_nnx_gru(p, x, state):
    (h,) = state
    x_r, x_z, x_n = np.split(dense(p, "dense_i", x), 3, axis=1)
    h_r, h_z, h_n = np.split(dense(p, "dense_h", h), 3, axis=1)
    r, z = logistic(x_r + h_r), logistic(x_z + h_z)
    return ((1 - z) * np.tanh(x_n + r * h_n) + z * h,)


def flax_simple(p, x, state):
    first, second = ("i", "h") if "i" in p else ("dense_i", "dense_h")
    return (np.tanh(dense(p, first, x) + dense(p, second, state[0])),)


FLAX = {
    "linen.LSTMCell": flax_lstm,
    "linen.GRUCell": flax_gru,
    "linen.SimpleCell": flax_simple,
    "nnx.LSTMCell": flax_lstm,
    "nnx.OptimizedLSTMCell": flax_optimized_lstm,
    "nnx.GRUCell": flax_nnx_gru,
    "nnx.SimpleCell": flax_simple,
}


def unroll(step, weights, x, state):
    """Outputs (T, B, H) and final states of a step over x (T, B, N)."""
    outputs = []
    for now in x:
        state = step(weights, now, state)
        outputs.append(state[0])
    return np.stack(outputs), state
