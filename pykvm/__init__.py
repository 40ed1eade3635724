"""pykvm: a small type-2 hypervisor for x86-64 Linux, in Python on ``/dev/kvm``."""

from pykvm.version import __version__

__all__ = ["__version__"]
