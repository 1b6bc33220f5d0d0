#!/bin/bash
# Compile the kernels to WebAssembly and write them into src/kernels-wasm.js, or into the file named. Needs clang and lld
# (Debian: apt-get install clang lld). tests/service/test_js_client.py does the same where they are installed and compares.
set -Eeuo pipefail
cd "$(dirname "$(readlink -f "$0")")"
into=$(readlink -m "${1:-../src/kernels-wasm.js}")
kernels=../../../cython_ext/kernels
built=$(mktemp)
trap 'rm -f "$built"' EXIT
# local-exec: without threads a thread-local variable is a global one.
# disable-lsr: it would undo the pointers that wasm_simd128.c lets advance.
"${CLANG:-clang}" --target=wasm32 -O3 -mllvm -disable-lsr -std=c11 -msimd128 -mbulk-memory -ftls-model=local-exec -ffreestanding -nostdlib \
    -fno-math-errno -fvisibility=hidden -Wall -Wextra -Werror -Wno-unused-function -Iinclude -I"$kernels" \
    -Wl,--no-entry -Wl,--import-memory -Wl,--stack-first -Wl,-z,stack-size=8192 -Wl,--export=__heap_base \
    -Wl,--strip-all "$kernels/wasm_simd128.c" "$kernels/topk.c" -o "$built"
{
    echo "// Made by wasm/build.sh from cython_ext/kernels/wasm_simd128.c and topk.c with $("${CLANG:-clang}" --version | grep -o 'clang version [0-9]*')."
    echo
    echo 'export const KERNELS ='
    base64 -w 120 "$built" | sed 's/.*/  "&" +/; $s/ +$/;/'
} >"$into"
