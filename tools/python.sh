#!/bin/sh
# Print the first Python that is new enough: the one asked for, or else the newest with a name of its own.
# usage: tools/python.sh [PYTHON]
set -u
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

for python in ${1:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if new_enough "$python"; then
        echo "$python"
        exit 0
    fi
done
echo "weblatch needs Python 3.11 or newer and found none: install one, or name it: make PYTHON=/path/to/python3" >&2
exit 1
