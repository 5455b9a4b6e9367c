package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// checkTimeout bounds one check; it leaves room for a change of the leader.
const checkTimeout = 30 * time.Second

// errSkipped marks a check of something that the server says it does not have.
var errSkipped = errors.New("skipped")

// check is one rule that clients rely on.
type check struct {
	name string
	run  func(ctx context.Context, in scope) error
}

// scope is what a check works with: a client, and a corner of the key space of its own.
type scope struct {
	client *clientv3.Client
	prefix string
}

func (s scope) key(name string) string {
	return s.prefix + name
}

// kvCommand runs every check in a fresh corner of the key space and prints "ok <check>" for each that
// holds. It presumes nothing of what else is stored, but others must not compact meanwhile.
func kvCommand() command {
	flags := flag.NewFlagSet("kv", flag.ContinueOnError)
	prefix := flags.String("prefix", "", "where to work; by default a new prefix for every run")
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		if *prefix == "" {
			*prefix = fmt.Sprintf("scenario/%d/", time.Now().UnixNano())
		}
		return runChecks(ctx, client, *prefix)
	}}
}

func runChecks(ctx context.Context, client *clientv3.Client, prefix string) error {
	var checks []check
	checks = append(checks, dataChecks...)
	checks = append(checks, optionChecks...)
	checks = append(checks, txnChecks...)
	checks = append(checks, leaseChecks...)
	checks = append(checks, recipeChecks...)
	checks = append(checks, serviceChecks...)
	checks = append(checks, watchChecks...)
	checks = append(checks, historyChecks...) // last, because they compact

	for _, check := range checks {
		err := runCheck(ctx, check, scope{client, prefix + check.name + "/"})
		if errors.Is(err, errSkipped) {
			fmt.Printf("%v %s\n", err, check.name)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", check.name, err)
		}
		fmt.Println("ok", check.name)
	}

	if _, err := client.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func runCheck(ctx context.Context, check check, in scope) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return check.run(ctx, in)
}

// want is nil when two values are equal.
func want[T any](what string, got, want T) error {
	if reflect.DeepEqual(got, want) {
		return nil
	}
	return fmt.Errorf("%s is %v, want %v", what, got, want)
}

// wantErr is nil when a call failed in the way that it should.
func wantErr(what string, got, want error) error {
	if errors.Is(got, want) {
		return nil
	}
	return fmt.Errorf("%s: got error %q, want %q", what, fmt.Sprint(got), want)
}

// keys lists the keys of an answer, without the prefix of the check.
func (s scope) keys(kvs []*mvccpb.KeyValue) []string {
	keys := []string{}
	for _, kv := range kvs {
		keys = append(keys, string(kv.Key)[len(s.prefix):])
	}
	return keys
}

// put puts several keys, each with its own name as the value, at a revision each.
func (s scope) put(ctx context.Context, names ...string) error {
	for _, name := range names {
		if _, err := s.client.Put(ctx, s.key(name), name); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
	}
	return nil
}
