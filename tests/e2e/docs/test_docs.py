"""The commands of the README and of docs/ run as they are written, and every file, link and setting
that the pages name exists.

The first line of a fenced block has its kind:

- `sh`: run by bash, in the order of the page; each command ends with exit code 0, or with N where
  `# exit code N` stands behind it;
- `sh serve`: starts the sidecar that the next blocks of the page call, and stops the one before;
- `python`: run by Python;
- `sh template`: not run: it needs something to be put in, or takes too long;
- `text`, `json`, `yaml`: no command;
- `rust`: the text of `examples/client.rs`, which is built and run;
- `js`, `go`: the text of files in `tests/e2e/client`, which are built and run.

Each page runs in an empty folder with a link to `proto`. Default ports and paths in /tmp are
replaced by free ones, and `cargo run --release --` by the binary under test.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from redis_proxy import Redis
from sidecar import binary, clean_environment, free_ports, wait_until
from stubs import PROTO, REPOSITORY

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
GUIDES = [*PAGES[1:], REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md",
          REPOSITORY / "benches" / "README.md", *sorted((REPOSITORY / "deploy").rglob("*.md"))]
LINKED = [README, *GUIDES, REPOSITORY / "fuzz" / "README.md"]
EXAMPLE = REPOSITORY / "examples" / "client.rs"
EXAMPLE_COMMAND = "cargo run --example client -- "
TREES = r"(?:src|tests|docs|deploy|proto|benches|fuzz|examples|\.ci)"
RUN = {"sh", "sh serve", "python"}
KINDS = RUN | {"sh template", "text", "json", "yaml", "rust", "js", "go"}
README_LINES_MAX = 150
DATA, ADMIN, CALLBACKS, MANAGEMENT, REDIS = "50051", "50052", "50053", "9090", "6379"
FIRST_SIDECAR = "imquota serve --store memory"
SERVES_WITHIN_S = 60
BLOCK_TIMEOUT_S = 300
EXAMPLE_BUILD_TIMEOUT_S = 1800


@dataclass
class Block:
    """A fenced block, with the number of its first line."""

    kind: str
    text: str
    line: int


def split(page: Path) -> tuple[list[Block], list[tuple[int, str]]]:
    """The fenced blocks of a page, and the numbered lines outside of them."""
    blocks, prose, block = [], [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            if block:
                block.text += line + "\n"
            else:
                prose.append((number, line))
        elif block:
            assert line == "```", f"{page.name}:{number}: a block in a block"
            blocks.append(block)
            block = None
        else:
            block = Block(line.removeprefix("```"), "", number)
    assert block is None, f"{page.name}: a block does not end"
    return blocks, prose


def with_exit_codes(text: str) -> str:
    """A script that fails if a command does not end with the exit code at the end of its line."""
    marked = re.compile(r"^(.*\S) +# exit code (\d+)$", re.M)
    return marked.sub(r"\1 && false || [ $? = \2 ]", text)


def example() -> Path:
    """The built example; `cargo test` builds it with the tests."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--example", "client"], check=True,
                   cwd=REPOSITORY, timeout=EXAMPLE_BUILD_TIMEOUT_S)
    return target / "debug" / "examples" / "client"


class Reader:
    """Follows a page, in a folder of its own."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._log = folder / "sidecar.log"
        self._process = None
        defaults = (DATA, ADMIN, CALLBACKS, MANAGEMENT, REDIS)
        self._ports = dict(zip(defaults, map(str, free_ports(len(defaults)))))
        commands = folder / "bin"
        commands.mkdir()
        (commands / "imquota").symlink_to(Path(binary()).resolve())
        (folder / "proto").symlink_to(PROTO)
        path = [str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]
        at = {name: f"127.0.0.1:{self._ports[port]}" for name, port in [
            ("IMQUOTA_LISTEN", DATA), ("IMQUOTA_ADMIN_LISTEN", ADMIN),
            ("IMQUOTA_MANAGEMENT_LISTEN", MANAGEMENT), ("IMQUOTA_ADDRESS", DATA),
            ("IMQUOTA_ADMIN_ADDRESS", ADMIN)]}
        # The test is about the commands, and not about their speed on a busy machine.
        at["IMQUOTA_REQUEST_TIMEOUT_MS"] = "60000"
        self._environment = clean_environment(PATH=os.pathsep.join(path), **at)

    def use_redis(self, redis: Redis) -> None:
        """Replaces the default port of Redis by the one of that server."""
        self._ports[REDIS] = str(redis.port)

    def _placed(self, text: str) -> str:
        for default, port in self._ports.items():
            text = re.sub(rf"\b{default}\b", port, text)
        text = text.replace("cargo run --release -- ", "imquota ")
        if EXAMPLE_COMMAND in text:
            text = text.replace(EXAMPLE_COMMAND, f"{example()} ")
        return text.replace("/tmp/", f"{self._folder}/")

    def _run(self, command: list[str]) -> None:
        ran = subprocess.run(command, cwd=self._folder, env=self._environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=BLOCK_TIMEOUT_S)
        assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}"

    def serve(self, text: str) -> None:
        """Starts a sidecar in place of the one before, and waits until it serves."""
        self.stop()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {self._placed(text)}"], cwd=self._folder,
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._serves_or_ended, SERVES_WITHIN_S, f"serving: {text}")
        assert self._process.poll() is None, f"{text}\n{self._log.read_text()}"

    def _serves_or_ended(self) -> bool:
        serves = re.search(r"\bserving\b", self._log.read_text())
        return self._process.poll() is not None or serves is not None

    def stop(self) -> None:
        """Ends the sidecar, if there is one, and checks that it ends cleanly."""
        if self._process:
            process, self._process = self._process, None
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=SERVES_WITHIN_S) == 0, self._log.read_text()

    def kill(self) -> None:
        """Kills the sidecar of a failed test."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def follow(self, block: Block) -> None:
        """Runs a block by its kind."""
        if block.kind == "sh serve":
            self.serve(block.text)
        elif block.kind == "python":
            self._run([sys.executable, "-c", self._placed(block.text)])
        elif block.kind == "sh":
            script = with_exit_codes(self._placed(block.text))
            self._run(["bash", "-euo", "pipefail", "-c", script])


