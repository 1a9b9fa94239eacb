"""The size of the source, held to a budget: files stay readable, functions stay short.   python scripts/sizes.py

A function is counted from `def` to its last line, without its docstring and the functions inside it.
"""

import ast
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("derive", "lstm_numba", "scripts", "examples", "tests")
FILE_LIMIT, MEDIAN_LIMIT, P90_LIMIT = 400, 8, 30
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Budget:
    """What one folder has spent."""

    folder: str
    files: dict[str, int]
    functions: dict[str, int]

    @property
    def median(self) -> float:
        return statistics.median(self.functions.values()) if self.functions else 0

    @property
    def p90(self) -> float:
        spent = sorted(self.functions.values())
        return spent[int(0.9 * (len(spent) - 1))] if spent else 0

    @property
    def overspent(self) -> list[str]:
        """One sentence for each limit that does not hold."""
        long_files = [(path, lines) for path, lines in self.files.items() if lines > FILE_LIMIT]
        too_long = [f"{path} has {lines} lines, limit {FILE_LIMIT}" for path, lines in long_files]
        if self.median > MEDIAN_LIMIT:
            too_long.append(f"{self.folder}: median function has {self.median} lines, limit {MEDIAN_LIMIT}")
        if self.p90 > P90_LIMIT:
            longest = ", ".join(sorted(self.functions, key=self.functions.__getitem__)[-5:])
            too_long.append(f"{self.folder}: functions' p90 is {self.p90} lines, limit {P90_LIMIT}; longest: {longest}")
        return too_long


def sources(folder: str) -> list[Path]:
    """Hand-written files of a folder, in order."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "generated" not in path.parts)


def own_lines(function: Function) -> int:
    """Lines of a function without its docstring and without nested functions."""
    last = function.end_lineno or function.lineno
    docstring = function.body[0] if ast.get_docstring(function) else None
    nested = [node for node in ast.walk(function) if isinstance(node, Function) and node is not function]
    spared = [node for node in (docstring, *nested) if node]
    spared_lines = {line for node in spared for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    return 1 + last - function.lineno - len(spared_lines)


def measure(folder: str) -> Budget:
    """Read one folder."""
    files: dict[str, int] = {}
    functions: dict[str, int] = {}
    for path in sources(folder):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        files[name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                functions[f"{name}:{node.lineno} {node.name}"] = own_lines(node)
    return Budget(folder, files, functions)


def main() -> int:
    """Print the table and what is over budget."""
    budgets = [measure(folder) for folder in FOLDERS if (ROOT / folder).is_dir()]
    print("folder       files  lines functions median  p90")
    for b in budgets:
        lines, functions = sum(b.files.values()), len(b.functions)
        print(f"{b.folder:12} {len(b.files):5} {lines:6} {functions:9} {b.median:6.0f} {b.p90:4.0f}")
    overspent = [sentence for budget in budgets for sentence in budget.overspent]
    print(*overspent, sep="\n")
    return bool(overspent)


if __name__ == "__main__":
    sys.exit(main())
