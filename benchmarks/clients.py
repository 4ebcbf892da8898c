"""Clients of a soak test: each sends a request, reads the answer or disconnects, and starts again."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from envelopes import how_ended
from load import Connection
from proxies import computewise

PASS = 0
"""Stands for a request that is passed through, in place of a number of samples."""
SAMPLES = (PASS, 1, 4, 8)
BREAKS_OFF = 0.05
"""Share of requests whose client disconnects early."""
BREAKS_WITHIN = 4.0
"""Seconds after which it has disconnected."""
REQUESTS = {
    (n, stream): computewise().asked(n, **({"stream": True} if stream else {}))
    for n, stream in itertools.product(SAMPLES, (False, True))
}


@dataclass(slots=True)
class Tally:
    """The ends of requests, the faults of some, and the seconds that answers took by number of samples."""

    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    took: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in SAMPLES})


async def client(port: int, seed: int, end: float, tally: Tally) -> None:
    """Send requests until `end` on the monotonic clock."""
    chance, connection = random.Random(seed), Connection(port)
    try:
        while time.monotonic() < end:
            n, stream = chance.choice(list(REQUESTS))
            if chance.random() < BREAKS_OFF:
                await _broken_off(connection, REQUESTS[n, stream], chance.uniform(0, BREAKS_WITHIN))
                tally.ended["broken off"] += 1
            elif (wait := await _asked(connection, n, stream, tally)) > 0:
                connection.close()
                await asyncio.sleep(wait)
    finally:
        connection.close()


async def _broken_off(connection: Connection, sent: bytes, seconds: float) -> None:
    """Read what has arrived so far."""
    asked = asyncio.create_task(connection.ask(sent))
    await asyncio.wait([asked], timeout=seconds)
    connection.close()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)


async def _asked(connection: Connection, n: int, stream: bool, tally: Tally) -> float:
    """Send one request; returns the seconds that the server asks to wait."""
    began = time.perf_counter()
    try:
        answer = await connection.ask(REQUESTS[n, stream])
        how = how_ended(answer, stream=stream)
    except (OSError, EOFError, ValueError) as error:
        connection.close()
        tally.ended["fault"] += 1
        tally.faults.append(f"N={n}{', stream' if stream else ''}: {type(error).__name__}: {error}")
        return 0.0
    tally.ended[how] += 1
    if how == "200":
        tally.took[n].append(time.perf_counter() - began)
    return float(answer.headers.get("retry-after", 0)) if answer.status >= 400 else 0.0
