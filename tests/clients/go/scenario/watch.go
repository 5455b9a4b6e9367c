package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchCommand watches a prefix until it is killed. It prints "watching <prefix>" once the server has
// confirmed the watcher, and then a line for each event: "PUT <key> <value> <mod revision>" or
// "DELETE <key> <mod revision>".
func watchCommand() command {
	flags := flag.NewFlagSet("watch", flag.ContinueOnError)
	prefix := flags.String("prefix", "", "prefix to watch")
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		if *prefix == "" {
			return errors.New("--prefix is missing")
		}
		return watch(ctx, client, *prefix)
	}}
}

func watch(ctx context.Context, client *clientv3.Client, prefix string) error {
	responses := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	for response := range responses {
		if err := response.Err(); err != nil {
			return fmt.Errorf("watch %s: %w", prefix, err)
		}
		if response.Created {
			fmt.Println("watching", prefix)
		}
		for _, event := range response.Events {
			if event.Type == clientv3.EventTypeDelete {
				fmt.Printf("DELETE %s %d\n", event.Kv.Key, event.Kv.ModRevision)
			} else {
				fmt.Printf("PUT %s %s %d\n", event.Kv.Key, event.Kv.Value, event.Kv.ModRevision)
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch %s ended", prefix)
}
