package dev.quorate.examples;

import java.util.List;
import java.util.concurrent.CountDownLatch;

/** What both examples share: the command line, and how they are told to end. */
record Options(
    String command,
    List<String> endpoints,
    String namespace,
    String service,
    String id,
    String host,
    int port,
    int ttl) {

  static Options parse(String[] args) {
    String command = args.length > 0 ? args[0] : "";
    if (!List.of("register", "resolve", "watch").contains(command)) {
      throw usage("give one of register, resolve, watch");
    }
    String endpoints = "127.0.0.1:2379";
    String namespace = "default";
    String service = "";
    String id = "";
    String addr = "";
    int ttl = 15;
    for (int at = 1; at < args.length; at += 2) {
      if (at + 1 == args.length) {
        throw usage(args[at] + " has no value");
      }
      String value = args[at + 1];
      switch (args[at]) {
        case "--endpoints" -> endpoints = value; // members, host:port,...
        case "--namespace" -> namespace = value;
        case "--service" -> service = value;
        case "--id" -> id = value; // of the instance; its address when left out
        case "--addr" -> addr = value; // host:port where the instance is called
        case "--ttl" -> ttl = Integer.parseInt(value); // seconds that it outlives its process
        default -> throw usage("what is " + args[at] + "?");
      }
    }
    if (service.isEmpty()) {
      throw usage("--service is missing");
    }
    String host = "";
    int port = 0;
    if (command.equals("register")) {
      int colon = addr.lastIndexOf(':');
      if (colon <= 0) {
        throw usage("--addr has to be host:port");
      }
      host = addr.substring(0, colon).replaceAll("[\\[\\]]", "");
      port = Integer.parseInt(addr.substring(colon + 1));
    }
    return new Options(
        command,
        List.of(endpoints.split(",")),
        namespace,
        service,
        id.isEmpty() ? addr : id,
        host,
        port,
        ttl);
  }

  private static IllegalArgumentException usage(String message) {
    return new IllegalArgumentException(message);
  }

  /** A member that does not answer in this time is left: there is still some to ask another one. */
  long patienceMillis() {
    return Math.max(1000, ttl * 500L);
  }

  /** host:port, or a dash when there is no host. */
  static String join(String host, int port) {
    if (host.isEmpty()) {
      return "-";
    }
    return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
  }

  /** Opens when the program is told to end. The Java machine then waits for the calling thread. */
  static CountDownLatch endOnSignals() {
    CountDownLatch end = new CountDownLatch(1);
    Thread caller = Thread.currentThread();
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  end.countDown();
                  try {
                    caller.join();
                  } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                  }
                }));
    return end;
  }

  static void complain(String doing, Throwable error) {
    System.err.println(doing + ": " + error);
  }
}
