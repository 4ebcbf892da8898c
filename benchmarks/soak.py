"""`computewise serve` under 1,000 clients at once, with an upstream that fails and dawdles and clients who hang up.

    python benchmarks/soak.py [--seconds 60] [--clients 1000] [--out FILE]

The upstream takes 20 ms, answers 5 % of its requests by 500 and 5 % after 2 s. Each client asks for 1, 4 or 8 samples
or has its request passed through, streaming or not, and asks again when answered; every twentieth request is broken off
at a random moment. One line for each criterion, and exit status 1 where any fails:

- every request ends in a whole answer, or in a refusal in OpenAI's envelope (429 says when to come again, and the
  client waits so long), unless its client broke it off;
- afterwards nothing is in flight, as many tasks live as before, and the upstream has no request under way;
- resident memory, read each second, is flat over the second half of the load: a line through the means of six parts
  gains under 2 % (what an allocator takes on its way to rest; a longer soak tells less than that from a leak);
- the server's log holds no traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from clients import PASS, REQUESTS, Tally, client
from load import good, once, request, until
from proxies import Running, computewise, upstream

FAULTS = {"fail": 0.05, "slow": 0.05, "slow_delay": 2.0}
GRACE = 120.0
"""Seconds that the last requests may take after the load ends."""
SETTLES = 30.0
"""Seconds until all resources must be released."""
PARTS = 6
T_QUANTILE = 2.776
"""Quantile of Student's t for 95 % on both sides, with `PARTS` - 2 degrees of freedom."""
LITTLE = 0.02
"""Share by which memory may grow over the second half."""
FILES = 16384
IN_FLIGHT = "computewise_requests_in_flight"
TASKS = "computewise_tasks"


@dataclass(frozen=True, slots=True)
class State:
    """The metrics of the server and of the upstream."""

    in_flight: float
    tasks: float
    megabytes: float
    upstream: dict[str, int]


@dataclass(frozen=True, slots=True)
class Soaked:
    """Everything measured; megabytes at each second of the load."""

    seconds: float
    before: State
    after: State
    tally: Tally
    megabytes: list[float]
    tracebacks: int

    @property
    def half(self) -> list[float]:
        """The second half of the megabytes."""
        return self.megabytes[len(self.megabytes) // 2 :]

    def verdicts(self) -> list[tuple[bool, str]]:
        """Whether each criterion holds, with its numbers."""
        before, after, ended = self.before, self.after, self.tally.ended
        gain, width = trend(self.half)
        memory = (
            f"memory: {before.megabytes:.1f} MB idle, {self.megabytes[0]:.1f} at the load's start, "
            f"{self.half[0]:.1f} at half, {self.megabytes[-1]:.1f} at its end, {after.megabytes:.1f} afterwards; "
            f"{gain:+.2f} MB over the second half (95 % interval {gain - width:+.2f} to {gain + width:+.2f})"
        )
        return [
            (not (ended["fault"] or ended["never answered"]), f"requests: {sum(ended.values())}, {dict(ended)}"),
            (after.in_flight == before.in_flight, f"in flight: {before.in_flight:g} before, {after.in_flight:g} after"),
            (after.tasks <= before.tasks, f"tasks: {before.tasks:g} before, {after.tasks:g} after"),
            (after.upstream["under_way"] == 0, f"upstream: {after.upstream}"),
            (gain < LITTLE * self.half[0], memory),
            (self.tracebacks == 0, f"tracebacks in the log: {self.tracebacks}"),
        ]


def trend(held: Sequence[float]) -> tuple[float, float]:
    """The growth from the first to the last value by least squares, and the half-width of its 95 % interval.

    It is fitted to the means of `PARTS` parts, since consecutive readings depend on one another.
    """
    size = len(held) / PARTS
    y = [statistics.mean(held[round(part * size) : round((part + 1) * size)]) for part in range(PARTS)]
    x = [(part + 0.5) / PARTS for part in range(PARTS)]
    gain, start = statistics.linear_regression(x, y)
    spread = sum((one - statistics.mean(x)) ** 2 for one in x)
    left = sum((b - start - gain * a) ** 2 for a, b in zip(x, y, strict=True))
    return gain, T_QUANTILE * float((left / (PARTS - 2) / spread) ** 0.5)


async def state(server: Running, behind: Running) -> State:
    """Now."""
    found: Counter[str] = Counter()
    for line in good(await once(server.port, request("/metrics"))).body.decode().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name.partition("{")[0]] += float(value)  # type: ignore[assignment]
    stats = good(await once(behind.port, request("/stats"))).json()
    return State(found[IN_FLIGHT], found[TASKS], server.memory()["rss"], stats)


async def load(server: Running, clients: int, seconds: float, tally: Tally) -> list[float]:
    """Wait until all requests are answered or `GRACE` is over; returns megabytes at each second of the load."""
    end = time.monotonic() + seconds
    asking = [asyncio.create_task(client(server.port, seed, end, tally)) for seed in range(clients)]
    held = []
    while time.monotonic() < end:
        held.append(server.memory()["rss"])
        await asyncio.sleep(1)
    _, late = await asyncio.wait(asking, timeout=GRACE)
    for one in late:
        one.cancel()
    tally.ended["never answered"] += len(late)
    for one in set(asking) - late:
        one.result()
    return held


async def soak(server: Running, behind: Running, clients: int, seconds: float, logged: Callable[[], str]) -> Soaked:
    """Send each kind of request once, then the load, then wait until all resources are released."""
    for sent in REQUESTS.values():
        good(await once(server.port, sent))
    await asyncio.sleep(1)
    before = await state(server, behind)
    good(await once(behind.port, request("/faults", FAULTS)))
    tally, began = Tally(), time.perf_counter()
    held = await load(server, clients, seconds, tally)
    passed = time.perf_counter() - began

    async def settled() -> bool:
        now = await state(server, behind)
        return now.in_flight == before.in_flight and now.tasks <= before.tasks and now.upstream["under_way"] == 0

    await until(settled, SETTLES, 0.2)
    return Soaked(passed, before, await state(server, behind), tally, held, logged().count("Traceback"))


def report(found: Soaked) -> bool:
    """Print one line for each criterion; returns whether all hold."""
    verdicts = found.verdicts()
    for holds, said in verdicts:
        print(f"{'holds' if holds else 'FAILS'}  {said}")
    for fault, count in Counter(found.tally.faults).most_common(10):
        print(f"       {count} times {fault[:200]}")
    pace = found.tally.ended["200"] / found.seconds
    print(f"{pace:.0f} answers a second; seconds at the median and the 95th percentile:")
    for n, took in found.tally.took.items():
        marks = statistics.quantiles(took, n=20) if len(took) > 1 else [float("nan")] * 19
        print(
            f"{'passed through' if n == PASS else f'N={n}':14} {len(took):6} answers {marks[9]:7.2f} {marks[18]:7.2f}"
        )
    return all(holds for holds, _ in verdicts)


def main() -> None:
    """Start both, send the load and judge the criteria."""
    parser = argparse.ArgumentParser(description="computewise serve under many clients and faults.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="where everything measured is written as JSON")
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else min(FILES, most), most))
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with upstream() as behind, computewise().running(behind.url("127.0.0.1"), errors=log) as server:
            found = asyncio.run(soak(server, behind, given.clients, given.seconds, log.read_text))
    holds = report(found)
    if given.out is not None:
        given.out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
