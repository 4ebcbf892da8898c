"""A study on a Ray cluster of this machine, a node of which is killed: nothing is lost or done without need."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from simulated_source import NotedSource

from computewise.errors import RunError, SpendLimitError, UsageError
from computewise.runs import RunDirectory, read_records, record_key
from computewise.strategies import BestOfN, strategy_to_dict
from computewise.study.executors import executor_for
from computewise.study.plan import Run, jobs
from computewise.study.ray import RayExecutor
from computewise.study.run import measure

pytest.importorskip("ray")
# Ray leaves files, sockets and processes to the collector, and announces changes of its own settings.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning:ray"),
]

MEMORY = 80 * 2**20
RUNS = [Run("pool", "model", strategy_to_dict(BestOfN(4)), seed, 4) for seed in range(3)]
CONFIG = {"task": "simulated"}
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, where the driver is, and a node that outlives the tests."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH",
            os.pathsep.join([str(Path(__file__).parents[1] / "support"), os.environ.get("PYTHONPATH", "")]),
        )
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False, "_system_config": SOON}
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(num_cpus=1, object_store_memory=MEMORY)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()  # type: ignore[no-untyped-call]


def calls(log: Path) -> list[tuple[str, str]]:
    """What was asked for, and the node that asked."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(line[1], line[2]) for line in lines if line[0] == "call"]


@pytest.mark.parametrize("computes", [False, True], ids=["waits for servers", "computes"])
def test_a_node_that_is_killed_loses_nothing(cluster: Any, tmp_path: Path, computes: bool) -> None:
    log = tmp_path / "calls.log"
    source = NotedSource(log=str(log), pause=0.3, computes=computes)
    problems = source.task().problems("test", 10 if computes else 15, 0)
    doomed = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    directory = RunDirectory(tmp_path / "run", CONFIG, resume=False)
    records = tmp_path / "run" / "records.jsonl"
    recorded: list[bytes] = []

    def kill(what: str, done: int, total: int) -> None:
        at_work = doomed.node_id in {node for _, node in calls(log)}
        if not recorded and done >= (8 if at_work else total // 2):  # a busy machine may give all to the other node
            recorded.append(records.read_bytes())
            cluster.remove_node(doomed, allow_graceful=False)

    log.touch()
    found = measure(RUNS, source, problems, directory, executor=RayExecutor("auto"), progress=kill)
    assert recorded, "no node was killed"
    assert records.read_bytes().startswith(recorded[0])
    bare = NotedSource(log=str(tmp_path / "bare.log"))
    alone = RunDirectory(tmp_path / "alone", CONFIG, resume=False)
    assert found == measure(RUNS, bare, problems, alone, executor=executor_for(bare), progress=lambda *told: None)
    assert sorted(map(record_key, read_records(tmp_path / "run"))) == sorted(map(record_key, found))
    twice = {call for call, times in Counter(call for call, _ in calls(log)).items() if times > 1}
    assert len(twice) <= 2 * source.lanes  # a busy machine may give both nodes' jobs to one
    assert len(calls(log)) == len(found) + len(twice)
    assert {node for call, node in dict(reversed(calls(log))).items() if call in twice} <= {doomed.node_id}


def test_a_source_that_waits_is_opened_once_on_a_node(cluster: Any, tmp_path: Path) -> None:
    source = NotedSource(log=str(tmp_path / "calls.log"))
    planned = jobs(RUNS[0], source.task().problems("test", 12, 0), 1)
    done = [one for batch in RayExecutor("auto").run(source, planned) for one in batch]
    assert sorted(job.problems[0].id for job, _ in done) == sorted(job.problems[0].id for job in planned)
    assert [records[0].problem for _, records in done] == [job.problems[0].id for job, _ in done]
    assert (tmp_path / "calls.log").read_text().count("open") == 1


@pytest.mark.parametrize("computes", [False, True], ids=["waits for servers", "computes"])
def test_what_ends_a_run_is_raised_as_it_was(cluster: Any, tmp_path: Path, computes: bool) -> None:
    source = NotedSource(log=str(tmp_path / "calls.log"), computes=computes, shut=True)
    planned = jobs(RUNS[0], source.task().problems("test", 3, 0), 1)
    with pytest.raises(SpendLimitError, match=r"^nothing may be spent$"):
        list(RayExecutor("auto").run(source, planned))


def test_who_stops_leaves_nothing_running(cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "calls.log"
    source = NotedSource(log=str(log), pause=0.2, lanes=2)
    planned = jobs(RUNS[0], source.task().problems("test", 40, 0), 1)
    with closing(RayExecutor("auto").run(source, planned)) as batches:
        assert any(batch for batch in batches)
    before = len(calls(log))
    time.sleep(1)
    assert len(calls(log)) == before < len(planned)


@pytest.mark.parametrize("address", ["", "remote", "127.0.0.1:6379"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not allowed: auto, local, ray://HOST:PORT"):
        RayExecutor(address)


def test_where_no_cluster_is_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*address: str, **settings: object) -> None:
        raise ConnectionError("Could not find any\nrunning Ray instance.")

    monkeypatch.setattr("ray.init", nowhere)
    with pytest.raises(RunError, match=r"no Ray cluster at 'auto' \(Could not find any running.*ray start") as error:
        list(RayExecutor("auto").run(NotedSource(log=""), []))
    assert "\n" not in str(error.value)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"computewise\[ray\]"):
        list(RayExecutor("auto").run(NotedSource(log=""), []))
