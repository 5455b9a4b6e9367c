// Command typed registers and finds services with the typed registry, through stubs that
// protoc-gen-go and protoc-gen-go-grpc made of registry.proto.
//
//	typed register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//	typed resolve --service user
//	typed watch --service user
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"quorate/examples/go/options"
	pb "quorate/examples/go/registryv1"
)

const (
	callTimeout = 5 * time.Second // of one call, an election included
	retryPause  = 200 * time.Millisecond
)

func main() {
	command, o := options.Parse("register", "resolve", "watch")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	var err error
	switch command {
	case "register":
		err = register(ctx, o)
	case "resolve":
		err = resolve(ctx, o)
	case "watch":
		watch(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typed:", err)
		os.Exit(1)
	}
}

// connect talks to one member. Which one does not matter: each of them serves everything.
func connect(endpoint string) (pb.RegistryClient, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A member that vanished without a word is noticed.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}))
	if err != nil {
		return nil, nil, err
	}
	return pb.NewRegistryClient(conn), conn, nil
}

// resolve prints the instances that can be called; the next member is asked when one does not answer.
func resolve(ctx context.Context, o options.Options) error {
	var last error
	for _, endpoint := range o.Endpoints {
		client, conn, err := connect(endpoint)
		if err != nil {
			return err
		}
		defer conn.Close()
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		answer, err := client.Resolve(call, &pb.ResolveRequest{
			Namespace: o.Namespace, Service: o.Service, Linearizable: true,
		})
		if err == nil {
			for _, instance := range answer.Instances {
				fmt.Println(instance.Id, target(instance))
			}
			return nil
		}
		last = err
	}
	return last
}

// watch prints what there is, and then each change, until the program is told to end.
func watch(ctx context.Context, o options.Options) {
	follower := follower{known: map[string]*pb.Instance{}}
	for turn := 0; ctx.Err() == nil; turn++ {
		err := follower.follow(ctx, o.Endpoints[turn%len(o.Endpoints)], o)
		if ctx.Err() == nil {
			complain("watch", err)
			pause(ctx)
		}
	}
}

type follower struct {
	known    map[string]*pb.Instance
	revision int64 // all up to here was printed
}

// follow prints changes, from where it was, until the stream breaks.
func (f *follower) follow(ctx context.Context, endpoint string, o options.Options) error {
	client, conn, err := connect(endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := client.Watch(ctx, &pb.WatchRequest{
		Namespace: o.Namespace, Service: o.Service, Revision: f.revision,
	})
	if err != nil {
		return err
	}
	var parts []*pb.WatchResponse // of one revision
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		// What is not complete yet would come again on the next stream.
		parts = append(parts, answer)
		if !answer.More {
			f.print(parts)
			f.revision = answer.Revision
			parts = nil
		}
	}
}

// print shows all that was said of one revision.
func (f *follower) print(parts []*pb.WatchResponse) {
	if parts[0].GetSnapshot() != nil {
		f.replace(parts)
		return
	}
	for _, part := range parts {
		for _, change := range part.GetChanges().GetChanges() {
			switch change.Kind {
			case pb.Change_UP:
				f.known[change.After.Id] = change.After
				fmt.Println("UP", change.After.Id, target(change.After))
			case pb.Change_CHANGED:
				f.known[change.After.Id] = change.After
				fmt.Println("CHANGED", change.After.Id, target(change.After))
			case pb.Change_DOWN:
				delete(f.known, change.Before.Id)
				fmt.Println("DOWN", change.Before.Id, target(change.Before), change.Reason)
			}
		}
	}
}

// replace takes a snapshot for what is known. There may have been one before: when the history from
// its revision on is gone, the server begins anew.
func (f *follower) replace(parts []*pb.WatchResponse) {
	before := f.known
	f.known = map[string]*pb.Instance{}
	for _, part := range parts {
		for _, instance := range part.GetSnapshot().GetInstances() {
			f.known[instance.Id] = instance
			if old, there := before[instance.Id]; !there {
				fmt.Println("UP", instance.Id, target(instance))
			} else if old.ModRevision != instance.ModRevision {
				fmt.Println("CHANGED", instance.Id, target(instance))
			}
		}
	}
	for id, instance := range before {
		if f.known[id] == nil {
			fmt.Println("DOWN", id, target(instance), "REASON_UNSPECIFIED")
		}
	}
}

// target is host:port, or a dash when the instance has no address.
func target(instance *pb.Instance) string {
	if instance.Address == "" {
		return "-"
	}
	return net.JoinHostPort(instance.Address, strconv.FormatUint(uint64(instance.Port), 10))
}

// pause waits before the next try, or until the program is to end.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
	}
}

func complain(doing string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
}
