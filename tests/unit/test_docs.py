"""The documentation names what exists, and its samples are there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "guest" / "README.md"])
README = ROOT / "README.md"

# A script, not a package.
_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme)


def without_code(text):
    """The page without its code blocks, whose brackets are no links."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text())):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_architecture_names_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`((?:pykvm|native|guest|tests|tools|docs)/[^\s`]*)`", text)
    assert len(names) > 30
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_architecture_tours_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "pykvm").iterdir():
        name = f"pykvm/{path.name}" + ("/" if path.is_dir() else "")
        if path.suffix == ".py" and not path.name.startswith("__") and path.stem != "version":
            assert f"`{name}`" in text, name
        elif (path / "__init__.py").exists():
            assert f"`{name}" in text, name
    for path in (ROOT / "native").glob("*.h"):
        assert f"`native/{path.name}`" in text, path.name


def test_the_readme_s_markers_and_samples_are_whole():
    text = README.read_text()
    assert readme.samples(text)
    assert readme.problems(text) == []


def test_every_sample_is_what_its_marker_says():
    for command, body in readme.samples(README.read_text()):
        assert body.startswith(f"```console\n$ {command}\n"), f"run: make readme ({command})"


@pytest.mark.parametrize(
    ("text", "objection"),
    [
        ("<!-- run: ls -->\n```console\n$ ls\na\n```\n", "needs an `end`"),
        ("<!-- end -->\n", "needs an `end`"),
        ("<!-- run: ls -->\n<!-- run: ls -->\na\n<!-- end -->\n", "needs an `end`"),
        ("<!-- run: ls -->\n<!-- end -->\n", "empty"),
        ("<!-- run: ls -->\n```console\n$ ls\n```\n<!-- end -->\n", "empty"),
        ("<!-- run: no-such-tool -->\n```console\na\n```\n<!-- end -->\n", "no such command"),
        ("<!-- run: ls | no-such-tool -->\n```console\na\n```\n<!-- end -->\n", "no such command"),
    ],
)
def test_check_objects_to(text, objection):
    assert objection in "\n".join(readme.problems(text))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  0.032609  0  IO    out 0x03f9/1", "  #.######  0  IO    out 0x03f9/1"),
        (" 10.032609  0  HLT", "  #.######  0  HLT"),
        ("IO in   uart0  LSR  18  40.9%     1.2       31.5   117.4",
         "IO in   uart0  LSR  18  40.9%     #.#        #.#     #.#"),
        ("44 exits; 0.006 s in the guest, 0.001 s answering",
         "44 exits; #.### s in the guest, #.### s answering"),
        ("  cr2=0  cr3=109000  cr8=0", "  cr2=0  cr3=109000  cr8=0"),
    ],
)  # fmt: skip
def test_times_are_masked_in_their_columns(line, expected):
    assert readme.masked(line) == expected


def test_a_block_that_was_filled_passes_the_check():
    text = readme.block("ls", "README.md  \n")
    assert text == "<!-- run: ls -->\n```console\n$ ls\nREADME.md\n```\n<!-- end -->"
    assert readme.problems(text) == []
