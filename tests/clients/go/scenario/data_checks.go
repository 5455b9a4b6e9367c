package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// dataChecks are about put, get and delete.
var dataChecks = []check{
	{"put-and-get", putAndGet},
	{"get-of-ranges", getOfRanges},
	{"get-of-the-past", getOfThePast},
	{"get-in-chunks", getInChunks},
	{"delete", deleteKeys},
	{"put-that-keeps", putThatKeeps},
	{"refused-requests", refusedRequests},
}

func putAndGet(ctx context.Context, in scope) error {
	first, err := in.client.Put(ctx, in.key("k"), "one")
	if err != nil {
		return err
	}
	second, err := in.client.Put(ctx, in.key("k"), "two", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	got, err := in.client.Get(ctx, in.key("k"))
	if err != nil {
		return err
	}
	if err := want("count", got.Count, 1); err != nil {
		return err
	}
	kv := got.Kvs[0]
	absent, err := in.client.Get(ctx, in.key("absent"))
	if err != nil {
		return err
	}
	return errors.Join(
		want("previous value", string(second.PrevKv.GetValue()), "one"),
		want("value", string(kv.Value), "two"),
		want("version", kv.Version, 2),
		want("create revision", kv.CreateRevision, first.Header.Revision),
		want("mod revision", kv.ModRevision, second.Header.Revision),
		want("lease", kv.Lease, 0),
		want("count of a missing key", absent.Count, 0),
		want("cluster id is there", got.Header.ClusterId != 0, true),
		want("member id is there", got.Header.MemberId != 0, true),
		want("raft term is there", got.Header.RaftTerm != 0, true),
	)
}

func getOfRanges(ctx context.Context, in scope) error {
	if err := in.put(ctx, "c", "a", "d", "b"); err != nil {
		return err
	}
	byCreation := clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)
	falling := clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)
	cases := []struct {
		name    string
		from    string
		options []clientv3.OpOption
		keys    []string
		count   int64
		more    bool
	}{
		{"prefix", "", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"a", "b", "c", "d"}, 4, false},
		{"half open", "b", []clientv3.OpOption{clientv3.WithRange(in.key("d"))}, []string{"b", "c"}, 2, false},
		{"limit", "", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithLimit(2)}, []string{"a", "b"}, 4, true},
		{"by creation", "", []clientv3.OpOption{clientv3.WithPrefix(), byCreation}, []string{"c", "a", "d", "b"}, 4, false},
		{"falling", "", []clientv3.OpOption{clientv3.WithPrefix(), falling, clientv3.WithLimit(1)}, []string{"d"}, 4, true},
		{"count only", "", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithCountOnly()}, []string{}, 4, false},
		{"empty range", "d", []clientv3.OpOption{clientv3.WithRange(in.key("a"))}, []string{}, 0, false},
	}
	for _, c := range cases {
		got, err := in.client.Get(ctx, in.key(c.from), c.options...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := errors.Join(
			want("keys", in.keys(got.Kvs), c.keys),
			want("count", got.Count, c.count),
			want("more", got.More, c.more),
		); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	bare, err := in.client.Get(ctx, in.key("a"), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	return errors.Join(
		want("keys only", in.keys(bare.Kvs), []string{"a"}),
		want("value with keys only", len(bare.Kvs[0].Value), 0),
	)
}

func getOfThePast(ctx context.Context, in scope) error {
	old, err := in.client.Put(ctx, in.key("k"), "old")
	if err != nil {
		return err
	}
	if _, err := in.client.Put(ctx, in.key("k"), "new"); err != nil {
		return err
	}
	if _, err := in.client.Delete(ctx, in.key("k")); err != nil {
		return err
	}
	past, err := in.client.Get(ctx, in.key("k"), clientv3.WithRev(old.Header.Revision))
	if err != nil {
		return err
	}
	if err := want("count in the past", past.Count, 1); err != nil {
		return err
	}
	_, future := in.client.Get(ctx, in.key("k"), clientv3.WithRev(past.Header.Revision+1_000_000))
	return errors.Join(
		want("value in the past", string(past.Kvs[0].Value), "old"),
		want("header tells the present", past.Header.Revision > old.Header.Revision, true),
		wantErr("get of the future", future, rpctypes.ErrFutureRev),
	)
}

func getInChunks(ctx context.Context, in scope) error {
	names := []string{}
	for i := range 30 {
		names = append(names, fmt.Sprintf("%02d", i))
	}
	if err := in.put(ctx, names...); err != nil {
		return err
	}
	stream, err := in.client.GetStream(ctx, in.prefix, clientv3.WithPrefix(), clientv3.WithLimit(25))
	if err != nil {
		return err
	}
	got, err := clientv3.GetStreamToGetResponse(stream)
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%w, the server has no RangeStream:", errSkipped)
	}
	if err != nil {
		return err
	}
	return errors.Join(
		want("keys", in.keys(got.Kvs), names[:25]),
		want("count", got.Count, 30),
		want("more", got.More, true),
		want("header is there", got.Header.GetRevision() != 0, true),
	)
}

func deleteKeys(ctx context.Context, in scope) error {
	if err := in.put(ctx, "a", "b", "c"); err != nil {
		return err
	}
	several, err := in.client.Delete(ctx, in.key("a"), clientv3.WithRange(in.key("c")), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	none, err := in.client.Delete(ctx, in.key("a"))
	if err != nil {
		return err
	}
	reborn, err := in.client.Put(ctx, in.key("a"), "again")
	if err != nil {
		return err
	}
	left, err := in.client.Get(ctx, in.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if err := want("keys that are left", in.keys(left.Kvs), []string{"a", "c"}); err != nil {
		return err
	}
	return errors.Join(
		want("deleted", several.Deleted, 2),
		want("previous keys", in.keys(several.PrevKvs), []string{"a", "b"}),
		want("deleted where nothing is", none.Deleted, 0),
		want("version after a rebirth", left.Kvs[0].Version, 1),
		want("create revision after a rebirth", left.Kvs[0].CreateRevision, reborn.Header.Revision),
	)
}

func putThatKeeps(ctx context.Context, in scope) error {
	if err := in.put(ctx, "k"); err != nil {
		return err
	}
	if _, err := in.client.Put(ctx, in.key("k"), "", clientv3.WithIgnoreValue()); err != nil {
		return fmt.Errorf("touch: %w", err)
	}
	got, err := in.client.Get(ctx, in.key("k"))
	if err != nil {
		return err
	}
	if err := want("count", got.Count, 1); err != nil {
		return err
	}
	_, absent := in.client.Put(ctx, in.key("absent"), "", clientv3.WithIgnoreValue())
	_, both := in.client.Put(ctx, in.key("k"), "v", clientv3.WithIgnoreValue())
	return errors.Join(
		want("value", string(got.Kvs[0].Value), "k"),
		want("version", got.Kvs[0].Version, 2),
		wantErr("keeping the value of a missing key", absent, rpctypes.ErrKeyNotFound),
		wantErr("keeping and giving a value", both, rpctypes.ErrValueProvided),
	)
}

func refusedRequests(ctx context.Context, in scope) error {
	_, empty := in.client.Put(ctx, "", "v")
	_, large := in.client.Put(ctx, in.key("large"), string(make([]byte, 1_600_000)))
	return errors.Join(
		wantErr("put of an empty key", empty, rpctypes.ErrEmptyKey),
		wantErr("put of 1.6 MB", large, rpctypes.ErrRequestTooLarge),
	)
}
