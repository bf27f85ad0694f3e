#!/bin/sh
# Build the extension into src/web and make the virtual environment use this folder. Quiet unless something is wrong:
# the whole log is in build/build.log.
# usage: tools/build_editable.sh PYTHON (of the virtual environment)
set -eu
echo "building web._core"
mkdir -p build
if "$1" -m pip install --disable-pip-version-check --verbose --no-build-isolation --no-deps --no-index -e . \
    >build/build.log 2>&1; then
    grep -A4 '_core.*warning:' build/build.log >&2 || true
else
    # From the first line of the build's own output; all of it when the build did not come so far.
    sed -n '/Cythonizing\|cannot be built\|WEB_OPENSSL_DIR=/,$p' build/build.log | grep . >&2 || cat build/build.log >&2
    exit 1
fi
