package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// dumpCommand sends random requests to an empty store and writes each of them with its answer as a
// line of JSON. The seed decides the requests, so two stores that answer alike have equal dumps: what
// is each cluster's own, ids and terms, is written as zero.
func dumpCommand() command {
	flags := flag.NewFlagSet("dump", flag.ContinueOnError)
	seed := flags.Int64("seed", 1, "what decides the requests")
	requests := flags.Int("requests", 1000, "how many requests to send")
	out := flags.String("out", "", "file to write to")
	return command{flags: flags, run: func(ctx context.Context, client *clientv3.Client) error {
		file, err := os.Create(*out)
		if err != nil {
			return err
		}
		defer file.Close()
		buffered := bufio.NewWriter(file)
		kv := pb.NewKVClient(client.ActiveConnection())
		if err := dump(ctx, kv, buffered, *seed, *requests); err != nil {
			return err
		}
		fmt.Println("dumped", *requests)
		return buffered.Flush()
	}}
}

func dump(ctx context.Context, kv pb.KVClient, out io.Writer, seed int64, requests int) error {
	from := &source{random: rand.New(rand.NewSource(seed)), newest: 1}
	for i := range requests {
		request := from.request()
		answer, err := send(ctx, kv, request)
		line, header, encodeErr := encode(request, answer, err)
		if encodeErr != nil {
			return fmt.Errorf("request %d: %w", i, encodeErr)
		}
		if header != nil {
			from.newest = max(from.newest, header.Revision)
		}
		if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// send makes the call that a request belongs to. A range that wants its answer in chunks gets them
// merged.
func send(ctx context.Context, kv pb.KVClient, request proto.Message) (proto.Message, error) {
	switch request := request.(type) {
	case *pb.RangeRequest:
		return kv.Range(ctx, request)
	case *streamed:
		return rangeStream(ctx, kv, request.RangeRequest)
	case *pb.PutRequest:
		return kv.Put(ctx, request)
	case *pb.DeleteRangeRequest:
		return kv.DeleteRange(ctx, request)
	case *pb.TxnRequest:
		return kv.Txn(ctx, request)
	case *pb.CompactionRequest:
		return kv.Compact(ctx, request)
	default:
		return nil, fmt.Errorf("no call takes a %T", request)
	}
}

// streamed is a range whose answer comes in chunks.
type streamed struct{ *pb.RangeRequest }

func rangeStream(ctx context.Context, kv pb.KVClient, request *pb.RangeRequest) (proto.Message, error) {
	stream, err := kv.RangeStream(ctx, request)
	if err != nil {
		return nil, err
	}
	merged := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			return merged, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(merged, chunk.RangeResponse)
	}
}

// encode makes a line of a request and what came of it, and returns the header of the answer.
func encode(request, answer proto.Message, failure error) ([]byte, *pb.ResponseHeader, error) {
	line := struct {
		Call     string          `json:"call"`
		Request  json.RawMessage `json:"request"`
		Response json.RawMessage `json:"response,omitempty"`
		Code     string          `json:"code,omitempty"`
		Message  string          `json:"message,omitempty"`
	}{Call: fmt.Sprintf("%T", request)}

	var err error
	if line.Request, err = message(request); err != nil {
		return nil, nil, err
	}
	var header *pb.ResponseHeader
	if failure != nil {
		refusal := status.Convert(failure)
		line.Code, line.Message = refusal.Code().String(), refusal.Message()
	} else {
		header = answer.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
		header.ClusterId, header.MemberId, header.RaftTerm = 0, 0, 0
		settle(request, answer)
		if line.Response, err = message(answer); err != nil {
			return nil, nil, err
		}
	}
	encoded, err := json.Marshal(line)
	return encoded, header, err
}

// message writes every field, the empty ones too. The library puts spaces in where it likes.
func message(m proto.Message) (json.RawMessage, error) {
	if chunked, ok := m.(*streamed); ok {
		m = chunked.RangeRequest
	}
	loose, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, loose)
	return compact.Bytes(), err
}

// settle brings pairs whose sort keys are equal into the order of their keys: no store promises one.
func settle(request, answer proto.Message) {
	switch request := request.(type) {
	case *pb.RangeRequest:
		settleRange(request, answer.(*pb.RangeResponse))
	case *pb.TxnRequest:
		settleTxn(request, answer.(*pb.TxnResponse))
	}
}

func settleTxn(request *pb.TxnRequest, answer *pb.TxnResponse) {
	branch := request.Failure
	if answer.Succeeded {
		branch = request.Success
	}
	for i, op := range branch {
		if inner := op.GetRequestRange(); inner != nil {
			settleRange(inner, answer.Responses[i].GetResponseRange())
		}
		if inner := op.GetRequestTxn(); inner != nil {
			settleTxn(inner, answer.Responses[i].GetResponseTxn())
		}
	}
}

func settleRange(request *pb.RangeRequest, answer *pb.RangeResponse) {
	compare := map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) int{
		pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.Version, b.Version) },
		pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) },
		pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) },
		pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) },
	}[request.SortTarget]
	if compare == nil {
		return
	}
	kvs := answer.Kvs
	for len(kvs) > 0 {
		group := 1
		for group < len(kvs) && compare(kvs[0], kvs[group]) == 0 {
			group++
		}
		slices.SortFunc(kvs[:group], func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
		kvs = kvs[group:]
	}
}
