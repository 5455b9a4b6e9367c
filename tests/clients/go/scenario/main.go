// Command scenario drives a cluster through etcd's own Go client, unmodified.
//
//	scenario register --key K --value V --ttl 5   registers until it is killed
//	scenario watch --prefix P                     prints what happens below a prefix
//	scenario kv                                   checks what clients rely on, and exits
//	scenario dump --seed 1 --out FILE             writes random requests with their answers
//	scenario members                              checks refusals of changes of a cluster's members
//	scenario contend --lock L --register K        writes under a lock again and again until it is killed
//
// Every command takes --endpoints host:port,... . What they print is for a test to read; errors go to
// standard error, and the exit status is then 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// command is one of the things that the program can do. It adds its own flags before they are
// parsed, and gets a connected client afterwards.
type command struct {
	flags *flag.FlagSet
	run   func(ctx context.Context, client *clientv3.Client) error
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scenario:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]func() command{
		"register": registerCommand,
		"watch":    watchCommand,
		"kv":       kvCommand,
		"dump":     dumpCommand,
		"contend":  contendCommand,
		"members":  membersCommand,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("give one of register, watch, kv, dump, contend and members")
	}

	chosen := commands[args[0]]()
	endpoints := chosen.flags.String("endpoints", "127.0.0.1:2379", "members, separated by commas")
	if err := chosen.flags.Parse(args[1:]); err != nil {
		return err
	}
	if rest := chosen.flags.Args(); len(rest) != 0 {
		return fmt.Errorf("unexpected arguments %q", rest)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(*endpoints, ","),
		Logger:    zap.NewNop(), // retries are not news for a test
	})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", *endpoints, err)
	}
	defer client.Close()
	return chosen.run(ctx, client)
}
