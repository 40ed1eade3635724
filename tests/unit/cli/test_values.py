"""Option values: what is accepted as a size or a count, and what is refused."""

from argparse import ArgumentTypeError

import pytest

from pykvm.cli import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128", 128 << 20), ("640K", 640 << 10), ("64M", 64 << 20), ("64m", 64 << 20),
        ("2G", 2 << 30), ("2GB", 2 << 30), ("2GiB", 2 << 30), ("2gib", 2 << 30), ("1T", 1 << 40),
        ("16B", 16 << 20), ("16iB", 16 << 20), ("0", 0),
    ],
)  # fmt: skip
def test_a_size_is_a_number_and_perhaps_a_unit(text, expected):
    assert values.size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5G", "1 G", "1I", "1GI", "1MM", "1X", "0x10", "1" * 13, " 1"]
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ArgumentTypeError, match="is not a size; write 128M, 2G or 640K"):
        values.size(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "many", "1" * 10, "+1", "1_0", " 1"])
def test_a_count_is_a_whole_number_above_0(text):
    assert (values.count("1"), values.count("64")) == (1, 64)
    with pytest.raises(ArgumentTypeError, match="is not a whole number above 0"):
        values.count(text)
