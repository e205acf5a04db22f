#!/bin/sh
# Make the certificates of the TLS tests and of benchmarks/tls.py anew. They certify nothing to anybody else: the authority's key is thrown away.
# They last for a hundred years, so that the tests need neither the network nor this script nor openssl's command.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

days=36500
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

openssl req -x509 $curve -keyout "$work/ca.key" -out ca.pem -days $days -subj "/CN=coopcore test authority" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"

issue() { # name, subject, extended key usage, alternative names
    openssl req $curve -keyout "$work/$1.key" -out "$work/$1.csr" -subj "$2"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=%s\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' \
        "$3" "$4" >"$work/$1.ext"
    openssl x509 -req -in "$work/$1.csr" -CA ca.pem -CAkey "$work/ca.key" -CAcreateserial -CAserial "$work/serial" \
        -days $days -extfile "$work/$1.ext" -out "$work/$1.crt"
    cat "$work/$1.key" "$work/$1.crt" >"$1.pem"
}

issue localhost "/CN=localhost" serverAuth "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1"
issue other "/CN=other.example" serverAuth "DNS:other.example"
issue client "/CN=a client" clientAuth "DNS:client.example"