@pytest.fixture
def reader():
    """A reader in an empty folder, whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="imquota-docs-"))
    new = Reader(folder)
    try:
        yield new
    finally:
        new.kill()
        shutil.rmtree(folder, ignore_errors=True)


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that are run."""
    return [block for block in split(page)[0] if block.kind in RUN]


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda p: p.stem)
def test_every_command_of_a_page_runs(page, reader):
    blocks = runnable(page)
    with ExitStack() as stack:
        if any(f":{REDIS}/" in block.text for block in blocks if block.kind == "sh serve"):
            reader.use_redis(stack.enter_context(Redis()))
        if blocks[0].kind != "sh serve":
            reader.serve(FIRST_SIDECAR)
        for block in blocks:
            try:
                reader.follow(block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}:{block.line}: {error}") from error
        reader.stop()


def test_commands_are_found_and_a_wrong_one_fails(reader):
    assert len([block for page in PAGES for block in runnable(page)]) >= 30
    reader.follow(Block("sh", "bash -c 'exit 3'  # exit code 3\ntrue\n", 1))
    for wrong in ("false\ntrue\n", "true  # exit code 3\ntrue\n", "false | true\n",
                  "bash -c 'exit 2'  # exit code 3\ntrue\n"):
        with pytest.raises(AssertionError):
            reader.follow(Block("sh", wrong, 1))
    with pytest.raises(AssertionError):
        reader.follow(Block("python", "import nothing_of_that_name", 1))
    with pytest.raises(AssertionError):
        reader.serve("imquota serve --store nowhere")


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_block_has_a_valid_kind(page):
    blocks, prose = split(page)
    for block in blocks:
        assert block.kind in KINDS, f"{page.name}:{block.line}: {block.kind!r}"
    # An indented block would be a command that no test runs.
    for (_, before), (number, line) in zip(prose, prose[1:]):
        assert before or not line.startswith("    "), f"{page.name}:{number}: {line}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for _, line in split(page)[1]:
        heading = re.match(r"#+ (.*)", line)
        if heading:
            name = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            found.add(name if name not in found else f"{name}-1")
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page):
    links = 0
    for number, line in split(page)[1]:
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            path, _, anchor = target.partition("#")
            if path.startswith(("http:", "https:")):
                continue
            links += 1
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}:{number}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}:{number}: {target}"
    assert links or page.parent.name not in ("docs", REPOSITORY.name) or page.stem == "glossary"


@pytest.mark.parametrize("page", [*LINKED, REPOSITORY / "src" / "lib.rs"],
                         ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text()
    named = re.findall(rf"`({TREES}/[\w/.-]+)`", text)
    if page.suffix == ".rs":
        # The map of the code names files from src/ on.
        named += re.findall(r"`(\w+/[\w/]+\.rs)`", text)
    for path in named:
        places = [root / path for root in (REPOSITORY, page.parent)]
        assert any(place.exists() for place in places), f"{page.name}: {path}"


def test_every_name_of_the_code_in_the_architecture_page_exists():
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    code = "".join(path.read_text() for folder in ("src", "tests")
                   for ending in ("*.rs", "*.lua", "*.toml", "*.py")
                   for path in (REPOSITORY / folder).rglob(ending))
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page))
    assert len(names) >= 2
    missing = {name for name in names if not re.search(rf"\b{name}\b", code)}
    assert not missing


def test_the_rust_client_of_the_page_is_the_example():
    page = REPOSITORY / "docs" / "clients.md"
    (shown,) = [block for block in split(page)[0] if block.kind == "rust"]
    head, _, code = EXAMPLE.read_text().partition("\n\n")
    assert head.startswith("//! ") and shown.text in code


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= README_LINES_MAX


def test_each_page_begins_with_its_readers_and_what_it_answers():
    for page in GUIDES:
        title, nothing, *rest = page.read_text().splitlines()
        beginning = " ".join(rest[:rest.index("")])
        assert title.startswith("# ") and not nothing, page.name
        assert beginning.startswith("For people who "), page.name
        assert "This page answers: " in beginning, page.name


def test_every_setting_has_its_place_in_the_page_about_operations():
    shown = subprocess.run([binary(), "serve", "--help"], capture_output=True, text=True,
                           timeout=60, env=clean_environment())
    settings = set(re.findall(r"^ +(--[a-z][a-z-]+)", shown.stdout, re.M)) - {"--help"}
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    section = page.partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)`", section)) - {"--help"}
    assert len(settings) > 40
    assert named >= settings, settings - named
