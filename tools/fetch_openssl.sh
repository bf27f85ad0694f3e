#!/bin/sh
# Download a release of OpenSSL that tools/openssl.pin names, refuse it unless its SHA-256 is the pinned one, and unpack
# it. The last line of the output is the folder with the sources.
# usage: tools/fetch_openssl.sh USE FOLDER [ARCHIVE] (USE as in the pin; ARCHIVE: a file that was downloaded before)
set -eu
use=$1 folder=$2 archive=${3:-}
pin=$(dirname "$0")/openssl.pin
version=$(awk -v use="$use" '$1 == use { print $2 }' "$pin")
wanted=$(awk -v use="$use" '$1 == use { print $3 }' "$pin")
if [ -z "$version" ] || [ -z "$wanted" ]; then
    echo "$pin has no line for $use" >&2
    exit 1
fi

mkdir -p "$folder"
if [ -z "$archive" ]; then
    archive=$folder/openssl-$version.tar.gz
    curl --fail --silent --show-error --location --retry 3 --output "$archive" \
        "https://github.com/openssl/openssl/releases/download/openssl-$version/openssl-$version.tar.gz"
fi
if command -v sha256sum >/dev/null; then
    found=$(sha256sum "$archive")
else
    found=$(shasum -a 256 "$archive")
fi
found=${found%% *}
if [ "$found" != "$wanted" ]; then
    echo "$archive has the SHA-256 $found, but $pin says $wanted: not unpacked" >&2
    exit 1
fi
tar -C "$folder" -xzf "$archive"
echo "$wanted" >"$folder/openssl-$version/archive.sha256" # build_openssl.sh hands it on, for the SBOM
echo "$folder/openssl-$version"
