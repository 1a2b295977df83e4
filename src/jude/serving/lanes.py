"""Who is computed next: two lanes, passes of a bounded size, ageing. Pure: the clock is an argument.

Queries (ONLINE) go first. Bulk work rides along in what a pass has left, up to its share, and fills the passes between
queries. Bulk work that has waited `ageing_seconds` has that share of every pass reserved, so that a flood of queries
slows it down and never stops it. What waits of queries is cut evenly for the workers: into small passes when it is
little, into longer ones, which cost less per token, when it is much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import Protocol


class Lane(IntEnum):
    """Which queue a request waits in, with the numbers of the protocol."""

    ONLINE = 1
    BULK = 2


class Served(Protocol):
    """What the lanes need to know of a loaded model."""

    @property
    def model_version(self) -> str: ...

    @property
    def pass_tokens(self) -> int: ...

    @property
    def pass_seconds(self) -> float: ...


@dataclass(slots=True, eq=False)
class Ticket:
    """One admitted request; its texts may be computed in several passes."""

    model: Served
    lane: Lane
    arrived: float  # seconds of the server's clock
    deadline: float = inf  # of the same clock
    waiting_tokens: int = 0
    dropped: bool = False  # cancelled or expired: what still waits is never computed


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One text of a ticket."""

    ticket: Ticket
    row: int  # its place in the request
    token_ids: Sequence[int]

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class LaneRules:
    """How the two lanes share the model."""

    lanes: int = 2  # 1: first come, first served
    ageing_seconds: float = 2.0
    bulk_share: float = 0.2
    longest_pass: int = 4  # budgets: of queries alone, when so much waits that the last of it waits as long anyway


@dataclass(slots=True)
class Pass:
    """What to compute now, all of one model version; and the tickets that turned out to be too late."""

    works: list[Work] = field(default_factory=list)
    expired: list[Ticket] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(work.tokens for work in self.works)


class TwoLanes:
    """The waiting work of one server."""

    def __init__(self, rules: LaneRules) -> None:
        self._rules = rules
        self._queues: dict[Lane, deque[Work]] = {lane: deque() for lane in Lane}
        self._alone_last = False  # the last pass was one long bulk text: queries come before the next
        self.queued_tokens: dict[Lane, int] = dict.fromkeys(Lane, 0)

    def put(self, works: Iterable[Work]) -> None:
        """Let work wait, in the order given."""
        for work in works:
            lane = work.ticket.lane if self._rules.lanes == 2 else Lane.ONLINE
            self._queues[lane].append(work)
            work.ticket.waiting_tokens += work.tokens
            self.queued_tokens[work.ticket.lane] += work.tokens

    def drop(self, ticket: Ticket) -> None:
        """Give up a cancelled or expired ticket: its room is free at once, its texts are passed over later."""
        self.queued_tokens[ticket.lane] -= ticket.waiting_tokens
        ticket.waiting_tokens = 0
        ticket.dropped = True

    def next_pass(self, now: float, workers: int = 1) -> Pass:
        """Take the work of the next forward pass of one of some workers; empty when nothing waits."""
        chosen = Pass()
        query, bulk = self._head(Lane.ONLINE, now, chosen), self._head(Lane.BULK, now, chosen)
        if query is None:
            self._alone_last = False
            if bulk is not None:
                self._take(Lane.BULK, bulk.ticket.model, bulk.ticket.model.pass_tokens, now, chosen)
            return chosen
        self._mix(query, bulk, now, chosen, self._room(query.ticket.model, workers))
        return chosen

    def _room(self, model: Served, workers: int) -> int:
        """Tokens of queries in the next pass: an even part of what waits, within bounds."""
        if self._rules.lanes != 2:
            return model.pass_tokens
        part = -(-self.queued_tokens[Lane.ONLINE] // workers)
        return min(self._rules.longest_pass * model.pass_tokens, max(part, model.pass_tokens // 2))

    def _mix(self, query: Work, bulk: Work | None, now: float, chosen: Pass, room: int) -> None:
        """Queries first; bulk work gets its share of what they leave, or of everything once it has aged."""
        aged = bulk is not None and now - bulk.ticket.arrived >= self._rules.ageing_seconds
        if bulk is not None and aged and not self._alone_last and not self._fits_beside(query, bulk):
            self._alone_last = True
            self._take(Lane.BULK, bulk.ticket.model, bulk.ticket.model.pass_tokens, now, chosen)
            return
        self._alone_last = False
        model = query.ticket.model
        whole = max(model.pass_tokens, room)
        share = int(whole * self._rules.bulk_share)
        reserved = max(share, bulk.tokens) if bulk is not None and aged and self._fits_beside(query, bulk) else 0
        self._take(Lane.ONLINE, model, min(room, whole - reserved), now, chosen)
        left = min(max(share, reserved), whole - chosen.tokens)
        self._take(Lane.BULK, model, left, now, chosen, even_too_long=False)

    def _fits_beside(self, query: Work, bulk: Work) -> bool:
        """Whether both heads fit into one pass: the same version, and not longer than it."""
        model = query.ticket.model
        return bulk.ticket.model is model and query.tokens + bulk.tokens <= model.pass_tokens

    def _take(
        self, lane: Lane, model: Served, room: int, now: float, chosen: Pass, *, even_too_long: bool = True
    ) -> None:
        """Move work of one lane and model into the pass, in order, while it fits; a text too long goes alone.

        A pass does not grow beyond its budget so far that one of its texts would be late.
        """
        used, due = 0, inf
        while (work := self._head(lane, now, chosen)) is not None and work.ticket.model is model:
            fits = used + work.tokens <= room
            if not fits and (used or not even_too_long):
                return
            due = min(due, work.ticket.deadline)
            budgets = (used + work.tokens) / model.pass_tokens
            if used and budgets > 1 and now + budgets * model.pass_seconds > due:
                return
            self._queues[lane].popleft()
            work.ticket.waiting_tokens -= work.tokens
            self.queued_tokens[work.ticket.lane] -= work.tokens
            chosen.works.append(work)
            used += work.tokens

    def _head(self, lane: Lane, now: float, chosen: Pass) -> Work | None:
        """The first work of a lane that somebody still waits for."""
        queue = self._queues[lane]
        while queue:
            ticket = queue[0].ticket
            if not ticket.dropped and ticket.deadline > now:
                return queue[0]
            if not ticket.dropped:
                self.drop(ticket)
                chosen.expired.append(ticket)
            queue.popleft()
        return None
