#!/bin/sh
# Run tests/leaks.py on the build in build/asan under LeakSanitizer. The interpreter leaks on purpose at its end, so only
# records with a frame of our own module count, and of those not what its initialisation keeps for ever.
# usage: tools/run_leaks.sh PYTHON
set -eu
report=build/asan/leaks.txt
status=0
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=12 PYTHONMALLOC=malloc \
    PYTHONPATH="$PWD/build/asan/src" "$1" tests/leaks.py 2>"$report" || status=$?
grep -q 'SUMMARY: AddressSanitizer' "$report" || { echo "LeakSanitizer did not look (exit $status)" >&2; cat "$report" >&2; exit 1; }
awk -v RS= '/leak of/ && /_core/ && !/pyinit_core|pymod_exec|PyInit/ { print $0 "\n"; found++ }
    END { print found + 0, "leaks of our own"; exit found > 0 }' "$report" >&2
