#!/bin/sh
# Fuzz the pure parts with libFuzzer, AddressSanitizer and UBSan: the HTTP/1 parser and the chunked decoder (http1), the
# WebSocket codec with permessage-deflate (websocket).
# usage: tests/fuzz/run.sh [SECONDS [TARGET...]]      (default 300 for all of them; exits non-zero on a finding)
#
# A target is made of the pure parts of the core and needs no Python when it runs: what Cython generates around them is
# never called, so every function of Python's is a trap, but its allocator, which is the C library's. It starts from
# tests/fuzz/corpus; what it learns is kept in build/fuzz/TARGET/corpus, what it finds in build/fuzz/TARGET/findings. To
# look at a finding: build/fuzz/TARGET/fuzz FILE.
# FUZZ_PLANT=file.sed plants a bug first (prove.sh uses it); FUZZ_BUILD=folder builds elsewhere.
set -eu
seconds=${1:-300}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- http1 websocket
seconds=$((seconds / $#))
cd "$(dirname "$0")/../.."

if ! command -v clang >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends clang libclang-rt-dev >/dev/null
    else
        echo "fuzzing needs clang with libFuzzer; install it (Debian: clang libclang-rt-dev; Fedora: clang compiler-rt)" >&2
        exit 1
    fi
fi

sanitize="-g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')

# shellcheck disable=SC2086 # $sanitize is a list of words
fuzz() {
    target=$1 build=${FUZZ_BUILD:-build/fuzz}/$1
    mkdir -p "$build/corpus" "$build/findings"
    cp src/web/_core_http1*.pxi src/web/_core_websocket.pxi src/web/_core_websocket_message.pxi \
        src/web/_core_deflate.pxi src/web/ws_helpers.h "$build/"
    [ -z "${FUZZ_PLANT:-}" ] || sed -i -f "$FUZZ_PLANT" "$build"/_core_*.pxi "$build/ws_helpers.h"
    cp "tests/fuzz/fuzz_$target.pyx" "$build/fuzz.pyx"
    python -m cython -3 -I "$build" "$build/fuzz.pyx" -o "$build/fuzz.c"
    clang $sanitize -I"$headers" -I"$build" -c "$build/fuzz.c" -o "$build/fuzz.o"
    {
        cat <<'C'
#include <stdlib.h>
void *PyMem_RawMalloc(size_t n) { return malloc(n ? n : 1); }
void *PyMem_RawRealloc(void *p, size_t n) { return realloc(p, n ? n : 1); }
void PyMem_RawFree(void *p) { free(p); }
C
        nm --undefined-only "$build/fuzz.o" |
            awk '$2 ~ /^_?Py/ && $2 !~ /^PyMem_Raw/ { print "void " $2 "(void) { __builtin_trap(); }" }'
    } >"$build/python.c"
    clang $sanitize "$build/fuzz.o" -x c "$build/python.c" -lz -o "$build/fuzz"
    "$build/fuzz" -max_total_time="$seconds" -max_len=2048 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        -dict="tests/fuzz/$target.dict" -artifact_prefix="$build/findings/" "$build/corpus" "tests/fuzz/corpus/$target"
}

for target; do
    fuzz "$target"
done
