#!/bin/sh
# Make a virtual environment with a pip that knows dependency groups.
# usage: tools/make_venv.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
echo "making $folder with $("$python" -V)"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear "$folder"
else # Debian keeps ensurepip in a package of its own; system_packages.sh may have unpacked pip's wheel
    for wheel in .deps/usr/share/python-wheels/pip-*.whl; do
        if [ ! -e "$wheel" ]; then
            echo "this Python has no ensurepip; install it: apt-get install python3-venv" >&2
            exit 1
        fi
        "$python" -m venv --clear --without-pip "$folder"
        "$folder/bin/python" "$wheel/pip" --quiet --disable-pip-version-check install pip
    done
fi
"$folder/bin/python" -m pip --quiet --disable-pip-version-check install --upgrade "pip>=25.1"
