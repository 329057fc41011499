"""The management port, as Kubernetes and Prometheus call it."""

import re
import urllib.error
import urllib.request

TIMEOUT_S = 10


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels; 0 if there is none."""
    total = 0.0
    for line in get(port, "/metrics")[1].splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found:
            there = dict(re.findall(r'(\w+)="([^"]*)"', found[1] or ""))
            if all(there.get(key) == value for key, value in labels.items()):
                total += float(found[2])
    return total
