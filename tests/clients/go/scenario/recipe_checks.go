package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// recipeChecks are about what the client library builds from keys, leases, transactions and watches.
var recipeChecks = []check{
	{"recipe-mutex", recipeMutex},
	{"recipe-election", recipeElection},
}

// sessionTTL is how long a session outlives its owner, in seconds.
const sessionTTL = 10

func recipeMutex(ctx context.Context, in scope) error {
	return withSessions(ctx, in.client, func(first, second *concurrency.Session) error {
		held := concurrency.NewMutex(first, in.key("lock"))
		wanted := concurrency.NewMutex(second, in.key("lock"))
		if err := held.Lock(ctx); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		refused := wanted.TryLock(ctx)

		acquired := make(chan error, 1)
		go func() { acquired <- wanted.Lock(ctx) }()
		if err := held.Unlock(ctx); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
		return errors.Join(
			wantErr("trying a lock that is held", refused, concurrency.ErrLocked),
			wantErr("waiting for a lock that is given up", <-acquired, nil),
		)
	})
}

func recipeElection(ctx context.Context, in scope) error {
	return withSessions(ctx, in.client, func(first, second *concurrency.Session) error {
		leader := concurrency.NewElection(first, in.key("election"))
		next := concurrency.NewElection(second, in.key("election"))
		if err := leader.Campaign(ctx, "first"); err != nil {
			return fmt.Errorf("campaign: %w", err)
		}
		shown, err := next.Leader(ctx)
		if err != nil {
			return fmt.Errorf("leader: %w", err)
		}

		elected := make(chan error, 1)
		go func() { elected <- next.Campaign(ctx, "second") }()
		if err := leader.Resign(ctx); err != nil {
			return fmt.Errorf("resign: %w", err)
		}
		if err := <-elected; err != nil {
			return fmt.Errorf("campaign after a resignation: %w", err)
		}
		after, err := leader.Leader(ctx)
		if err != nil {
			return fmt.Errorf("leader after a resignation: %w", err)
		}
		return errors.Join(
			want("leader", string(shown.Kvs[0].Value), "first"),
			want("leader after a resignation", string(after.Kvs[0].Value), "second"),
		)
	})
}

// withSessions runs something with two sessions, as of two processes, and ends them.
func withSessions(
	ctx context.Context,
	client *clientv3.Client,
	run func(first, second *concurrency.Session) error,
) error {
	first, err := concurrency.NewSession(client, concurrency.WithTTL(sessionTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	defer first.Close()
	second, err := concurrency.NewSession(client, concurrency.WithTTL(sessionTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	defer second.Close()
	return run(first, second)
}
