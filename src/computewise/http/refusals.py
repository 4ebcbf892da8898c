"""What to change about a request that a server refuses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from computewise.errors import ServerError
from computewise.http.accepted import (
    LIMIT,
    NEWER_LIMIT,
    Accepted,
    Adaptation,
    Body,
    is_number,
    roles_of,
    shape_of,
    valued,
)
from computewise.http.client import HttpClient

REFUSALS = frozenset({400, 403, 404, 405, 406, 413, 415, 422, 501})
"""The statuses of a request that is refused for what it holds."""

BROKEN = 500
"""The status that some servers give to a request they cannot read: believed while a server is found out about."""

ALWAYS = frozenset({"model", "messages", "prompt", "stop", "stream"})
"""Fields without which a request is another request."""

_COLDEST = (0.01, 0.1, 1.0)
"""The temperatures that are tried in place of 0, in this order."""

_LISTED = (20, 5, 1)
"""How many likeliest tokens servers list at most: OpenAI's API and vLLM 20, others 5 or only the sampled one."""

_DOUBTS = 3
"""After so many refusals in a row of what was answered before, the server is believed to have changed."""

_SHORTEST = 16
"""The least number of tokens to which a limit is lowered."""

_ROOM = 1024
"""The limit where a server finds that of a probe too low."""


def refused(error: ServerError, *, finding: bool = False) -> bool:
    """Whether the server refused what the request holds; some do so under the status of a success."""
    inside = error.status == 200 and bool(error.body)
    return inside or error.status in REFUSALS or (finding and error.status == BROKEN)


Change = Callable[[Adaptation], Adaptation]


@dataclass(frozen=True, slots=True)
class _Group:
    """What can be changed about one part of a request, from the mildest change to the harshest."""

    names: re.Pattern[str]
    """How a refusal names it."""
    changes: tuple[Change, ...]
    shape: Any = None
    """What stands for it in the shape of a request."""


def _named(*names: str) -> re.Pattern[str]:
    """The names of a field, also as two words or in camel case; not within a longer name."""
    spelt = "|".join(name if "\\" in name else name.replace("_", r"[\s_-]?") for name in names)
    return re.compile(rf"(?<![a-z0-9_])(?:{spelt})(?![a-z0-9_])", re.IGNORECASE)


_SYSTEM = _named("system", r"roles?\b", r"system[\s_-]\w+")
_LIMITS = _named(LIMIT, NEWER_LIMIT, r"max_(?:new|output)_tokens")
_TEMPERATURE = _named("temperature")
_SEVERAL = _named("n", r"choices|candidates|(?:number of|multiple) \w+|best_of|n_cmpl")
_LIKELIEST = _named("top_logprobs")
_LOGPROBS = _named("logprobs", r"log[\s_-]?prob(?:s|abilit\w+)?", "top_logprobs")
_TOO_LITTLE = re.compile(r"at least|minimum|greater|higher|too (?:low|small|short)|>|≥|was reached", re.IGNORECASE)
_TOO_LONG = re.compile(r"context|too (?:long|large|many|high)|exceed|at most|maximum|less|<|≤|larger", re.IGNORECASE)
_BOUND = re.compile(
    r"(?:at most|maximum|up to|no more than|less than or equal to|<=|≤|max\b)\D{0,40}?(\d+)", re.IGNORECASE
)
_NO_ROUTE = re.compile(r"\W*(?:404\W*)?(?:\w+ )?not found\W*|\W*method not allowed\W*", re.IGNORECASE)
"""What a server says of a route that it does not have."""


_TAG = re.compile(r"<[a-z!/][^>]*>", re.IGNORECASE)


