#!/bin/sh
# Makes the certificates of this folder anew. Needs the openssl command; the tests do not.
set -eu
cd "$(dirname "$0")"
days=36500

key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key.pem"
}

ca() { # file, common name
  key "$1"
  openssl req -x509 -new -key "$1.key.pem" -subj "/CN=$2" -days "$days" -sha256 -out "$1.cert.pem" \
    -addext 'keyUsage=critical,keyCertSign,cRLSign'
}

leaf() { # file, CA file, common name, extKeyUsage, subjectAltName
  key "$1"
  openssl req -new -key "$1.key.pem" -subj "/CN=$3" -sha256 -out leaf.csr
  {
    echo "basicConstraints=critical,CA:false"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=$4"
    echo "subjectAltName=$5"
  } > leaf.cnf
  openssl x509 -req -in leaf.csr -CA "$2.cert.pem" -CAkey "$2.key.pem" -days "$days" -sha256 \
    -extfile leaf.cnf -out "$1.cert.pem"
  rm leaf.csr leaf.cnf
}

ca ca 'Tunnel test CA'
ca foreign-ca 'Foreign test CA'
leaf edge ca edge.test serverAuth DNS:edge.test
leaf edge-other-name ca other.test serverAuth DNS:other.test
leaf edge-foreign foreign-ca edge.test serverAuth DNS:edge.test
leaf front ca scep.test serverAuth DNS:scep.test
leaf front-renewed ca scep.test serverAuth DNS:scep.test
leaf connector-1 ca connector-1 clientAuth DNS:connector-1.test
leaf connector-2 ca connector-2 clientAuth DNS:connector-2.test
leaf connector-not-listed ca connector-9 clientAuth DNS:connector-9.test
leaf connector-foreign foreign-ca connector-1 clientAuth DNS:connector-1.test
leaf connector-server-only ca connector-1 serverAuth DNS:connector-1.test

# Nothing else is ever to be signed by them.
rm ca.key.pem foreign-ca.key.pem
