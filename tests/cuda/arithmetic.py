"""What PTX instructions compute, on one NumPy number for each thread, after the PTX manual."""

import numpy as np

from tests.cuda.races import RaceError

NUMPY = {
    "pred": np.bool_, "u8": np.uint8, "b8": np.uint8, "u16": np.uint16, "b16": np.uint16, "s16": np.int16,
    "u32": np.uint32, "b32": np.uint32, "s32": np.int32, "f32": np.float32, "u64": np.uint64, "b64": np.uint64,
    "s64": np.int64, "f64": np.float64,
}  # fmt: skip
WARP = 32


UNWRITTEN = 0xFFFFFFFF  # a word of shared memory that a block has never written: rows past the last one


def truncated(a, b):
    """Integer division towards 0, of signed numbers too."""
    found = np.abs(a.astype(object)) // np.abs(b.astype(object)) * np.sign(a).astype(object) * np.sign(b).astype(object)
    return found.astype(a.dtype)


def quotient(a, b):
    a, b = np.broadcast_arrays(a, b)
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    return truncated(a, safe) if a.dtype.kind == "i" else a // safe


def shifted_left(a, count):
    bits = 8 * a.dtype.itemsize
    return np.where(count >= bits, 0, a << np.minimum(count, bits - 1).astype(a.dtype)).astype(a.dtype)


def shifted_right(a, count):
    return a >> np.minimum(count, 8 * a.dtype.itemsize - 1).astype(a.dtype)


def inserted(a, b, first, count):
    """The lowest bits of a among those of b."""
    mask = (np.uint32(1) << count) - np.uint32(1) << first
    return b & ~mask | a << first & mask


def extracted(a, first, count):
    return a >> first & (np.uint32(1) << count) - np.uint32(1)


def fused(a, b, c):
    if a.dtype == np.float32:
        return (a.astype(np.float64) * b + c).astype(np.float32)
    return a * b + c


def fused_down(a, b, c):
    """Rounded towards minus infinity."""
    exact = a.astype(np.float64) * b + c
    near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


ALU = {
    "add": np.add, "sub": np.subtract, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "neg": np.negative, "abs": np.abs,
    "div": lambda a, b: a / b if a.dtype.kind == "f" else quotient(a, b),
    "rem": lambda a, b: a - quotient(a, b) * b, "mul": np.multiply, "shl": shifted_left, "shr": shifted_right,
    "fma": fused, "mad": lambda a, b, c: a * b + c, "rcp": np.reciprocal, "ex2": np.exp2, "lg2": np.log2,
    "bfi": inserted, "bfe": extracted, "sqrt": np.sqrt,
    "copysign": lambda sign, value: np.copysign(value, sign), "mov": lambda a: a,
}  # fmt: skip
SETP = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b), "equ": lambda a, b: ~((a < b) | (a > b)), "neu": np.not_equal,
    "nan": lambda a, b: np.isnan(a) | np.isnan(b), "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
}  # fmt: skip


def to_bfloat16(a):
    bits = a.view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(a), 0x7FFF, bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)


def to_tf32(a):
    """The nearest with 10 bits behind the point, ties away from 0."""
    bits = a.view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(a), 0x7FFFFFFF, bits + 0x1000 & 0xFFFFE000).astype(np.uint32)


def converted(opcode, value):
    """cvt.modifiers.to.from of a value that has the type `from`."""
    *modifiers, to, _ = opcode[1:]
    if to == "bf16":
        return to_bfloat16(value)
    if to == "tf32":
        return to_tf32(value)
    if to == "f16":
        return value.astype(np.float16).view(np.uint16)
    if "sat" in modifiers:
        value = np.clip(np.nan_to_num(value), 0, 1)
    if "rni" in modifiers:
        value = np.rint(value)
    if "rzi" in modifiers:
        value = np.trunc(value)
    return value.astype(NUMPY[to])


# --- Tensor cores: "Matrix Fragments" of the PTX manual, for mma.m16n8k16 of half types and mma.m16n8k8 of tf32


def half_places(lane):
    """(row, column) of each of a lane's eight elements of A, (row, column) of its four of B."""
    group, thread = divmod(lane, 4)
    a = [(group + (0 if i < 2 or 4 <= i < 6 else 8), thread * 2 + (i & 1) + (8 if i >= 4 else 0)) for i in range(8)]
    b = [(thread * 2 + (i & 1) + (8 if i >= 2 else 0), group) for i in range(4)]
    return a, b


def tf32_places(lane):
    group, thread = divmod(lane, 4)
    a = [(group + 8 * (i % 2), thread + 4 * (i // 2)) for i in range(4)]
    return a, [(thread + 4 * i, group) for i in range(2)]


def sum_places(lane):
    group, thread = divmod(lane, 4)
    return [(group + 8 * (i // 2), thread * 2 + i % 2) for i in range(4)]


def _numbers(kind, words):
    """(registers, lanes) of words -> (elements, lanes)."""
    words = np.stack(words)
    if kind == "tf32":
        if (words[words != UNWRITTEN] & 0x1FFF).any():
            raise RaceError("a factor was not rounded to tf32")
        return words.view(np.float32)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=1).reshape(-1, words.shape[1])
    if kind == "f16":
        return halves.astype(np.uint16).view(np.float16).astype(np.float32)
    return (halves << 16).astype(np.uint32).view(np.float32)


def multiplied(kind, a, b, c):
    """One warp's d = a b + c: lists of registers of 32 lanes."""
    depth, places = (8, tf32_places) if kind == "tf32" else (16, half_places)
    left, right, sums = np.zeros((16, depth)), np.zeros((depth, 8)), np.zeros((16, 8))
    a, b = _numbers(kind, a), _numbers(kind, b)
    for lane in range(WARP):
        of_a, of_b = places(lane)
        for i, place in enumerate(of_a):
            left[place] = a[i, lane]
        for i, place in enumerate(of_b):
            right[place] = b[i, lane]
        for i, place in enumerate(sum_places(lane)):
            sums[place] = c[i][lane]
    sums += left @ right
    return [np.array([sums[sum_places(lane)[i]] for lane in range(WARP)], np.float32) for i in range(4)]
