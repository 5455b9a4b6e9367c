package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// serviceChecks are about locks and elections that the server itself offers, as services.
var serviceChecks = []check{
	{"service-lock", serviceLock},
	{"service-lock-cancelled", serviceLockCancelled},
	{"service-election", serviceElection},
	{"service-observe", serviceObserve},
	{"service-errors", serviceErrors},
}

// lease grants a lease that outlives a check.
func (s scope) lease(ctx context.Context) (int64, error) {
	granted, err := s.client.Grant(ctx, 60)
	if err != nil {
		return 0, fmt.Errorf("grant: %w", err)
	}
	return int64(granted.ID), nil
}

// leases grants two of them.
func (s scope) leases(ctx context.Context) (first, second int64, err error) {
	first, err = s.lease(ctx)
	if err != nil {
		return 0, 0, err
	}
	second, err = s.lease(ctx)
	return first, second, err
}

// waiters waits until so many keys are below the name of a lock or an election.
func (s scope) waiters(ctx context.Context, name []byte, count int64) error {
	prefix := string(name) + "/"
	read, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if read.Count == count {
		return nil
	}
	// What is not there yet is seen from the next revision on.
	watch, stop := context.WithCancel(ctx)
	defer stop()
	from := clientv3.WithRev(read.Header.Revision + 1)
	for response := range s.client.Watch(watch, prefix, clientv3.WithPrefix(), from) {
		for _, event := range response.Events {
			if event.Type == clientv3.EventTypePut && event.IsCreate() {
				read.Count++
			}
			if event.Type == clientv3.EventTypeDelete {
				read.Count--
			}
		}
		if read.Count == count {
			return nil
		}
	}
	return fmt.Errorf("%d keys below %q, want %d: %w", read.Count, prefix, count, ctx.Err())
}

// result is what a call in the background has come to.
type result[T any] struct {
	response T
	err      error
}

func background[T any](call func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	go func() {
		response, err := call()
		done <- result[T]{response, err}
	}()
	return done
}

func serviceLock(ctx context.Context, in scope) error {
	locks := v3lockpb.NewLockClient(in.client.ActiveConnection())
	name := []byte(in.key("lock"))
	first, second, err := in.leases(ctx)
	if err != nil {
		return err
	}
	held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: first})
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	again, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: first})
	if err != nil {
		return fmt.Errorf("lock again: %w", err)
	}
	waiting := background(func() (*v3lockpb.LockResponse, error) {
		return locks.Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: second})
	})
	if err := in.waiters(ctx, name, 2); err != nil {
		return err
	}
	unlocked, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key})
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	next := <-waiting
	if next.err != nil {
		return fmt.Errorf("wait: %w", next.err)
	}
	return errors.Join(
		want("key", string(held.Key), fmt.Sprintf("%s/%x", name, first)),
		want("key again", string(again.Key), string(held.Key)),
		want("revision again", again.Header.Revision, held.Header.Revision),
		want("revision of the unlock", unlocked.Header.Revision, held.Header.Revision+2),
		want("revision of the next", next.response.Header.Revision, unlocked.Header.Revision),
		want("key of the next", string(next.response.Key), fmt.Sprintf("%s/%x", name, second)),
	)
}

func serviceLockCancelled(ctx context.Context, in scope) error {
	locks := v3lockpb.NewLockClient(in.client.ActiveConnection())
	name := []byte(in.key("lock"))
	first, second, err := in.leases(ctx)
	if err != nil {
		return err
	}
	if _, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: first}); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	waiting := background(func() (*v3lockpb.LockResponse, error) {
		return locks.Lock(cancelled, &v3lockpb.LockRequest{Name: name, Lease: second})
	})
	if err := in.waiters(ctx, name, 2); err != nil {
		cancel()
		return err
	}
	cancel()
	return errors.Join(
		want("code of the wait", status.Code((<-waiting).err), codes.Canceled),
		in.waiters(ctx, name, 1),
	)
}

