"""What `computewise serve` adds to a request, and its_hub 1.2.0's proxy beside it: one fake upstream, in one run.

    python -m venv its_hub && its_hub/bin/pip install 'its_hub[lm,iaas]==1.2.0'
    python benchmarks/serve.py [--its-hub-python its_hub/bin/python] [--rounds 5] [--out FILE]
    python benchmarks/serve.py --other-python old/bin/python  # before and after a change, in one run

The upstream (upstream.py) answers every request after 20 ms, however many come at once and however many choices it is
asked for. "single" is an upstream that ignores n: computewise then asks for each sample alone, as its_hub does of any.
Both take the majority of what is boxed. Every answer is checked to be a success, and the upstream to have given N
samples for each; "pass" is a request passed through.

A round measures latencies of one client that asks every arm in turn, so that all meet the same load of the machine,
then requests a second of 16 clients arm by arm, every other round backwards. Shown are medians over the rounds with the
least and the most. What is added is taken against the direct requests of the same round and the same N. "cpu" is the
proxy's processor time a request.
"Cold" is the time until the last of 16 requests of 64 samples each is answered that come at once to a proxy just
started, which has to look up the upstream's name; all else names its address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from load import at_once, good, in_turn, once, request
from proxies import MESSAGES, Proxy, Running, computewise, idle, its_hub, upstream
from stock import MODEL

BUDGETS = (1, 8, 32)
PASS = 0
"""Stands for a request that is passed through, in place of a budget."""
CLIENTS = 16
COLD = 64
PATIENCE = 30.0
"""After this many seconds a cold proxy counts as failed."""
DIRECT = "direct"
OURS = "computewise"
SINGLE = "computewise, single"
BASE = "imports of the base install"
BARE = "computewise, httpx, numpy"
SERVING = f"{BARE}, uvicorn, starlette.applications"


@dataclass(frozen=True, slots=True)
class Found:
    """One measurement: its kind, the proxy, N and the round."""

    what: str
    who: str
    n: int
    round: int
    value: float


@dataclass(frozen=True, slots=True)
class Arm:
    """A proxy under test and the upstream behind it, or the upstream itself."""

    name: str
    proxy: Proxy | None
    running: Running
    behind: Running

    def budgets(self) -> Sequence[int]:
        """The budgets that it takes."""
        return (PASS, *BUDGETS) if self.proxy is not None and self.proxy.passes else BUDGETS

    def asked(self, n: int) -> bytes:
        """The body of a request."""
        if self.proxy is not None:
            return self.proxy.asked(n)
        return request("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "n": n})

    def sampled(self) -> int:
        """The number of choices that the upstream has given so far."""
        choices: int = good(asyncio.run(once(self.behind.port, request("/stats")))).json()["choices"]
        return choices

    def rates(self, n: int, seconds: float, round: int) -> list[Found]:
        """Requests a second of all clients, and milliseconds of processor for each."""
        before, busy = self.sampled(), self.running.processor()
        count, took = asyncio.run(at_once(self.running.port, self.asked(n), CLIENTS, seconds))
        cpu = 1000 * (self.running.processor() - busy) / count
        self._check(n, before, count)
        rate = Found("rate", self.name, n, round, count / took)
        return [rate] if self.proxy is None else [rate, Found("cpu", self.name, n, round, cpu)]

    def _check(self, n: int, before: int, count: int) -> None:
        sampled = (self.sampled() - before) / count
        if sampled != max(n, 1):
            raise RuntimeError(f"{self.name} took {sampled:.3g} samples a request at N = {n}")


def latencies(arms: Sequence[Arm], n: int, count: int, round: int) -> list[Found]:
    """Milliseconds at the median and the 95th percentile of `count` requests to each arm, which take turns."""
    took = asyncio.run(in_turn([(arm.running.port, arm.asked(n)) for arm in arms], count))
    found = []
    for arm, seconds in zip(arms, took, strict=True):
        marks = statistics.quantiles([1000 * one for one in seconds], n=20)
        found += [Found("p50", arm.name, n, round, marks[9]), Found("p95", arm.name, n, round, marks[18])]
    return found


def starts(proxy: Proxy, behind: Running, round: int) -> Found:
    """Seconds from the start of the process to the first answer of /v1/models."""
    with proxy.running(behind.url("127.0.0.1")) as running:
        return Found("start", proxy.name, 0, round, running.started)


def cold(name: str, proxy: Proxy, behind: Running, round: int) -> list[Found]:
    """Seconds until all requests are answered or time is up, and the number of answers."""
    with proxy.running(behind.url("localhost")) as running:

        async def all_at_once() -> int:
            asked = [asyncio.create_task(once(running.port, proxy.asked(COLD))) for _ in range(CLIENTS)]
            done, late = await asyncio.wait(asked, timeout=PATIENCE)
            for one in late:
                one.cancel()
            return sum(one.exception() is None and one.result().status == 200 for one in done)

        began = time.perf_counter()
        answered = asyncio.run(all_at_once())
        seconds = time.perf_counter() - began
    return [Found("cold", name, COLD, round, seconds), Found("cold answered", name, COLD, round, answered)]


def memory(name: str, what: str, held: dict[str, float]) -> list[Found]:
    """Resident and proportional megabytes."""
    return [Found(f"{what}, {kind}", name, 0, 0, value) for kind, value in held.items()]


def over_base(found: Sequence[Found]) -> list[Found]:
    """Resident megabytes in addition to those of the base install's imports."""
    base = next(one.value for one in found if one.who == BASE and one.what.endswith("rss"))
    return [
        Found(f"{one.what} over base", one.who, 0, 0, one.value - base)
        for one in found
        if one.what.endswith("rss") and one.who != BASE
    ]


