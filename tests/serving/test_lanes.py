"""Two lanes, passes of a bounded size, ageing: pure rules over a clock of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jude.serving.lanes import Lane, LaneRules, Ticket, TwoLanes, Work


@dataclass(frozen=True, eq=False)
class Model:
    model_version: str = "m"
    pass_tokens: int = 100
    pass_seconds: float = 0.1


MODEL = Model()


def put(lanes: TwoLanes, lane: Lane, lengths: Sequence[int], at: float = 0.0, **more: Any) -> Ticket:
    chosen: dict[str, Any] = {"model": MODEL, "lane": lane, "arrived": at, **more}
    ticket = Ticket(**chosen)
    lanes.put(Work(ticket, row, [1] * length) for row, length in enumerate(lengths))
    return ticket


def taken(lanes: TwoLanes, now: float = 0.0, workers: int = 1) -> list[tuple[str, int]]:
    return [(work.ticket.lane.name, work.tokens) for work in lanes.next_pass(now, workers).works]


def test_queries_come_before_bulk_work_that_waited_longer() -> None:
    lanes = TwoLanes(LaneRules())
    put(lanes, Lane.BULK, [60, 60])
    put(lanes, Lane.ONLINE, [90], at=0.5)

    assert taken(lanes, 0.5) == [("ONLINE", 90)]
    assert taken(lanes, 0.6) == [("BULK", 60)]
    assert taken(lanes, 0.7) == [("BULK", 60)]
    assert taken(lanes, 0.8) == []


def test_bulk_work_rides_along_up_to_its_share() -> None:
    lanes = TwoLanes(LaneRules(bulk_share=0.2))
    put(lanes, Lane.BULK, [10, 10, 10])
    put(lanes, Lane.ONLINE, [30])

    assert taken(lanes) == [("ONLINE", 30), ("BULK", 10), ("BULK", 10)]


def test_without_queries_bulk_work_fills_the_pass_and_is_cut_at_text_boundaries() -> None:
    lanes = TwoLanes(LaneRules())
    put(lanes, Lane.BULK, [40, 40, 40, 40])

    assert taken(lanes) == [("BULK", 40), ("BULK", 40)]


def test_a_text_longer_than_a_pass_runs_alone() -> None:
    lanes = TwoLanes(LaneRules(longest_pass=1))
    put(lanes, Lane.ONLINE, [10, 250, 10])

    assert [taken(lanes), taken(lanes), taken(lanes)] == [[("ONLINE", 10)], [("ONLINE", 250)], [("ONLINE", 10)]]


def test_queries_that_wait_are_cut_evenly_for_the_workers() -> None:
    lanes = TwoLanes(LaneRules())
    put(lanes, Lane.ONLINE, [40] * 4)

    assert [len(taken(lanes, workers=2)) for _ in range(3)] == [2, 1, 1]  # half of 160, then half of a pass


def test_passes_of_queries_grow_with_what_waits_up_to_a_bound() -> None:
    lanes = TwoLanes(LaneRules(longest_pass=4))
    put(lanes, Lane.ONLINE, [50] * 40)

    assert [len(taken(lanes, workers=2)) for _ in range(5)] == [8, 8, 8, 8, 4]


def test_a_pass_does_not_grow_so_far_that_one_of_its_texts_is_late() -> None:
    lanes = TwoLanes(LaneRules())
    put(lanes, Lane.ONLINE, [50] * 2)
    put(lanes, Lane.ONLINE, [50], deadline=0.2)
    put(lanes, Lane.ONLINE, [50] * 20)

    assert len(taken(lanes)) == 4  # 200 tokens take 0.2 s


def test_a_flood_of_queries_does_not_stop_aged_bulk_work() -> None:
    lanes = TwoLanes(LaneRules(ageing_seconds=2.0, bulk_share=0.2, longest_pass=1))
    put(lanes, Lane.BULK, [20, 20], at=10.0)
    put(lanes, Lane.ONLINE, [50] * 100, at=10.0)

    young = taken(lanes, 11.9)
    aged = taken(lanes, 12.0)

    assert young == [("ONLINE", 50), ("ONLINE", 50)]
    assert aged == [("ONLINE", 50), ("BULK", 20)]


def test_an_aged_bulk_text_that_fits_beside_no_query_takes_every_second_pass() -> None:
    lanes = TwoLanes(LaneRules(ageing_seconds=1.0, longest_pass=1))
    put(lanes, Lane.BULK, [300, 300])
    put(lanes, Lane.ONLINE, [90] * 9)

    assert [taken(lanes, 5.0)[0] for _ in range(4)] == [("BULK", 300), ("ONLINE", 90), ("BULK", 300), ("ONLINE", 90)]


def test_one_lane_is_first_come_first_served() -> None:
    lanes = TwoLanes(LaneRules(lanes=1))
    put(lanes, Lane.BULK, [60, 60])
    put(lanes, Lane.ONLINE, [30])

    assert [taken(lanes), taken(lanes)] == [[("BULK", 60)], [("BULK", 60), ("ONLINE", 30)]]


def test_cancelled_work_frees_its_room_at_once_and_is_never_computed() -> None:
    lanes = TwoLanes(LaneRules())
    gone = put(lanes, Lane.ONLINE, [40, 40])
    put(lanes, Lane.ONLINE, [30])

    lanes.drop(gone)

    assert lanes.queued_tokens[Lane.ONLINE] == 30
    assert taken(lanes) == [("ONLINE", 30)]
    assert lanes.queued_tokens[Lane.ONLINE] == 0


def test_expired_work_is_told_once_and_never_computed() -> None:
    lanes = TwoLanes(LaneRules())
    late = put(lanes, Lane.BULK, [40, 40], deadline=1.0)

    chosen = lanes.next_pass(1.0)

    assert (chosen.works, chosen.expired, lanes.queued_tokens[Lane.BULK]) == ([], [late], 0)
    assert lanes.next_pass(1.1).expired == []


def test_a_pass_is_of_one_model_version() -> None:
    lanes, other = TwoLanes(LaneRules()), Model("n")
    put(lanes, Lane.ONLINE, [10])
    put(lanes, Lane.ONLINE, [10], model=other)
    put(lanes, Lane.ONLINE, [10])

    assert [[w.ticket.model.model_version for w in lanes.next_pass(0).works] for _ in range(3)] == [["m"], ["n"], ["m"]]


@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, 250), st.integers(0, 3)), max_size=60))
def test_everything_is_computed_once_and_no_pass_is_too_large(asked: list[tuple[Lane, int, int]]) -> None:
    lanes = TwoLanes(LaneRules(ageing_seconds=1.0))
    for lane, tokens, at in asked:
        put(lanes, lane, [tokens], at=at)
    now, computed = 3.0, []
    while works := lanes.next_pass(now).works:
        bulk_alone = all(work.ticket.lane is Lane.BULK for work in works)
        assert sum(work.tokens for work in works) <= MODEL.pass_tokens * (1 if bulk_alone else 4) or len(works) == 1
        computed += [(work.ticket.lane, work.tokens) for work in works]
        now += 0.1

    assert sorted(computed) == sorted((lane, tokens) for lane, tokens, _ in asked)
    assert lanes.queued_tokens == {Lane.ONLINE: 0, Lane.BULK: 0}
