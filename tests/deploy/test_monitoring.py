"""Alerts and dashboard against a real Prometheus that scrapes a real sidecar, and the runbook."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager

import yaml
from grpc import StatusCode

from app import APPLIED, App, names, outcomes
from details import error_of
from http_port import get
from receiver import SECRET, Receiver
from redis_proxy import Redis
from sidecar import Sidecar, free_ports, wait_until
from tools import DEPLOY, run

ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "imquota.json"
RUNBOOK = DEPLOY / "RUNBOOK.md"
OF_SERVERS_THAT_ANSWER = "imquota_clock_skew_seconds"
"""A metric without series for an unavailable server."""
RUNBOOKS = "https://runbooks.example/imquota"
"""The placeholder for the URL at which an operator publishes the runbook."""
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s"}
PODS = 12
LEGEND_ENTRIES_MAX = 12
"""The rows of a panel's legend that are visible without scrolling."""
AT_A_GLANCE = ["Can decide", "Store", "Journal", "Denials"]


def alerts() -> list[dict]:
    """The alerts."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def expression(target: dict) -> str:
    """The query of a target of a panel, for all sidecars."""
    text = target["expr"]
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return text


def panels() -> list[tuple[str, str]]:
    """Title and query of each panel of the dashboard."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            # Values of 0 or NaN are only left out of the graph.
            found.append((panel["title"], re.sub(r" >=? 0$", "", expression(target))))
    return found


def test_rules_are_valid_and_each_alert_fires_only_on_its_fault():
    run("promtool", "check", "rules", str(ALERTS))
    folder = DEPLOY / "prometheus"
    run("promtool", "test", "rules", "alerts_test.yaml", folder=folder)
    tested = (folder / "alerts_test.yaml").read_text()
    for rule in alerts():
        for what in ("fires", "is quiet"):
            assert f"name: {rule['alert']} {what}\n" in tested, rule["alert"]


def test_rules_that_never_fire_are_found(tmp_path):
    text, changed = re.subn(r"(?m)^        expr: .*$", "        expr: vector(0) > 1",
                            ALERTS.read_text())
    assert changed == len(alerts())
    (tmp_path / "alerts.yaml").write_text(text)
    (tmp_path / "alerts_test.yaml").write_text(
        (DEPLOY / "prometheus" / "alerts_test.yaml").read_text())
    told = run("promtool", "test", "rules", "alerts_test.yaml", good=False, folder=tmp_path)
    for rule in alerts():
        assert rule["alert"] in told


def test_every_alert_has_its_section_of_the_runbook():
    sections = {line.removeprefix("### ") for line in RUNBOOK.read_text().splitlines()
                if line.startswith("### ")}
    for rule in alerts():
        assert rule["alert"] in sections
        anchor = f"RUNBOOK.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == f"deploy/{anchor}"
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}/{anchor}"
    assert f"`{RUNBOOKS}`" in (DEPLOY / "README.md").read_text(), "the placeholder to replace"


def families(text: str) -> dict[str, str]:
    """The type of each family of the text format, by the name of its samples."""
    described = (line.split() for line in text.splitlines() if line.startswith("# TYPE "))
    return {name: kind for _, _, name, kind in described}


def test_every_metric_is_described():
    described = (DEPLOY / "README.md").read_text()
    with Sidecar(store="memory", management=True) as sidecar:
        _, text = get(sidecar.management_port, "/metrics")
    shown = set(families(text))
    assert len(shown) > 15
    for name in shown:
        assert f"`{name}" in described, name
    # A family without series is not exposed, so the reverse check reads the code.
    code = "".join(path.read_text() for path in (DEPLOY.parent / "src/telemetry").glob("*.rs"))
    named = re.findall(r"`((?:imquota|process)_\w+?)[{`]", described)
    assert shown <= set(named)
    for name in named:
        without_ending = re.sub(r"_(total|info)$", "", name.removeprefix("imquota_"))
        assert f'"{without_ending}"' in code, name