@dataclass(slots=True)
class Search:
    """The search for the request nearest to `body` that the server accepts."""

    client: HttpClient
    path: str
    body: Body
    held: Accepted
    fixed: set[str]
    keep: set[str]
    finding: bool
    last: ServerError
    """The last refusal."""

    async def run(self) -> Any:
        """See `ask`."""
        known = self.held.adaptation
        proven = not self.finding and shape_of(known.apply(self.body, self.fixed)) in self.held.shapes
        self.held.doubts += proven
        found = await self._following(known, self.last)
        if found is None and (not proven or self.held.doubts >= _DOUBTS):
            found = await (self._floor(known) if self.finding else self._one_by_one(known))
        if found is None:
            raise self.last
        now, answer = found
        # What is learned holds for other requests, except a limit that only this prompt has.
        kept = replace(now, least=known.least)
        if now.most != known.most and now.most != _bound(reason_of(self.last), self.body[LIMIT]):
            kept = replace(kept, most=known.most)
        self.held.adaptation = kept
        return answer

    async def _following(self, now: Adaptation, refusal: ServerError) -> tuple[Adaptation, Any] | None:
        """Change what the refusal names, then what the next one names, until one names nothing: None."""
        self.last = refusal
        while change := self._named_change(now, self.last):
            now = change(now)
            answer, failure = await self._try(now)
            if failure is None:
                return now, answer
            self.last = failure
        return None

    def _named_change(self, now: Adaptation, error: ServerError) -> Change | None:
        """The mildest change of the part that the refusal names first; None where it names none."""
        reason = reason_of(error)
        groups = self._groups(now, reason)
        places = [(found.start(), group) for group in groups if (found := group.names.search(reason))]
        return min(places, key=lambda one: one[0])[1].changes[0] if places else None

    async def _one_by_one(self, known: Adaptation) -> tuple[Adaptation, Any] | None:
        """Each change alone, as a refused request costs nothing; then all of them together."""
        groups, answered, first = self._groups(known, ""), self.held.parts(), reason_of(self.last)
        groups.reverse()
        new_first = sorted(groups, key=lambda one: one.shape in answered)
        together = _changed(known, [group.changes[-1] for group in groups])
        for now in (*(change(known) for group in new_first for change in group.changes), together):
            answer, failure = await self._try(now)
            if failure is None:
                return now, answer
            if reason_of(failure) == first:
                self.last = failure
            elif (found := await self._following(now, failure)) is not None:  # that change did help
                return found
        return None

    async def _floor(self, known: Adaptation) -> tuple[Adaptation, Any] | None:
        """All changes together; where that is accepted, each part as it was before or changed least."""
        groups = self._groups(known, "")
        bare = _changed(known, [group.changes[-1] for group in groups])
        named: Change = _unchanged
        answer, failure = await self._try(bare)
        for change in self._limits(bare, reason_of(failure)) if failure is not None else ():
            answer, failure = await self._try(change(bare))
            if failure is None:
                named = change
                break
        if failure is not None:
            self.last = failure
            return None
        now, chosen = named(bare), [group.changes[-1] for group in groups]
        for place, group in enumerate(groups):
            for milder in (_unchanged, *group.changes[:-1]):
                tried = [*chosen[:place], milder, *chosen[place + 1 :]]
                candidate = named(_changed(known, tried))
                more, failure = await self._try(candidate)
                if failure is None:
                    now, answer, chosen = candidate, more, tried
                    break
        return now, answer

    async def _try(self, now: Adaptation) -> tuple[Any, ServerError | None]:
        """The answer, or the refusal."""
        sent = now.apply(self.body, self.fixed)
        try:
            answer = await self.client.post(self.path, sent)
        except ServerError as error:
            if not refused(error, finding=self.finding):
                raise
            return None, error
        self.held.answered(sent)
        return answer, None

    def _groups(self, now: Adaptation, reason: str) -> list[_Group]:
        """The parts that can be changed, the most important first; the limit only where `reason` speaks of it."""
        sent = now.apply(self.body, self.fixed)
        found = []
        if any(one["role"] == "system" for one in sent.get("messages", ())):
            found.append(_Group(_SYSTEM, (lambda was: replace(was, folded=True),), roles_of(sent)))
        if reason:
            found += [_Group(_LIMITS, self._limits(now, reason)), self._shorter(now, reason)]
        names = [name for name in sent if name not in self.fixed and name not in (LIMIT, NEWER_LIMIT)]
        if "temperature" in names:
            found.append(
                _Group(_TEMPERATURE, self._temperatures(sent["temperature"], reason), valued(sent, "temperature"))
            )
        if "n" in names:
            found.append(_Group(_SEVERAL, self._fewer(sent["n"], reason), valued(sent, "n")))
        found += self._logprobs(sent, names, reason)
        rest = [name for name in names if name not in ("temperature", "n", "logprobs", "top_logprobs", *self.keep)]
        found += [_Group(_named(name), (_without(name),), name) for name in rest]
        return [group for group in found if group.changes]

    def _limits(self, now: Adaptation, reason: str) -> tuple[Change, ...]:
        """Another name for the limit; none only where the answer is short anyway."""
        if LIMIT not in self.body or LIMIT in self.fixed or not now.limit:
            return ()
        changes: list[Change] = []
        if self.finding and now.least < _ROOM and _TOO_LITTLE.search(reason):
            changes.append(lambda was: replace(was, least=_ROOM))
        chat = "messages" in self.body
        if chat and now.limit == LIMIT and (self.finding or NEWER_LIMIT in reason):
            changes.append(lambda was: replace(was, limit=NEWER_LIMIT))
        if self.finding and not _NO_ROUTE.fullmatch(reason):
            changes.append(lambda was: replace(was, limit=""))
        return tuple(changes)

    def _shorter(self, now: Adaptation, reason: str) -> _Group:
        """A lower limit, where the refusal says that the request is too long."""
        asked = min(self.body.get(LIMIT, 0), now.most or math.inf)
        if self.finding or not now.limit or LIMIT in self.fixed or asked <= _SHORTEST or not _TOO_LONG.search(reason):
            return _Group(_LIMITS, ())
        lower = max(_bound(reason, int(asked)) or int(asked) // 2, _SHORTEST)
        return _Group(_named(LIMIT, NEWER_LIMIT, r"context|tokens?"), (lambda was: replace(was, most=lower),))

    def _temperatures(self, asked: float, reason: str) -> tuple[Change, ...]:
        """The nearest that the reason names or that servers accept; without one, a server's own, which may be any."""
        named = [float(one) for one in re.findall(r"\d+(?:\.\d+)?", reason)]
        changes: list[Change] = []
        if asked > 1:
            changes.append(_hottest(max((one for one in named if 1 <= one < asked), default=1.0)))
        elif asked < 1:
            usual = _COLDEST if asked < _COLDEST[1] else _COLDEST[-1:]
            changes = [_coldest(one) for one in sorted({*named, *usual}) if asked < one <= 1]
        return (*changes, *([] if "temperature" in self.keep else [_without("temperature")]))

    def _fewer(self, n: int, reason: str) -> tuple[Change, ...]:
        """The most that the reason names; without one, half as many, and again, and what was answered before."""
        if found := [int(one) for one in re.findall(r"\d+", reason) if len(one) < 6 and 0 < int(one) < n]:
            return (_fewer(max(found)),)
        fewer = {n >> halvings for halvings in range(1, n.bit_length())}
        answered = self.held.parts()
        fewer |= {one for one in range(1, n) if ("n", str(one)) in answered}
        return tuple(_fewer(one) for one in sorted(fewer, reverse=True) if one < n)

    def _logprobs(self, sent: Body, names: Collection[str], reason: str) -> list[_Group]:
        name = "top_logprobs" if "top_logprobs" in names else "logprobs"
        if name not in names:
            return []
        asked = sent[name] if is_number(sent[name]) else 0
        numbers = [int(one) for one in re.findall(r"\d+", reason) if len(one) < 4 and 0 < int(one) < asked]
        fewer = [_listed(one) for one in (*sorted(numbers)[-1:], *_LISTED) if one < asked]
        gone = [] if {"logprobs", name} & self.keep else [_without("logprobs", "top_logprobs")]
        if name == "logprobs":
            return [_Group(_LOGPROBS, (*fewer, *gone), valued(sent, name))]
        alone = [] if name in self.keep else [_without("top_logprobs")]
        if _LIKELIEST.search(reason):
            return [_Group(_LIKELIEST, (*fewer, *alone)), _Group(_LOGPROBS, tuple(gone))]
        return [_Group(_LOGPROBS, tuple(gone) or tuple(fewer) if reason else (*fewer, *gone), valued(sent, name))]


def reason_of(error: ServerError) -> str:
    """What a refusal says and the fields it points at, without the request that some servers repeat in it."""
    try:
        return " ".join(_said(json.loads(error.body))) or error.body
    except ValueError:
        return _TAG.sub(" ", error.body)


_SAYS = ("param", "loc", "message", "msg", "detail", "details", "error", "errors", "reason", "title", "description")


def _said(held: Any) -> Iterator[str]:
    if isinstance(held, str):
        yield held
    elif isinstance(held, list):
        for one in held:
            yield from _said(one)
    elif isinstance(held, dict):
        for name in _SAYS:
            yield from _said(held.get(name))


def _bound(reason: str, asked: int) -> int | None:
    """The limit of tokens that a refusal names, below `asked`; a context's size is none, as it holds the prompt too."""
    found = [int(one) for one in _BOUND.findall(reason) if _SHORTEST <= int(one) < asked]
    return max(found) if found and "context" not in reason.lower() else None


def _changed(start: Adaptation, changes: Sequence[Change]) -> Adaptation:
    for change in changes:
        start = change(start)
    return start


def _unchanged(was: Adaptation) -> Adaptation:
    return was


def _without(*names: str) -> Change:
    return lambda was: replace(was, without=was.without | {*names})


def _hottest(most: float) -> Change:
    return lambda was: replace(was, hottest=most)


def _coldest(least: float) -> Change:
    return lambda was: replace(was, coldest=least)


def _fewer(most: int) -> Change:
    return lambda was: replace(was, n=most)


def _listed(most: int) -> Change:
    return lambda was: replace(was, listed=most)
