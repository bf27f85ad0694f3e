#!/bin/sh
# Fuzz the HTTP/1 parser and the chunked decoder with libFuzzer, AddressSanitizer and UBSan.
# usage: tests/fuzz/run.sh [SECONDS]      (default 300; exits non-zero on a finding)
#
# The target is made of the pure parts of the core and needs no Python when it runs: what Cython generates around them is
# never called, so every function of Python's is a trap. It starts from tests/fuzz/corpus; what it learns is kept in
# build/fuzz/corpus, what it finds in build/fuzz/findings. To look at a finding: build/fuzz/fuzz_http1 FILE.
# FUZZ_PLANT=file.sed plants a bug first (prove.sh uses it); FUZZ_BUILD=folder builds elsewhere.
set -eu
seconds=${1:-300}
cd "$(dirname "$0")/../.."
build=${FUZZ_BUILD:-build/fuzz}

if ! command -v clang >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends clang libclang-rt-dev >/dev/null
    else
        echo "fuzzing needs clang with libFuzzer; install it (Debian: clang libclang-rt-dev; Fedora: clang compiler-rt)" >&2
        exit 1
    fi
fi

mkdir -p "$build/corpus" "$build/findings"
cp src/web/_core_http1*.pxi tests/fuzz/fuzz_http1.pyx "$build/"
[ -z "${FUZZ_PLANT:-}" ] || sed -i -f "$FUZZ_PLANT" "$build"/_core_http1*.pxi
python -m cython -3 -I "$build" "$build/fuzz_http1.pyx" -o "$build/fuzz_http1.c"
sanitize="-g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
# shellcheck disable=SC2086 # a list of words
clang $sanitize -I"$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
    -c "$build/fuzz_http1.c" -o "$build/fuzz_http1.o"
nm --undefined-only "$build/fuzz_http1.o" | awk '$2 ~ /^_?Py/ { print "void " $2 "(void) { __builtin_trap(); }" }' \
    >"$build/python.c"
# shellcheck disable=SC2086
clang $sanitize "$build/fuzz_http1.o" -x c "$build/python.c" -o "$build/fuzz_http1"
"$build/fuzz_http1" -max_total_time="$seconds" -max_len=2048 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
    -dict=tests/fuzz/http1.dict -artifact_prefix="$build/findings/" "$build/corpus" tests/fuzz/corpus
