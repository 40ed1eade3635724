"""Records: what a class gets from its base instead of from a decorator."""

from types import MappingProxyType

import pytest

from pykvm.machine.config import Config
from pykvm.record import Record


class Point(Record):
    """Two fields, one with a default, and a check."""

    x: int
    y: int = 7

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("left of everything")

    @property
    def sum(self):
        return self.x + self.y


class Named(Record, kw_only=True):
    """By name only."""

    name: str
    call: object = len
    facts: object = MappingProxyType({})


def test_fields_are_given_in_order_or_by_name():
    assert [(p.x, p.y) for p in (Point(1), Point(1, 2), Point(y=2, x=1))] == [
        (1, 7),
        (1, 2),
        (1, 2),
    ]
    assert Point(1).sum == 8


def test_a_default_that_is_a_function_stays_one():
    assert Named(name="n").call("four") == 4


@pytest.mark.parametrize(
    ("args", "named", "says"),
    [
        ((), {}, "Point needs x; its fields are x, y"),
        ((1, 2, 3), {}, "Point takes 2 fields without their names, not 3"),
        ((1,), {"x": 1}, "Point: x is given twice"),
        ((1,), {"z": 1}, "Point has no field z: its fields are x, y"),
        ((), {"y": 1}, "Point needs x; its fields are x, y"),
        ((), {"yy": 1}, "Point has no field yy: did you mean y?"),
    ],
)
def test_other_fields_than_its_own_are_an_error_that_names_them(args, named, says):
    with pytest.raises(TypeError) as caught:
        Point(*args, **named)
    assert str(caught.value) == says


def test_a_misspelt_option_of_a_machine_is_told_the_nearest_one():
    with pytest.raises(TypeError, match=r"^Config has no field mem: did you mean memory\?$"):
        Config(image="x", mem=1 << 20)


def test_fields_by_name_only_are_not_taken_in_order():
    with pytest.raises(TypeError):
        Named("n")


def test_a_check_sees_the_fields_and_may_refuse_them():
    with pytest.raises(ValueError, match="left of everything"):
        Point(-1)
    with pytest.raises(ValueError, match="left of everything"):
        Point(1).replace(x=-1)


def test_nothing_changes():
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point.x does not change"):
        point.x = 2
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 3
    assert point == Point(1)


def test_a_replacement_is_another_value():
    point = Point(1)
    assert point.replace(y=2) == Point(1, 2)
    assert point == Point(1)
    with pytest.raises(TypeError):
        point.replace(z=1)


def test_records_of_one_class_with_equal_fields_are_equal():
    class Other(Record):
        x: int
        y: int = 7

    assert Point(1) == Point(1, 7) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 7)
    assert len({Point(1), Point(1, 7), Point(2)}) == 2


def test_a_record_shows_its_fields():
    assert repr(Point(1)) == "Point(x=1, y=7)"
