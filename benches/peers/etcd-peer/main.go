// Command etcd-peer is one member of an etcd cluster, with etcd's own defaults: what quorate is
// measured against, and what its clients are checked with.
//
// It prints "ready <client url>" once it serves, and runs until SIGTERM or SIGINT, or with
// --exit-with-parent until its standard input ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startTimeout bounds how long a member may wait for the others before it serves.
const startTimeout = 60 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "etcd-peer:", err)
		os.Exit(1)
	}
}

func run() error {
	config, withParent, err := parse()
	if err != nil {
		return err
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if withParent {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop <- syscall.SIGTERM
		}()
	}

	member, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer member.Close()

	select {
	case <-member.Server.ReadyNotify():
		fmt.Println("ready", config.AdvertiseClientUrls[0].String())
	case <-stop:
		return nil
	case err := <-member.Err():
		return fmt.Errorf("before it served: %w", err)
	case <-time.After(startTimeout):
		return fmt.Errorf("not ready after %s", startTimeout)
	}

	select {
	case <-stop:
		return nil
	case err := <-member.Err():
		return fmt.Errorf("stopped: %w", err)
	}
}

// parse makes etcd's configuration of the command line, and says whether to end with the standard input.
func parse() (*embed.Config, bool, error) {
	name := flag.String("name", "", "name of the member, as in --initial-cluster")
	dataDir := flag.String("data-dir", "", "folder of the member's data")
	clientURL := flag.String("client-url", "", "where to listen for clients")
	peerURL := flag.String("peer-url", "", "where to listen for the other members")
	initialCluster := flag.String("initial-cluster", "", "all members: name=peer-url,...")
	logLevel := flag.String("log-level", "warn", "what to log to stderr: debug, info, warn or error")
	heartbeat := flag.Uint("heartbeat-interval", 100, "milliseconds between heartbeats")
	election := flag.Uint("election-timeout", 1000, "milliseconds without a leader until an election")
	withParent := flag.Bool("exit-with-parent", false, "stop when standard input ends")
	quotaBytes := flag.Int64("quota-backend-bytes", 0, "bytes that the store may grow to; 0 for etcd's default of 2 GiB")
	metrics := flag.String("metrics", "basic", "which figures there are: basic or extensive")
	flag.Parse()

	for _, required := range []string{"name", "data-dir", "client-url", "peer-url", "initial-cluster"} {
		if flag.Lookup(required).Value.String() == "" {
			return nil, false, fmt.Errorf("--%s is missing", required)
		}
	}
	client, err := url.Parse(*clientURL)
	if err != nil {
		return nil, false, fmt.Errorf("--client-url: %w", err)
	}
	peer, err := url.Parse(*peerURL)
	if err != nil {
		return nil, false, fmt.Errorf("--peer-url: %w", err)
	}

	config := embed.NewConfig()
	config.Name = *name
	config.Dir = *dataDir
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = *initialCluster
	config.TickMs = *heartbeat
	config.ElectionMs = *election
	config.QuotaBackendBytes = *quotaBytes
	config.LogLevel = *logLevel
	config.Metrics = *metrics
	config.LogOutputs = []string{"stderr"}
	return config, *withParent, nil
}
