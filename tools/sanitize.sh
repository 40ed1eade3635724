#!/bin/sh
# The native code under the sanitizers: AddressSanitizer with UndefinedBehaviorSanitizer, then
# ThreadSanitizer. Each builds the extension anew in a copy of the tree and runs the tests that reach
# into C. Python itself is not instrumented, so the runtime is preloaded and leaks are not counted.
set -eu
python=$(realpath "$1")
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests="tests/unit/test_memory.py tests/unit/test_bus.py tests/unit/bench/test_floor.py
       tests/integration/test_kvm_layer.py
       tests/integration/test_sanitized_threads.py tests/contract/test_e1000_engines.py
       tests/contract/test_e1000_thread.py tests/contract/test_e1000_hostile.py
       tests/contract/test_e1000_coalesce.py tests/contract/test_virtio_rings.py
       tests/contract/test_virtio_net_engines.py tests/contract/test_virtio_net_thread.py
       tests/contract/test_virtio_net_hostile.py tests/contract/test_virtio_net_headers.py"

try() { # name, flags, runtime
    echo "== $1"
    tree=$work/$1
    mkdir "$tree"
    (cd "$top" && tar cf - pykvm native tests docs pyproject.toml setup.py guest/cases) |
        (cd "$tree" && tar xf -)
    cd "$tree"
    rm -f pykvm/_native*.so
    PYKVM_CFLAGS="$2 -fno-omit-frame-pointer -Wno-error" PYKVM_LDFLAGS="$2" \
        "$python" setup.py -q build_ext --inplace >build.log 2>&1 || { cat build.log; exit 1; }
    # ThreadSanitizer of GCC 12 cannot live with the address randomisation of newer kernels.
    # shellcheck disable=SC2086
    LD_PRELOAD=$(gcc -print-file-name="$3") PYTHONPATH=$tree PYTHONMALLOC=malloc \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        TSAN_OPTIONS="halt_on_error=1 suppressions=$top/tools/tsan.supp report_signal_unsafe=0" \
        setarch -R "$python" -m pytest -q -p no:cacheprovider $tests
    cd "$top"
}

try address "-fsanitize=address,undefined" libasan.so
try thread "-fsanitize=thread" libtsan.so