def measure(theirs: Proxy | None, rounds: int, requests: int, seconds: float) -> list[Found]:
    """Measure everything."""
    found: list[Found] = []
    ours = computewise()
    proxies = [ours] if theirs is None else [ours, theirs]
    for imports, name in ((BARE, BASE), (SERVING, "the same, uvicorn, Starlette")):
        with idle(imports) as held:
            found += memory(name, "idle", held)
    with ExitStack() as stack:
        plain = stack.enter_context(upstream())
        single = stack.enter_context(upstream("--ignore-n"))
        for round in range(rounds):
            found += [starts(proxy, plain, round) for proxy in proxies[:: -1 if round % 2 else 1]]
            for name, proxy, behind in _colds(ours, theirs, plain, single):
                found += cold(name, proxy, behind, round)
        arms = [Arm(DIRECT, None, plain, plain)]
        for name, proxy, behind in _colds(ours, theirs, plain, single):
            running = stack.enter_context(proxy.running(behind.url("127.0.0.1")))
            arms.append(Arm(name, proxy, running, behind))
        time.sleep(1)
        found += [one for arm in arms[1:] for one in memory(arm.name, "idle", arm.running.memory())]
        for round in range(rounds):
            turn = arms[:: -1 if round % 2 else 1]
            for n in (PASS, *BUDGETS):
                able = [arm for arm in turn if n in arm.budgets()]
                found += latencies(able, n, requests, round)
                found += [one for arm in able for one in arm.rates(n, seconds, round)]
            print(f"round {round + 1} of {rounds}", flush=True)
        found += [one for arm in arms[1:] for one in memory(arm.name, "after load", arm.running.memory())]
    return found


def _colds(ours: Proxy, theirs: Proxy | None, plain: Running, single: Running) -> list[tuple[str, Proxy, Running]]:
    """its_hub never sends n, so both upstreams answer it alike."""
    arms = [(OURS, ours, plain), (SINGLE, ours, single)]
    return arms if theirs is None else [*arms, (theirs.name, theirs, plain)]


def added(found: Sequence[Found]) -> list[Found]:
    """The additional time over direct requests of the same round and N; a passed-through request asks for one."""
    direct = {(one.n, one.round): one.value for one in found if one.what == "p50" and one.who == DIRECT}
    return [
        Found("p50 added", one.who, one.n, one.round, one.value - direct[max(one.n, 1), one.round])
        for one in found
        if one.what == "p50" and one.who != DIRECT
    ]


def ratios(found: Sequence[Found], what: str, over: str) -> list[Found]:
    """Each measurement as a multiple of `over`'s of the same round and N."""
    base = {(one.n, one.round): one.value for one in found if one.what == what and one.who == over}
    return [
        Found(f"{what}, times {over}'s", one.who, one.n, one.round, one.value / base[one.n, one.round])
        for one in found
        if one.what == what and one.who not in (DIRECT, over) and (one.n, one.round) in base
    ]


def table(found: Iterable[Found]) -> str:
    """A line for each thing of each: medians over the rounds, with the least and the most where there were several."""
    lines: dict[tuple[str, str], dict[int, list[float]]] = {}
    for one in found:
        lines.setdefault((one.what, one.who), {}).setdefault(one.n, []).append(one.value)
    shown = []
    for (what, who), cells in lines.items():
        texts = [f"{_column(what, n)}{_shown(values)}" for n, values in sorted(cells.items())]
        shown.append(f"{what:30} {who:28} {'   '.join(texts)}")
    return "\n".join(shown)


def _column(what: str, n: int) -> str:
    if what.startswith(("p50", "p95", "rate", "cpu")):
        return "pass " if n == PASS else f"N={n} "
    return ""


def _shown(values: Sequence[float]) -> str:
    median = f"{statistics.median(values):.4g}"
    return median if len(values) == 1 else f"{median} ({min(values):.4g} to {max(values):.4g})"


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description="What computewise serve adds to a request, and its_hub's proxy.")
    parser.add_argument("--its-hub-python", help="an interpreter that has its_hub[lm,iaas]; without it only ours")
    parser.add_argument(
        "--other-python", help="an interpreter that has another version of computewise, to compare with"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100, help="requests of a latency")
    parser.add_argument("--seconds", type=float, default=4.0, help="that 16 clients ask for a rate")
    parser.add_argument("--out", type=Path, help="where everything measured is written as JSON")
    given = parser.parse_args()
    if given.its_hub_python and given.other_python:
        parser.error("name --its-hub-python or --other-python")
    theirs = its_hub(given.its_hub_python) if given.its_hub_python else None
    if given.other_python:
        theirs = computewise(python=given.other_python, name="computewise, other version")
    found = measure(theirs, given.rounds, given.requests, given.seconds)
    found += added(found) + over_base(found)
    if theirs is not None:
        found += ratios(found, "p50 added", theirs.name) + ratios(found, "rate", theirs.name)
    print(
        f"p50, p95, p50 added and cpu in ms, rate in requests a second of {CLIENTS} clients, start and cold in seconds,"
    )
    print(f"idle and after load in MB; median of {given.rounds} rounds (least to most)\n{table(found)}")
    if given.out is not None:
        machine = {"processors": os.cpu_count(), "python": platform.python_version(), "rounds": given.rounds}
        given.out.write_text(json.dumps({**machine, "found": [asdict(one) for one in found]}, indent=1))


if __name__ == "__main__":
    main()
