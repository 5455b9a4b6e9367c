package dev.quorate.examples;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.concurrent.TimeUnit.MILLISECONDS;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Registers and finds services with a stock etcd client: an instance is a key on a lease, and
 * finding is a range and a watch from the revision after it.
 */
final class Stock {
  private static final long RETRY_PAUSE_MILLIS = 200;

  private final Options options;
  private final Client client;
  private final String prefix;

  /** What is known of the service: values by id. */
  private final Map<String, String> known = new TreeMap<>();

  /** The first revision that was not seen yet; 0: nothing is known. */
  private long next = 0;

  private Stock(Options options) {
    this.options = options;
    this.prefix = "/services/%s/%s/".formatted(options.namespace(), options.service());
    // One client for all members: it goes to whichever can be reached.
    String[] urls = options.endpoints().stream().map(at -> "http://" + at).toArray(String[]::new);
    this.client = Client.builder().endpoints(urls).build();
  }

  public static void main(String[] args) throws Exception {
    Options options = Options.parse(args);
    Stock stock = new Stock(options);
    switch (options.command()) {
      case "register" -> stock.register();
      case "resolve" -> stock.resolve();
      default -> stock.watch();
    }
    stock.client.close();
  }

  /** Keeps the instance there until the program is told to end, and then takes it away. */
  private void register() throws Exception {
    CountDownLatch end = Options.endOnSignals();
    long lease = 0;
    while (end.getCount() > 0) {
      try {
        lease = await(client.getLeaseClient().grant(options.ttl())).getID();
        PutOption onLease = PutOption.builder().withLeaseId(lease).build();
        await(client.getKVClient().put(bytes(prefix + options.id()), bytes(value()), onLease));
        System.out.println("REGISTERED " + options.id() + " " + lease);
        keepAlive(lease, end);
      } catch (Exception error) {
        Options.complain("register", error);
        end.await(RETRY_PAUSE_MILLIS, MILLISECONDS);
      }
    }
    if (lease != 0) {
      // The lease takes its key along. Were this to fail, it would run out by itself.
      await(client.getLeaseClient().revoke(lease));
      System.out.println("DEREGISTERED " + options.id());
    }
  }

  /** What stands under the key. Op, Addr and Metadata are what etcd's resolver for gRPC reads. */
  private String value() {
    JsonObject value = new JsonObject();
    value.addProperty("Op", 0);
    value.addProperty("Addr", Options.join(options.host(), options.port()));
    value.add("Metadata", new JsonObject());
    value.addProperty("id", options.id());
    value.addProperty("namespace", options.namespace());
    value.addProperty("service", options.service());
    value.addProperty("address", options.host());
    value.addProperty("port", options.port());
    return new Gson().toJson(value);
  }

  /** Returns when the program is to end, or when the lease is gone. */
  private void keepAlive(long lease, CountDownLatch end) throws InterruptedException {
    while (end.getCount() > 0) {
      CountDownLatch over = new CountDownLatch(1);
      var observer =
          Observers.<LeaseKeepAliveResponse>builder()
              .onNext(renewed -> {})
              .onError(error -> over.countDown())
              .onCompleted(over::countDown)
              .build();
      try (CloseableClient renewing = client.getLeaseClient().keepAlive(lease, observer)) {
        while (end.getCount() > 0 && over.getCount() > 0) {
          end.await(RETRY_PAUSE_MILLIS, MILLISECONDS);
        }
      }
      // The client stops when it heard nothing for a TTL. While there is no leader, leases do not run
      // out; so the cluster is asked before anything is written anew.
      try {
        var left = await(client.getLeaseClient().timeToLive(lease, LeaseOption.DEFAULT));
        if (left.getTTL() <= 0) {
          Options.complain("register", new IllegalStateException("the lease is gone"));
          return;
        }
      } catch (Exception error) {
        Options.complain("register", error);
      }
    }
  }

  /** Prints the instances as they are now. */
  private void resolve() throws Exception {
    GetOption all = GetOption.builder().isPrefix(true).build();
    for (KeyValue pair : await(client.getKVClient().get(bytes(prefix), all)).getKvs()) {
      String addr = addrOf(pair.getValue().toString(UTF_8));
      if (!addr.equals("-")) {
        System.out.println(idOf(pair) + " " + addr);
      }
    }
  }

  /** Prints what there is, and then each change, until the program is ended. */
  private void watch() throws InterruptedException {
    while (true) {
      try {
        if (next == 0) {
          list();
        }
        follow();
      } catch (CompactedException gone) {
        next = 0; // the difference is found with a new list
      } catch (InterruptedException interrupted) {
        throw interrupted;
      } catch (Throwable error) {
        Options.complain("watch", error);
      }
      Thread.sleep(RETRY_PAUSE_MILLIS);
    }
  }

  /** Makes known what is there now, and prints the difference. */
  private void list() throws Exception {
    GetOption all = GetOption.builder().isPrefix(true).build();
    var answer = await(client.getKVClient().get(bytes(prefix), all));
    Map<String, String> found = new TreeMap<>();
    answer.getKvs().forEach(pair -> found.put(idOf(pair), pair.getValue().toString(UTF_8)));
    known.keySet().stream().filter(id -> !found.containsKey(id)).toList().forEach(this::remove);
    found.forEach(this::put);
    next = answer.getHeader().getRevision() + 1;
  }

  /**
   * Prints changes until the watch ends. The client goes to another member by itself, and goes on
   * where it was.
   */
  private void follow() throws Throwable {
    BlockingQueue<Object> told = new LinkedBlockingQueue<>(); // answers, and at last an error
    WatchOption option = WatchOption.builder().isPrefix(true).withRevision(next).build();
    Watch.Listener listener =
        Watch.listener(told::add, told::add, () -> told.add(new Exception("the watch has ended")));
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes(prefix), option, listener)) {
      while (true) {
        Object one = told.take();
        if (one instanceof Throwable error) {
          throw error;
        }
        for (WatchEvent event : ((WatchResponse) one).getEvents()) {
          KeyValue pair = event.getKeyValue();
          switch (event.getEventType()) {
            case PUT -> put(idOf(pair), pair.getValue().toString(UTF_8));
            case DELETE -> remove(idOf(pair));
            default -> throw new IllegalStateException("an event of no known kind");
          }
          next = pair.getModRevision() + 1; // one answer has all of a revision
        }
      }
    }
  }

  private void put(String id, String value) {
    String before = known.put(id, value);
    if (before == null) {
      System.out.println("UP " + id + " " + addrOf(value));
    } else if (!before.equals(value)) {
      System.out.println("CHANGED " + id + " " + addrOf(value));
    }
  }

  private void remove(String id) {
    if (known.remove(id) != null) {
      System.out.println("DOWN " + id + " - -"); // a plain event has no reason
    }
  }

  private String idOf(KeyValue pair) {
    return pair.getKey().toString(UTF_8).substring(prefix.length());
  }

  /** host:port, or a dash when the value has no address that this program understands. */
  private static String addrOf(String value) {
    try {
      return JsonParser.parseString(value).getAsJsonObject().get("Addr").getAsString();
    } catch (JsonParseException | IllegalStateException | NullPointerException foreign) {
      return "-";
    }
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  /** The client tries again by itself for as long as it is waited for. */
  private <T> T await(CompletableFuture<T> answer) throws Exception {
    return answer.get(options.patienceMillis(), MILLISECONDS);
  }
}
