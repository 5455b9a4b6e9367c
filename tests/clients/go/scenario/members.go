package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Addresses at which nobody listens.
const (
	newPeer   = "http://127.0.0.1:17"
	otherPeer = "http://127.0.0.1:18"
)

// membersCommand checks the refusals of changes of the members, on a cluster of one member that is for
// nothing else: in the end it has no quorum.
func membersCommand() command {
	flags := flag.NewFlagSet("members", flag.ContinueOnError)
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		return memberRefusals(ctx, client)
	}}
}

func memberRefusals(ctx context.Context, client *clientv3.Client) error {
	listed, err := client.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	voter := listed.Members[0].ID
	added, err := client.MemberAddAsLearner(ctx, []string{newPeer})
	if err != nil {
		return fmt.Errorf("add a learner: %w", err)
	}
	learner := added.Member.ID

	const nobody = 7
	refusals := []struct {
		name string
		call func() error
		want error
	}{
		{"second-learner", func() error {
			_, err := client.MemberAddAsLearner(ctx, []string{otherPeer})
			return err
		}, rpctypes.ErrTooManyLearners},
		{"used-url", func() error {
			_, err := client.MemberAdd(ctx, []string{newPeer, otherPeer})
			return err
		}, rpctypes.ErrPeerURLExist},
		{"promote-nobody", func() error {
			_, err := client.MemberPromote(ctx, nobody)
			return err
		}, rpctypes.ErrMemberNotFound},
		{"promote-a-voter", func() error {
			_, err := client.MemberPromote(ctx, voter)
			return err
		}, rpctypes.ErrMemberNotLearner},
		{"promote-too-early", func() error {
			_, err := client.MemberPromote(ctx, learner)
			return err
		}, rpctypes.ErrMemberLearnerNotReady},
		{"update-to-no-url", func() error {
			_, err := client.MemberUpdate(ctx, learner, []string{"http://127.0.0.1:99999"})
			return err
		}, rpctypes.ErrMemberBadURLs},
		{"remove-nobody", func() error {
			_, err := client.MemberRemove(ctx, nobody)
			return err
		}, rpctypes.ErrMemberNotFound},
		{"move-leader-to-a-learner", func() error {
			_, err := client.MoveLeader(ctx, learner)
			return err
		}, rpctypes.ErrBadLeaderTransferee},
		{"remove-the-last-voter", func() error {
			_, err := client.MemberRemove(ctx, voter)
			return err
		}, rpctypes.ErrMemberNotEnoughStarted},
	}
	for _, refusal := range refusals {
		if err := wantErr(refusal.name, refusal.call(), refusal.want); err != nil {
			return err
		}
		fmt.Println("ok", refusal.name)
	}
	return withoutQuorum(ctx, client, learner)
}

// withoutQuorum adds a voter that never starts: from then on the one member decides nothing.
func withoutQuorum(ctx context.Context, client *clientv3.Client, learner uint64) error {
	if _, err := client.MemberRemove(ctx, learner); err != nil {
		return fmt.Errorf("remove the learner: %w", err)
	}
	if _, err := client.MemberAdd(ctx, []string{otherPeer}); err != nil {
		return fmt.Errorf("add a voter: %w", err)
	}
	_, err := client.MemberAdd(ctx, []string{newPeer})
	if !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
		return fmt.Errorf("a third voter: got error %w, want %w", err, rpctypes.ErrMemberNotEnoughStarted)
	}
	fmt.Println("ok not-enough-started")
	return nil
}
