"""A study's jobs on a Ray cluster. Only the driver writes records, so a node that dies loses none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from computewise.errors import ComputewiseError, RunError, UsageError
from computewise.models.embedded.engine import one_thread
from computewise.runs import Record
from computewise.setups.base import Setup, SetupSpec
from computewise.study.executors import POLL_SECONDS, RESUME_HINT, AsyncExecutor, Done, executor_for, run_job, solve_job
from computewise.study.plan import Job

COLOUR = "\x1b"
RETRIES = 5
"""How often a job is restarted because its node or its process died."""


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """All nodes of the cluster at `address`: "auto" the running one, "local" a new one on this machine, or
    ray://HOST:PORT.

    A setup that computes gets one core for each job. A setup that waits for servers is opened once on each node that is
    present at the start; its cache of generations is a file of that node. A spending limit applies to each node
    separately. Running jobs of a node that dies are restarted on another node.
    """

    address: str

    def __post_init__(self) -> None:
        if self.address not in ("auto", "local") and not self.address.startswith("ray://"):
            raise UsageError(f"Ray address {self.address!r} is not allowed: auto, local, ray://HOST:PORT")

    def run(self, source: SetupSpec, missing: Sequence[Job]) -> Generator[list[Done], None, None]:
        """See `computewise.study.executors.Executor.run`."""
        ray = _import_ray()
        local = executor_for(source)
        with _connected(ray, self.address):
            hands = _Nodes(ray, source, local.in_flight) if isinstance(local, AsyncExecutor) else _Cores(ray, source)
            with closing(hands):
                yield from _work_off(ray, missing, hands)


class _Hands(Protocol):
    """A runner of up to `room` jobs at a time; `start` returns Ray's reference to a job's records."""

    room: int

    def start(self, job: Job) -> Any: ...

    def over(self, reference: Any) -> None: ...

    def close(self) -> None: ...


def _work_off(ray: Any, missing: Sequence[Job], hands: _Hands) -> Generator[list[Done], None, None]:
    left, waiting = iter(missing), dict[Any, Job]()
    while True:
        for _, job in zip(range(hands.room - len(waiting)), left, strict=False):
            waiting[hands.start(job)] = job
        if not waiting:
            return
        ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=POLL_SECONDS)
        for reference in ready:
            hands.over(reference)
        done, error = _records(ray, {reference: waiting.pop(reference) for reference in ready})
        yield done
        if error:
            raise error


def _records(ray: Any, over: dict[Any, Job]) -> tuple[list[Done], ComputewiseError | None]:
    """Finished jobs, and the error that ends the run, if any."""
    done: list[Done] = []
    failed: ComputewiseError | None = None
    for reference, job in over.items():
        try:
            done.append((job, ray.get(reference)))
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, ComputewiseError):
                raise
            failed = error.cause
        except ray.exceptions.RayError as error:
            failed = RunError(f"a job could not be run: {_one_line(error)}; {RESUME_HINT}")
    return done, failed


def _one_line(error: Exception) -> str:
    """The beginning and the end of Ray's message: the middle holds addresses and tracebacks."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    ends = dict.fromkeys((lines[0].split(COLOUR)[0].strip(), lines[-1].strip()))
    return " ".join(ends)


class _Cores:
    """Runs each job on a core of its own."""

    def __init__(self, ray: Any, source: SetupSpec) -> None:
        self.room = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._ray = ray
        self._source = source
        self._compute = ray.remote(_compute).options(num_cpus=1, max_retries=RETRIES)
        self._running: set[Any] = set()

    def start(self, job: Job) -> Any:
        reference = self._compute.remote(self._source, job)
        self._running.add(reference)
        return reference

    def over(self, reference: Any) -> None:
        self._running.remove(reference)

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)


def _compute(source: SetupSpec, job: Job) -> list[Record]:
    one_thread()
    return run_job(source, job)


class _Nodes:
    """One process on each node that runs many jobs at a time; one that dies is restarted, on another node if needed."""

    def __init__(self, ray: Any, source: SetupSpec, in_flight: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        settings = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": RETRIES, "max_concurrency": in_flight}
        self._actors = []
        for node in _nodes(ray):
            place = NodeAffinitySchedulingStrategy(node, soft=True)
            self._actors.append(ray.remote(_Waiting).options(**settings, scheduling_strategy=place).remote(source))
        self.room = in_flight * len(self._actors)
        self._running: dict[Any, int] = {}

    def start(self, job: Job) -> Any:
        busy = Counter(self._running.values())
        least = min(range(len(self._actors)), key=lambda number: busy[number])
        reference = self._actors[least].solve.remote(job)
        self._running[reference] = least
        return reference

    def over(self, reference: Any) -> None:
        del self._running[reference]

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


def _nodes(ray: Any) -> list[str]:
    """The nodes that run jobs: a head node without cores only if there is no other."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [node["NodeID"] for node in alive if node["Resources"].get("CPU")] or [node["NodeID"] for node in alive]


class _Waiting:
    """A setup that is opened once, for jobs that mostly wait for servers."""

    def __init__(self, source: SetupSpec) -> None:
        self._source = source
        self._keeping: asyncio.Task[None] | None = None

    async def solve(self, job: Job) -> list[Record]:
        """Run a job; returns its records."""
        if self._keeping is None:
            self._opened: asyncio.Future[Setup] = asyncio.get_running_loop().create_future()
            self._keeping = asyncio.ensure_future(self._keep())
        either: tuple[asyncio.Future[Any], ...] = (self._keeping, self._opened)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._keeping.done():
            self._keeping.result()
        return await solve_job(self._source, self._opened.result(), job)

    async def _keep(self) -> None:
        """Stays open until the process ends: a setup is entered and left in one task."""
        async with self._source.open() as opened:
            self._opened.set_result(opened)
            await asyncio.Event().wait()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError("running on Ray needs ray: pip install 'computewise[ray]'") from None
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connected to the cluster inside the block, unless this process already is."""
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        text = " ".join(str(error).split())[:200]
        raise RunError(
            f"no Ray cluster at {address!r} ({text}): start one by 'ray start --head', or use local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()
