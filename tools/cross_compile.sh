#!/bin/sh
# Compile C headers, each alone, for systems that this machine is not, with warnings as errors: the kqueue side is
# checked on Linux too. Nothing is linked or run.
# usage: tools/cross_compile.sh PYTHON HEADER... (PYTHON has ziglang)
set -eu
python=$1
shift
unset CPATH LIBRARY_PATH # they are for this machine
mkdir -p build/cross
export ZIG_GLOBAL_CACHE_DIR="$PWD/build/cross/cache" ZIG_LOCAL_CACHE_DIR="$PWD/build/cross/cache"
failed=0
for target in x86_64-macos aarch64-macos x86_64-freebsd x86_64-linux-gnu x86_64-linux-musl aarch64-linux-gnu; do
    for header in "$@"; do
        name=$(basename "$header" .h)-$target
        printf '#include "%s"\n' "$PWD/$header" >"build/cross/$name.c"
        if "$python" -m ziglang cc -target "$target" -std=c11 -O2 -Wall -Wextra -Werror \
            -c "build/cross/$name.c" -o "build/cross/$name.o"; then
            echo "$target: $header compiles"
        else
            echo "$target: $header does not compile" >&2
            failed=1
        fi
    done
done
exit $failed
