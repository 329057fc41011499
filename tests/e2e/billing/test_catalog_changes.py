"""Price lists that change inside and after a month, against amounts computed by hand and by the
oracle.

Each sidecar has a catalog file of its own, and a change is made in one of them: the others follow
it, even if they are restarted with their old file.
"""

import os
import random
import re
import subprocess
from contextlib import ExitStack

import pytest

from app import APPLIED, App
from billing_month import login
from fake_time import MovedClock, redis_server
from http_port import get, metric
from price_lists import install, price_list
from sidecar import Sidecar, binary, wait_until
from statement_oracle import MILLIS_A_DAY, millis, statement
from statements import ITEMS, bought, find, issued, metered
from stubs import admin_pb, metering_pb

SEED = int(os.environ.get("IMQUOTA_SEED", "20191210"))
FOLLOWED_WITHIN_S = 30
MONTHS = ["2019-11", "2019-12"]


class World:
    """Sidecars on one store and one clock."""

    def __init__(self, running: ExitStack, folder, kind: str, first: str):
        # The clock runs until the sidecars have started, and never backwards.
        self.clock = MovedClock(folder, millis("2019-11-01 00:00"))
        redis = kind == "redis"
        store = running.enter_context(redis_server(folder, self.clock)) if redis else "embedded"
        self.files = [folder / f"catalog-{number}.toml" for number in range(3 if redis else 1)]
        for file in self.files:
            install(file, first)
        self.sidecars = [
            running.enter_context(Sidecar("--catalog", str(file), store=store,
                                          environment=self.clock.environment, management=True))
            for file in self.files
        ]
        self.apps = [App(sidecar, app_id="changing") for sidecar in self.sidecars]
        running.callback(lambda: [app.close() for app in self.apps])
        self.clock.stand_at(millis("2019-11-01 00:30"))

    def versions(self) -> set[str]:
        """The catalog versions that the sidecars use."""
        answers = [app.administration.GetCatalog(admin_pb.GetCatalogRequest(), timeout=20)
                   for app in self.apps]
        return {answer.version for answer in answers}

    def change(self, number: int, text: str) -> None:
        """Activates a catalog through the file of one sidecar."""
        version = re.search(r'(?m)^version = "(.*)"', text)[1]
        install(self.files[number], text)
        wait_until(lambda: self.versions() == {version}, FOLLOWED_WITHIN_S, version)

    def restart(self, number: int, how: str = "stop") -> None:
        """Ends a sidecar and starts it with its own file."""
        getattr(self.sidecars[number], how)()
        self.sidecars[number].start()
        self.apps[number].close()
        self.apps[number] = App(self.sidecars[number], app_id="changing")


@pytest.fixture(params=["redis", "embedded"])
def world(request, tmp_path):
    """A function that makes a world with a first catalog."""
    with ExitStack() as running:
        yield lambda first: World(running, tmp_path, request.param, first)


def log_in(app: App, users: int, at: int) -> None:
    """Records logins of a number of users at an instant."""
    app.meter("RecordLogins", logins=[login(f"u{number}", at) for number in range(users)])


def report(app: App, kbps: int, at: int) -> None:
    """Reports bandwidth of the mainland."""
    sample = metering_pb.BandwidthSample(region="mainland", kbps=kbps)
    sample.at.FromMilliseconds(at)
    app.meter("ReportBandwidth", samples=[sample])


def test_a_price_list_of_december_leaves_november_at_22_997_and_its_region_at_600(world):
    first, _ = price_list("first")
    dearer, _ = price_list("dearer", dau=(10, 10, 7_500_000), bandwidth={})
    world = world(first)
    app, at = world.apps[0], millis("2019-11-05 12:00")
    world.clock.stand_at(at)
    app.register()
    app.admin("PurchaseEdition", edition_id="professional", months=3)
    log_in(app, 25, at)
    report(app, 300_000, at)
    running = app.statement("2019-11")
    assert running.total_fen == 2_299_700 + 60_000
    world.clock.stand_at(millis("2019-12-01 00:00"))
    world.change(0, dearer)
    for when in ("2019-12-01 00:00", "2019-12-03 00:00"):
        world.clock.stand_at(millis(when))
        for other in world.apps:
            november = other.statement("2019-11")
            assert november.total_fen == 2_299_700 + 60_000
            assert find(november, "bandwidth", "mainland").amount_fen == 60_000
            assert november.catalog_version == "first"
    assert all(issued(other, "2019-11").final for other in world.apps)


