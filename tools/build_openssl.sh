#!/bin/sh
# Build OpenSSL from its unpacked source as static archives, for WEB_OPENSSL_DIR.
# usage: tools/build_openssl.sh SOURCE_DIR PREFIX
set -eu
source=$1 prefix=$2
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
cd "$source"

step() {
    "$@" >build.log 2>&1 || { tail -50 build.log >&2; exit 1; }
}
step perl ./Configure --prefix="$prefix" --libdir=lib --openssldir="$prefix/ssl" no-shared no-module no-tests enable-ktls
step make -j"$jobs" build_libs
step make install_dev
ls -l "$prefix/lib/libssl.a" "$prefix/lib/libcrypto.a"
