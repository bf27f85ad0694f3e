#!/bin/sh
# Install what a build needs and this machine lacks: a C compiler, the header files of Python, of OpenSSL and of zlib, and
# the standard library's venv. By the system's package manager when we are root; on Debian without root the header files
# are unpacked into .deps/ (the Makefile points the build there). Elsewhere nothing is done: the build then says what
# to install.
# usage: tools/system_packages.sh PYTHON
# shellcheck disable=SC2086 # lists of words are meant to be split
set -eu
python=$1
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
cc=$("$python" -c 'import os, sysconfig; print((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0])')

has() { command -v "$1" >/dev/null 2>&1; }
has_compiler() { has "$cc"; }
has_python_h() { [ -e "$include/Python.h" ] || [ -e ".deps/usr/include/python$version/Python.h" ]; }
has_openssl_h() {
    [ -n "${WEB_OPENSSL_DIR:-}" ] || [ -e /usr/include/openssl/ssl.h ] || [ -e .deps/usr/include/openssl/ssl.h ] ||
        pkg-config --exists openssl 2>/dev/null
}
has_zlib_h() {
    [ -e /usr/include/zlib.h ] || [ -e .deps/usr/include/zlib.h ] || pkg-config --exists zlib 2>/dev/null
}
has_venv() { "$python" -c 'import ensurepip' 2>/dev/null; }

if has_compiler && has_python_h && has_openssl_h && has_zlib_h && has_venv; then
    exit 0
fi

if [ "$(uname)" = Darwin ]; then
    has_compiler || echo "no C compiler: xcode-select --install" >&2
    exit 0 # setup.py looks for Homebrew's openssl@3 and says so if there is none
fi

# need NAME PACKAGE... adds the packages to the list unless has_NAME says that they are not needed.
packages=
need() {
    "has_$1" || { shift; packages="$packages $*"; }
}

if [ "$(id -u)" = 0 ]; then
    if has apt-get; then
        need compiler gcc libc6-dev
        need openssl_h libssl-dev pkg-config
        need zlib_h zlib1g-dev
        need python_h "python$version-dev"
        need venv "python$version-venv"
        echo "apt-get install$packages"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null
    elif has dnf; then
        need compiler gcc
        need openssl_h openssl-devel pkgconf
        need zlib_h zlib-devel
        # python3-devel, or python3.12-devel for the interpreter of the package python3.12
        has_python_h || packages="$packages $(rpm -qf --qf '%{NAME}-devel' "$(command -v "$python")")"
        echo "dnf install$packages"
        dnf -q install -y $packages
    elif has apk; then
        need compiler build-base
        need openssl_h openssl-dev pkgconf
        need zlib_h zlib-dev
        need python_h python3-dev
        echo "apk add$packages"
        apk add -q $packages
    fi
    exit 0
fi

if has apt-get && has dpkg-deb; then
    if ! has_compiler; then
        echo "no C compiler, and only root may install one: apt-get install gcc libc6-dev" >&2
        exit 1
    fi
    echo "unpacking header files into .deps/ (apt-get download)"
    mkdir -p .deps/lists/partial .deps/archives/partial
    # Our own package lists: the system's may be empty, and only root may fill them.
    apt="-qq -o Dir::State::Lists=$PWD/.deps/lists -o Dir::Cache=$PWD/.deps"
    need openssl_h libssl-dev
    need zlib_h zlib1g-dev
    need python_h "libpython$version-dev"
    need venv python3-pip-whl
    apt-get $apt update
    (cd .deps/archives && apt-get $apt download $packages)
    for package in .deps/archives/*.deb; do
        dpkg-deb -x "$package" .deps
    done
    rm -rf .deps/lists .deps/archives .deps/*.bin
fi