def test_an_edition_that_was_sold_used_and_removed_is_charged_32_666(world):
    rules = {"grace_days": 0, "after_grace": "default_edition"}
    both = {"professional": True, "business": True}
    first, _ = price_list("first", editions=both, prices={"business": 266_600}, **rules)
    removed, _ = price_list("removed", **rules)
    world = world(first)
    app, at = world.apps[0], millis("2019-11-01 12:00")
    world.clock.stand_at(at)
    app.register()
    app.admin("PurchaseEdition", edition_id="business", months=1)
    log_in(app, 35, at)
    world.clock.stand_at(millis("2019-12-01 00:00"))
    world.change(0, removed)
    world.clock.stand_at(millis("2019-12-03 00:00"))
    for other in world.apps:
        november = issued(other, "2019-11")
        assert november.total_fen == 3_266_600


def test_a_sale_that_an_older_catalog_lacks_blocks_no_sidecar(world):
    first, _ = price_list("first")
    more, _ = price_list("more", editions={"professional": True, "business": True})
    world = world(first)
    with ExitStack() as running:
        others = [running.enter_context(App(world.sidecars[0])).register() for _ in range(2)]
        world.change(0, more)
        app = world.apps[0].register()
        app.admin("PurchaseEdition", edition_id="business", months=1)
        last = len(world.files) - 1
        install(world.files[last], first)
        world.restart(last)
        assert world.versions() == {"more"}
        # A list without a sold edition is accepted too, and no app loses the edition.
        world.change(0, price_list("less")[0])
        for number, sidecar in enumerate(world.sidecars):
            admin = world.apps[number].administration
            listed = admin.ListApps(admin_pb.ListAppsRequest(), timeout=20).apps
            assert {app.id, *(other.id for other in others)} == {it.app_id for it in listed}
            (sold,) = [it for it in listed if it.app_id == app.id]
            assert sold.entitlement.edition_id == "business"
            assert sold.entitlement.state == admin_pb.SERVICE_STATE_ACTIVE
            assert sidecar.process.poll() is None


def test_a_replaced_catalog_is_followed_warned_of_and_activated_by_an_owner(world):
    world = world(price_list("first")[0])
    last = len(world.files) - 1
    world.change(0, price_list("second")[0])
    world.clock.stand_at(millis("2019-11-02 12:00"))
    install(world.files[last], price_list("first")[0])
    world.restart(last, "kill")
    assert world.versions() == {"second"}
    sidecar = world.sidecars[last]
    def differs(**labels: str) -> float:
        return metric(sidecar.management_port, "imquota_catalog_differs", **labels)

    assert differs(loaded="first", in_force="second") == 1
    (loaded, in_force), = re.findall(
        r'catalog_differs{loaded="first",loaded_content="(\w{64})",in_force="second",'
        r'in_force_content="(\w{64})"} 1', get(sidecar.management_port, "/metrics")[1])
    assert loaded != in_force
    assert re.search(r"WARN[^\n]*catalog differs", sidecar.read_log())
    command = [binary(), "admin", "--address", sidecar.admin, "activate-catalog", "first"]
    done = subprocess.run([*command, "--content-hash", loaded], capture_output=True, text=True)
    assert done.returncode == 0 and "first" in done.stdout, done.stderr
    wait_until(lambda: world.versions() == {"first"}, FOLLOWED_WITHIN_S, "all follow")
    wait_until(lambda: differs() == 0, FOLLOWED_WITHIN_S, "no difference")
    unknown = subprocess.run([*command[:-1], "third"], capture_output=True, text=True)
    assert unknown.returncode != 0 and '"first", "second"' in unknown.stderr, unknown.stderr


