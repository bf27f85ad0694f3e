#!/bin/sh
# Build OpenSSL from its unpacked source as static archives, for WEB_OPENSSL_DIR.
# weblatch has a static OpenSSL read no configuration. If it ever did, that would be the system's in /etc/ssl, never one
# below PREFIX: where a wheel is installed that folder does not exist, and whoever may make it could change TLS.
# usage: tools/build_openssl.sh SOURCE_DIR PREFIX
set -eu
source=$1 prefix=$2
licence=$(cd "$(dirname "$0")" && pwd)/licenses/openssl.txt
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
cd "$source"

if ! cmp -s LICENSE.txt "$licence"; then
    echo "the licence in $source is not the one in $licence, which goes into our wheels: read it, and replace ours" >&2
    exit 1
fi
step() {
    "$@" >build.log 2>&1 || { tail -50 build.log >&2; exit 1; }
}
step perl ./Configure --prefix="$prefix" --libdir=lib --openssldir=/etc/ssl no-shared no-module no-tests enable-ktls
step make -j"$jobs" build_libs
step make install_dev
rm -f "$prefix/archive.sha256"
if [ -e archive.sha256 ]; then
    cp archive.sha256 "$prefix/"
fi
ls -l "$prefix/lib/libssl.a" "$prefix/lib/libcrypto.a"
