// Command balance shows client-side load balancing: servers that come and go, and a client that spreads
// its calls over those there are, with etcd's own resolver for gRPC.
//
//	balance serve --service user --addr 127.0.0.1:8081                 registers with the typed API
//	balance serve-managed --service user --addr 127.0.0.1:8082         registers with etcd's endpoint manager
//	balance call --service user                                        prints who answered, call by call
//
// Both ways to register end in the same place, so the client needs not know which one was taken.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"quorate/examples/go/options"
	pb "quorate/examples/go/registryv1"
)

const (
	callTimeout = 2 * time.Second
	callPause   = 20 * time.Millisecond
)

func main() {
	command, o := options.Parse("serve", "serve-managed", "call")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	var err error
	switch command {
	case "serve":
		err = serve(ctx, o, registerTyped)
	case "serve-managed":
		err = serve(ctx, o, registerManaged)
	case "call":
		err = call(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "balance:", err)
		os.Exit(1)
	}
}

// etcd is the stock client; the resolver and the endpoint manager are made of it.
func etcd(o options.Options) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: o.Endpoints, Logger: zap.NewNop()})
}

// serve answers health checks, as a stand-in for a service of one's own, and is registered meanwhile.
func serve(ctx context.Context, o options.Options, register func(context.Context, options.Options) error) error {
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)

	// It listens before it registers and is deregistered before it stops, so that callers hardly ever
	// find nobody there.
	err = register(ctx, o)
	server.GracefulStop()
	return err
}

// registerTyped registers with the typed API on a lease, and keeps that alive until ctx ends. See
// ../typed for a program that holds a session and goes from member to member.
func registerTyped(ctx context.Context, o options.Options) error {
	client, err := etcd(o)
	if err != nil {
		return err
	}
	defer client.Close()
	// The connection of the stock client knows all members; our stubs use it like those of etcd.
	registry := pb.NewRegistryClient(client.ActiveConnection())
	host, portText, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return err
	}
	port, err := net.LookupPort("tcp", portText)
	if err != nil {
		return err
	}
	registered, err := registry.Register(ctx, &pb.RegisterRequest{Ttl: o.TTL, Instance: &pb.Instance{
		Namespace: o.Namespace, Service: o.Service, Id: o.ID, Address: host, Port: uint32(port),
	}}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	return hold(ctx, client, clientv3.LeaseID(registered.LeaseId), o.ID)
}

// registerManaged registers with etcd's endpoint manager, which puts a key on a lease that it is given.
func registerManaged(ctx context.Context, o options.Options) error {
	client, err := etcd(o)
	if err != nil {
		return err
	}
	defer client.Close()
	manager, err := endpoints.NewManager(client, folder(o))
	if err != nil {
		return err
	}
	lease, err := client.Grant(ctx, o.TTL)
	if err != nil {
		return err
	}
	err = manager.AddEndpoint(ctx, folder(o)+"/"+o.ID, endpoints.Endpoint{Addr: o.Addr}, clientv3.WithLease(lease.ID))
	if err != nil {
		return err
	}
	return hold(ctx, client, lease.ID, o.ID)
}

// hold keeps a lease alive until ctx ends, and then ends it, which takes its keys along.
func hold(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID, id string) error {
	renewals, err := client.KeepAlive(ctx, lease)
	if err != nil {
		return err
	}
	fmt.Println("REGISTERED", id, int64(lease))
	for range renewals {
	}
	if ctx.Err() == nil {
		return fmt.Errorf("lease %d was lost", lease)
	}
	last, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := client.Revoke(last, lease); err != nil {
		return err
	}
	fmt.Println("DEREGISTERED", id)
	return nil
}

// folder is the key under which the instances of the service stand, without the slash behind it.
func folder(o options.Options) string {
	return fmt.Sprintf("/services/%s/%s", o.Namespace, o.Service)
}

// call calls the service until it is told to end, each time another instance.
func call(ctx context.Context, o options.Options) error {
	client, err := etcd(o)
	if err != nil {
		return err
	}
	defer client.Close()
	builder, err := resolver.NewBuilder(client)
	if err != nil {
		return err
	}
	// Four slashes: three belong to the URL, and the key begins with one of its own.
	conn, err := grpc.NewClient("etcd:///"+folder(o),
		grpc.WithResolvers(builder),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	service := healthpb.NewHealthClient(conn)
	for ctx.Err() == nil {
		var from peer.Peer
		timed, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := service.Check(timed, &healthpb.HealthCheckRequest{}, grpc.Peer(&from), grpc.WaitForReady(true))
		cancel()
		switch {
		case err == nil:
			fmt.Println("ANSWER", from.Addr)
		case ctx.Err() == nil:
			fmt.Println("FAILED", err)
		}
		time.Sleep(callPause)
	}
	return nil
}
