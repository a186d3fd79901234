"""The pages are built without a warning; names, links and commands in them exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import locreg as package

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# The header of a packaged weight file holds the command in the form that it had at the time.
OLD_COMMANDS = {("train", "--filters")}


def name_of(page):
    return str(page.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)


def anchors(page):
    """What links to its headings end in."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for words in headings}


def commands_in(page):
    """(command, its options) of each call of locreg in shell blocks and between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines += re.findall(r"`(locreg [^`]*)`", prose)
    for line in lines:
        words = shlex.split(line, comments=True)
        for start, word in enumerate(words):
            if Path(word).name != "locreg" or start + 1 == len(words):
                continue
            call = []
            for part in words[start + 1 :]:
                if part in ("&&", "||", "|", ";", ">", "then", "do"):
                    break
                call.append(part.rstrip(";"))
            options = [part.partition("=")[0] for part in call if re.match(r"--?[a-z]", part)]
            yield ("", options) if call[0].startswith("-") else (call[0], options)


@pytest.mark.slow
def test_the_pages_are_built_without_warnings(tmp_path):
    for folder in ("docs", "examples"):  # a copy, in which no example has been run before
        ignore = shutil.ignore_patterns("gallery", "_build")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    for page in (*pages, "gallery/plot_a_denoise"):
        assert (tmp_path / "site" / f"{page}.html").exists()
    examples = {path.stem for path in (ROOT / "examples").glob("plot_*.py")}
    assert examples == {path.stem for path in (tmp_path / "site/gallery").glob("plot_*.html")}


def test_the_described_names_are_the_public_names():
    text = (ROOT / "docs/api.md").read_text()
    described = re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.M)
    assert sorted(described) == sorted(f"locreg.{name}" for name in package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_images_lead_to_existing_files(page):
    text = without_code(page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), f"{name_of(page)} links to {target}"
        if heading and found.suffix == ".md":
            assert heading in anchors(found), f"{name_of(page)} links to {target}"


@pytest.fixture
def known_options(locreg, monkeypatch):
    """The options that the help of a command names; of the command "" those of locreg itself."""
    monkeypatch.setenv("COLUMNS", "300")

    def options(command):
        status, help_text, _ = locreg(*([command] if command else []), "--help")
        assert status == 0, f"locreg {command} is unknown"
        return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_text))

    return options


def test_the_command_line_knows_every_command_and_option_in_the_pages(known_options):
    named, options_of = {}, {}
    for page in PAGES:
        for command, options in commands_in(page):
            for option in options:
                named.setdefault((command, option), name_of(page))
            options_of.setdefault(command, None)
    assert len(options_of) > 10
    assert len(named) > 30
    for command in options_of:
        options_of[command] = known_options(command)
    unknown = {
        f"locreg {command} {option} in {page}"
        for (command, option), page in named.items()
        if option not in options_of[command] and (command, option) not in OLD_COMMANDS
    }
    assert not unknown
