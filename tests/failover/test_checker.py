"""The checker finds the violations of hand-written histories, and none in correct ones."""

import pytest
from checker import Cut, Observed, CheckResult, check_history
from history import DENIED, DONE, RELEASE, TAKE, UNKNOWN, Call, Fact, Scope
from measure import Times, gaps, refused_s
from watch import promotion_s

GROUP = Scope("app", "member", "g")
ALICE, BOB, CAROL = (Fact(GROUP, name) for name in ("alice", "bob", "carol"))


def history(*steps, sidecar=0):
    """Calls from (fact, action, outcome), a second each, from second 0 on."""
    return [Call(sidecar, *step, "", float(at), at + 0.5) for at, step in enumerate(steps)]


def answers(*held, of=(ALICE, BOB, CAROL), used=None):
    """The state that a sidecar returns if these facts are held."""
    count = len(held) if used is None else used
    return Observed({fact: fact in held for fact in of}, {GROUP: count})


def checked(calls, *observed, limits=None, cut=None):
    """The result for calls, with one observation per sidecar."""
    return check_history(calls, limits or {}, dict(enumerate(observed)), cut)


TWO_TAKEN = history((ALICE, TAKE, DONE), (BOB, TAKE, DONE))


def test_acknowledged_and_held_facts_are_clean():
    calls = [*TWO_TAKEN, Call(1, CAROL, TAKE, DENIED, "", 5.0, 6.0)]
    assert checked(calls, answers(ALICE, BOB), answers(ALICE, BOB), limits={GROUP: 2}).is_clean


def test_an_acknowledged_take_that_is_missing_is_lost():
    result = checked(TWO_TAKEN, answers(BOB))
    assert len(result.lost) == 1 and "alice" in result.lost[0] and "is gone" in result.lost[0]


def test_an_acknowledged_release_that_is_held_is_lost():
    calls = history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE), (BOB, TAKE, DONE))
    result = checked(calls, answers(ALICE, BOB))
    assert len(result.lost) == 1 and "was released" in result.lost[0]


def test_a_loss_that_only_one_sidecar_shows_is_lost_and_a_disagreement():
    result = checked(TWO_TAKEN, answers(ALICE, BOB), answers(BOB))
    assert len(result.lost) == 1 and len(result.disagreements) == 1


def test_calls_count_in_the_order_of_time():
    released, taken = history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE))[::-1]
    assert checked([released, taken], answers()).is_clean
    denied = Call(1, CAROL, TAKE, DENIED, "", 5.0, 6.0)
    again = Call(0, BOB, TAKE, DONE, "", 7.0, 8.0)
    assert checked([again, denied, *TWO_TAKEN], answers(ALICE, BOB), limits={GROUP: 2}).is_clean


@pytest.mark.parametrize("kind", ["lost", "over", "two_masters", "disagreements"])
def test_a_result_with_any_violation_is_not_clean(kind):
    assert CheckResult().is_clean and not CheckResult(**{kind: ["wrong"]}).is_clean


@pytest.mark.parametrize("held", [(), (ALICE,)])
@pytest.mark.parametrize("steps", [
    [(ALICE, TAKE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN), (ALICE, RELEASE, DENIED)],
])
def test_an_unknown_outcome_may_be_either(steps, held):
    assert checked(history(*steps), answers(*held)).is_clean


@pytest.mark.parametrize("steps", [
    [(ALICE, TAKE, UNKNOWN), (ALICE, TAKE, DONE)],
    [(ALICE, TAKE, DONE), (ALICE, TAKE, UNKNOWN)],
    [(ALICE, TAKE, DONE), (ALICE, RELEASE, UNKNOWN), (ALICE, TAKE, DONE)],
])
def test_an_acknowledgement_counts_beside_unknown_outcomes(steps):
    assert checked(history(*steps), answers(ALICE)).is_clean
    assert len(checked(history(*steps), answers()).lost) == 1


def test_a_denied_take_must_not_be_held():
    assert len(checked(history((ALICE, TAKE, DENIED)), answers(ALICE)).lost) == 1


def test_more_acknowledged_than_the_limit_is_over_even_if_the_rest_was_lost():
    result = checked(TWO_TAKEN, answers(BOB), limits={GROUP: 1})
    assert len(result.over) == 1 and "2 were acknowledged, limit 1" in result.over[0]


def test_more_held_than_the_limit_is_over_even_if_nothing_was_acknowledged():
    calls = history((ALICE, TAKE, UNKNOWN), (BOB, TAKE, UNKNOWN))
    result = checked(calls, answers(ALICE, BOB), limits={GROUP: 1})
    assert len(result.over) == 1 and "2 are held, limit 1" in result.over[0]


@pytest.mark.parametrize("outcome,limit,found", [(DONE, 1, 0), (UNKNOWN, 1, 0), (DONE, 2, 1)])
def test_a_denial_below_the_limit_is_wrong(outcome, limit, found):
    calls = history((ALICE, TAKE, outcome), (BOB, TAKE, DENIED), (CAROL, TAKE, DENIED))
    result = checked(calls, answers(ALICE), limits={GROUP: limit})
    assert len(result.over) == 2 * found and not result.lost


def test_a_count_that_is_not_the_number_of_facts_is_wrong():
    result = checked(TWO_TAKEN, answers(ALICE, BOB, used=3))
    assert not result.lost and len(result.over) == 1 and "counts 3" in result.over[0]


@pytest.mark.parametrize("began_s,outcome,sidecar,found", [
    (12.0, DONE, 0, 1),
    (12.0, DONE, 1, 0),
    (12.0, UNKNOWN, 0, 0),
    (9.9, DONE, 0, 0),
    (14.8, DONE, 0, 0),
])
def test_a_decision_of_the_old_master_during_a_cut_is_of_two_masters(
        began_s, outcome, sidecar, found):
    calls = [Call(sidecar, ALICE, TAKE, outcome, "", began_s, began_s + 0.5)]
    result = checked(calls, answers(ALICE), cut=Cut(10.0, 15.0, frozenset({0})))
    assert len(result.two_masters) == found


@pytest.mark.parametrize("calls,observed,limits", [
    ([], [answers()], {}),
    (TWO_TAKEN, [], {}),
    (TWO_TAKEN, [answers(of=(BOB,))], {}),
    (TWO_TAKEN, [Observed({ALICE: True, BOB: True}, {})], {}),
    (history((ALICE, TAKE, DONE), (ALICE, RELEASE, DONE)), [answers()], {GROUP: 1}),
])
def test_facts_that_were_not_read_are_an_error(calls, observed, limits):
    with pytest.raises(ValueError):
        checked(calls, *observed, limits=limits)


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
    # Repaired in the middle of the gap: all of it is still caused by the fault.
    assert refused_s(calls, Times(0.0, 2.0, 3.0, 4.0, 10.0), {0})["beyond"] == [2.0]
    # A gap that begins after the repair is not caused by the failover.
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
