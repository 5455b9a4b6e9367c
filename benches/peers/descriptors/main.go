// Command descriptors prints the client-facing wire format that etcd publishes, one fact a line,
// sorted, for tests/descriptors.rs to hold ours against.
//
// It prints every method of the services in etcd's packages, and every message and enum that can be
// reached from them. What etcd only passes between its own servers is in the same packages, but no
// client can reach it, and it is left out.
package main

import (
	"fmt"
	"os"
	"sort"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Imported for the descriptors that they register.
	_ "go.etcd.io/etcd/api/v3/authpb"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb"
	_ "go.etcd.io/etcd/api/v3/mvccpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// packages holds the services to start from.
var packages = []protoreflect.FullName{"etcdserverpb", "v3lockpb", "v3electionpb"}

// surface collects the lines, and which types have been seen.
type surface struct {
	lines []string
	seen  map[protoreflect.FullName]bool
}

func main() {
	found := surface{seen: map[protoreflect.FullName]bool{}}
	for _, name := range packages {
		protoregistry.GlobalFiles.RangeFilesByPackage(name, func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				found.service(file.Services().Get(i))
			}
			return true
		})
	}
	if len(found.lines) == 0 {
		fmt.Fprintln(os.Stderr, "descriptors: no service found")
		os.Exit(1)
	}
	sort.Strings(found.lines)
	for _, line := range found.lines {
		fmt.Println(line)
	}
}

func (s *surface) line(format string, values ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, values...))
}

func (s *surface) service(service protoreflect.ServiceDescriptor) {
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		s.line("method %s request=%s response=%s client_streaming=%t server_streaming=%t",
			method.FullName(), method.Input().FullName(), method.Output().FullName(),
			method.IsStreamingClient(), method.IsStreamingServer())
		s.message(method.Input())
		s.message(method.Output())
	}
}

func (s *surface) message(message protoreflect.MessageDescriptor) {
	if s.seen[message.FullName()] {
		return
	}
	s.seen[message.FullName()] = true
	s.line("message %s", message.FullName())
	for i := range message.Fields().Len() {
		s.field(message.Fields().Get(i))
	}
}

func (s *surface) field(field protoreflect.FieldDescriptor) {
	kind := field.Kind().String()
	if enum := field.Enum(); enum != nil {
		kind = "enum:" + string(enum.FullName())
		s.enum(enum)
	}
	if message := field.Message(); message != nil {
		kind = "message:" + string(message.FullName())
		s.message(message)
	}
	oneof := "-"
	if containing := field.ContainingOneof(); containing != nil {
		oneof = string(containing.Name())
	}
	s.line("field %s number=%d type=%s label=%s oneof=%s json=%s",
		field.FullName(), field.Number(), kind, field.Cardinality(), oneof, field.JSONName())
}

func (s *surface) enum(enum protoreflect.EnumDescriptor) {
	if s.seen[enum.FullName()] {
		return
	}
	s.seen[enum.FullName()] = true
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		s.line("value %s.%s number=%d", enum.FullName(), value.Name(), value.Number())
	}
}
