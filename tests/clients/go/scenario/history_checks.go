package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// historyChecks are about watching and compacting.
var historyChecks = []check{
	{"watch-from-now", watchLive},
	{"watch-from-the-past", watchPast},
	{"watch-of-a-txn", watchTxn},
	{"compact", compact},
}

// watching reads events of a check's prefix as lines of text.
type watching struct {
	in        scope
	responses clientv3.WatchChan
	err       error
}

// watchFromNow watches the check's prefix and waits until the server has confirmed it.
func watchFromNow(ctx context.Context, in scope, options ...clientv3.OpOption) *watching {
	options = append(options, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	responses := in.client.Watch(ctx, in.prefix, options...)
	first, open := <-responses
	w := &watching{in: in, responses: responses, err: first.Err()}
	if w.err == nil && (!open || !first.Created) {
		w.err = errors.New("the watcher was not confirmed first")
	}
	return w
}

// next waits for n events. Events of one revision must come in one response.
func (w *watching) next(n int) ([]string, error) {
	lines := []string{}
	last := int64(0)
	for len(lines) < n {
		response, open := <-w.responses
		if !open {
			return lines, fmt.Errorf("the watch ended after %q", lines)
		}
		if err := response.Err(); err != nil {
			return lines, fmt.Errorf("after %q: %w", lines, err)
		}
		for _, event := range response.Events {
			line := fmt.Sprintf("%s %s %d", event.Type, event.Kv.Key[len(w.in.prefix):], event.Kv.ModRevision)
			if event.PrevKv != nil {
				line += " was " + string(event.PrevKv.Value)
			}
			lines = append(lines, line)
			if event.Kv.ModRevision < last {
				return lines, fmt.Errorf("events out of order: %q", lines)
			}
		}
		if k := len(response.Events); k > 0 {
			if response.Events[0].Kv.ModRevision == last {
				return lines, fmt.Errorf("revision %d came in two responses", last)
			}
			last = response.Events[k-1].Kv.ModRevision
		}
	}
	return lines, nil
}

func watchLive(ctx context.Context, in scope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFromNow(ctx, in, clientv3.WithPrevKV())
	if watch.err != nil {
		return watch.err
	}
	first, err := in.client.Put(ctx, in.key("k"), "one")
	if err != nil {
		return err
	}
	second, err := in.client.Put(ctx, in.key("k"), "two")
	if err != nil {
		return err
	}
	gone, err := in.client.Delete(ctx, in.key("k"))
	if err != nil {
		return err
	}
	events, err := watch.next(3)
	if err != nil {
		return err
	}
	return want("events", events, []string{
		fmt.Sprintf("PUT k %d", first.Header.Revision),
		fmt.Sprintf("PUT k %d was one", second.Header.Revision),
		fmt.Sprintf("DELETE k %d was two", gone.Header.Revision),
	})
}

func watchPast(ctx context.Context, in scope) error {
	if err := in.put(ctx, "before"); err != nil {
		return err
	}
	first, err := in.client.Put(ctx, in.key("a"), "1")
	if err != nil {
		return err
	}
	if err := in.put(ctx, "b"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFromNow(ctx, in, clientv3.WithRev(first.Header.Revision), clientv3.WithFilterDelete())
	if watch.err != nil {
		return watch.err
	}
	if _, err := in.client.Delete(ctx, in.key("a")); err != nil {
		return err
	}
	last, err := in.client.Put(ctx, in.key("c"), "3")
	if err != nil {
		return err
	}
	events, err := watch.next(3)
	if err != nil {
		return err
	}
	return errors.Join(
		want("first event", events[0], fmt.Sprintf("PUT a %d", first.Header.Revision)),
		want("last event", events[2], fmt.Sprintf("PUT c %d", last.Header.Revision)),
	)
}

func watchTxn(ctx context.Context, in scope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFromNow(ctx, in)
	if watch.err != nil {
		return watch.err
	}
	txn, err := in.client.Txn(ctx).Then(
		clientv3.OpPut(in.key("b"), "1"),
		clientv3.OpPut(in.key("a"), "2"),
		clientv3.OpPut(in.key("c"), "3"),
	).Commit()
	if err != nil {
		return err
	}
	events, err := watch.next(3)
	if err != nil {
		return err
	}
	revision := txn.Header.Revision
	return want("events", events, []string{
		fmt.Sprintf("PUT b %d", revision),
		fmt.Sprintf("PUT a %d", revision),
		fmt.Sprintf("PUT c %d", revision),
	})
}

func compact(ctx context.Context, in scope) error {
	old, err := in.client.Put(ctx, in.key("k"), "old")
	if err != nil {
		return err
	}
	kept, err := in.client.Put(ctx, in.key("k"), "kept")
	if err != nil {
		return err
	}
	if err := in.put(ctx, "k"); err != nil {
		return err
	}
	if _, err := in.client.Compact(ctx, kept.Header.Revision); err != nil {
		return err
	}

	_, before := in.client.Get(ctx, in.key("k"), clientv3.WithRev(old.Header.Revision))
	at, err := in.client.Get(ctx, in.key("k"), clientv3.WithRev(kept.Header.Revision))
	if err != nil {
		return fmt.Errorf("get at the compacted revision: %w", err)
	}
	if err := want("count at the compacted revision", at.Count, 1); err != nil {
		return err
	}
	_, again := in.client.Compact(ctx, kept.Header.Revision)
	_, future := in.client.Compact(ctx, at.Header.Revision+1_000_000)
	return errors.Join(
		wantErr("get before the compacted revision", before, rpctypes.ErrCompacted),
		want("value at the compacted revision", string(at.Kvs[0].Value), "kept"),
		wantErr("compacting twice", again, rpctypes.ErrCompacted),
		wantErr("compacting the future", future, rpctypes.ErrFutureRev),
		watchOfCompacted(ctx, in, old.Header.Revision, kept.Header.Revision),
	)
}

// watchOfCompacted checks that a watcher of lost history is cancelled and told the oldest revision.
func watchOfCompacted(ctx context.Context, in scope, from, oldest int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for response := range in.client.Watch(ctx, in.key("k"), clientv3.WithRev(from)) {
		if response.Canceled {
			return errors.Join(
				wantErr("watch of lost history", response.Err(), rpctypes.ErrCompacted),
				want("oldest revision told", response.CompactRevision, oldest),
			)
		}
	}
	return errors.New("the watch of lost history ended without being cancelled")
}
