"""Callbacks while Redis does not reply: what is answered, and within which time."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

import callbacks
from app import App, names
from callbacks import CallbackSidecar
from http_port import metric
from openim import OpenIm, operation, read, refuses
from redis_proxy import Redis
from sidecar import wait_until
from tencent import TencentIm, friend_codes
from tencent import read as tencent_read
from tencent import refuses as tencent_refuses

SLACK_S = 0.7
BACK_WITHIN_S = 30
REFUSED, ALLOWED = 20999, 0


@contextmanager
def frozen_later(*settings: dict, journal: bool, store_timeout_ms: int = 500):
    """A Redis, and a sidecar with these callbacks; without a journal nothing is admitted in place
    of the store."""
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        of_sidecar = {"store_timeout_ms": store_timeout_ms}
        if not journal:
            of_sidecar["journal"] = "off"
        sidecar = stack.enter_context(CallbackSidecar(
            *settings, store=f"redis://127.0.0.1:{redis.port}/0", settings=of_sidecar))
        try:
            yield redis, sidecar
        finally:
            redis.thaw()


def timed(call):
    """What the call returns, and its seconds."""
    began = time.monotonic()
    return call(), time.monotonic() - began


BEFORE = {
    "register": lambda im: im.register("u"),
    "members_join": lambda im: im.members_join("g", "u"),
    "before_join": lambda im: im.before_join("g", "u"),
    "before_invite": lambda im: im.before_invite("g", "u"),
    "create": lambda im: im.create("u", group_type=0)[1],
    "before_add_friend": lambda im: im.before_add_friend("u", "v"),
    "agree": lambda im: im.agree("u", "v"),
    "import_friends": lambda im: im.import_friends("u", "v"),
}
BEFORE_OF_TENCENT = {
    "before_create": lambda im: im.before_create("u", ["v"]),
    "before_apply": lambda im: im.before_apply("g", "u"),
    "before_invite": lambda im: im.before_invite("g", ["u"]),
}


@pytest.mark.parametrize("unavailable", ["refuse", "allow"])
def test_no_decision_is_answered_as_configured(unavailable):
    settings = [callbacks.openim(unavailable=unavailable, budget_ms=1000),
                callbacks.tencent(unavailable=unavailable, budget_ms=1000),
                callbacks.openim(unavailable=unavailable, budget_ms=1000, shadow=True)]
    with frozen_later(*settings, journal=False) as (redis, sidecar):
        with OpenIm(sidecar, settings[0]) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("g", "Public", "owner")
        redis.freeze()
        with OpenIm(sidecar, settings[0]) as im:
            for name, call in BEFORE.items():
                answer, took = timed(lambda: call(im))
                code = read(answer).get("errCode")
                assert refuses(answer) == (unavailable == "refuse"), (name, answer)
                assert code == (REFUSED if unavailable == "refuse" else ALLOWED), (name, answer)
                # A creation is two callbacks.
                assert took < (2 if name == "create" else 1) * (1 + SLACK_S), (name, took)
            assert not refuses(im.call("callbackBeforeSendSingleMsgCommand"))
        with TencentIm(sidecar, settings[1]) as im:
            for name, call in BEFORE_OF_TENCENT.items():
                answer, took = timed(lambda: call(im))
                assert tencent_refuses(answer) == (unavailable == "refuse"), (name, answer)
                if unavailable == "refuse":
                    assert tencent_read(answer)["ErrorCode"] == 10199, (name, answer)
                assert took < 1 + SLACK_S, (name, took)
            for answer in (im.prev_friend_add("u", ["v"]), im.prev_friend_response("u", ["v"])):
                ((_, code),) = friend_codes(answer)
                assert (code != 0) == (unavailable == "refuse"), answer
        with OpenIm(sidecar, settings[2]) as im:
            for name, call in BEFORE.items():
                assert not refuses(call(im)), name


@pytest.mark.parametrize("budget_ms", [100, 400, 1200])
def test_the_budget_is_kept_while_redis_is_frozen(budget_ms):
    settings = [callbacks.openim(budget_ms=budget_ms), callbacks.tencent(budget_ms=budget_ms)]
    # Redis is never found absent here, so that only the budget ends a callback.
    with frozen_later(*settings, journal=True, store_timeout_ms=20_000) as (redis, sidecar):
        with OpenIm(sidecar, settings[0]) as im, TencentIm(sidecar, settings[1]) as other:
            im.register("a")
            redis.freeze()
            calls = [
                lambda: im.register("u"), lambda: im.members_join("g", "u"),
                lambda: im.agree("u", "v"), lambda: im.before_create("u"),
                lambda: im.online("u"), lambda: other.state("u"),
                lambda: other.before_create("u"), lambda: other.prev_friend_add("u", ["v"]),
                lambda: other.after_join("g", ["u"]), lambda: other.after_exit("g", ["u"]),
            ]
            took = [timed(call)[1] for call in calls]
            assert max(took) < budget_ms / 1000 + SLACK_S, took


def test_the_budget_is_kept_by_many_callers_at_once():
    callback = callbacks.openim(budget_ms=500)
    with frozen_later(callback, journal=True, store_timeout_ms=20_000) as (redis, sidecar):
        redis.freeze()
        took = []

        def run(number):
            with OpenIm(sidecar, callback) as im:
                for at in range(3):
                    answer, seconds = timed(lambda: im.members_join(f"g{at}", f"u{number}"))
                    assert refuses(answer)
                    took.append(seconds)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(took) == 120 and max(took) < 0.5 + 2 * SLACK_S, sorted(took)[-5:]


def test_what_the_policy_admits_is_allowed_and_counted_later():
    settings = [callbacks.openim(budget_ms=2000), callbacks.tencent(budget_ms=2000)]
    with frozen_later(*settings, journal=True) as (redis, sidecar):
        with OpenIm(sidecar, settings[0]) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("g", "Public", "owner", ["gone", "kicked"])
            app.create_group("h", "Public", "owner")
            app.create_group("p", "Private", "owner")
            redis.freeze()
            assert not refuses(im.members_join("g", "alice"))
            assert not refuses(im.members_join("p", "alice"))
            assert refuses(im.register("u")), "accounts fail closed"
            assert not refuses(im.agree("alice", "bob"))
            began = time.monotonic()
            for answer in (im.quit("g", "gone"), im.kick("g", "kicked"), im.dismiss("h", "owner")):
                assert not refuses(answer)
            assert time.monotonic() - began < 3 * (2 + SLACK_S)
            redis.thaw()
            drained(sidecar)
            wait_until(lambda: app.members("g") == 2, BACK_WITHIN_S, "the releases are done")
            assert (app.groups("alice"), app.friends("alice"), app.groups("gone")) == (2, 1, 0)
            assert app.members("p") == 2
            assert app.usage_or_none("h") is None


def test_events_of_tencent_are_in_the_journal_before_they_are_answered():
    callback = callbacks.tencent(budget_ms=2000)
    with frozen_later(callback, journal=True) as (redis, sidecar):
        with TencentIm(sidecar, callback) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("g", "Public", "owner", names("m", 3))
            redis.freeze()
            time.sleep(1)
            assert im.after_exit("g", ["m0"]).status == 200
            assert im.after_join("g", ["new"]).status == 200
            assert im.after_create("@TGS#1", "owner", ["m1"]).status == 200
            assert im.friend_add(("owner", "m1")).status == 200
            sidecar.kill()
            redis.thaw()
            sidecar.start()
            drained(sidecar)
        with App(sidecar, app_id=im.app_id) as app:
            assert app.members("g") == 4 and app.groups("m0") == 0
            assert app.members("@TGS#1") == 2 and app.friends("owner") == 1


def drained(sidecar) -> None:
    """Waits until the journal is replayed."""
    empty = lambda: metric(sidecar.management_port, "imquota_journal_entries") == 0  # noqa: E731
    wait_until(empty, BACK_WITHIN_S, f"the journal is replayed\n{sidecar.read_log()[-3000:]}")


def test_callbacks_work_again_at_once():
    callback = callbacks.openim(budget_ms=1000)
    with frozen_later(callback, journal=False) as (redis, sidecar):
        with OpenIm(sidecar, callback) as im, App(sidecar, app_id=im.app_id) as app:
            redis.freeze()
            assert refuses(im.register("u"))
            redis.thaw()
            wait_until(lambda: not refuses(im.register("u")), 5, "Redis replies again")
            assert app.accounts() == 1


def test_members_of_an_unknown_group_survive_an_outage():
    """The group is one that the IM had before: the event has its type."""
    callback = callbacks.tencent(budget_ms=2000)
    with frozen_later(callback, journal=True) as (redis, sidecar):
        with TencentIm(sidecar, callback) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("known", "Private", "owner")
            redis.freeze()
            time.sleep(1)
            assert im.after_join("@TGS#unknown", ["x", "y"], "Work").status == 200
            assert im.after_join("known", ["x"], "Work").status == 200
            redis.thaw()
            drained(sidecar)
            assert (app.members("known"), app.members("@TGS#unknown")) == (2, 2)
            assert app.groups("x") == 2


@pytest.mark.parametrize("frozen_before_create", [True, False])
def test_a_creation_at_two_sidecars_is_refused_or_counted_in_an_outage(frozen_before_create):
    callback = callbacks.openim(budget_ms=2000)
    with frozen_later(callback, journal=True) as (redis, one):
        store = f"redis://127.0.0.1:{redis.port}/0"
        with CallbackSidecar(callback, store=store) as other:
            with OpenIm(one, callback) as im, OpenIm(other, callback) as same:
                app = App(one, app_id=im.app_id)
                app.create_group("known", "Public", "owner")
                number = operation()
                if frozen_before_create:
                    redis.freeze()
                    time.sleep(1)
                asked = im.before_create("alice", ["bob"], group_type=3, operation_id=number)
                if refuses(asked):
                    redis.thaw()
                    return
                redis.freeze()
                time.sleep(1)
                group = asked.json["groupID"]
                answer = same.members_join(group, "alice", "bob", operation_id=number)
                redis.thaw()
                for sidecar in (one, other):
                    drained(sidecar)
                assert refuses(answer) == (app.usage_or_none(group) is None), answer
                app.close()
