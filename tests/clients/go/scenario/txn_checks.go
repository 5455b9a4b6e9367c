package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// opsMax is how many operations a transaction may have in a list.
const opsMax = 128

// txnChecks are about transactions.
var txnChecks = []check{
	{"txn-branches", txnBranches},
	{"txn-at-one-revision", txnAtOneRevision},
	{"txn-nested", txnNested},
	{"txn-limits", txnLimits},
}

func txnBranches(ctx context.Context, in scope) error {
	if err := in.put(ctx, "k"); err != nil {
		return err
	}
	k, absent := in.key("k"), in.key("absent")
	cases := []struct {
		name    string
		compare clientv3.Cmp
		holds   bool
	}{
		{"equal value", clientv3.Compare(clientv3.Value(k), "=", "k"), true},
		{"other value", clientv3.Compare(clientv3.Value(k), "!=", "k"), false},
		{"greater value", clientv3.Compare(clientv3.Value(k), ">", "a"), true},
		{"version", clientv3.Compare(clientv3.Version(k), "=", 1), true},
		{"smaller version", clientv3.Compare(clientv3.Version(k), "<", 1), false},
		{"missing key", clientv3.Compare(clientv3.CreateRevision(absent), "=", 0), true},
		{"value of a missing key", clientv3.Compare(clientv3.Value(absent), "!=", "x"), false},
		{"lease", clientv3.Compare(clientv3.LeaseValue(k), "=", 0), true},
		{"whole prefix", clientv3.Compare(clientv3.ModRevision(in.prefix), ">", 0).WithPrefix(), true},
	}
	for _, c := range cases {
		got, err := in.client.Txn(ctx).If(c.compare).
			Then(clientv3.OpGet(k)).
			Else(clientv3.OpGet(k), clientv3.OpGet(absent)).
			Commit()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		responses := 2
		if c.holds {
			responses = 1
		}
		if err := errors.Join(
			want("succeeded", got.Succeeded, c.holds),
			want("responses", len(got.Responses), responses),
		); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func txnAtOneRevision(ctx context.Context, in scope) error {
	if err := in.put(ctx, "gone"); err != nil {
		return err
	}
	got, err := in.client.Txn(ctx).Then(
		clientv3.OpPut(in.key("a"), "1"),
		clientv3.OpGet(in.key("a")),
		clientv3.OpPut(in.key("b"), "2"),
		clientv3.OpDelete(in.key("gone")),
	).Commit()
	if err != nil {
		return err
	}
	after, err := in.client.Get(ctx, in.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if err := errors.Join(
		want("keys", in.keys(after.Kvs), []string{"a", "b"}),
		want("responses", len(got.Responses), 4),
	); err != nil {
		return err
	}
	seen := got.Responses[1].GetResponseRange()
	return errors.Join(
		want("a get sees the put before it", in.keys(seen.GetKvs()), []string{"a"}),
		want("deleted", got.Responses[3].GetResponseDeleteRange().GetDeleted(), 1),
		want("mod revision of a", after.Kvs[0].ModRevision, got.Header.Revision),
		want("mod revision of b", after.Kvs[1].ModRevision, got.Header.Revision),
	)
}

func txnNested(ctx context.Context, in scope) error {
	// Every comparison looks at the state before the transaction, so the inner one does not see the
	// put that runs before it.
	inner := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Version(in.key("a")), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(in.key("b"), "then")},
		[]clientv3.Op{clientv3.OpPut(in.key("b"), "else")},
	)
	got, err := in.client.Txn(ctx).Then(clientv3.OpPut(in.key("a"), "1"), inner).Commit()
	if err != nil {
		return err
	}
	after, err := in.client.Get(ctx, in.key("b"))
	if err != nil {
		return err
	}
	if err := errors.Join(
		want("responses", len(got.Responses), 2),
		want("count of b", after.Count, 1),
	); err != nil {
		return err
	}
	return errors.Join(
		want("inner comparison holds", got.Responses[1].GetResponseTxn().GetSucceeded(), true),
		want("value of b", string(after.Kvs[0].Value), "then"),
		want("mod revision of b", after.Kvs[0].ModRevision, got.Header.Revision),
	)
}

func txnLimits(ctx context.Context, in scope) error {
	puts := []clientv3.Op{}
	for i := range opsMax + 1 {
		puts = append(puts, clientv3.OpPut(in.key(fmt.Sprint(i)), "v"))
	}
	_, most := in.client.Txn(ctx).Then(puts[:opsMax]...).Commit()
	_, tooMany := in.client.Txn(ctx).Then(puts...).Commit()
	_, twice := in.client.Txn(ctx).Then(puts[0], puts[0]).Commit()
	_, putAndDelete := in.client.Txn(ctx).Then(puts[0], clientv3.OpDelete(in.prefix, clientv3.WithPrefix())).Commit()
	_, unknownLease := in.client.Txn(ctx).Then(
		clientv3.OpPut(in.key("never"), "v"),
		clientv3.OpPut(in.key("leased"), "v", clientv3.WithLease(unknownLease)),
	).Commit()
	never, err := in.client.Get(ctx, in.key("never"))
	return errors.Join(
		wantErr("as many operations as may be", most, nil),
		wantErr("one operation too many", tooMany, rpctypes.ErrTooManyOps),
		wantErr("two puts of a key", twice, rpctypes.ErrDuplicateKey),
		wantErr("put and delete of a key", putAndDelete, rpctypes.ErrDuplicateKey),
		wantErr("put with an unknown lease", unknownLease, rpctypes.ErrLeaseNotFound),
		err,
		want("what a refused transaction left behind", never.Count, 0),
	)
}
