"""The documentation names what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "guest" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_architecture_names_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:pykvm|native|guest|tests)/[\w/.]*)`", text):
        assert (ROOT / name).exists(), name


def test_the_readme_s_samples_are_filled_in():
    blocks = re.findall(r"<!-- run: (.+?) -->\n(.*?)<!-- end -->", (ROOT / "README.md").read_text(),
                        flags=re.DOTALL)  # fmt: skip
    assert blocks
    for command, block in blocks:
        assert block.startswith(f"```console\n$ {command}\n"), f"run: make readme ({command})"
