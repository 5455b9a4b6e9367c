package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// unknownLease is an id that no server draws within a test's life.
const unknownLease clientv3.LeaseID = 0x1234_5678_9abc

// leaseChecks are about leases.
var leaseChecks = []check{
	{"lease-life", leaseLife},
	{"lease-keep-alive", leaseKeepAlive},
	{"lease-detach", leaseDetach},
	{"lease-revoke", leaseRevoke},
	{"lease-expiry", leaseExpiry},
	{"lease-moves", leaseMoves},
	{"lease-errors", leaseErrors},
}

func leaseLife(ctx context.Context, in scope) error {
	lease, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	for _, name := range []string{"b", "a"} {
		if _, err := in.client.Put(ctx, in.key(name), "v", clientv3.WithLease(lease.ID)); err != nil {
			return err
		}
	}
	kept, err := in.client.KeepAliveOnce(ctx, lease.ID)
	if err != nil {
		return fmt.Errorf("keep alive: %w", err)
	}
	left, err := in.client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return fmt.Errorf("time to live: %w", err)
	}
	all, err := in.client.Leases(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	listed := false
	for _, status := range all.Leases {
		listed = listed || status.ID == lease.ID
	}
	keys := map[string]bool{}
	for _, key := range left.Keys {
		keys[string(key)] = true
	}
	_, err = in.client.Revoke(ctx, lease.ID)
	return errors.Join(
		err,
		want("granted", lease.TTL, 60),
		want("kept alive for", kept.TTL, 60),
		want("granted in time to live", left.GrantedTTL, 60),
		want(fmt.Sprintf("%d s left is within the grant", left.TTL), left.TTL > 50 && left.TTL <= 60, true),
		want("attached keys", keys, map[string]bool{in.key("a"): true, in.key("b"): true}),
		want("listed", listed, true),
	)
}

// The client keeps a lease alive for as long as it is asked to, and hears when it is gone.
func leaseKeepAlive(ctx context.Context, in scope) error {
	lease, err := in.client.Grant(ctx, 2)
	if err != nil {
		return err
	}
	if err := in.putLeased(ctx, lease.ID, "k"); err != nil {
		return err
	}
	answers, err := in.client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return fmt.Errorf("keep alive: %w", err)
	}
	start := time.Now()
	lived := 3 * time.Duration(lease.TTL) * time.Second
	for time.Since(start) < lived {
		answer, ok := <-answers
		if !ok {
			return fmt.Errorf("the lease was lost after %s", time.Since(start))
		}
		if err := want("renewed", []int64{int64(answer.ID), answer.TTL}, []int64{int64(lease.ID), lease.TTL}); err != nil {
			return err
		}
	}
	there, err := in.client.Get(ctx, in.key("k"))
	if err != nil {
		return err
	}
	if _, err := in.client.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	// What was renewed before is still in the channel; it ends once the client hears of the end.
	for range answers {
	}
	return errors.Join(
		want("count after three lives", there.Count, 1),
		want("error of the context", ctx.Err(), error(nil)),
	)
}

