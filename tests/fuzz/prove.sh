#!/bin/sh
# A fuzzer that finds nothing proves something only if it can find: each planted bug must be found within a minute.
# usage: tests/fuzz/prove.sh
set -eu
cd "$(dirname "$0")/../.."
for plant in tests/fuzz/planted/*/*.sed; do
    target=$(basename "$(dirname "$plant")")
    name=$(basename "$plant" .sed)
    folder=build/fuzz-planted/$name
    rm -rf "$folder"
    mkdir -p "$folder"
    if FUZZ_PLANT=$PWD/$plant FUZZ_BUILD=$folder tests/fuzz/run.sh 60 "$target" >"$folder/log" 2>&1; then
        echo "$name: not found, see $folder/log" >&2
        exit 1
    fi
    # A build that fails is not a finding, nor is a plant that changed nothing.
    ls "$folder/$target"/findings/* >/dev/null
    echo "$name: found ($(grep -m1 -E 'broken rule|ERROR: (AddressSanitizer|libFuzzer)|runtime error' "$folder/log"))"
done
