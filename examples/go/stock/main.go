// Command stock registers and finds services with etcd's own Go client: an instance is a key on a
// lease, and finding is a range and a watch from the revision after it.
//
//	stock register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//	stock resolve --service user
//	stock watch --service user
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"quorate/examples/go/options"
)

const (
	callTimeout = 5 * time.Second // of one call, an election included
	retryPause  = 200 * time.Millisecond
)

// instance is what stands under the key, as far as this program has something to say. Op, Addr and
// Metadata are what etcd's resolver for gRPC reads.
type instance struct {
	Op        int
	Addr      string
	Metadata  map[string]string
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Address   string `json:"address"`
	Port      int    `json:"port"`
}

type program struct {
	client *clientv3.Client
	options.Options
}

func main() {
	command, o := options.Parse("register", "resolve", "watch")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.Endpoints,
		DialKeepAliveTime:    10 * time.Second, // a member that vanished without a word is noticed
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		fail(err)
	}
	defer client.Close()

	p := &program{client: client, Options: o}
	switch command {
	case "register":
		err = p.register(ctx)
	case "resolve":
		err = p.resolve(ctx)
	case "watch":
		p.watch(ctx)
	}
	if err != nil {
		fail(err)
	}
}

// prefix is below which the instances of the service stand.
func (p *program) prefix() string {
	return fmt.Sprintf("/services/%s/%s/", p.Namespace, p.Service)
}

// register keeps the instance there until the program is told to end, and then takes it away.
func (p *program) register(ctx context.Context) error {
	value, err := p.value()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		lease, err := p.put(ctx, value)
		if err != nil {
			complain("register", err)
			pause(ctx)
			continue
		}
		fmt.Println("REGISTERED", p.ID, int64(lease))
		p.keepAlive(ctx, lease)
		if ctx.Err() == nil {
			complain("register", fmt.Errorf("lease %d is gone, registering again", lease))
			continue
		}
		// The lease takes its key along. Were this to fail, it would run out by itself.
		last, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		if _, err := p.client.Revoke(last, lease); err != nil {
			return fmt.Errorf("revoke lease %d: %w", lease, err)
		}
		fmt.Println("DEREGISTERED", p.ID)
	}
	return nil
}

func (p *program) value() (string, error) {
	host, portText, err := net.SplitHostPort(p.Addr)
	if err != nil {
		return "", fmt.Errorf("--addr: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return "", fmt.Errorf("--addr: %w", err)
	}
	value, err := json.Marshal(instance{
		Addr: p.Addr, Metadata: map[string]string{}, ID: p.ID,
		Namespace: p.Namespace, Service: p.Service, Address: host, Port: port,
	})
	return string(value), err
}

// put hangs the instance on a lease of its own.
func (p *program) put(ctx context.Context, value string) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lease, err := p.client.Grant(ctx, p.TTL)
	if err != nil {
		return 0, err
	}
	_, err = p.client.Put(ctx, p.prefix()+p.ID, value, clientv3.WithLease(lease.ID))
	return lease.ID, err
}

// keepAlive returns when the program is to end, or when the lease is gone.
func (p *program) keepAlive(ctx context.Context, lease clientv3.LeaseID) {
	for ctx.Err() == nil {
		renewals, err := p.client.KeepAlive(ctx, lease)
		if err == nil {
			for range renewals {
			}
		}
		// The client stops when it heard nothing for a TTL. While there is no leader, leases do not
		// run out; so the cluster is asked before anything is written anew.
		once, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = p.client.KeepAliveOnce(once, lease)
		cancel()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return
		}
	}
}

// resolve prints the instances as they are now.
func (p *program) resolve(ctx context.Context) error {
	found, _, err := p.list(ctx)
	if err != nil {
		return err
	}
	for _, pair := range found {
		if addr := addrOf(pair.value); addr != "" {
			fmt.Println(pair.id, addr)
		}
	}
	return nil
}

type pair struct{ id, value string }

// list reads the instances in the order of their ids, and the revision that this shows.
func (p *program) list(ctx context.Context) ([]pair, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := p.client.Get(ctx, p.prefix(), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	var found []pair
	for _, kv := range answer.Kvs {
		found = append(found, pair{string(kv.Key[len(p.prefix()):]), string(kv.Value)})
	}
	return found, answer.Header.Revision, nil
}

// watch prints what there is, and then each change, until the program is told to end.
func (p *program) watch(ctx context.Context) {
	known := map[string]string{} // value by id
	next := int64(0)             // the first revision not seen yet; 0: nothing is known
	for ctx.Err() == nil {
		err := p.follow(ctx, known, &next)
		if ctx.Err() == nil {
			complain("watch", err)
			pause(ctx)
		}
	}
}

// follow prints changes until the watch ends. The client goes to another member by itself, and goes on
// where it was; what ends it is that a member lost its leader, or that the history is gone.
func (p *program) follow(ctx context.Context, known map[string]string, next *int64) error {
	if *next == 0 {
		found, revision, err := p.list(ctx)
		if err != nil {
			return err
		}
		replace(known, found)
		*next = revision + 1
	}
	// A member that lost its leader ends the watch rather than say nothing.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for answer := range p.client.Watch(ctx, p.prefix(), clientv3.WithPrefix(), clientv3.WithRev(*next)) {
		if answer.CompactRevision != 0 {
			*next = 0 // the difference is found with a new list
		}
		if err := answer.Err(); err != nil {
			return err
		}
		for _, event := range answer.Events {
			id := string(event.Kv.Key[len(p.prefix()):])
			if event.Type == clientv3.EventTypeDelete {
				remove(known, id)
			} else {
				set(known, id, string(event.Kv.Value))
			}
			*next = event.Kv.ModRevision + 1 // one answer has all of a revision
		}
	}
	return errors.New("the watch has ended")
}

// replace makes known what was found, and prints the difference.
func replace(known map[string]string, found []pair) {
	there := map[string]bool{}
	for _, pair := range found {
		there[pair.id] = true
		set(known, pair.id, pair.value)
	}
	for id := range known {
		if !there[id] {
			remove(known, id)
		}
	}
}

func set(known map[string]string, id, value string) {
	before, there := known[id]
	known[id] = value
	switch {
	case !there:
		fmt.Println("UP", id, orDash(addrOf(value)))
	case before != value:
		fmt.Println("CHANGED", id, orDash(addrOf(value)))
	}
}

func remove(known map[string]string, id string) {
	if _, there := known[id]; there {
		delete(known, id)
		fmt.Println("DOWN", id, "- -") // a plain event has no reason
	}
}

// addrOf is empty when the value has no address that this program understands.
func addrOf(value string) string {
	var found instance
	if json.Unmarshal([]byte(value), &found) != nil {
		return ""
	}
	return found.Addr
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// pause waits before the next try, or until the program is to end.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
	}
}

func complain(doing string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "stock:", err)
	os.Exit(1)
}