// A key leaves its lease by a put without one, by its deletion and in a transaction, and stays where
// a put says so.
func leaseDetach(ctx context.Context, in scope) error {
	lease, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	if err := in.putLeased(ctx, lease.ID, "gone", "freed", "moved", "stays"); err != nil {
		return err
	}
	_, deleted := in.client.Delete(ctx, in.key("gone"))
	_, freed := in.client.Put(ctx, in.key("freed"), "v")
	_, moved := in.client.Txn(ctx).Then(
		clientv3.OpPut(in.key("moved"), "v"),
		clientv3.OpPut(in.key("new"), "v", clientv3.WithLease(lease.ID)),
	).Commit()
	_, kept := in.client.Put(ctx, in.key("stays"), "w", clientv3.WithIgnoreLease())
	if err := errors.Join(deleted, freed, moved, kept); err != nil {
		return err
	}
	plain, err := in.client.TimeToLive(ctx, lease.ID)
	if err != nil {
		return err
	}
	left, err := in.client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, key := range left.Keys {
		keys[string(key)] = true
	}
	revoked, err := in.client.Revoke(ctx, lease.ID)
	if err != nil {
		return err
	}
	after, err := in.client.Get(ctx, in.key(""), clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return errors.Join(
		want("keys that nobody asked for", len(plain.Keys), 0),
		want("attached keys", keys, map[string]bool{in.key("stays"): true, in.key("new"): true}),
		want("revision is set", revoked.Header.Revision > 0, true),
		want("keys after the revoke", in.keys(after.Kvs), []string{"freed", "moved"}),
	)
}

// putLeased puts keys that hang on a lease.
func (s scope) putLeased(ctx context.Context, lease clientv3.LeaseID, names ...string) error {
	for _, name := range names {
		if _, err := s.client.Put(ctx, s.key(name), "v", clientv3.WithLease(lease)); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
	}
	return nil
}

// The keys of a lease go together, at one revision, in key order.
func leaseRevoke(ctx context.Context, in scope) error {
	lease, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, name := range []string{"c", "a", "b"} {
		if _, err := in.client.Put(ctx, in.key(name), "v", clientv3.WithLease(lease.ID)); err != nil {
			return err
		}
	}
	watch := watchFromNow(ctx, in)
	if watch.err != nil {
		return watch.err
	}
	revoked, err := in.client.Revoke(ctx, lease.ID)
	if err != nil {
		return err
	}
	events, err := watch.next(3)
	if err != nil {
		return err
	}
	revision := revoked.Header.Revision
	return want("events", events, []string{
		fmt.Sprintf("DELETE a %d", revision),
		fmt.Sprintf("DELETE b %d", revision),
		fmt.Sprintf("DELETE c %d", revision),
	})
}

func leaseExpiry(ctx context.Context, in scope) error {
	const ttl = 2 * time.Second
	lease, err := in.client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFromNow(ctx, in)
	if watch.err != nil {
		return watch.err
	}
	granted := time.Now()
	if _, err := in.client.Put(ctx, in.key("k"), "v", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	events, err := watch.next(2)
	if err != nil {
		return err
	}
	lived := time.Since(granted)
	// The lease is a little older than the measured time, so the lower bound leaves a second.
	early := lived < time.Duration(lease.TTL)*time.Second-time.Second
	_, gone := in.client.KeepAliveOnce(ctx, lease.ID)
	return errors.Join(
		want("second event is a delete", events[1][:len("DELETE k ")], "DELETE k "),
		want(fmt.Sprintf("gone early, after %s", lived), early, false),
		wantErr("keep alive of an expired lease", gone, rpctypes.ErrLeaseNotFound),
	)
}

// A key hangs on the lease of its last put only.
func leaseMoves(ctx context.Context, in scope) error {
	first, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	second, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	for _, lease := range []clientv3.LeaseID{first.ID, second.ID} {
		if _, err := in.client.Put(ctx, in.key("k"), "v", clientv3.WithLease(lease)); err != nil {
			return err
		}
	}
	if _, err := in.client.Revoke(ctx, first.ID); err != nil {
		return err
	}
	still, err := in.client.Get(ctx, in.key("k"))
	if err != nil {
		return err
	}
	if _, err := in.client.Revoke(ctx, second.ID); err != nil {
		return err
	}
	gone, err := in.client.Get(ctx, in.key("k"))
	if err != nil {
		return err
	}
	return errors.Join(
		want("count after the first lease", still.Count, 1),
		want("count after the second lease", gone.Count, 0),
	)
}

func leaseErrors(ctx context.Context, in scope) error {
	_, put := in.client.Put(ctx, in.key("k"), "v", clientv3.WithLease(unknownLease))
	_, revoke := in.client.Revoke(ctx, unknownLease)
	_, keepAlive := in.client.KeepAliveOnce(ctx, unknownLease)
	unknown, err := in.client.TimeToLive(ctx, unknownLease)
	if err != nil {
		return err
	}

	// The client's own Grant never chooses an id, so this one call goes below it.
	lease, err := in.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	direct := etcdserverpb.NewLeaseClient(in.client.ActiveConnection())
	_, twice := direct.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: int64(lease.ID), TTL: 60})
	_, long := direct.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: 9_000_000_001})
	_, err = in.client.Revoke(ctx, lease.ID)
	return errors.Join(
		err,
		wantErr("put with an unknown lease", put, rpctypes.ErrLeaseNotFound),
		wantErr("revoke of an unknown lease", revoke, rpctypes.ErrLeaseNotFound),
		wantErr("keep alive of an unknown lease", keepAlive, rpctypes.ErrLeaseNotFound),
		want("time to live of an unknown lease", unknown.TTL, -1),
		wantErr("grant of a lease that is there", rpctypes.Error(twice), rpctypes.ErrLeaseExist),
		wantErr("grant for too long", rpctypes.Error(long), rpctypes.ErrLeaseTTLTooLarge),
	)
}
