#!/bin/sh
# Makes the stubs in registryv1/ of registry.proto: with protoc, and the plugins that go.mod names.
#
#   sh generate.sh [FOLDER]       FOLDER has quorate/registry/v1/registry.proto; ../../proto as a rule
set -eu
cd "$(dirname -- "$0")"
proto=quorate/registry/v1/registry.proto
package=quorate/examples/go/registryv1
protoc -I "${1:-../../proto}" \
    --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" \
    --plugin=protoc-gen-go-grpc="$(go tool -n protoc-gen-go-grpc)" \
    --go_out=. --go_opt="module=quorate/examples/go,M$proto=$package" \
    --go-grpc_out=. --go-grpc_opt="module=quorate/examples/go,M$proto=$package" \
    "$proto"
