#!/bin/sh
# Cross-compiles the C kernels for AArch64 and runs their self-test, NEON against scalar, under qemu-user.
# Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sources=$here/../../cython_ext/kernels
cc=${CC_AARCH64:-aarch64-linux-gnu-gcc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

command -v "$cc" >/dev/null || { echo "check_neon: $cc is not installed" >&2; exit 77; }
cd "$sources"
# The test itself at -O1: gcc 12 for AArch64 dies of an internal error on it at -O3.
"$cc" -O1 -std=c11 -Wall -Wextra -I. -c -o "$out/selftest.o" "$here/selftest.c"
"$cc" -O3 -std=c11 -fno-math-errno -Wall -Wextra -static -DKMEANS_THREAD_WORK=0 -I. -o "$out/selftest" "$out/selftest.o" \
    dispatch.c scalar.c avx2.c avx512.c neon.c topk.c routing.c pacing.c kmeans.c kmeans_fit.c kmeans_steps.c dreaming.c copy_decode.c -lm -lpthread
if command -v qemu-aarch64 >/dev/null; then
    qemu-aarch64 "$out/selftest"
else
    echo "check_neon: COMPILED, BUT qemu-aarch64 IS NOT INSTALLED: NOTHING RAN" >&2
    exit 77
fi
