"""One row: build the candidates, check that they agree, time them interleaved."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scripts.benchmarks import check, timing
from scripts.benchmarks.candidate import Candidate, ours
from scripts.benchmarks.cases import Case, Data
from scripts.benchmarks.groups import Group, Rival

Peers = Mapping[str, Callable[[Data], Candidate | None]]


@dataclass(frozen=True)
class Row:
    """What was measured of one case."""

    case: Case
    flops: float
    times: dict[str, timing.Timing]  # "ours" first
    wrong: dict[str, str]  # candidate -> how its result differs from ours
    failed: dict[str, str] = field(default_factory=dict)  # candidate -> why it did not run

    @property
    def ratio(self) -> float:
        """The fastest rival's time over ours; nan where no rival is installed or one disagrees."""
        rivals = [time.median for name, time in self.times.items() if name != "ours"]
        return min(rivals) / self.times["ours"].median if rivals and not self.wrong else math.nan

    @property
    def rate(self) -> float:
        """Our GF/s."""
        return self.flops / self.times["ours"].median / 1e9


def rivals_of(data: Data, rivals: tuple[Rival, ...], peers: Peers) -> list[Candidate]:
    """Those that exist: a peer that is installed and has the cell, or our layer at another case."""
    built = [
        ours(Data(rival), rival.label) if isinstance(rival, Case) else peers[rival](data)
        for rival in rivals
        if isinstance(rival, Case) or rival in peers
    ]
    return [one for one in built if one]


def measure(case: Case, rivals: tuple[Rival, ...], peers: Peers, seconds: float) -> Row:
    """One row of a table: the answers first, then the times of those that gave one."""
    data = Data(case)
    mine, others = ours(data), rivals_of(data, rivals, peers)
    reference, wrong, failed = mine.values(mine.run()), {}, {}
    for one in others:
        try:
            answer = one.values(one.run())
        except Exception as error:  # noqa: BLE001  (another library's, of any kind: the other rows are still wanted)
            failed[one.name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        if one.name in peers and (complaint := check.complaint(reference, answer, case.dtype)):
            wrong[one.name] = complaint
    running = [one for one in others if one.name not in failed]
    return Row(case, data.flops, timing.interleave([mine, *running], seconds, case.threads), wrong, failed)


@dataclass(frozen=True)
class Result:
    """A group with its rows."""

    group: Group
    rows: list[Row]

    @property
    def ratios(self) -> list[float]:
        return [row.ratio for row in self.rows if not math.isnan(row.ratio)]

    @property
    def mean(self) -> float:
        """Geometric mean of the ratios."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios)) if self.ratios else math.nan

    @property
    def least(self) -> float:
        return min(self.ratios, default=math.nan)

    @property
    def is_met(self) -> bool:
        return self.mean >= self.group.mean and self.least >= self.group.least
