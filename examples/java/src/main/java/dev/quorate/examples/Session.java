package dev.quorate.examples;

import static java.util.concurrent.TimeUnit.MILLISECONDS;

import dev.quorate.registry.v1.CloseSession;
import dev.quorate.registry.v1.Heartbeat;
import dev.quorate.registry.v1.Instance;
import dev.quorate.registry.v1.OpenSession;
import dev.quorate.registry.v1.RegisterInSession;
import dev.quorate.registry.v1.RegistryGrpc;
import dev.quorate.registry.v1.SessionOpened;
import dev.quorate.registry.v1.SessionRequest;
import dev.quorate.registry.v1.SessionResponse;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/** What one process holds. It is the same over all streams. */
final class Session {
  private final String id = UUID.randomUUID().toString();
  private final Options options;
  private final Instance instance;
  private long ttl;
  private long lease = 0; // none yet
  private long announced = 0; // the lease that the program's user was told of

  Session(Options options) {
    this.options = options;
    this.ttl = options.ttl();
    this.instance =
        Instance.newBuilder()
            .setNamespace(options.namespace())
            .setService(options.service())
            .setId(options.id())
            .setAddress(options.host())
            .setPort(options.port())
            .build();
  }

  /**
   * Opens the session at a member and renews it; closes it when the program is to end. An exception
   * says that another member is to be tried.
   */
  void hold(ManagedChannel channel, CountDownLatch end) throws InterruptedException {
    Stream stream = new Stream(channel, options.patienceMillis());
    OpenSession open =
        OpenSession.newBuilder().setSessionId(id).setTtl(ttl).setLeaseId(lease).build();
    ask(stream, SessionRequest.newBuilder().setOpen(open));
    while (end.getCount() > 0) {
      // To register what stands there already changes nothing, so nobody needs to know whether it
      // does.
      register(stream);
      renew(stream, end);
    }
    ask(stream, SessionRequest.newBuilder().setClose(CloseSession.getDefaultInstance()));
  }

  private void register(Stream stream) throws InterruptedException {
    RegisterInSession register = RegisterInSession.newBuilder().setInstance(instance).build();
    ask(stream, SessionRequest.newBuilder().setRegister(register));
    if (announced != lease) {
      announced = lease;
      System.out.println("REGISTERED " + instance.getId() + " " + lease);
    }
  }

  /**
   * Keeps the session alive until the program is to end, or until it was lost: then it is a new one
   * with nothing in it.
   */
  private void renew(Stream stream, CountDownLatch end) throws InterruptedException {
    long before = lease;
    while (lease == before && !end.await(ttl * 1000 / 3, MILLISECONDS)) {
      ask(stream, SessionRequest.newBuilder().setHeartbeat(Heartbeat.getDefaultInstance()));
    }
  }

  private void ask(Stream stream, SessionRequest.Builder request) throws InterruptedException {
    SessionResponse answer = stream.ask(request);
    // The answer to open; and to any other request when the session was lost meanwhile.
    if (answer.hasOpened()) {
      SessionOpened opened = answer.getOpened();
      lease = opened.getLeaseId();
      ttl = opened.getTtl();
      if (opened.getLost()) {
        Options.complain("register", new IllegalStateException("the session was lost"));
      }
    }
  }

  /** Requests and their answers: each has one, in their order. */
  private static final class Stream implements StreamObserver<SessionResponse> {
    private final BlockingQueue<Object> told = new LinkedBlockingQueue<>();
    private final StreamObserver<SessionRequest> requests;
    private final long patienceMillis;
    private long seq = 0;

    Stream(ManagedChannel channel, long patienceMillis) {
      this.patienceMillis = patienceMillis;
      this.requests = RegistryGrpc.newStub(channel).session(this);
    }

    /** The answer to a request. When it does not come in time, the stream is left. */
    SessionResponse ask(SessionRequest.Builder request) throws InterruptedException {
      requests.onNext(request.setSeq(++seq).build());
      Object answer = told.poll(patienceMillis, MILLISECONDS);
      if (answer instanceof SessionResponse response && !response.hasError()) {
        return response;
      }
      if (answer instanceof SessionResponse declined) {
        var error = declined.getError();
        throw failure(Status.fromCodeValue(error.getCode()).withDescription(error.getMessage()));
      }
      throw failure(
          answer instanceof Throwable error
              ? Status.fromThrowable(error)
              : Status.DEADLINE_EXCEEDED.withDescription("the member does not answer"));
    }

    private static StatusRuntimeException failure(Status status) {
      return status.asRuntimeException();
    }

    @Override
    public void onNext(SessionResponse answer) {
      told.add(answer);
    }

    @Override
    public void onError(Throwable error) {
      told.add(error);
    }

    @Override
    public void onCompleted() {
      told.add(Status.UNAVAILABLE.withDescription("the stream has ended").asRuntimeException());
    }
  }
}
