"""An answer as server-sent events: signs of life while the search goes on, then the solution."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from computewise.errors import ComputewiseError
from computewise.serve.envelope import DONE, chunks_of, event, thought_of
from computewise.serve.refusals import Refused, refusal_of
from computewise.serve.sending import Sender, begin, finish, more
from computewise.serve.work import Solved, Work

EVENTS = "text/event-stream; charset=utf-8"


async def stream(
    work: Work, solving: asyncio.Future[Solved], send: Sender, *, every: float, headers: Mapping[str, str]
) -> None:
    """Send what comes of `solving`, with a sign of life each `every` seconds until then.

    What fails before the first of them is raised, and so has a status of its own; later it is an event, and `Refused`
    is raised all the same once that is sent.
    """
    told = {"content-type": EVENTS, "cache-control": "no-cache", "x-accel-buffering": "no", **headers}
    while True:
        await asyncio.wait([solving], timeout=every)
        if solving.done():
            break
        if not send.begun:
            await begin(send, 200, told)
        await more(send, _sign(work))
    try:
        solving.result()
    except (Refused, ComputewiseError) as error:
        refused = refusal_of(error, work.asked.problem_field)
        if send.begun:
            await more(send, event(refused.body))
            await more(send, DONE)
            await finish(send)
            raise Told(refused) from None
        raise refused from None
    if not send.begun:
        await begin(send, 200, told)
    for chunk in chunks_of(work):
        await more(send, chunk)
    await finish(send)


class Told(Exception):  # noqa: N818 - a signal, no error
    """The client has been told already, as an event."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.code = refused.code


def _sign(work: Work) -> bytes:
    """A comment, which clients skip; or a thought, for those who ask to see some."""
    usage = work.usage
    text = f"computewise: {work.status}, {usage.samples} samples, {usage.completion_tokens} tokens sampled"
    if work.asked.wishes.progress == "reasoning" and work.asked.endpoint == "chat":
        return thought_of(work, f"{text}\n")
    return f": {text}\n\n".encode()
