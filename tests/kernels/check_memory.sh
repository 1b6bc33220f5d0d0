#!/bin/sh
# Runs the kernels' self-test under AddressSanitizer and UBSan (every instruction set of this machine), then under
# ThreadSanitizer, then under valgrind, which knows AVX2 but not AVX-512.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-gcc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$here/../../cython_ext"

build() { # name, flags, instruction sets
    name=$1 flags=$2
    # shellcheck disable=SC2086
    "$cc" -g -O1 -std=c11 -fno-math-errno -Wall -Wextra $flags -DKMEANS_THREAD_WORK=0 -I. -o "$out/$name" "$here/selftest.c" \
        dispatch.c scalar.c avx2.c avx512.c neon.c topk.c kmeans.c kmeans_fit.c kmeans_steps.c copy_decode.c -lm -lpthread
}

build asan "-fsanitize=address,undefined -fno-sanitize-recover=all"
"$out/asan"
build tsan "-fsanitize=thread"
"$out/tsan"
if command -v valgrind >/dev/null; then
    build plain ""
    valgrind -q --error-exitcode=1 --leak-check=full "$out/plain"
else
    echo "check_memory: valgrind is not installed, so only the sanitizers ran" >&2
fi
