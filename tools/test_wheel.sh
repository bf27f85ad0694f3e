#!/bin/sh
# Run the tests of this clone against an installed weblatch: nothing of src is on the path of Python, here and in the
# programs that tests start (tests/test_build.py looks, too).
# usage: tools/test_wheel.sh PYTHON [PYTEST_ARGUMENT...] (PYTHON of an environment with weblatch and the test group)
set -eu
python=$(command -v "$1")
case $python in
/*) ;;
*) python=$PWD/$python ;;
esac
shift
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONSAFEPATH # cibuildwheel sets the latter; programs that tests start are in folders of their own
export WEB_INSTALLED=1
"$python" -P -c 'import web, web._core; print("testing", web._core.__file__, web.openssl_version())'
exec "$python" -P -m pytest --benchmark-disable "$@"
