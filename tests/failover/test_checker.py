"""The checker finds what is wrong in made-up histories, and nothing in those that are right."""

import pytest
from checker import Cut, Observed, Verdict, judge
from history import DENIED, DONE, RELEASE, TAKE, UNKNOWN, Call, Fact, Scope
from measure import Times, gaps, refused_s
from watch import promotion_s

GROUP = Scope("app", "member", "g")
ALICE, BOB, CAROL = (Fact(GROUP, name) for name in ("alice", "bob", "carol"))


def history(*steps, sidecar=0):
    """Calls from (fact, action, outcome), a second each, from second 0 on."""
    return [Call(sidecar, *step, "", float(at), at + 0.5) for at, step in enumerate(steps)]


def answers(*held, of=(ALICE, BOB, CAROL), used=None):
    """What a sidecar answers if these facts are held."""
    count = len(held) if used is None else used
    return Observed({fact: fact in held for fact in of}, {GROUP: count})


def judged(calls, *observed, limits=None, cut=None):
    """The verdict on calls, with one observation for each sidecar."""
    return judge(calls, limits or {}, dict(enumerate(observed)), cut)


TWO_TAKEN = history((ALICE, TAKE, DONE), (BOB, TAKE, DONE))


def test_what_was_acknowledged_and_is_held_is_clean():
    calls = [*TWO_TAKEN, Call(1, CAROL, TAKE, DENIED, "", 5.0, 6.0)]
    assert judged(calls, answers(ALICE, BOB), answers(ALICE, BOB), limits={GROUP: 2}).is_clean


def test_an_acknowledged_take_that_is_gone_is_lost():
    verdict = judged(TWO_TAKEN, answers(BOB))
    assert len(verdict.lost) == 1 and "alice" in verdict.lost[0] and "is gone" in verdict.lost[0]


def test_an_acknowledged_release_that_is_held_is_lost():
    calls = history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE), (BOB, TAKE, DONE))
    verdict = judged(calls, answers(ALICE, BOB))
    assert len(verdict.lost) == 1 and "was released" in verdict.lost[0]


def test_a_loss_that_only_one_sidecar_shows_is_lost_and_a_disagreement():
    verdict = judged(TWO_TAKEN, answers(ALICE, BOB), answers(BOB))
    assert len(verdict.lost) == 1 and len(verdict.disagreements) == 1


def test_calls_count_in_the_order_of_time():
    released, taken = history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE))[::-1]
    assert judged([released, taken], answers()).is_clean
    denied = Call(1, CAROL, TAKE, DENIED, "", 5.0, 6.0)
    again = Call(0, BOB, TAKE, DONE, "", 7.0, 8.0)
    assert judged([again, denied, *TWO_TAKEN], answers(ALICE, BOB), limits={GROUP: 2}).is_clean


@pytest.mark.parametrize("kind", ["lost", "over", "two_masters", "disagreements"])
def test_a_verdict_with_anything_in_it_is_not_clean(kind):
    assert Verdict().is_clean and not Verdict(**{kind: ["wrong"]}).is_clean


@pytest.mark.parametrize("held", [(), (ALICE,)])
@pytest.mark.parametrize("steps", [
    [(ALICE, TAKE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN), (ALICE, RELEASE, DENIED)],
])
def test_an_unknown_outcome_may_be_either(steps, held):
    assert judged(history(*steps), answers(*held)).is_clean


@pytest.mark.parametrize("steps", [
    [(ALICE, TAKE, UNKNOWN), (ALICE, TAKE, DONE)],
    [(ALICE, TAKE, DONE), (ALICE, TAKE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN), (ALICE, TAKE, DONE)],
])
def test_an_acknowledgement_counts_beside_unknown_outcomes(steps):
    assert judged(history(*steps), answers(ALICE)).is_clean
    assert len(judged(history(*steps), answers()).lost) == 1


def test_a_denied_take_must_not_be_held():
    assert len(judged(history((ALICE, TAKE, DENIED)), answers(ALICE)).lost) == 1


def test_more_acknowledged_than_the_limit_is_over_even_if_the_rest_was_lost():
    verdict = judged(TWO_TAKEN, answers(BOB), limits={GROUP: 1})
    assert len(verdict.over) == 1 and "2 were acknowledged, limit 1" in verdict.over[0]


