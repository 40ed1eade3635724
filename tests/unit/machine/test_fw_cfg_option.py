"""``--fw-cfg``: what it takes, and the one line that says what it does not."""

import pytest

from pykvm.errors import ImageError, UsageError
from pykvm.machine.config import Config
from pykvm.machine.fwcfg import FwCfgItem


def test_a_string_may_hold_commas_and_equals_signs():
    assert FwCfgItem.parse("name=opt/x,string=a,b=c").data() == b"a,b=c"


def test_a_file_s_bytes_are_the_item(tmp_path):
    (tmp_path / "f").write_bytes(b"\0\1")
    assert FwCfgItem.parse(f"name=opt/x,file={tmp_path}/f").data() == b"\0\1"
    with pytest.raises(ImageError, match="the fw_cfg item"):
        FwCfgItem.parse(f"name=opt/x,file={tmp_path}/none").data()


@pytest.mark.parametrize(
    "text",
    ["", "opt/x,string=a", "name=opt/x", "name=opt/x,text=a", "name=,string=a",
     "name=etc/e820,string=a", f"name={'x' * 56},string=a", "name=ö,string=a"],
)  # fmt: skip
def test_anything_else_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--fw-cfg"):
        FwCfgItem.parse(text)


def test_a_name_is_given_once():
    item = FwCfgItem.parse("name=opt/x,string=a")
    with pytest.raises(UsageError, match="opt/x is given twice"):
        Config(image="x", fw_cfg=(item, item))


def test_the_terminal_has_one_owner():
    with pytest.raises(UsageError, match="--debugcon stdio"):
        Config(image="x", debugcon="stdio")
    assert Config(image="x", debugcon="stdio", serial="null").debugcon == "stdio"
