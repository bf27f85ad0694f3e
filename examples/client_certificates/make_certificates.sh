#!/bin/sh
# An authority of your own, a certificate for this server, and one each for two clients, in a folder (by default
# `certificates`). For trying: the authority's key lies beside the others. A second run makes everything anew.
set -eu
folder=${1:-certificates}
days=30

umask 077
mkdir -p "$folder"
cd "$folder"

# sign NAME EXTENSION...: NAME.key and NAME.pem, signed by the authority
sign() {
    name=$1
    shift
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -subj "/CN=$name" -out "$name.csr"
    printf '%s\n' "basicConstraints=critical,CA:false" "keyUsage=critical,digitalSignature" "$@" >"$name.ext"
    openssl x509 -req -in "$name.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days "$days" -sha256 \
        -extfile "$name.ext" -out "$name.pem"
    rm "$name.csr" "$name.ext"
}

{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout authority.key -subj "/CN=our authority" \
        -days "$days" -sha256 -out authority.pem
    sign localhost "extendedKeyUsage=serverAuth" "subjectAltName=DNS:localhost,IP:127.0.0.1"
    sign ann "extendedKeyUsage=clientAuth"
    sign bob "extendedKeyUsage=clientAuth"
} 2>openssl.log || {
    cat openssl.log >&2
    exit 1
}
rm openssl.log
echo "made $folder: authority.pem, and localhost, ann and bob, each .pem and .key"