class Changing:
    """Two months with random changes, written to the oracle's file."""

    def __init__(self, world: World, rng: random.Random, first: dict):
        self.world, self.rng = world, rng
        self.at = millis("2019-11-01 00:30")
        self.events: list[dict] = [{**first, "at": self.at}]
        self.now = dict(first)
        self.groups: list[str] = []

    def step_to(self, day: int) -> None:
        """A random instant of a day, counted from the first of November."""
        begins = millis("2019-11-01 00:00") + day * MILLIS_A_DAY
        self.at = max(self.at, begins + self.rng.choice([0, MILLIS_A_DAY - 1, 43_200_000]))
        self.world.clock.stand_at(self.at)

    def note(self, kind: str, **fields) -> None:
        """Writes an event of the current instant."""
        self.events.append({"kind": kind, "at": self.at, **fields})

    def change_catalog(self, number: int) -> None:
        """Activates another price list through the file of any sidecar."""
        pick = self.rng.choice
        text, event = price_list(
            f"list {number}",
            dau=(pick([3, 10, 20]), pick([5, 10]), pick([700, 90_000])),
            groups=(pick([1, 2, 5]), pick([1, 3]), pick([100, 5_000])),
            history=(pick([1, 10]), pick([300, 50_000])),
            bandwidth=pick([{}, {"mainland": 100}, {"mainland": 300}]),
            editions=pick([{"basic": True}, {"professional": True}, {"professional": True},
                           {"professional": False}]),
            grace_days=pick([0, 3, 7]),
        )
        self.world.change(self.rng.randrange(len(self.world.files)), text)
        self.now = event
        self.note(**event)

    def live(self, day: int) -> None:
        """Records logins, group changes and bandwidth."""
        app = self.rng.choice(self.world.apps)
        users = self.rng.randrange(1, 40)
        log_in(app, users, self.at)
        for number in range(users):
            self.note("login", user=f"u{number}")
        if "mainland" in self.now["bandwidth"]:
            kbps = self.rng.randrange(1, 9000)
            report(app, kbps, self.at)
            self.note("bandwidth", region="mainland", kbps=kbps)
        for number in range(self.rng.randrange(3)):
            group = f"g{day}-{number}"
            # After the service has stopped, nothing is admitted.
            if app.create_group(group, "Public").group.outcome == APPLIED:
                self.groups.append(group)
                self.note("group", change=1)
        if self.groups and self.rng.random() < 0.5:
            app.dissolve(self.groups.pop())
            self.note("group", change=-1)
        if self.rng.random() < 0.3:
            self.world.restart(self.rng.randrange(len(self.world.files)),
                               self.rng.choice(["stop", "kill"]))


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_months_with_changing_price_lists_cost_the_amount_of_the_oracle(world, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    first, event = price_list("first")
    world = world(first)
    changing = Changing(world, rng, event)
    app = world.apps[0].register()
    app.admin("PurchaseEdition", edition_id="professional", months=1)
    # It ends with November, followed by the days of grace.
    changing.note("edition", id="professional", fen=99_900, valid_until=millis("2019-12-01 00:00"))
    app.meter("SetMessageRetention", admin=True, days=30)
    changing.note("retention", days=30)
    changes = sorted(rng.sample(range(1, 36), 7))
    for number, day in enumerate(sorted({*changes, *rng.sample(range(34), 12)})):
        changing.step_to(day)
        if day in changes:
            changing.change_catalog(number)
        else:
            changing.live(day)
    for month, final in zip(MONTHS, ("2019-12-07 00:00", "2020-01-03 00:00"), strict=True):
        world.clock.stand_at(millis(final))
        wanted = statement(changing.events, month)
        for app in world.apps:
            made = issued(app, month)
            charged = [day.day for day in made.days if day.charged]
            assert charged == [name for name, day in wanted.days.items() if day.charged]
            ours = [(ITEMS[line.item], line.item_id, line.quantity, line.amount_fen)
                    for line in made.lines]
            theirs = [(line.item, line.item_id, line.quantity, line.fen) for line in wanted.lines]
            assert bought(ours) == bought(theirs)
            assert metered(ours) == metered(theirs)
            assert metered(theirs) or month != MONTHS[0], "some line is postpaid"
            assert made.total_fen == wanted.total_fen
