package main

import (
	"fmt"
	"math/rand"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// dumpDepth is how deep transactions lie within each other.
const dumpDepth = 3

var (
	dumpKeys = []string{"a", "b", "c", "d", "e", "a\x00", "\x00", "ab", "b/1", "b/2", "b/3", "\xff"}
	dumpEnds = []string{"\x00", "b", "b/", "b0", "c", "f", "\xff"}
)

// source makes requests of every kind, most of them sensible.
type source struct {
	random *rand.Rand
	// newest is the store's revision.
	newest int64
}

func (s *source) onceIn(n int) bool { return s.random.Intn(n) == 0 }

func pick[T any](s *source, from ...T) T { return from[s.random.Intn(len(from))] }

func (s *source) request() proto.Message {
	switch n := s.random.Intn(100); {
	case n < 30:
		return s.put()
	case n < 52:
		return s.rangeOf()
	case n < 60:
		return &streamed{s.chunked()}
	case n < 70:
		return s.deleteRange()
	case n < 98:
		return s.txn(1)
	default:
		return &pb.CompactionRequest{Revision: s.newest - s.random.Int63n(40) + 2, Physical: s.onceIn(3)}
	}
}

func (s *source) key() []byte {
	if s.onceIn(60) {
		return nil
	}
	return []byte(pick(s, dumpKeys...))
}

func (s *source) end() []byte {
	if s.onceIn(2) {
		return nil
	}
	return []byte(pick(s, append(dumpEnds, dumpKeys...)...))
}

func (s *source) put() *pb.PutRequest {
	request := &pb.PutRequest{Key: s.key(), PrevKv: s.onceIn(3), IgnoreValue: s.onceIn(10), IgnoreLease: s.onceIn(10)}
	if !request.IgnoreValue || s.onceIn(6) {
		request.Value = []byte(fmt.Sprintf("v%d", s.random.Intn(40)))
	}
	if s.onceIn(20) {
		request.Lease = int64(unknownLease)
	}
	return request
}

func (s *source) rangeOf() *pb.RangeRequest {
	request := &pb.RangeRequest{
		Key: s.key(), RangeEnd: s.end(), Serializable: s.onceIn(3), KeysOnly: s.onceIn(5), CountOnly: s.onceIn(8),
	}
	switch s.random.Intn(8) {
	case 0:
		request.Revision = s.newest - s.random.Int63n(40)
	case 1:
		request.Revision = pick(s, s.newest+1, -1, 1, s.newest)
	}
	if s.onceIn(2) {
		request.SortOrder = pb.RangeRequest_SortOrder(pick[int32](s, 0, 1, 2))
		request.SortTarget = pb.RangeRequest_SortTarget(pick[int32](s, 0, 1, 2, 3, 4))
	}
	if s.onceIn(60) {
		request.SortTarget = 7
	}
	// Which of several equal pairs a limit cuts off is open.
	if request.SortTarget == pb.RangeRequest_KEY {
		request.Limit = pick[int64](s, 0, 0, -1, 1, 2, 5)
	}
	// Without their values, equal ones cannot be told apart.
	if request.SortTarget == pb.RangeRequest_VALUE {
		request.KeysOnly = false
	}
	if s.onceIn(4) {
		request.MinModRevision = pick(s, 0, s.newest-s.random.Int63n(20))
		request.MaxModRevision = pick(s, 0, s.newest-s.random.Int63n(20))
		request.MinCreateRevision = pick(s, 0, s.newest-s.random.Int63n(30))
		request.MaxCreateRevision = pick(s, 0, s.newest-s.random.Int63n(30))
	}
	return request
}

// chunked is a range that can be streamed, or one that is refused.
func (s *source) chunked() *pb.RangeRequest {
	request := s.rangeOf()
	if request.SortOrder == pb.RangeRequest_NONE || !s.onceIn(4) {
		request.SortOrder, request.SortTarget = pb.RangeRequest_NONE, pb.RangeRequest_KEY
	}
	return request
}

func (s *source) deleteRange() *pb.DeleteRangeRequest {
	request := &pb.DeleteRangeRequest{Key: s.key(), PrevKv: s.onceIn(2)}
	if s.onceIn(3) {
		request.RangeEnd = s.end()
	}
	return request
}

func (s *source) txn(depth int) *pb.TxnRequest {
	request := &pb.TxnRequest{}
	for range s.random.Intn(3) {
		request.Compare = append(request.Compare, s.compare())
	}
	for range s.random.Intn(4) {
		request.Success = append(request.Success, s.op(depth))
	}
	for range s.random.Intn(4) {
		request.Failure = append(request.Failure, s.op(depth))
	}
	return request
}

// op never makes a put that keeps a value or a lease: should its key have been deleted before in the
// same transaction, etcd 3.7.1 crashes.
func (s *source) op(depth int) *pb.RequestOp {
	switch n := s.random.Intn(20); {
	case n < 9 || (n < 13 && depth == dumpDepth):
		put := s.put()
		put.IgnoreValue, put.IgnoreLease = false, false
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
	case n < 13:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: s.txn(depth + 1)}}
	case n < 16:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: s.deleteRange()}}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: s.rangeOf()}}
	}
}

func (s *source) compare() *pb.Compare {
	request := &pb.Compare{
		Key:    s.key(),
		Result: pb.Compare_CompareResult(s.random.Intn(4)),
		Target: pb.Compare_CompareTarget(s.random.Intn(5)),
	}
	if s.onceIn(3) {
		request.RangeEnd = s.end()
	}
	switch request.Target {
	case pb.Compare_VERSION:
		request.TargetUnion = &pb.Compare_Version{Version: s.random.Int63n(4)}
	case pb.Compare_CREATE:
		request.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: pick(s, 0, s.newest-s.random.Int63n(9))}
	case pb.Compare_MOD:
		request.TargetUnion = &pb.Compare_ModRevision{ModRevision: pick(s, 0, s.newest-s.random.Int63n(9))}
	case pb.Compare_VALUE:
		request.TargetUnion = &pb.Compare_Value{Value: []byte(fmt.Sprintf("v%d", s.random.Intn(40)))}
	case pb.Compare_LEASE:
		request.TargetUnion = &pb.Compare_Lease{Lease: pick[int64](s, 0, 7)}
	}
	return request
}
