package dev.quorate.examples;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;

import dev.quorate.registry.v1.Change;
import dev.quorate.registry.v1.Instance;
import dev.quorate.registry.v1.RegistryGrpc;
import dev.quorate.registry.v1.ResolveRequest;
import dev.quorate.registry.v1.WatchRequest;
import dev.quorate.registry.v1.WatchResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;

/**
 * Registers and finds services with the typed registry, through stubs that protoc and the gRPC
 * plugin made of registry.proto.
 */
final class Typed {
  private static final long CALL_TIMEOUT_SECONDS = 5; // of one call, an election included
  private static final long RETRY_PAUSE_MILLIS = 200;

  private final Options options;

  /** What is known of the service, by id. */
  private Map<String, Instance> known = new TreeMap<>();

  /** All up to here was printed. */
  private long revision = 0;

  private Typed(Options options) {
    this.options = options;
  }

  public static void main(String[] args) throws Exception {
    Typed typed = new Typed(Options.parse(args));
    switch (typed.options.command()) {
      case "register" -> typed.register();
      case "resolve" -> typed.resolve();
      default -> typed.watch();
    }
  }

  /** A channel to one member. Which one does not matter: each of them serves everything. */
  private static ManagedChannel connect(String endpoint) {
    return Grpc.newChannelBuilder(endpoint, InsecureChannelCredentials.create())
        // A member that vanished without a word is noticed.
        .keepAliveTime(10, SECONDS)
        .keepAliveTimeout(3, SECONDS)
        .build();
  }

  /** Prints the instances that can be called; asks the next member when one does not answer. */
  private void resolve() {
    StatusRuntimeException last = null;
    for (String endpoint : options.endpoints()) {
      ManagedChannel channel = connect(endpoint);
      try {
        ResolveRequest request =
            ResolveRequest.newBuilder()
                .setNamespace(options.namespace())
                .setService(options.service())
                .setLinearizable(true)
                .build();
        var stub = RegistryGrpc.newBlockingStub(channel);
        var answer = stub.withDeadlineAfter(CALL_TIMEOUT_SECONDS, SECONDS).resolve(request);
        answer.getInstancesList().forEach(one -> say(one.getId(), target(one)));
        return;
      } catch (StatusRuntimeException error) {
        last = error;
      } finally {
        channel.shutdownNow();
      }
    }
    throw last;
  }

  /** Prints what there is, and then each change, until the program is ended. */
  private void watch() throws InterruptedException {
    for (int turn = 0; ; turn++) {
      ManagedChannel channel = connect(endpoint(turn));
      try {
        follow(RegistryGrpc.newBlockingStub(channel));
      } catch (StatusRuntimeException error) {
        Options.complain("watch", error);
      } finally {
        channel.shutdownNow();
      }
      Thread.sleep(RETRY_PAUSE_MILLIS);
    }
  }

  private String endpoint(int turn) {
    return options.endpoints().get(turn % options.endpoints().size());
  }

  /** Prints changes, from where it was, until the stream ends. */
  private void follow(RegistryGrpc.RegistryBlockingStub stub) {
    WatchRequest request =
        WatchRequest.newBuilder()
            .setNamespace(options.namespace())
            .setService(options.service())
            .setRevision(revision)
            .build();
    // Of one revision; what is not complete yet would come again on the next stream.
    List<WatchResponse> parts = new ArrayList<>();
    for (Iterator<WatchResponse> answers = stub.watch(request); answers.hasNext(); ) {
      WatchResponse answer = answers.next();
      parts.add(answer);
      if (!answer.getMore()) {
        show(parts);
        revision = answer.getRevision();
        parts.clear();
      }
    }
  }

  /** Prints all that was said of one revision. */
  private void show(List<WatchResponse> parts) {
    if (parts.get(0).hasSnapshot()) {
      replace(parts);
      return;
    }
    for (WatchResponse part : parts) {
      for (Change change : part.getChanges().getChangesList()) {
        if (change.getKind() == Change.Kind.DOWN) {
          Instance before = change.getBefore();
          known.remove(before.getId());
          say("DOWN", before.getId(), target(before), change.getReason().name());
        } else {
          Instance after = change.getAfter();
          known.put(after.getId(), after);
          say(change.getKind().name(), after.getId(), target(after));
        }
      }
    }
  }

  /**
   * Takes a snapshot for what is known. There may have been one before: when the history from its
   * revision on is gone, the server begins anew.
   */
  private void replace(List<WatchResponse> parts) {
    Map<String, Instance> before = known;
    known = new TreeMap<>();
    for (WatchResponse part : parts) {
      for (Instance instance : part.getSnapshot().getInstancesList()) {
        known.put(instance.getId(), instance);
        Instance old = before.get(instance.getId());
        if (old == null) {
          say("UP", instance.getId(), target(instance));
        } else if (old.getModRevision() != instance.getModRevision()) {
          say("CHANGED", instance.getId(), target(instance));
        }
      }
    }
    before.forEach(
        (id, instance) -> {
          if (!known.containsKey(id)) {
            say("DOWN", id, target(instance), Change.Reason.REASON_UNSPECIFIED.name());
          }
        });
  }

  /**
   * Keeps the instance there until the program is told to end, and then takes it away.
   *
   * <p>A session outlives its stream by the TTL. When the stream breaks, the session is opened again
   * at the next member, and whoever watches the service notices nothing.
   */
  private void register() throws InterruptedException {
    CountDownLatch end = Options.endOnSignals();
    Session session = new Session(options);
    long giveUp = 0; // set once the program is to end
    for (int turn = 0; ; turn++) {
      ManagedChannel channel = connect(endpoint(turn));
      try {
        session.hold(channel, end);
        say("DEREGISTERED", options.id());
        return;
      } catch (StatusRuntimeException error) {
        Options.complain("register", error);
        if (error.getStatus().getCode() == Status.Code.INVALID_ARGUMENT) {
          System.exit(1);
        }
      } finally {
        channel.shutdownNow();
      }
      if (end.getCount() == 0) {
        long now = System.nanoTime();
        giveUp = giveUp == 0 ? now + SECONDS.toNanos(options.ttl()) : giveUp;
        if (now > giveUp) {
          Options.complain("register", new Exception("no member took the end of the session"));
          return;
        }
      }
      MILLISECONDS.sleep(RETRY_PAUSE_MILLIS);
    }
  }

  /** host:port, or a dash when the instance has no address. */
  private static String target(Instance instance) {
    return Options.join(instance.getAddress(), instance.getPort());
  }

  private static void say(String... words) {
    System.out.println(String.join(" ", words));
  }
}
