"""Input files of `imquota reconcile`: mistakes are found before anything is sent.

Every case is made from a seed, which is in its name. If nothing may be sent, a listening socket
checks that no connection was made.
"""

import random
import re
import socket
import subprocess
from pathlib import Path

import pytest

from exports import FORMATS, HEADERS, KINDS, LISTS, MISTAKES, Export, row, text
from sidecar import binary, clean_environment, free_ports

SEEDS = range(5)
FUZZ_SEEDS = range(60)

CASES = [
    pytest.param(kind, form, mistake, seed, id=f"{kind}-{form}-{mistake.__name__}-{seed}")
    for (kind, form), mistakes in MISTAKES.items() for mistake in mistakes for seed in SEEDS
]


@pytest.fixture(scope="module")
def listener():
    """A listening socket that detects connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def unused_address() -> str:
    """An address without a listener."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def _compare(address: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [binary(), "reconcile", "--app", "demo", "--address", address, *arguments]
    return subprocess.run(
        command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
        env=clean_environment(RUST_BACKTRACE="1"))


def _error(done: subprocess.CompletedProcess) -> str:
    """The message of a command that failed in an orderly way."""
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert done.stdout == b""
    assert said.startswith("error: "), said
    assert "panicked" not in said and "backtrace" not in said, said
    assert len(said) < 1000 and said.count("\n") <= 2, said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said), "control characters reach the terminal"
    return said.removeprefix("error: ")


def _no_connection_was_made(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


def _checked(listener: socket.socket, *arguments: str) -> str:
    """The message about the files, found without a connection."""
    host, port = listener.getsockname()
    said = _error(_compare(f"{host}:{port}", *arguments))
    _no_connection_was_made(listener)
    return said


def test_there_are_enough_cases():
    assert len(CASES) >= 300


@pytest.mark.parametrize("kind, form, mistake, seed", CASES)
def test_a_mistake_is_named_by_its_line_and_nothing_is_sent(
        listener, tmp_path, kind, form, mistake, seed):
    bad = mistake(Export(kind, seed), form)
    path = tmp_path / f"{kind}.{form}"
    path.write_bytes(bad.content)
    said = _checked(listener, f"--{kind}", str(path))
    place = re.match(re.escape(str(path)) + r"(?::(\d+))?: ", said)
    assert place, said
    line = int(place[1]) if place[1] else None
    assert bad.line == 0 or line == bad.line, said
    assert bad.says in said, said


@pytest.mark.parametrize("seed", FUZZ_SEEDS)
def test_a_file_with_changed_bytes_is_refused_or_valid(unused_address, tmp_path, seed):
    source = random.Random(seed)
    kind, form = source.choice(KINDS), source.choice(FORMATS)
    content = bytearray(text(Export(kind, seed).lines(form)))
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(content))
        match source.randrange(3):
            case 0:
                content[at] = source.randrange(256)
            case 1:
                del content[at]
            case _:
                content[at:at] = content[source.randrange(len(content)):][:source.randint(1, 40)]
    path = tmp_path / f"{kind}.{form}"
    path.write_bytes(content)
    said = _error(_compare(unused_address, f"--{kind}", str(path)))
    assert said.startswith((f"{path}: ", f"{path}:", f"cannot connect to {unused_address}")), said


def _write(folder: Path, form: str, exports: list[Export], change=lambda content: content):
    """Writes the files; returns the flags that name them."""
    flags = []
    for export in exports:
        path = folder / f"{export.kind}.{form}"
        path.write_bytes(change(text(export.lines(form))))
        flags += [f"--{export.kind}", str(path)]
    return flags


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", SEEDS)
def test_valid_files_pass_and_only_the_connection_fails(unused_address, tmp_path, form, seed):
    flags = _write(tmp_path, form, [Export(kind, seed) for kind in KINDS])
    assert _error(_compare(unused_address, *flags)).startswith(f"cannot connect to {unused_address}")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("change", [
    pytest.param(lambda content: content.replace(b"\n", b"\r\n"), id="line-ends-of-windows"),
    pytest.param(lambda content: content + b"\n\r\n\n", id="empty-lines-at-the-end"),
    pytest.param(lambda content: b"\xef\xbb\xbf" + content, id="byte-order-mark"),
])
def test_bom_and_line_ends_of_other_programs_are_accepted(unused_address, tmp_path, form, change):
    flags = _write(tmp_path, form, [Export(kind, 1) for kind in KINDS], change)
    assert _error(_compare(unused_address, *flags)).startswith(f"cannot connect to {unused_address}")


@pytest.mark.parametrize("kind", KINDS)
def test_columns_may_stand_in_any_order_and_be_quoted(unused_address, tmp_path, kind):
    export = Export(kind, 2)
    rows = [HEADERS[kind], *export.rows()]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in each) for each in rows]
    for number, lines in enumerate([[row(each[::-1]) for each in rows], quoted]):
        path = tmp_path / f"{number}.CSV"
        path.write_bytes(text(lines))
        said = _error(_compare(unused_address, f"--{kind}", str(path)))
        assert said.startswith(f"cannot connect to {unused_address}"), said


def test_a_subject_with_an_empty_list_is_valid(unused_address, tmp_path):
    for kind in LISTS:
        export = Export(kind, 3)
        export.subjects[1]["ids"] = []
        for form in FORMATS:
            flags = _write(tmp_path, form, [export])
            assert _error(_compare(unused_address, *flags)).startswith(f"cannot connect to {unused_address}")


def test_a_mistake_in_the_last_file_is_found_before_the_first_is_sent(listener, tmp_path):
    exports = [Export(kind, 4) for kind in KINDS]
    flags = _write(tmp_path, "csv", exports)
    accounts = tmp_path / "accounts.csv"
    accounts.write_bytes(accounts.read_bytes() + b"last")
    assert _checked(listener, *flags).startswith(f"{accounts}:")


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.csv.gz", "a.json", "a.tsv"])
def test_another_format_is_refused_with_the_supported_ones(listener, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"user_id\nu1\n")
    said = _checked(listener, "--accounts", str(path))
    assert said == f"{path}: must end in .csv, .jsonl or .ndjson\n"


def test_a_directory_or_a_missing_file_is_refused(listener, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    said = _checked(listener, "--accounts", str(tmp_path / "folder.csv"))
    assert "is not a regular file" in said
    said = _checked(listener, "--accounts", str(tmp_path / "missing.csv"))
    assert said.startswith(f"cannot read {tmp_path / 'missing.csv'}: ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"version":1}'])
def test_an_invalid_checkpoint_is_refused_and_kept(listener, tmp_path, content):
    flags = _write(tmp_path, "csv", [Export("accounts", 0)])
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    said = _checked(listener, *flags, "--checkpoint", str(path))
    assert said.startswith(f"{path}: is not a checkpoint: ") and "delete it to start over" in said
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_repairs_nothing(listener, unused_address, tmp_path, kind):
    good = _write(tmp_path, "csv", [Export(other, 1) for other in KINDS if other != kind])
    path = tmp_path / f"{kind}.csv"
    path.write_text(",".join(HEADERS[kind]) + "\n")
    flags = [*good, f"--{kind}", str(path)]
    repair = [*flags, "--apply", "--as-of", "2026-12-01T00:00:00Z"]
    said = _checked(listener, *repair)
    assert said.startswith(f"{path}: has no {kind}, so that --apply would remove all"), said
    for meant in ([*repair, "--allow-empty"], [*flags, "--import"], flags):
        assert _error(_compare(unused_address, *meant)).startswith(f"cannot connect to {unused_address}")
