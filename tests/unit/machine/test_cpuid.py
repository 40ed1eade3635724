"""What CPUID shows: models and features, and a topology that all leaves agree on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykvm.errors import HostError, UsageError
from pykvm.kvm.system import CpuidEntry
from pykvm.machine.cpufeatures import FEATURES
from pykvm.machine.cpuid import shown
from pykvm.machine.cpumodel import CpuModel

INTEL, AMD = (0x756E6547, 0x6C65746E, 0x49656E69), (0x68747541, 0x444D4163, 0x69746E65)
ALL = 0xFFFF_FFFF


def host(vendor=INTEL, most=0x1F):
    """A host with every feature."""
    rows = [
        (0, 0, most, *vendor), (1, 0, 0xA0671, 0x0002_0800, ALL, ALL),
        (4, 0, 0x121, 1, 2, 3), (4, 1, 0x143, 1, 2, 3), (4, 2, 0x163, 1, 2, 3), (4, 3, 0, 0, 0, 0),
        (7, 0, 2, ALL, ALL, ALL), (7, 1, ALL, 0, 0, ALL), (0xB, 0, 9, 9, 9, 9),
        (0xD, 0, 0xE7, 0xA80, 0xA80, 0), (0xD, 1, ALL, 0, 0, 0), (0xD, 2, 0x100, 0x240, 0, 0),
        (0x1F, 0, 9, 9, 9, 9),
        (0x4000_0000, 0, 0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D),
        (0x4000_0001, 0, ALL, 0, 0, 0),
        (0x8000_0000, 0, 0x8000_001E, 0, 0, 0), (0x8000_0001, 0, 0, 0, ALL, ALL),
        (0x8000_0007, 0, 0, 0, 0, ALL), (0x8000_0008, 0, 0x3930, ALL, 0, 0),
        (0x8000_001D, 3, 0x163, 1, 2, 3), (0x8000_001E, 0, 0, 0, 0, 0),
    ]  # fmt: skip
    return [CpuidEntry(f, i, 0, *values) for f, i, *values in rows]


def leaves(model="host", number=0, cpus=1, **kwargs):
    entries = shown(host(**kwargs), CpuModel.parse(model), number, cpus)
    found = {(e.function, e.index): e for e in entries}
    assert len(found) == len(entries)
    return found


def features(found):
    return {
        name
        for name, ((function, index, register), bit) in FEATURES.items()
        if getattr(found[function, index], register) & bit
    }


@given(st.integers(1, 64), st.data())
def test_every_leaf_tells_the_same_topology(cpus, data):
    number = data.draw(st.integers(0, cpus - 1))
    found = leaves(number=number, cpus=cpus)
    one = found[1, 0]
    assert one.ebx >> 24 == number
    ids = one.ebx >> 16 & 0xFF  # a package has room for so many APIC IDs
    assert cpus <= ids < 2 * cpus
    assert bool(one.edx >> 28 & 1) == (cpus > 1)
    assert found[4, 0].eax >> 26 == found[4, 2].eax >> 26 == ids - 1
    assert [found[4, n].eax >> 14 & 0xFFF for n in range(4)] == [0, 0, ids - 1, 0]
    smt, core, end = (found[0xB, n] for n in range(3))
    assert {leaf.edx for leaf in (smt, core, end)} == {number}
    assert (smt.eax, smt.ebx, smt.ecx) == (0, 1, 0x100)
    assert (1 << core.eax, core.ebx, core.ecx) == (ids, cpus, 0x201)
    assert (end.eax, end.ebx, end.ecx) == (0, 0, 2)
    assert number >> core.eax == 0  # one package
    assert (found[0x8000_0008, 0].ecx & 0xFF, found[0x8000_0008, 0].ecx >> 12) == (
        cpus - 1,
        core.eax,
    )
    assert found[0x8000_0008, 0].eax == 0x3930
    assert (found[0x8000_001E, 0].eax, found[0x8000_001E, 0].ebx & 0xFF) == (number, number)
    assert (0x1F, 0) not in found


def test_an_old_cpu_gets_no_topology_leaf():
    assert not [key for key in leaves(most=0xA) if key[0] in (0xB, 0x1F)]


def test_an_amd_package_of_several_cores_says_that_they_are_no_threads():
    legacy = FEATURES["cmp_legacy"][1]
    assert leaves(cpus=2, vendor=AMD)[0x8000_0001, 0].ecx & legacy
    assert not leaves(cpus=1, vendor=AMD)[0x8000_0001, 0].ecx & legacy


def test_host_shows_all_and_a_hypervisor():
    found = leaves(cpus=2)
    assert features(found) == set(FEATURES)
    assert found[7, 1].edx == ALL


def test_base_shows_what_every_x86_64_cpu_has_and_kvms_clock():
    found = leaves("base", cpus=2)
    shown = features(found)
    assert {"fpu", "sse2", "lm", "nx", "syscall", "hypervisor", "kvmclock", "x2apic"} <= shown
    assert not {"avx", "xsave", "popcnt", "sse4_2", "smep", "rdrand", "abm", "clzero"} & shown
    assert found[0xD, 0].eax == found[7, 1].edx == 0
    assert found[0x4000_0000, 0].ebx == 0x4B4D_564B


def test_features_are_added_to_base_one_by_one():
    assert features(leaves("base,+popcnt,+avx2")) - features(leaves("base")) == {"popcnt", "avx2"}


def test_what_needs_a_removed_feature_goes_with_it():
    gone = features(leaves(cpus=2)) - features(leaves("host,-xsave", cpus=2))
    assert {"xsave", "xsaves", "avx", "avx2", "fma", "avx512f", "avx512_vnni"} <= gone
    assert not {"sse4_2", "aes", "bmi2"} & gone
    assert leaves("host,-xsave")[0xD, 0].ebx == 0


def test_a_host_that_takes_no_hypercalls_offers_none():
    entries = shown(host(), CpuModel.parse("host,+kvm_pv_unhalt").without_hypercalls(), 0, 2)
    found = features({(e.function, e.index): e for e in entries})
    assert not {"kvm_pv_ipi", "kvm_pv_sched_yield"} & found
    assert {"kvmclock", "kvm_pv_unhalt", "kvm_pv_eoi"} <= found


def test_the_hypervisor_bit_can_be_hidden():
    assert "hypervisor" not in features(leaves("host,-hypervisor"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pentium", "no model 'pentium'; it takes host, base"),
        ("", "no model ''"),
        ("base,avx", "write \\+feature or -feature"),
        ("base,+avx3", "no feature 'avx3'; did you mean avx"),
        ("host,", "write \\+feature"),
        ("host,+aes,-aes", "aes is both added and removed"),
    ],
)
def test_what_it_does_not_take_it_says_in_a_line(text, says):
    with pytest.raises(UsageError, match=says):
        CpuModel.parse(text)


def test_a_feature_that_the_host_lacks_cannot_be_added():
    poor = [e for e in host() if e.function != 7]
    with pytest.raises(HostError, match="no smep to show"):
        shown(poor, CpuModel.parse("host,+smep"), 0, 1)


def test_feature_names_are_unique_and_single_bits():
    assert len(FEATURES) > 120
    assert all(bit and bit & bit - 1 == 0 for _, bit in FEATURES.values())
    assert len(set(FEATURES.values())) == len(FEATURES)
