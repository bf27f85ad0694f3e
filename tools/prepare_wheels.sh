#!/bin/sh
# Once per image (manylinux, musllinux) or machine (macOS), before wheels for all Pythons are built there: what the image
# lacks, and the pinned OpenSSL as static archives.
# usage: tools/prepare_wheels.sh PREFIX (where OpenSSL goes; WEB_OPENSSL_DIR)
set -eu
prefix=$1
here=$(cd "$(dirname "$0")" && pwd)
# perl's modules and the kernel's headers (kernel TLS) are for OpenSSL, zlib is for us, the other programs are for tests
if command -v dnf >/dev/null; then
    dnf -q -y install perl-core perl-IPC-Cmd kernel-headers zlib-devel binutils curl openssl
elif command -v apk >/dev/null; then
    apk add -q perl linux-headers zlib-dev binutils curl openssl
fi
work=$(mktemp -d)
source=$("$here/fetch_openssl.sh" wheel "$work" | tail -1)
"$here/build_openssl.sh" "$source" "$prefix"
rm -rf "$work"
