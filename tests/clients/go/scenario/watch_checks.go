package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchChecks are about what a watcher may ask for.
var watchChecks = []check{
	{"watch-with-all-options", watchOptions},
	{"watch-in-fragments", watchFragments},
	{"watch-progress", watchProgress},
	{"watch-resumed", watchResumed},
	{"watch-cancelled-at-once", watchCancelled},
}

// largeValue is so long that a few of them need several pieces of a response.
const largeValue = 300_000

// progressAgain is how long to wait for an answer about progress before asking once more: servers may
// drop the question while a watcher is not up to date.
const progressAgain = 500 * time.Millisecond

// watchOptions asks for everything at once: the past, the present and the pairs before.
func watchOptions(ctx context.Context, in scope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := in.put(ctx, "a", "b"); err != nil {
		return err
	}
	second, err := in.client.Put(ctx, in.key("a"), "second")
	if err != nil {
		return err
	}
	watch := watchFromNow(ctx, in, clientv3.WithRev(second.Header.Revision), clientv3.WithPrevKV(),
		clientv3.WithProgressNotify(), clientv3.WithFragment())
	if watch.err != nil {
		return watch.err
	}
	txn, err := in.client.Txn(ctx).Then(
		clientv3.OpPut(in.key("c"), "new"),
		clientv3.OpPut(in.key("b"), "changed"),
		clientv3.OpDelete(in.key("a")),
	).Commit()
	if err != nil {
		return err
	}
	events, err := watch.next(4)
	if err != nil {
		return err
	}
	return want("events", events, []string{
		fmt.Sprintf("PUT a %d was a", second.Header.Revision),
		fmt.Sprintf("PUT c %d", txn.Header.Revision),
		fmt.Sprintf("PUT b %d was b", txn.Header.Revision),
		fmt.Sprintf("DELETE a %d was second", txn.Header.Revision),
	})
}

// watchFragments replays more than fits into a piece. The client puts the pieces together, so that
// nothing of them shows.
func watchFragments(ctx context.Context, in scope) error {
	const puts = 12
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var expected []string
	first := int64(0)
	for number := range puts {
		name := fmt.Sprintf("k%02d", number)
		put, err := in.client.Put(ctx, in.key(name), strings.Repeat("v", largeValue))
		if err != nil {
			return err
		}
		if first == 0 {
			first = put.Header.Revision
		}
		expected = append(expected, fmt.Sprintf("PUT %s %d", name, put.Header.Revision))
	}
	gone, err := in.client.Delete(ctx, in.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for number := range puts {
		expected = append(expected, fmt.Sprintf("DELETE k%02d %d", number, gone.Header.Revision))
	}
	watch := watchFromNow(ctx, in, clientv3.WithRev(first), clientv3.WithFragment())
	if watch.err != nil {
		return watch.err
	}
	events, err := watch.next(len(expected))
	if err != nil {
		return err
	}
	return want("events", events, expected)
}

// watchProgress asks how far a watch has come: the answer follows the events that it speaks of.
func watchProgress(ctx context.Context, in scope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFromNow(ctx, in, clientv3.WithProgressNotify())
	if watch.err != nil {
		return watch.err
	}
	for range 3 {
		put, err := in.client.Put(ctx, in.key("k"), "v")
		if err != nil {
			return err
		}
		if err := watch.progressTo(ctx, put.Header.Revision); err != nil {
			return err
		}
	}
	return nil
}

// progressTo waits for an event at a revision, and then for word that all up to it has been told.
func (w *watching) progressTo(ctx context.Context, revision int64) error {
	seen := false
	for {
		if err := w.in.client.RequestProgress(ctx); err != nil {
			return fmt.Errorf("request progress: %w", err)
		}
		select {
		case response, open := <-w.responses:
			if !open {
				return errors.New("the watch ended")
			}
			if err := response.Err(); err != nil {
				return err
			}
			if !response.IsProgressNotify() {
				last := response.Events[len(response.Events)-1]
				seen = seen || last.Kv.ModRevision == revision
				continue
			}
			if response.Header.Revision < revision {
				continue
			}
			return want(fmt.Sprintf("whether event %d came before progress at %d", revision,
				response.Header.Revision), seen, true)
		case <-time.After(progressAgain):
		}
	}
}

// watchResumed goes on after the last event that another watch has seen.
func watchResumed(ctx context.Context, in scope) error {
	next := int64(0)
	for range 3 {
		if err := in.put(ctx, "a", "b"); err != nil {
			return err
		}
		last, err := in.client.Put(ctx, in.key("c"), "v")
		if err != nil {
			return err
		}
		from := last.Header.Revision - 2
		if next != 0 {
			if err := want("first revision", from, next); err != nil {
				return err
			}
		}
		watched, cancel := context.WithCancel(ctx)
		watch := watchFromNow(watched, in, clientv3.WithRev(from), clientv3.WithPrevKV())
		events, err := []string(nil), watch.err
		if err == nil {
			events, err = watch.next(3)
		}
		cancel()
		if err != nil {
			return err
		}
		if err := want("last event", strings.HasPrefix(events[2], fmt.Sprintf("PUT c %d", last.Header.Revision)), true); err != nil {
			return fmt.Errorf("%w: %q", err, events)
		}
		next = last.Header.Revision + 1
	}
	return nil
}

// watchCancelled opens thousands of streams on one connection, asks for watchers on them, and resets
// them while answers are on their way. The connection must stay, which a stream shows that was there
// before: these are no streams that the client would open anew. Streams are reset once the server has
// taken them; a client that does not even wait for that is not told from an attack.
func watchCancelled(ctx context.Context, in scope) error {
	const streams, atOnce = 10_000, 500
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watches := pb.NewWatchClient(in.client.ActiveConnection())
	stays, err := openStream(ctx, watches, in.key("k"))
	if err != nil {
		return err
	}
	if response, err := stays.Recv(); err != nil || !response.Created {
		return fmt.Errorf("the first watcher was answered by %v, %w", response, err)
	}
	for range streams / atOnce {
		if err := openAndReset(ctx, watches, in.key("k"), atOnce); err != nil {
			return err
		}
	}
	put, err := in.client.Put(ctx, in.key("k"), "v")
	if err != nil {
		return err
	}
	response, err := stays.Recv()
	if err != nil {
		return fmt.Errorf("the first stream after %d others: %w", streams, err)
	}
	return want("its revision", response.Header.Revision, put.Header.Revision)
}

// openAndReset opens streams, and resets all of them together.
func openAndReset(ctx context.Context, watches pb.WatchClient, key string, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opened := make([]pb.Watch_WatchClient, 0, count)
	for range count {
		stream, err := openStream(ctx, watches, key)
		if err != nil {
			return err
		}
		opened = append(opened, stream)
	}
	for _, stream := range opened {
		if _, err := stream.Header(); err != nil {
			return fmt.Errorf("wait for a stream: %w", err)
		}
	}
	return nil
}

// openStream opens a stream of its own and asks for a watcher.
func openStream(ctx context.Context, watches pb.WatchClient, key string) (pb.Watch_WatchClient, error) {
	stream, err := watches.Watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte(key)}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		return nil, fmt.Errorf("ask for a watcher: %w", err)
	}
	return stream, nil
}