func serviceElection(ctx context.Context, in scope) error {
	elections := v3electionpb.NewElectionClient(in.client.ActiveConnection())
	name := []byte(in.key("election"))
	first, second, err := in.leases(ctx)
	if err != nil {
		return err
	}
	campaign := func(lease int64, value string) (*v3electionpb.CampaignResponse, error) {
		request := &v3electionpb.CampaignRequest{Name: name, Lease: lease, Value: []byte(value)}
		return elections.Campaign(ctx, request)
	}
	elected, err := campaign(first, "one")
	if err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	again, err := campaign(first, "two")
	if err != nil {
		return fmt.Errorf("campaign again: %w", err)
	}
	waiting := background(func() (*v3electionpb.CampaignResponse, error) { return campaign(second, "three") })
	if err := in.waiters(ctx, name, 2); err != nil {
		return err
	}
	proclaim := &v3electionpb.ProclaimRequest{Leader: elected.Leader, Value: []byte("four")}
	if _, err := elections.Proclaim(ctx, proclaim); err != nil {
		return fmt.Errorf("proclaim: %w", err)
	}
	leader, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
	if err != nil {
		return fmt.Errorf("leader: %w", err)
	}
	if _, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: elected.Leader}); err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	next := <-waiting
	if next.err != nil {
		return fmt.Errorf("wait: %w", next.err)
	}
	stale, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: elected.Leader})
	if err != nil {
		return fmt.Errorf("resign again: %w", err)
	}
	_, refused := elections.Proclaim(ctx, proclaim)
	return errors.Join(
		want("revision", elected.Leader.Rev, elected.Header.Revision),
		want("revision again", again.Leader.Rev, elected.Leader.Rev),
		want("header again", again.Header.Revision, elected.Header.Revision),
		want("lease", elected.Leader.Lease, first),
		want("name", string(elected.Leader.Name), string(name)),
		want("value", string(leader.Kv.Value), "four"),
		want("version", leader.Kv.Version, 3),
		want("header of the next", next.response.Header.Revision, next.response.Leader.Rev),
		want("header of a resignation from nothing", stale.Header.Revision, elected.Header.Revision+4),
		wantStatus("proclaiming without leading", refused, "election: not leader"),
	)
}

func serviceObserve(ctx context.Context, in scope) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	elections := v3electionpb.NewElectionClient(in.client.ActiveConnection())
	name := []byte(in.key("election"))
	lease, err := in.lease(ctx)
	if err != nil {
		return err
	}
	elected, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: lease, Value: []byte("one")})
	if err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	stream, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	seen := []string{}
	revisions := []int64{}
	see := func() error {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		seen = append(seen, string(response.Kv.Value))
		revisions = append(revisions, response.Header.Revision-elected.Header.Revision)
		return nil
	}
	if err := see(); err != nil {
		return err
	}
	for _, value := range []string{"two", "three"} {
		proclaim := &v3electionpb.ProclaimRequest{Leader: elected.Leader, Value: []byte(value)}
		if _, err := elections.Proclaim(ctx, proclaim); err != nil {
			return fmt.Errorf("proclaim: %w", err)
		}
		if err := see(); err != nil {
			return err
		}
	}
	return errors.Join(
		want("values", seen, []string{"one", "two", "three"}),
		want("revisions", revisions, []int64{0, 1, 2}),
	)
}

func serviceErrors(ctx context.Context, in scope) error {
	locks := v3lockpb.NewLockClient(in.client.ActiveConnection())
	elections := v3electionpb.NewElectionClient(in.client.ActiveConnection())
	name := []byte(in.key("nobody"))

	_, noLease := locks.Lock(ctx, &v3lockpb.LockRequest{Name: name, Lease: 1})
	_, noKey := locks.Unlock(ctx, &v3lockpb.UnlockRequest{})
	_, absent := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: name})
	_, candidate := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: 1})
	_, noLeader := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
	_, proclaimed := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{})
	_, resigned := elections.Resign(ctx, &v3electionpb.ResignRequest{})
	_, keyless := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: &v3electionpb.LeaderKey{Lease: 1}})
	return errors.Join(
		wantStatus("a lock on no lease", noLease, "etcdserver: requested lease not found"),
		wantStatus("unlocking no key", noKey, "etcdserver: key is not provided"),
		wantErr("unlocking what is not there", absent, nil),
		wantStatus("a candidate without a lease", candidate, "etcdserver: requested lease not found"),
		wantStatus("no leader", noLeader, "election: no leader"),
		wantStatus("proclaiming nothing", proclaimed, `"leader" field must be provided`),
		wantStatus("resigning nothing", resigned, `"leader" field must be provided`),
		wantStatus("resigning without a key", keyless, "etcdserver: key is not provided"),
	)
}

// wantStatus is nil when a call has failed with these words, and without a code.
func wantStatus(what string, got error, message string) error {
	return errors.Join(
		want("code of "+what, status.Code(got), codes.Unknown),
		want("message of "+what, status.Convert(got).Message(), message),
	)
}
