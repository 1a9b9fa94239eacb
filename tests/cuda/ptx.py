"""PTX as it is compiled, run by NumPy: the threads of a block side by side, blocks in turn.

What an instruction does is written after the PTX manual.  What a device would not forgive is an error here: an address
outside of every array or not aligned, a barrier or an instruction of tensor cores that not all lanes of a warp come to,
blocks that wait for ever, and (`tests.cuda.races`) two threads at one place with nothing between them.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tests.cuda.arithmetic import ALU, NUMPY, SETP, WARP, converted, fused_down, multiplied
from tests.cuda.races import Blocks, RaceError, Shadow

REGISTERS = {"p": "pred", "rs": "u16", "r": "u32", "rd": "u64", "f": "f32", "fd": "f64", "temp": "u32"}


# --- Text


@dataclass(frozen=True)
class Line:
    """One instruction: @guard opcode operands; a group in braces is a tuple."""

    guard: str
    negated: bool
    opcode: tuple[str, ...]
    operands: tuple


@dataclass(frozen=True)
class Program:
    lines: tuple[Line, ...]
    labels: dict[str, int]
    parameters: tuple[str, ...]


INSTRUCTION = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*);$")


@lru_cache(maxsize=8)
def parsed(ptx):
    """The first kernel of a text."""
    head, body = ptx[ptx.index(".entry") :].split("{", 1)
    lines, labels = [], {}
    for text in map(str.strip, body.splitlines()):
        if text.endswith(":"):
            labels[text[:-1]] = len(lines)
        elif found := INSTRUCTION.match(text):
            negated, guard, opcode, operands = found.groups()
            groups = tuple(_operand(part) for part in re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s]+", operands))
            lines.append(Line(guard or "", bool(negated), tuple(opcode.split(".")), groups))
    return Program(tuple(lines), labels, tuple(re.findall(r"\.param \.\w+ (\w+)", head)))


def _operand(text):
    return tuple(part.strip() for part in text[1:-1].split(",")) if text.startswith("{") else text


# --- Memory


class Memory:
    """Arrays at addresses of 256, with nothing between them, and who has been where."""

    def __init__(self, size, blocks):
        self.bytes, self.valid = np.full(size, 0xFF, np.uint8), np.zeros(size, bool)
        self.shadow = Shadow(size, blocks)

    def _index(self, addresses, kind):
        size = np.dtype(kind).itemsize
        if (addresses % size).any():
            raise RaceError(f"an address of {size} bytes is not aligned")
        if (addresses + size > len(self.bytes)).any() or not self.valid[addresses].all():
            raise RaceError("an address outside of every array")
        return addresses // size

    def load(self, addresses, kind):
        return self.bytes.view(kind)[self._index(addresses, kind)]

    def store(self, addresses, values, kind):
        self.bytes.view(kind)[self._index(addresses, kind)] = values


class Device:
    """Global memory: NumPy arrays are copied in, and back when the kernel has ended."""

    def __init__(self, arrays, blocks):
        arrays = [array for array in arrays if array.nbytes]
        spans = sorted(((a.ctypes.data, a.ctypes.data + a.nbytes, a) for a in arrays), key=lambda span: span[:2])
        self.regions = []  # (first host address, one after the last, address here)
        end = 256
        for low, high, _ in spans:
            if self.regions and low < self.regions[-1][1]:
                first, last, at = self.regions.pop()
                self.regions.append((first, max(last, high), at))
                end = at + max(last, high) - first
            else:
                at = -(-end // 256) * 256 + 256
                self.regions.append((low, high, at))
                end = at + high - low
        self.memory = Memory(-(-end // 256) * 256 + 512, blocks)
        self.arrays = [a for _, _, a in spans]
        for array in self.arrays:
            at = self.address(array)
            self.memory.bytes[at : at + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
            self.memory.valid[at : at + array.nbytes] = True

    def address(self, array):
        if not array.nbytes:
            return 0
        here = array.ctypes.data
        return next(at + here - low for low, high, at in self.regions if low <= here < high)

    def give_back(self):
        for array in self.arrays:
            at = self.address(array)
            array[...] = self.memory.bytes[at : at + array.nbytes].view(array.dtype).reshape(array.shape)


# --- One block


class Block:
    """All threads of one block; `run` yields where another block may go on."""

    def __init__(self, program, number, grid, threads, shared, device, values, blocks):
        self.program, self.threads, self.memory, self.blocks, self.number = (
            program, threads, device.memory, blocks, number,
        )  # fmt: skip
        self.values, self.file = dict(zip(program.parameters, values, strict=True)), {}
        self.shared = Memory(max(16, -(-shared // 16) * 16), blocks.count)
        self.shared.valid[:shared] = True
        self.at, self.alive = np.zeros(threads, np.int64), np.ones(threads, bool)
        self.waits, self.joins = np.zeros(threads, bool), np.zeros(threads, bool)  # for the block, for the warp
        lanes = np.arange(threads, dtype=np.uint32)
        self.special = {"%tid.x": lanes, "%ctaid.x": np.uint32(number), "%ntid.x": np.uint32(threads)}
        self.special |= {"%nctaid.x": np.uint32(grid), "%dynamic_smem_size": np.uint32(shared)}

    # registers and operands

    def register(self, name):
        if name not in self.file:
            letters = re.match(r"%([a-z]+)", name).group(1)
            self.file[name] = np.zeros(self.threads, NUMPY[REGISTERS[letters]])
        return self.file[name]

    def read(self, text, kind):
        if text.startswith(("0f", "0d")):
            bits = int(f"0x{text[2:]}", 0)
            return np.uint32(bits).view(np.float32) if text[1] == "f" else np.uint64(bits).view(np.float64)
        if text in self.special:
            return np.asarray(self.special[text]).astype(kind)
        if text.startswith("%"):
            found = self.register(text)
            return found if found.dtype == kind else found.view(kind)
        if text.startswith("_cudapy_smem"):
            return kind(0)
        number = int(text, 0)
        return np.array(number & (1 << 8 * np.dtype(kind).itemsize) - 1, f"u{np.dtype(kind).itemsize}").view(kind)[()]

    def write(self, name, value, mask):
        target = self.register(name)
        value = np.broadcast_to(value, self.threads)
        if value.dtype != target.dtype:
            if value.dtype.itemsize != target.dtype.itemsize:
                raise TypeError(f"{name} = {value.dtype}")
            value = np.ascontiguousarray(value).view(target.dtype)
        np.copyto(target, value, where=mask)

    def addresses(self, text, mask):
        base, _, offset = text.strip("[]").partition("+")
        found = np.broadcast_to(self.read(base, np.uint64), self.threads)[mask].astype(np.int64)
        return found + int(offset or 0)

    # time

    def run(self, quantum):
        while self.alive.any():
            for _ in range(quantum()):
                ready = self.alive & ~self.waits & ~self.joins
                if not ready.any():
                    break
                now = self.at[ready].min()
                self.step(int(now), ready & (self.at == now))
            if (self.waits == self.alive).all() and self.alive.any():
                self.waits[:] = False
                self.blocks.passed(self.number)
            yield

    def step(self, now, mask):
        line = self.program.lines[now]
        self.at[mask] = now + 1
        if line.guard:
            mask = mask & (self.register(line.guard) ^ line.negated)
            if not mask.any():
                return
        getattr(self, f"do_{line.opcode[0]}", self.compute)(line, mask)

    def together(self, mask, what):
        warps = (mask | ~self.alive).reshape(-1, WARP)
        if not (warps.all(1) | ~mask.reshape(-1, WARP).any(1)).all():
            raise RaceError(f"lanes of one warp come to {what} apart")

    # instructions

    def compute(self, line, mask):
        opcode, (target, *sources) = line.opcode, line.operands
        kind = NUMPY[opcode[-1]]
        function = fused_down if opcode[:2] == ("fma", "rm") else ALU[opcode[0]]
        values = [self.read(s, np.uint32 if opcode[0] in ("shl", "shr") and n else kind) for n, s in enumerate(sources)]
        with np.errstate(all="ignore"):
            self.write(target, function(*map(np.asarray, values)), mask)

    def do_mov(self, line, mask):
        target, source = line.operands
        whole, half = (np.uint64, np.uint32) if line.opcode[1] == "b64" else (np.uint32, np.uint16)
        if isinstance(target, tuple):
            words = np.ascontiguousarray(self.read(source, whole)).view(half).reshape(-1, 2)
            for n, name in enumerate(target):
                self.write(name, words[:, n], mask)
        elif isinstance(source, tuple):
            low, high = (np.broadcast_to(self.read(part, half), self.threads) for part in source)
            self.write(target, np.stack([low, high], axis=1).view(whole)[:, 0], mask)
        else:
            self.compute(line, mask)

    def do_selp(self, line, mask):
        target, one, other, condition = line.operands
        kind = NUMPY[line.opcode[-1]]
        self.write(target, np.where(self.register(condition), self.read(one, kind), self.read(other, kind)), mask)

    def do_setp(self, line, mask):
        target, a, b = line.operands
        kind = NUMPY[line.opcode[-1]]
        with np.errstate(all="ignore"):
            self.write(target, SETP[line.opcode[1]](self.read(a, kind), self.read(b, kind)), mask)

    def do_mul(self, line, mask):
        if line.opcode[1] != "wide":
            return self.compute(line, mask)
        target, a, b = line.operands
        narrow = NUMPY[line.opcode[-1]]
        wide = np.int64 if narrow == np.int32 else np.uint64
        return self.write(target, self.read(a, narrow).astype(wide) * self.read(b, narrow).astype(wide), mask)

    def do_cvt(self, line, mask):
        target, source = line.operands
        if line.opcode[-1] == "f16":
            value = self.read(source, np.uint16).view(np.float16)
        else:
            kind = NUMPY[line.opcode[-1]]
            held = self.read(source, self.register(source).dtype.type if source.startswith("%") else kind)
            value = np.asarray(held).astype(f"u{np.dtype(kind).itemsize}") if held.dtype.kind == "u" else held
            value = value.view(kind)
        with np.errstate(all="ignore"):
            self.write(target, converted(line.opcode, value), mask)

    def do_cvta(self, line, mask):
        target, source = line.operands
        self.write(target, self.read(source, np.uint64), mask)

    def do_bra(self, line, mask):
        self.at[mask] = self.program.labels[line.operands[0]]

    def do_ret(self, line, mask):
        self.alive &= ~mask

    def do_bar(self, line, mask):
        if line.opcode[1] == "warp":  # to which lanes may come one after the other
            self.joins |= mask
            self.joins &= ~np.repeat((self.joins | ~self.alive).reshape(-1, WARP).all(1), WARP)
            return
        self.together(mask, "a barrier")
        self.waits |= mask

    def do_ld(self, line, mask):
        space, kind, (target, source) = line.opcode[1], NUMPY[line.opcode[-1]], line.operands
        if space == "param":
            value = self.values[source.strip("[]")]
            return self.write(target, np.array(value).astype(kind), mask)
        found = self.addresses(source, mask)
        memory = self.shared if space == "shared" else self.memory
        size = np.dtype(kind).itemsize * (len(target) if isinstance(target, tuple) else 1)
        if space != "relaxed":  # whose reader looks whether the number has come
            memory.shadow.reads(self.blocks, self.number, np.flatnonzero(mask), found, size)
        if isinstance(target, tuple):
            return self.loaded_at_once(target, memory.load(found, np.dtype((np.void, size))).view(kind), mask)
        value = np.zeros(self.threads, kind)
        value[mask] = memory.load(found, kind)
        held = self.register(target).dtype  # a wider register is filled up with 0
        return self.write(target, value.astype(held) if held.itemsize > value.itemsize else value, mask)

    def loaded_at_once(self, targets, numbers, mask):
        """Neighbouring numbers, of each lane one after the other."""
        for name, found in zip(targets, numbers.reshape(-1, len(targets)).T, strict=True):
            value = np.zeros(self.threads, found.dtype)
            value[mask] = found
            self.write(name, value, mask)

    def do_shfl(self, line, mask):
        assert line.opcode == ("shfl", "sync", "bfly", "b32")
        assert line.operands[3:] == ("31", "-1")
        self.together(mask, "an exchange of numbers")
        target, value, bits = line.operands[:3]
        other = np.arange(self.threads) ^ np.broadcast_to(self.read(bits, np.uint32), self.threads).astype(np.int64)
        self.write(target, np.broadcast_to(self.read(value, np.uint32), self.threads)[other % self.threads], mask)

    def do_st(self, line, mask):
        kind, (target, source) = NUMPY[line.opcode[-1]], line.operands
        memory, found = self.shared if line.opcode[1] == "shared" else self.memory, self.addresses(target, mask)
        names = source if isinstance(source, tuple) else (source,)
        values = np.stack([np.broadcast_to(self.read(name, kind), self.threads)[mask] for name in names], axis=1)
        size = values.itemsize * len(names)
        memory.shadow.writes(self.blocks, self.number, np.flatnonzero(mask), found, size)
        memory.store(
            found, np.ascontiguousarray(values).view(np.dtype((np.void, size)))[:, 0], np.dtype((np.void, size))
        )

    def do_red(self, line, mask):
        assert line.opcode[:5] == ("red", "relaxed", "gpu", "global", "add")
        kind, lanes = NUMPY[line.opcode[-1]], np.flatnonzero(mask)
        found, value = self.addresses(line.operands[0], mask), self.read(line.operands[1], kind)
        self.memory.shadow.writes(self.blocks, self.number, lanes, found, np.dtype(kind).itemsize)
        sums = self.memory.load(found, kind) + np.broadcast_to(value, self.threads)[mask]
        self.memory.store(found, sums, kind)

    def do_mma(self, line, mask):
        self.together(mask, "an instruction of tensor cores")
        target, *sources = line.operands
        a, b = ([self.read(name, np.uint32) for name in group] for group in sources[:2])
        c = [self.read(name, np.float32) for name in sources[2]]
        found = np.zeros((4, self.threads), np.float32)
        for warp in np.flatnonzero(mask.reshape(-1, WARP).any(1)):
            lanes = slice(warp * WARP, (warp + 1) * WARP)
            found[:, lanes] = multiplied(line.opcode[7], *([r[lanes] for r in group] for group in (a, b, c)))
        for name, value in zip(target, found, strict=True):
            self.write(name, value, mask)


# --- A launch


def launch(ptx, grid, threads, shared, values, seed=0, turns=10**6):
    """Run a kernel; arrays among the values are changed in place.

    Args:
        turns: of the blocks together, after which they are said to wait for ever.
    """
    program, blocks, random = parsed(ptx), Blocks(grid), np.random.default_rng(seed)
    arrays = {id(v): v for v in values if isinstance(v, np.ndarray)}
    device = Device(list(arrays.values()), grid)
    given = [device.address(v) if isinstance(v, np.ndarray) else v for v in values]
    running = [
        Block(program, k, grid, threads, shared, device, given, blocks).run(lambda: int(random.integers(1, 400)))
        for k in range(grid)
    ]
    for _ in range(turns):
        if not running:
            device.give_back()
            return
        block = running[int(random.integers(len(running)))]
        if next(block, "ended") == "ended":
            running.remove(block)
    raise RaceError("blocks wait for ever")
