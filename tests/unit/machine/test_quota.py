"""The share of a control group decides how many processors there are to spare."""

import pytest

from pykvm.machine import quota


@pytest.fixture
def host(tmp_path):
    def make(cgroup, **files):
        (tmp_path / "cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "fs" / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return quota.processors(str(tmp_path / "cgroup"), str(tmp_path / "fs"))

    return make


def test_without_a_quota_there_is_no_limit(host):
    assert host("0::/\n") == 0
    assert host("0::/a\n", a__cpu_DOT_max="max 100000\n") == 0


def test_a_quota_counts_whole_processors_and_at_least_one(host):
    assert host("0::/a\n", a__cpu_DOT_max="50000 100000\n") == 1
    assert host("0::/a\n", a__cpu_DOT_max="250000 100000\n") == 2


def test_the_smallest_quota_on_the_way_up_counts(host):
    assert (
        host("0::/a/b\n", a__b__cpu_DOT_max="max 100000\n", a__cpu_DOT_max="150000 100000\n") == 1
    )


def test_a_container_that_sees_the_host_s_path_finds_its_quota_at_the_root(host):
    assert host("0::/system.slice/x\n", cpu_DOT_max="100000 100000\n") == 1


def test_version_1_has_files_of_its_own(host):
    files = {"cpu__a__cpu_DOT_cfs_period_us": "100000\n"}
    files["cpu__a__cpu_DOT_cfs_quota_us"] = "200000\n"
    assert host("4:memory:/a\n2:cpu,cpuacct:/a\n", **files) == 2
    files["cpu__a__cpu_DOT_cfs_quota_us"] = "-1\n"
    assert host("2:cpu,cpuacct:/a\n", **files) == 0


def test_files_that_make_no_sense_are_no_limit(host):
    assert host("rubbish\n\0:::\n0::/a\n", a__cpu_DOT_max="\n") == 0
    assert quota.processors("/nonexistent", "/nonexistent") == 0
