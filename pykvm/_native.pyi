"""The C extension as mypy sees it: cffi makes both objects from native/*.h and <linux/kvm.h>."""

from typing import Any

ffi: Any
lib: Any
