"""Runs rounds of failovers and prints a table. As root:

    .venv/bin/python tests/failover/run.py --durability replicated,local --rounds 5
    .venv/bin/python tests/failover/run.py --topology sentinel-2 --fault planned --rounds 20
    .venv/bin/python tests/failover/run.py --topology cluster --fault kill --seed 17 --rounds 1

The binary is that of IMQUOTA_BIN, or the last build. Every round is written to a file as a line of
JSON, with the seed that repeats it. The exit code is 1 if a round of another durability than
`local` has a violation, if a round without allowed refusals has some, or if a round could not be
finished.
"""

import argparse
import json
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "e2e/helpers"))

from deployments import TOPOLOGIES  # noqa: E402
from faults import FAULTS  # noqa: E402
from network import require_namespaces  # noqa: E402
from rounds import Round, run_round  # noqa: E402

ATTEMPTS_PER_ROUND_MAX = 3
REFUSED_GOAL_S = 2.0
"""More seconds of refusals beyond the failover itself are marked with `!`."""
COLUMNS = ("topology", "fault", "durability", "rounds+discarded", "errors", "lost", "over",
           "two masters", "disagree", "acked", "acked/s min", "promoted s", "refused s max", "p50",
           "since fault max", "healing max", "refused calls")


class Deployed:
    """One deployment for consecutive rounds, replaced after a failure."""

    def __init__(self, topology: str, durability: str, extra: list[str]):
        self._make = lambda: TOPOLOGIES[topology](durability, extra)
        self._topology, self._durability = topology, durability
        self._running = None

    def __enter__(self) -> "Deployed":
        return self

    def __exit__(self, *_) -> None:
        if self._running:
            running, self._running = self._running, None
            running.__exit__()

    def round(self, fault: str, seed: int, pace_s: float, lasts_s: float | None = None) -> Round:
        """Runs one round; one that cannot be finished is discarded with the deployment."""
        cell = (self._topology, fault, self._durability)
        if self._running is None:
            self._running = self._make().__enter__()
        try:
            return run_round(self._running, cell, seed, pace_s, lasts_s)
        except Exception as error:  # noqa: BLE001
            logs = "".join(f"\n--- {each.name}\n{each.tail()}" for each in self._running.sidecars)
            digest = self._running.binary
            self.__exit__()
            return Round(*cell, seed, digest, discarded="not finished", error=f"{error!r}{logs}")


def run_cell(deployed: Deployed, fault: str, rounds: int, seed: int, pace_s: float,
             lasts_s: float | None = None, note=lambda result: None) -> list[Round]:
    """Runs rounds until enough of them count, or too many do not; returns all rounds."""
    results: list[Round] = []
    for attempt in range(rounds * ATTEMPTS_PER_ROUND_MAX):
        if len(counted(results)) == rounds:
            break
        results.append(deployed.round(fault, seed + attempt, pace_s, lasts_s))
        note(results[-1])
    return results


def counted(results: list[Round]) -> list[Round]:
    """The rounds that count."""
    return [each for each in results if not each.discarded]


def row(cell: tuple[str, str, str], results: list[Round]) -> list[str]:
    """The line of a cell in the table: losses of all rounds, times of the rounds that count."""
    total = {name: sum(getattr(each, name) for each in results)
             for name in ("acknowledged", "lost", "over", "two_masters", "disagreements")}
    rounds = f"{len(counted(results))}+{len(results) - len(counted(results))}"
    wrong = [str(total[name]) for name in ("lost", "over", "two_masters", "disagreements")]
    errors = str(sum(bool(each.error) for each in results))
    start = [*cell, rounds, errors, *wrong, str(total["acknowledged"])]
    results = counted(results)
    if not results:
        return start
    beyond = _seconds(results, "beyond")
    promoted = [each.promoted_after_s for each in results if each.promoted_after_s]
    highest = max(beyond)
    return [
        *start, f"{min(each.rate_per_s for each in results):.0f}",
        f"{statistics.median(promoted):.1f}" if promoted else "-",
        f"{highest:.1f}{'!' * (highest > REFUSED_GOAL_S)}", f"{statistics.median(beyond):.1f}",
        f"{max(_seconds(results, 'all')):.1f}", f"{max(_seconds(results, 'healing')):.1f}",
        str(sum(sum(each.refusals.values()) for each in results)),
    ]


def _seconds(results: list[Round], what: str) -> list[float]:
    return [seconds for each in results for seconds in each.refused_s[what]]


def print_table(rows: list[list[str]]) -> None:
    """Prints rows below the column names."""
    lines = [list(COLUMNS), *(line + [""] * (len(COLUMNS) - len(line)) for line in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default=",".join(TOPOLOGIES), help="of %(default)s")
    parser.add_argument("--fault", default="all", help="faults of the topology, comma-separated")
    parser.add_argument("--durability", default="auto,replicated,local")
    parser.add_argument("--rounds", type=int, default=1, help="rounds per cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace-ms", type=float, default=60,
                        help="interval of each client's calls (%(default)s)")
    parser.add_argument("--lasts-s", type=float, help="duration of faults with a fixed time")
    parser.add_argument("--out", type=Path, default=Path("failover.jsonl"))
    parser.add_argument("serve", nargs="*", help="more arguments of `imquota serve`, after --")
    return parser.parse_args()


def main() -> int:
    """Runs the selected cells."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        require_namespaces()
    except RuntimeError as error:
        sys.exit(str(error))
    rows, failed, binaries = [], False, set()

    def note(result: Round) -> None:
        binaries.add(result.binary)
        with arguments.out.open("a") as out:
            out.write(json.dumps(result.as_dict()) + "\n")
        state = "clean" if result.is_clean else "NOT CLEAN"
        if result.discarded:
            state += f", does not count: {result.discarded}"
        if result.error:
            print(result.error)
        print(f"{time.strftime('%H:%M:%S')} {result.topology} {result.fault} {result.durability} "
              f"seed {result.seed}: {state}; {result.acknowledged} acknowledged, "
              f"{result.lost} lost, {result.took_s:.0f} s", flush=True)

    for topology in arguments.topology.split(","):
        wanted = arguments.fault.split(",")
        faults = [fault for fault in FAULTS[topology] if wanted == ["all"] or fault in wanted]
        for durability in arguments.durability.split(","):
            with Deployed(topology, durability, arguments.serve) as deployed:
                for fault in faults:
                    results = run_cell(deployed, fault, arguments.rounds, arguments.seed,
                                       arguments.pace_ms / 1000, arguments.lasts_s, note)
                    rows.append(row((topology, fault, durability), results))
                    failed |= len(counted(results)) < arguments.rounds
                    failed |= any(each.fails for each in results)
    print_table(rows)
    print(f"binary: SHA-256 {' and '.join(sorted(binaries))}")
    if len(binaries) > 1:
        print("the binary was replaced during the rounds: the table mixes several")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