def test_more_held_than_the_limit_is_over_even_if_nothing_was_acknowledged():
    calls = history((ALICE, TAKE, UNKNOWN), (BOB, TAKE, UNKNOWN))
    verdict = judged(calls, answers(ALICE, BOB), limits={GROUP: 1})
    assert len(verdict.over) == 1 and "2 are held, limit 1" in verdict.over[0]


@pytest.mark.parametrize("outcome,limit,found", [(DONE, 1, 0), (UNKNOWN, 1, 0), (DONE, 2, 1)])
def test_a_denial_below_the_limit_is_wrong(outcome, limit, found):
    calls = history((ALICE, TAKE, outcome), (BOB, TAKE, DENIED), (CAROL, TAKE, DENIED))
    verdict = judged(calls, answers(ALICE), limits={GROUP: limit})
    assert len(verdict.over) == 2 * found and not verdict.lost


def test_a_count_that_is_not_the_number_of_facts_is_wrong():
    verdict = judged(TWO_TAKEN, answers(ALICE, BOB, used=3))
    assert not verdict.lost and len(verdict.over) == 1 and "counts 3" in verdict.over[0]


@pytest.mark.parametrize("began_s,outcome,sidecar,found", [
    (12.0, DONE, 0, 1),
    (12.0, DONE, 1, 0),
    (12.0, UNKNOWN, 0, 0),
    (9.9, DONE, 0, 0),
    (14.8, DONE, 0, 0),
])
def test_an_answer_of_the_old_master_during_a_cut_is_of_two_masters(
        began_s, outcome, sidecar, found):
    calls = [Call(sidecar, ALICE, TAKE, outcome, "", began_s, began_s + 0.5)]
    verdict = judged(calls, answers(ALICE), cut=Cut(10.0, 15.0, frozenset({0})))
    assert len(verdict.two_masters) == found


@pytest.mark.parametrize("calls,observed,limits", [
    ([], [answers()], {}),
    (TWO_TAKEN, [], {}),
    (TWO_TAKEN, [answers(of=(BOB,))], {}),
    (TWO_TAKEN, [Observed({ALICE: True, BOB: True}, {})], {}),
    (history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE)), [answers()], {GROUP: 1}),
])
def test_nothing_is_judged_that_was_not_asked(calls, observed, limits):
    with pytest.raises(ValueError):
        judged(calls, *observed, limits=limits)


def test_gaps_are_those_of_the_part_that_waited_longest():
    shards = [Scope("app", "friend", "u"), Scope("app", "account", "")]
    ended = {shards[0]: [n / 10 for n in range(101)],
             shards[1]: [n / 10 for n in range(101) if not 20 < n < 50]}
    calls = [Call(0, Fact(scope, f"{at}"), TAKE, DONE, "", at, at)
             for scope, times in ended.items() for at in times]
    # The fault at 2, the new master at 3, acknowledgements again at 5, healed at 8.
    times = Times(0.0, 2.0, 3.0, 8.0, 10.0)
    assert gaps(calls, times) == {0: [(2.0, 5.0)]}
    assert refused_s(calls, times, {0}) == {"beyond": [2.0], "all": [3.0], "healing": [0.0]}
    # Healed in the middle of the gap: all of it is still the fault's.
    assert refused_s(calls, Times(0.0, 2.0, 3.0, 4.0, 10.0), {0})["beyond"] == [2.0]
    # A gap that begins after healing is none of the failover's.
    late = refused_s(calls, Times(0.0, 1.0, 1.2, 1.5, 10.0), {0})
    assert late == {"beyond": [0.0], "all": [0.0], "healing": [3.0]}


@pytest.mark.parametrize("after,wanted", [({"b"}, 3.0), ({"a"}, None), (None, 2.0), ({"c"}, 2.0)])
def test_only_a_promotion_that_lasted_is_a_change_of_master(after, wanted):
    changes = [(0.0, "a", "master"), (0.1, "b", "slave"), (2.0, "c", "master"), (2.1, "c", "slave"),
               (3.0, "b", "master"), (5.0, "a", "slave")]
    assert promotion_s(changes, 1.0, {"a"}, after) == wanted


def test_a_sidecar_that_never_acknowledged_refused_all_the_time():
    calls = [Call(0, ALICE, TAKE, UNKNOWN, "UNAVAILABLE", 4.0, 4.5)]
    times = Times(0.0, 2.0, 3.0, 8.0, 10.0)
    assert refused_s(calls, times, {0}) == {"beyond": [7.0], "all": [8.0], "healing": [0.0]}
