package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quorate/examples/go/options"
	pb "quorate/examples/go/registryv1"
)

// register keeps the instance there until the program is told to end, and then takes it away.
//
// A session outlives its stream by the TTL. When the stream breaks, the session is opened again at the
// next member, and whoever watches the service notices nothing.
func register(ctx context.Context, o options.Options) error {
	host, portText, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	s := &session{id: rand.Text(), ttl: o.TTL, instance: &pb.Instance{
		Namespace: o.Namespace, Service: o.Service, Id: o.ID, Address: host, Port: uint32(port),
	}}

	var giveUp time.Time // set once the program is to end
	for turn := 0; ; turn++ {
		err := s.hold(ctx, o.Endpoints[turn%len(o.Endpoints)])
		if err == nil {
			fmt.Println("DEREGISTERED", o.ID)
			return nil
		}
		if status.Code(err) == codes.InvalidArgument {
			return err // no member would take it
		}
		complain("register", err)
		if ctx.Err() != nil && giveUp.IsZero() {
			giveUp = time.Now().Add(time.Duration(o.TTL) * time.Second)
		}
		if !giveUp.IsZero() && time.Now().After(giveUp) {
			return errors.New("no member took the end of the session; it has run out by now")
		}
		time.Sleep(retryPause)
	}
}

// session is what one process holds. It is the same over all streams.
type session struct {
	id        string
	lease     int64 // 0: none yet
	announced int64 // the lease that the program's user was told of
	ttl       int64
	instance  *pb.Instance

	seq    uint64
	stream pb.Registry_SessionClient
	cancel context.CancelFunc
}

// hold opens the session at a member and renews it. It returns nil when the program is to end and the
// session was closed, and an error when another member is to be tried.
func (s *session) hold(ctx context.Context, endpoint string) error {
	client, conn, err := connect(endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Not of ctx: when that ends, there is a last thing to say.
	var streaming context.Context
	streaming, s.cancel = context.WithCancel(context.Background())
	defer s.cancel()
	if s.stream, err = client.Session(streaming); err != nil {
		return err
	}

	open := &pb.OpenSession{SessionId: s.id, Ttl: s.ttl, LeaseId: s.lease}
	if _, err := s.ask(&pb.SessionRequest{Request: &pb.SessionRequest_Open{Open: open}}); err != nil {
		return err
	}
	for ctx.Err() == nil {
		// To register what stands there already changes nothing, so nobody needs to know whether it does.
		if err := s.register(); err != nil {
			return err
		}
		if err := s.renew(ctx); err != nil {
			return err
		}
	}
	_, err = s.ask(&pb.SessionRequest{Request: &pb.SessionRequest_Close{Close: &pb.CloseSession{}}})
	return err
}

func (s *session) register() error {
	register := &pb.RegisterInSession{Instance: s.instance}
	_, err := s.ask(&pb.SessionRequest{Request: &pb.SessionRequest_Register{Register: register}})
	if err == nil && s.announced != s.lease {
		s.announced = s.lease
		fmt.Println("REGISTERED", s.instance.Id, s.lease)
	}
	return err
}

// renew keeps the session alive until the program is to end, or until it was lost: then it is a new
// one with nothing in it.
func (s *session) renew(ctx context.Context) error {
	heartbeats := time.NewTicker(time.Duration(s.ttl) * time.Second / 3)
	defer heartbeats.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-heartbeats.C:
		}
		lease := s.lease
		_, err := s.ask(&pb.SessionRequest{Request: &pb.SessionRequest_Heartbeat{Heartbeat: &pb.Heartbeat{}}})
		if err != nil || s.lease != lease {
			return err
		}
	}
}

// ask sends a request and waits for its answer: each has one, in their order. A member that does not
// answer while there is still time to ask another one is left, which ends the stream.
func (s *session) ask(request *pb.SessionRequest) (*pb.SessionResponse, error) {
	deadline := time.AfterFunc(max(time.Second, time.Duration(s.ttl)*time.Second/2), s.cancel)
	defer deadline.Stop()
	s.seq++
	request.Seq = s.seq
	// What is wrong with the stream is what Recv returns.
	_ = s.stream.Send(request)
	answer, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	if declined := answer.GetError(); declined != nil {
		return nil, status.Error(codes.Code(declined.Code), declined.Message)
	}
	// The answer to open; and to any other request when the session was lost meanwhile.
	if opened := answer.GetOpened(); opened != nil {
		s.lease, s.ttl = opened.LeaseId, opened.Ttl
		if opened.Lost {
			complain("register", errors.New("the session was lost, registering again"))
		}
	}
	return answer, nil
}