def test_promtool_finds_nothing_wrong_with_the_metrics():
    with Sidecar(store="memory", management=True) as sidecar, App(sidecar) as app:
        some_load(app)
        _, text = get(sidecar.management_port, "/metrics")
    assert {"counter", "gauge", "histogram"} == set(families(text).values())
    assert promtool_finds(text) == ""
    for wrong in (text.replace("imquota_panics_total", "imquota_panics"),
                  text.replace("TYPE imquota_build_info gauge", "TYPE imquota_build_info info")):
        assert promtool_finds(wrong), "promtool checks nothing"


def promtool_finds(text: str) -> str:
    """The problems that promtool finds in metrics in the text format."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode == 0) == (done.stdout + done.stderr == "")
    return done.stdout + done.stderr


@contextmanager
def prometheus(folder, target: str, instances: list[str] | None = None):
    """A Prometheus that scrapes that target each half second; yields a query function. With
    `instances` the target appears as that many instances."""
    (port,) = free_ports(1)
    named = [{"targets": [target], "labels": {"instance": name}} for name in instances or []]
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "imquota", "static_configs": named or [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    server = subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'prometheus.yaml'}",
         f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str, **fields: str):
        url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(fields)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def is_up() -> bool:
        try:
            return bool(ask("/api/v1/query", query="up == 1")["result"])
        except OSError:
            return False

    try:
        wait_until(is_up, 30, "Prometheus scrapes")
        yield ask
    finally:
        server.kill()
        server.wait()


def some_load(app: App) -> None:
    """Load for everything that a dashboard shows in normal operation."""
    app.create_group("g", owner="u0")
    app.create_accounts(*names("a", 100))
    for number in range(10):
        app.create_accounts(f"more{number}")
    app.usages(user_id="u0")


def trouble(app: App) -> None:
    """Calls while Redis is unavailable: a Trial account is refused, a member admitted."""
    assert error_of(lambda: app.create_accounts("late")).code() == StatusCode.UNAVAILABLE
    assert outcomes(app.join("g", "late")) == [APPLIED]


def series(expression: str) -> set[str]:
    """The series of an expression, with their label matchers."""
    return set(re.findall(r"\b(?:(?:imquota|process)_\w+|up)\b(?:{[^}]*})?", expression))


@contextmanager
def sidecar_with_everything(folder, redis: Redis):
    """A sidecar with watched files, callbacks, and a webhook, which fails once."""
    (folder / "tokens").write_text(f"ann viewer sha256:{'0' * 64}\n")
    (folder / "secret").write_bytes(SECRET)
    (port,) = free_ports(1)
    (folder / "settings.toml").write_text(
        f'callback_listen = "127.0.0.1:{port}"\n[[callback]]\nprotocol = "openim"\n'
        'path = "/openim/secret"\napp_id = "demo"\ndefault_group_type = "Public"\n')
    with Receiver() as receiver:
        receiver.answers = [500]
        settings = ["--admin-tokens-file", str(folder / "tokens"), "--webhook-url", receiver.url,
                    "--webhook-secret-file", str(folder / "secret"),
                    "--config", str(folder / "settings.toml")]
        store = f"redis://127.0.0.1:{redis.port}/0"
        with Sidecar(*settings, store=store, management=True) as sidecar:
            yield sidecar


def test_queries_of_dashboard_and_alerts_have_data_of_a_real_sidecar(tmp_path):
    with Redis() as redis, sidecar_with_everything(tmp_path, redis) as sidecar, App(
            sidecar) as app, prometheus(tmp_path, f"127.0.0.1:{sidecar.management_port}") as ask:
        def has_data(expression: str) -> bool:
            return bool(ask("/api/v1/query", query=expression)["result"])

        end = time.monotonic() + 4
        while time.monotonic() < end:
            some_load(app)
        rules = ask("/api/v1/rules")["groups"][0]["rules"]
        assert [rule["health"] for rule in rules] == ["ok"] * len(rules) == ["ok"] * len(alerts())
        firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
        assert not firing, firing
        shown = [*panels(), *((rule["alert"], rule["expr"]) for rule in alerts())]
        live = [(title, one) for title, expression in shown for one in series(expression)
                if one.startswith(OF_SERVERS_THAT_ANSWER)]
        assert len(live) > 1
        for title, one in live:
            wait_until(lambda: has_data(one), 20, f"{title}: {one}")

        redis.kill()
        trouble(app)
        wait_until(lambda: has_data("imquota_store_silent_seconds > 1"), 20, "the store is silent")
        for title, expression in panels():
            # Each on its own, since a missing one of several does not change the whole.
            for one in [expression, *series(expression)]:
                if OF_SERVERS_THAT_ANSWER not in one:
                    wait_until(lambda: has_data(one), 20, f"{title}: {one}")
        for rule in alerts():
            for one in series(rule["expr"]) - {one for _, one in live}:
                wait_until(lambda: has_data(one), 20, f"{rule['alert']}: {one}")
        # The shutdown without the store takes long, and other tests cover it.
        sidecar.kill()


def colour(panel: dict, legend: str, value: float) -> str:
    """The colour of a stat panel's value, by Grafana's rule for thresholds."""
    thresholds = panel["fieldConfig"]["defaults"]["thresholds"]
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["id"] == "byName"
        for changed in override["properties"]:
            if (override["matcher"]["options"], changed["id"]) == (legend, "thresholds"):
                thresholds = changed["value"]
    assert thresholds["mode"] == "absolute" and thresholds["steps"][0]["value"] is None
    bounds = [step["value"] for step in thresholds["steps"][1:]]
    assert bounds == sorted(bounds)
    return [step["color"] for step in thresholds["steps"]
            if step["value"] is None or value >= step["value"]][-1]


def test_panels_do_not_overlap_and_the_most_important_are_first():
    board = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in board}) == len(board)
    cells = [(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
             for panel in board for x in range(panel["gridPos"]["w"])
             for y in range(panel["gridPos"]["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    first = [panel["title"] for panel in board if panel["gridPos"]["y"] == 1]
    assert first == AT_A_GLANCE
    assert [panel["title"] for panel in board if panel["type"] == "stat"] == AT_A_GLANCE


def test_stat_panels_change_colour_and_legends_are_short_at_twelve_pods(tmp_path):
    board = json.loads(DASHBOARD.read_text())["panels"]
    pods = [f"10.42.0.{number}:9090" for number in range(PODS)]
    with Redis() as redis, sidecar_with_everything(tmp_path, redis) as sidecar, App(
            sidecar) as app, prometheus(
                tmp_path, f"127.0.0.1:{sidecar.management_port}", pods) as ask:
        def values(target: dict) -> list[float]:
            found = ask("/api/v1/query", query=expression(target))["result"]
            return [float(each["value"][1]) for each in found]

        def colours(title: str) -> dict[str, str]:
            (panel,) = [panel for panel in board if panel["title"] == title]
            shown = {}
            for target in panel["targets"]:
                (value,) = values(target)
                shown[target["legendFormat"]] = colour(panel, target["legendFormat"], value)
            return shown

        def are(title: str, **expected: str) -> None:
            """Waits until the values of a panel have these colours."""
            wait_until(lambda: expected.items() <= colours(title).items(), 30,
                       f"{title}: {expected}, and not {colours(title)}")

        wait_until(lambda: len(ask("/api/v1/query", query="up == 1")["result"]) == PODS, 30,
                   "all are scraped")
        app.create_accounts(*names("a", 100))
        app.create_group("g", owner="a0", members=names("a", 2, first=1))
        end = time.monotonic() + 4
        while time.monotonic() < end:
            app.leave("g", "a2")
            app.join("g", "a2")
        for title in AT_A_GLANCE:
            wait_until(lambda: set(colours(title).values()) == {"green"}, 30, f"{title} is green")
        some_load(app)
        for panel in board:
            if panel["type"] == "timeseries":
                legend = panel["options"]["legend"]
                assert legend["displayMode"] == "table" and legend["sortDesc"], panel["title"]
                entries = sum(len(values(target)) for target in panel["targets"])
                assert entries <= LEGEND_ENTRIES_MAX, (panel["title"], entries)

        end = time.monotonic() + 12
        while time.monotonic() < end:
            app.create_accounts("one-more")
        are("Denials", denied="red")
        redis.kill()
        trouble(app)
        are("Store", problems="red")
        are("Journal", waiting="orange", blocked="green")
        sidecar.kill()
        are("Can decide", **{"can decide": "red"})
