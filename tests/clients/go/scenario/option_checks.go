package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// optionChecks are about the options that the client's calls take.
var optionChecks = []check{
	{"get-with-options", getWithOptions},
	{"delete-with-options", deleteWithOptions},
	{"txn-with-options", txnWithOptions},
}

// getWithOptions reads keys that are put in the order c, a, d, b, and then a once more, each with
// its name as the value.
func getWithOptions(ctx context.Context, in scope) error {
	if err := in.put(ctx, "c", "a", "d", "b", "a"); err != nil {
		return err
	}
	all, err := in.client.Get(ctx, in.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if err := want("count", all.Count, 4); err != nil {
		return err
	}
	d := all.Kvs[3].ModRevision
	sorted := clientv3.WithSort
	cases := []struct {
		name    string
		options []clientv3.OpOption
		keys    []string
	}{
		{"serializable", []clientv3.OpOption{clientv3.WithSerializable()}, []string{"a", "b", "c", "d"}},
		{"by version", []clientv3.OpOption{sorted(clientv3.SortByVersion, clientv3.SortDescend), clientv3.WithLimit(1)}, []string{"a"}},
		{"by change", []clientv3.OpOption{sorted(clientv3.SortByModRevision, clientv3.SortAscend)}, []string{"c", "d", "b", "a"}},
		{"by value", []clientv3.OpOption{sorted(clientv3.SortByValue, clientv3.SortDescend)}, []string{"d", "c", "b", "a"}},
		{"changed since", []clientv3.OpOption{clientv3.WithMinModRev(d)}, []string{"a", "b", "d"}},
		{"changed until", []clientv3.OpOption{clientv3.WithMaxModRev(d)}, []string{"c", "d"}},
		{"created since", []clientv3.OpOption{clientv3.WithMinCreateRev(d)}, []string{"b", "d"}},
		{"created until", []clientv3.OpOption{clientv3.WithMaxCreateRev(d)}, []string{"a", "c", "d"}},
		{"in the past", []clientv3.OpOption{clientv3.WithRev(d)}, []string{"a", "c", "d"}},
		{"first key", clientv3.WithFirstKey(), []string{"a"}},
		{"last key", clientv3.WithLastKey(), []string{"d"}},
		{"first created", clientv3.WithFirstCreate(), []string{"c"}},
		{"last created", clientv3.WithLastCreate(), []string{"b"}},
		{"first changed", clientv3.WithFirstRev(), []string{"c"}},
		{"last changed", clientv3.WithLastRev(), []string{"a"}},
	}
	for _, c := range cases {
		got, err := in.client.Get(ctx, in.prefix, append(c.options, clientv3.WithPrefix())...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := errors.Join(
			want("keys", in.keys(got.Kvs), c.keys),
			want("header tells the present", got.Header.Revision >= all.Header.Revision, true),
		); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}

	// What lies behind the prefix belongs to others, so only the beginning is looked at.
	from, err := in.client.Get(ctx, in.key("c"), clientv3.WithFromKey(), clientv3.WithLimit(2))
	if err != nil {
		return err
	}
	return want("keys from one on", in.keys(from.Kvs), []string{"c", "d"})
}

func deleteWithOptions(ctx context.Context, in scope) error {
	if err := in.put(ctx, "a", "b/1", "b/2", "c"); err != nil {
		return err
	}
	prefix, err := in.client.Delete(ctx, in.key("b/"), clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	bare, err := in.client.Delete(ctx, in.key("a"))
	if err != nil {
		return err
	}
	left, err := in.client.Get(ctx, in.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	return errors.Join(
		want("previous keys", in.keys(prefix.PrevKvs), []string{"b/1", "b/2"}),
		want("deleted", bare.Deleted, 1),
		want("previous keys that nobody asked for", len(bare.PrevKvs), 0),
		want("keys that are left", in.keys(left.Kvs), []string{"c"}),
	)
}

func txnWithOptions(ctx context.Context, in scope) error {
	if err := in.put(ctx, "a", "b", "c"); err != nil {
		return err
	}
	got, err := in.client.Txn(ctx).Then(
		clientv3.OpGet(in.prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(2)),
		clientv3.OpPut(in.key("d"), "d", clientv3.WithPrevKV()),
		clientv3.OpDelete(in.key("a"), clientv3.WithRange(in.key("c")), clientv3.WithPrevKV()),
		clientv3.OpGet(in.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return err
	}
	if err := want("responses", len(got.Responses), 4); err != nil {
		return err
	}
	first := got.Responses[0].GetResponseRange()
	return errors.Join(
		want("keys", in.keys(first.GetKvs()), []string{"c", "b"}),
		want("count", first.GetCount(), 3),
		want("more", first.GetMore(), true),
		want("previous value", got.Responses[1].GetResponsePut().GetPrevKv() == nil, true),
		want("previous keys", in.keys(got.Responses[2].GetResponseDeleteRange().GetPrevKvs()), []string{"a", "b"}),
		want("count afterwards", got.Responses[3].GetResponseRange().GetCount(), 2),
		want("revision inside", first.GetHeader().GetRevision(), got.Header.Revision-1),
	)
}
