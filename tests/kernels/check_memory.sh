#!/bin/sh
# Runs the self-tests of the C code, kernels and recorder, under AddressSanitizer and UBSan (every instruction set of
# this machine), then under ThreadSanitizer, then under valgrind, which knows AVX2 but not AVX-512.
set -eu
tests=$(cd "$(dirname "$0")/.." && pwd)
cc=${CC:-gcc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$tests/../cython_ext/kernels"
kernels="dispatch.c scalar.c avx2.c avx512.c neon.c topk.c routing.c pacing.c kmeans.c kmeans_fit.c kmeans_steps.c dreaming.c copy_decode.c"
recorder="../recorder/clock.c ../recorder/ring.c ../recorder/encode.c ../recorder/spool.c"

build() { # name, flags
    # shellcheck disable=SC2086
    "$cc" -g -O1 -std=c11 -fno-math-errno -Wall -Wextra $2 -DKMEANS_THREAD_WORK=0 -I. -I../recorder -o "$out/$1-kernels" \
        "$tests/kernels/selftest.c" $kernels -lm -lpthread
    # shellcheck disable=SC2086
    "$cc" -g -O1 -std=c11 -fno-math-errno -Wall -Wextra $2 -I. -I../recorder -o "$out/$1-recorder" \
        "$tests/ingest/selftest.c" $recorder $kernels -lm -lpthread
}

check() { # title, name, flags, command in front
    echo "check_memory: $1"
    build "$2" "$3"
    for part in kernels recorder; do
        # shellcheck disable=SC2086
        ${4:-} "$out/$2-$part"
    done
}

check "AddressSanitizer and UBSan" asan "-fsanitize=address,undefined -fno-sanitize-recover=all"
check "ThreadSanitizer" tsan "-fsanitize=thread"
if command -v valgrind >/dev/null; then
    check "valgrind" plain "" "valgrind -q --error-exitcode=1 --leak-check=full --fair-sched=yes"
else
    echo "check_memory: VALGRIND IS NOT INSTALLED: only the sanitizers ran" >&2
fi
