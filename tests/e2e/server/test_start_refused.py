"""A failed start logs each problem as one record at ERROR, in the configured format.

The oracle reads standard error like a log collector: line by line, each a whole JSON object.
"""

import json
import subprocess

import pytest

from sidecar import binary, clean_environment

TIMEOUT_S = 20
FAILED = 1
KUBERNETES = {
    "IMQUOTA_SERVICE_HOST": "10.0.0.7", "IMQUOTA_SERVICE_PORT": "50051",
    "IMQUOTA_PORT": "tcp://10.0.0.7:50051", "IMQUOTA_PORT_50051_TCP": "tcp://10.0.0.7:50051",
    "IMQUOTA_PORT_50051_TCP_ADDR": "10.0.0.7", "IMQUOTA_HEADLESS_SERVICE_HOST": "None",
}
"""The variables that kubelet sets in each pod for a Service named imquota."""


def start(folder, *arguments: str, **environment: str) -> str:
    """Standard error of a start that fails."""
    done = subprocess.run(
        [binary(), "serve", "--store", "memory", "--management-listen", "off", *arguments],
        capture_output=True, text=True, cwd=folder, timeout=TIMEOUT_S,
        env=clean_environment(**KUBERNETES, **environment))
    assert done.returncode == FAILED, done.stderr
    assert done.stdout == ""
    return done.stderr


def records(log: str) -> list[dict]:
    """The records of a log in JSON, all at ERROR."""
    read = [json.loads(line) for line in log.splitlines()]
    assert {record["level"] for record in read} == {"ERROR"}, log
    return read


def test_each_problem_of_the_configuration_is_a_record_in_the_configured_format(tmp_path):
    file = tmp_path / "imquota.toml"
    file.write_text("listn = 'x'\nstore = 7\nlog_format = 'json'\n")
    log = start(tmp_path, "--config", str(file), "--request-timeout-ms", "2s",
                IMQUOTA_ADMIN_LISTN="127.0.0.1:1")
    found = [(record["origin"], record["error"]) for record in records(log)]
    assert found == [
        ("IMQUOTA_ADMIN_LISTN",
         "unknown environment variable; did you mean IMQUOTA_ADMIN_LISTEN?"),
        (f"{file}:1:1", 'listn: unknown key; did you mean "listen"?'),
        (f"{file}:2:9", "store: must be a string, not 7"),
        ("--request-timeout-ms",
         'must be a whole number of milliseconds from 1 to 60000, not "2s"'),
    ]
    assert {record["message"] for record in records(log)} == {"configuration refused"}


@pytest.mark.parametrize("name, meant", [
    ("IMQUOTA_LISTN", "IMQUOTA_LISTEN"),
    ("IMQUOTA_STORE_ID_", "IMQUOTA_STORE_ID"),
    ("IMQUOTA_WORKER_THREAD", "IMQUOTA_WORKER_THREADS"),
])
def test_a_misspelt_variable_is_refused_with_what_was_meant(tmp_path, name, meant):
    log = start(tmp_path, IMQUOTA_LOG_FORMAT="json", **{name: "1"})
    [record] = records(log)
    assert (record["origin"], name) == (name, record["origin"])
    assert record["error"] == f"unknown environment variable; did you mean {meant}?"


def test_each_problem_of_a_file_is_a_record_whatever_the_filter_lets_through(tmp_path):
    catalog = tmp_path / "catalog.toml"
    catalog.write_text("x = 1\ny = 2\n")
    found = records(start(tmp_path, "--catalog", str(catalog), "--log-format", "json",
                          "--log-filter", "off"))
    assert {record["message"] for record in found} == {"sidecar failed"}
    errors = [record["error"] for record in found]
    assert sum(error.startswith(f"{catalog}:1:1: x: unknown key") for error in errors) == 1
    assert sum(error.startswith(f"{catalog}:2:1: y: unknown key") for error in errors) == 1


def test_lines_of_text_carry_time_and_level_too(tmp_path):
    [line] = start(tmp_path, "--listen", "nonsense").splitlines()
    time, level, rest = line.split(maxsplit=2)
    assert level == "ERROR" and time.endswith("Z"), line
    assert "configuration refused origin=--listen error=must be IP:PORT" in rest, line
