package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// registerCommand hangs a key on a lease and keeps the lease alive, as a service does that announces
// itself. It prints "registered <lease id>", the id in decimal, and then stays until it is killed; it
// never takes the key back itself.
func registerCommand() command {
	flags := flag.NewFlagSet("register", flag.ContinueOnError)
	key := flags.String("key", "", "key to register")
	value := flags.String("value", "", "value to register")
	ttl := flags.Int64("ttl", 5, "time to live of the lease, in seconds")
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		if *key == "" {
			return errors.New("--key is missing")
		}
		return register(ctx, client, *key, *value, *ttl)
	}}
}

func register(ctx context.Context, client *clientv3.Client, key, value string, ttl int64) error {
	lease, err := client.Grant(ctx, ttl)
	if err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	if _, err := client.Put(ctx, key, value, clientv3.WithLease(lease.ID)); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return fmt.Errorf("keep lease %d alive: %w", lease.ID, err)
	}
	fmt.Println("registered", int64(lease.ID))

	// The channel ends when the lease is gone, or when the client gave up on it.
	for range alive {
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("lease %d is lost", lease.ID)
}
