"""Cost of a call by JSON beside one by gRPC: `python benches/json_cost.py`.

Joins that change nothing, one at a time on one connection, in rounds that alternate. Prints the
medians of the rounds: latency, and the sidecar's processor time of a call. Needs a release build in
`IMQUOTA_BIN`, and the packages of tests/e2e/requirements.txt.
"""

import http.client
import json
import statistics
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests/e2e/helpers"))

from app import App  # noqa: E402
from callback_latency import processor_seconds  # noqa: E402
from connect_http import JSON, QUOTA  # noqa: E402
from sidecar import Sidecar  # noqa: E402
from stubs import quota_pb  # noqa: E402

ROUNDS, CALLS = 9, 3000


def measured(call, process: int) -> tuple[float, float]:
    """The median latency and the processor time of a call, in microseconds."""
    latencies, before = [], processor_seconds(process)
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - started)
    used = processor_seconds(process) - before
    return statistics.median(latencies) * 1e6, used / CALLS * 1e6


def main() -> None:
    """Measures both, and prints a table."""
    with Sidecar(store="memory") as sidecar, App(sidecar) as app:
        app.create_group("g", "Public", "owner")
        request = quota_pb.JoinGroupRequest(app_id=app.id, group_id="g", user_ids=["owner"])
        body = json.dumps({"appId": app.id, "groupId": "g", "userIds": ["owner"]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.port)

        def by_json() -> None:
            connection.request("POST", QUOTA + "JoinGroup", body, JSON)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()

        def by_grpc() -> None:
            app.quota.JoinGroup(request)

        calls = {"gRPC": by_grpc, "JSON over HTTP/1.1": by_json}
        rounds = {name: [] for name in calls}
        for number in range(ROUNDS + 1):
            for name, call in calls.items():
                found = measured(call, sidecar.process.pid)
                if number > 0:
                    rounds[name].append(found)
        for name, found in rounds.items():
            latency, used = (statistics.median(each) for each in zip(*found, strict=True))
            print(f"{name:20} p50 {latency:6.0f} us  sidecar {used:5.0f} us of processor time")


if __name__ == "__main__":
    main()
