package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// contender says who wants what.
type contender struct {
	lock      string
	register  string
	worker    string
	through   string
	ttl       int
	hold      time.Duration
	writes    int
	unguarded bool
}

// claim is a lock that is held, or an office. The token is the revision at which its key was created:
// whoever holds it later has a higher one.
type claim struct {
	key     string
	token   int64
	release func(ctx context.Context) error
}

// acquirer waits for its turn.
type acquirer func(ctx context.Context, client *clientv3.Client, session *concurrency.Session, lock string) (claim, error)

// How long one step other than waiting for the lock may take.
const stepTimeout = 10 * time.Second

// The pause after a failure.
const failurePause = 100 * time.Millisecond

// contendCommand acquires a lock again and again, and each time writes its fencing token into a
// register, in a transaction that holds only while the lock's key is the one that it was given. It
// prints, a line each:
//
//	held TOKEN KEY              the lock was acquired
//	wrote TOKEN REVISION N      the N-th write under it was acknowledged, at this revision
//	fenced TOKEN N              the N-th write was refused: the lock was lost
//	released TOKEN              it was given up
//
// What fails is told on standard error, and tried again with a new session. It goes on until it is
// killed. With --unguarded it writes without looking, as a holder does that trusts its clock.
func contendCommand() command {
	flags := flag.NewFlagSet("contend", flag.ContinueOnError)
	c := contender{}
	flags.StringVar(&c.lock, "lock", "", "name of the lock or of the election")
	flags.StringVar(&c.register, "register", "", "key to write into")
	flags.StringVar(&c.worker, "worker", "", "name of this client")
	flags.StringVar(&c.through, "through", "mutex", "what to acquire it with: mutex, election, service or service-election")
	flags.IntVar(&c.ttl, "ttl", 3, "time to live of the session, in seconds")
	flags.DurationVar(&c.hold, "hold", 20*time.Millisecond, "time before each write")
	flags.IntVar(&c.writes, "writes", 2, "writes under each lock")
	flags.BoolVar(&c.unguarded, "unguarded", false, "write whether the lock is still held or not")
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		acquirers := map[string]acquirer{
			"mutex":            lockMutex,
			"election":         campaign,
			"service":          lockByService,
			"service-election": campaignByService,
		}
		acquire := acquirers[c.through]
		if c.lock == "" || c.register == "" || acquire == nil {
			return errors.New("--lock, --register and a known --through are needed")
		}
		for ctx.Err() == nil {
			if err := c.session(ctx, client, acquire); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "scenario:", err)
				time.Sleep(failurePause)
			}
		}
		return nil
	}}
}

// session contends until something fails.
func (c *contender) session(ctx context.Context, client *clientv3.Client, acquire acquirer) error {
	granting, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	lease, err := client.Grant(granting, int64(c.ttl))
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	// The lease is left to run out, as that of a client which is gone.
	defer session.Orphan()
	alive, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-session.Done():
			stop()
		case <-alive.Done():
		}
	}()
	for {
		held, err := acquire(alive, client, session, c.lock)
		if err != nil {
			return fmt.Errorf("acquire: %w", err)
		}
		fmt.Println("held", held.token, held.key)
		// A holder does not hear that its session ended, as one that was stopped would not.
		if err := c.use(ctx, client, held); err != nil {
			return err
		}
	}
}

// use writes under a lock, and gives it up.
func (c *contender) use(ctx context.Context, client *clientv3.Client, held claim) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for n := range c.writes {
		time.Sleep(c.hold)
		value := fmt.Sprintf("%d %s %s %d", held.token, held.key, c.worker, n)
		txn := client.Txn(ctx)
		if !c.unguarded {
			txn = txn.If(clientv3.Compare(clientv3.CreateRevision(held.key), "=", held.token))
		}
		written, err := txn.Then(clientv3.OpPut(c.register, value)).Commit()
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if !written.Succeeded {
			fmt.Println("fenced", held.token, n)
			return errors.New("the lock was lost")
		}
		fmt.Println("wrote", held.token, written.Header.Revision, n)
	}
	if err := held.release(ctx); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	fmt.Println("released", held.token)
	return nil
}

func lockMutex(ctx context.Context, client *clientv3.Client, session *concurrency.Session, lock string) (claim, error) {
	mutex := concurrency.NewMutex(session, lock)
	if err := mutex.Lock(ctx); err != nil {
		return claim{}, err
	}
	token, err := createdAt(ctx, client, mutex.Key())
	return claim{mutex.Key(), token, mutex.Unlock}, err
}

func campaign(ctx context.Context, _ *clientv3.Client, session *concurrency.Session, lock string) (claim, error) {
	election := concurrency.NewElection(session, lock)
	if err := election.Campaign(ctx, "here"); err != nil {
		return claim{}, err
	}
	return claim{election.Key(), election.Rev(), election.Resign}, nil
}

func lockByService(ctx context.Context, client *clientv3.Client, session *concurrency.Session, lock string) (claim, error) {
	locks := v3lockpb.NewLockClient(client.ActiveConnection())
	request := &v3lockpb.LockRequest{Name: []byte(lock), Lease: int64(session.Lease())}
	locked, err := locks.Lock(ctx, request)
	if err != nil {
		return claim{}, err
	}
	key := string(locked.Key)
	token, err := createdAt(ctx, client, key)
	release := func(ctx context.Context) error {
		_, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: locked.Key})
		return err
	}
	return claim{key, token, release}, err
}

func campaignByService(ctx context.Context, client *clientv3.Client, session *concurrency.Session, lock string) (claim, error) {
	elections := v3electionpb.NewElectionClient(client.ActiveConnection())
	request := &v3electionpb.CampaignRequest{
		Name: []byte(lock), Lease: int64(session.Lease()), Value: []byte("here"),
	}
	elected, err := elections.Campaign(ctx, request)
	if err != nil {
		return claim{}, err
	}
	release := func(ctx context.Context) error {
		_, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: elected.Leader})
		return err
	}
	return claim{string(elected.Leader.Key), elected.Leader.Rev, release}, nil
}

// createdAt is the revision at which a key was created.
func createdAt(ctx context.Context, client *clientv3.Client, key string) (int64, error) {
	got, err := client.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	if len(got.Kvs) == 0 {
		return 0, errors.New("the lock was lost before its token was read")
	}
	return got.Kvs[0].CreateRevision, nil
}
