//! `quorate service`: what is registered, who runs it, and who looks.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use crate::harness::{Cluster, Finished, Following, Port, eventually, finish, quorate, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// `quorate service` with these words, told where the cluster is.
fn service(cluster: &Cluster, line: &str) -> Command {
    let mut command = quorate();
    command.env("QUORATE_ENDPOINTS", cluster.endpoints()).arg("service").args(words(line));
    command
}

/// The same with a shell script as the program to run.
fn supervised(cluster: &Cluster, line: &str, script: &str) -> Command {
    let mut command = service(cluster, line);
    command.args(["--", "sh", "-c", script]);
    command
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

async fn run(cluster: &Cluster, line: &str) -> String {
    finish(service(cluster, line)).await.ok()
}

/// A watch of everything, which has begun.
async fn watch(cluster: &Cluster) -> Following {
    let watch = cluster.follow(service(cluster, "watch"), "watch");
    run(cluster, "register begun --addr h:1 --once --ttl 60").await;
    watch.line(SOON, |line| line.ends_with(" UP default/begun/h:1 h:1")).await;
    watch
}

/// Waits for a line of a watch, which begins with a revision.
async fn seen(watch: &Following, what: &str) {
    let is_it = |line: &str| line.split_once(' ').is_some_and(|(_, told)| told == what);
    watch.line(SOON, is_it).await;
}

async fn send(signal: &str, process: u32) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s $0 $1", signal, &process.to_string()]);
    assert!(shell.status().await.unwrap().success(), "{process} is gone before {signal}");
}

async fn ended(following: &mut Following) -> Option<i32> {
    within("the end of a command", SOON, following.child.wait()).await.unwrap().code()
}

/// A process of somebody else, which is killed at the end of a test however that comes.
struct Stray(u32);

impl Drop for Stray {
    fn drop(&mut self) {
        let kill = format!("kill -s KILL {}", self.0);
        let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
    }
}

/// Operators see what is there and take instances out of service; each line is as documented.
#[tokio::test]
async fn instances_are_listed_resolved_and_drained() {
    let cluster = Cluster::start(1).await;
    let run = async |line: &str| run(&cluster, line).await;

    let told =
        run("register web --addr 10.0.0.7:80 --once --ttl 60 --tag b --tag a --zone z1").await;
    assert!(told.starts_with("default/web/10.0.0.7:80 registered at revision "), "{told}");
    assert!(told.ends_with(" with TTL(60s)\n"), "{told}");
    run("register web --addr [::1]:80 --id six --once --ttl 60 --version v2 --meta k=v").await;
    run("register db --addr h:1 --namespace prod --once --ttl 60").await;

    assert_eq!(run("list").await, "default/web, 2, 2\nprod/db, 1, 1\n");
    assert_eq!(run("list --prefix d").await, "prod/db, 1, 1\n");
    let table = "SERVICE  INSTANCES  ENABLED\nprod/db  1          1\n";
    assert_eq!(run("list --namespace prod --all-pages -w table").await, table);
    assert_eq!(run("resolve web").await, "10.0.0.7:80\n[::1]:80\n");
    assert_eq!(run("resolve web --linearizable --limit 1").await, "10.0.0.7:80\n");
    assert_eq!(run("resolve web --tag a --tag b").await, "10.0.0.7:80\n");
    assert_eq!(run("resolve web --version v2 --meta k=v").await, "[::1]:80\n");
    assert_eq!(run("resolve web --prefer-zone z1").await, "10.0.0.7:80\n");
    assert_eq!(run("resolve web --zone elsewhere").await, "");
    assert_eq!(run("resolve nothing").await, "");

    assert!(run("drain web --id six").await.starts_with("default/web/six drained at revision "));
    assert_eq!(run("drain web --id six").await, "default/web/six was drained already\n");
    assert_eq!(run("resolve web").await, "10.0.0.7:80\n");
    assert_eq!(run("list --prefix w").await, "default/web, 2, 1\n");
    assert!(
        run("weigh web --id six 7").await.starts_with("default/web/six weighed 7 at revision ")
    );
    let shown = run("show web").await;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("10.0.0.7:80, 10.0.0.7:80, enabled, -, 100, -, z1, a b, lease "));
    assert!(lines[1].starts_with("six, [::1]:80, disabled, overridden, 7, v2, -, -, lease "));
    assert!(run("enable web --id six").await.starts_with("default/web/six enabled at revision "));
    assert_eq!(run("enable web --id six").await, "default/web/six had no override\n");
    let json = run("resolve web --version v2 -w json").await;
    assert!(json.starts_with(r#"{"revision":""#) && json.contains(r#""weight":100"#), "{json}");

    assert_eq!(
        run("deregister web --id six --lease 7").await,
        "default/web/six was not registered\n"
    );
    let told = run("deregister web --id six").await;
    assert!(told.starts_with("default/web/six deregistered at revision "), "{told}");
    assert_eq!(run("deregister web --id six").await, "default/web/six was not registered\n");
    assert_eq!(run("resolve web").await, "10.0.0.7:80\n");
}

/// The command ends as its program did, and the instance is gone.
#[tokio::test]
async fn it_ends_as_its_program_does() {
    let cluster = Cluster::start(1).await;
    let watch = watch(&cluster).await;

    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -s KILL $$", 137)] {
        let line = format!("register web --addr h:{}", code + 1);
        let ended = finish(supervised(&cluster, &line, script)).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let name = format!("default/web/h:{0} h:{0}", code + 1);
        seen(&watch, &format!("UP {name}")).await;
        seen(&watch, &format!("DOWN {name} DEREGISTERED")).await;
    }

    // The program's output is its own.
    let said = finish(supervised(&cluster, "register web --addr h:1", "echo hello")).await;
    assert_eq!(said.stdout, "hello\n");
    assert!(
        said.stderr.starts_with("quorate: default/web/h:1 registered at revision "),
        "{said:?}"
    );
}

/// What cannot be run is not registered, and what cannot be registered is not run.
#[tokio::test]
async fn neither_is_done_without_the_other() {
    let cluster = Cluster::start(1).await;
    let watch = watch(&cluster).await;
    let before = watch.output();
    let with = async |line: &str, program: &Path| {
        let mut command = service(&cluster, line);
        command.arg("--").arg(program);
        finish(command).await
    };

    let missing = with("register web --addr h:1", Path::new("/nowhere/program")).await;
    assert_eq!(missing.code, Some(127));
    let start = "Error: /nowhere/program cannot be run: No such file or directory";
    assert!(missing.stderr.starts_with(start), "{missing:?}");
    let text = cluster.path("n1.log");
    let refused: Finished = with("register web --addr h:1", &text).await;
    assert_eq!(refused.code, Some(126), "{refused:?}");

    run(&cluster, "register web --addr h:2 --id a --once --ttl 60").await;
    seen(&watch, "UP default/web/a h:2").await;
    let trace = cluster.path("trace");
    let script = format!("echo ran > {}", trace.display());
    let held = finish(supervised(&cluster, "register web --addr h:3 --id a", &script)).await;
    assert_eq!(held.code, Some(1));
    let start = "Error: instance default/web/a is held by lease ";
    assert!(held.stderr.starts_with(start), "{held:?}");
    assert!(!trace.exists(), "the program ran");
    assert_eq!(watch.output().lines().count(), before.lines().count() + 1, "{}", watch.output());

    let line = "register web --addr h:3 --id a --takeover";
    assert_eq!(finish(supervised(&cluster, line, &script)).await.code, Some(0));
    assert!(trace.exists());
    seen(&watch, "CHANGED default/web/a h:3").await;
    seen(&watch, "DOWN default/web/a h:3 DEREGISTERED").await;
}

/// Each signal reaches the program, once; what it makes of it is its own business.
#[tokio::test]
async fn signals_reach_the_program() {
    let cluster = Cluster::start(1).await;
    let script = "for s in HUP INT QUIT USR1 USR2; do trap \"echo got-$s\" $s; done
        trap 'echo got-TERM; exit 3' TERM
        echo ready; while :; do sleep 0.02; done";
    let command = supervised(&cluster, "register web --addr h:1", script);
    let mut supervisor = cluster.follow(command, "supervisor");
    supervisor.line(SOON, |line| line == "ready").await;

    let id = supervisor.child.id().unwrap();
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM"] {
        send(signal, id).await;
        let got = format!("got-{signal}");
        supervisor.line(SOON, |line| line == got).await;
    }
    assert_eq!(ended(&mut supervisor).await, Some(3));
    let output = supervisor.output();
    assert_eq!(output.matches("got-").count(), 6, "{output}");
    assert_eq!(run(&cluster, "resolve web --linearizable").await, "");
}

/// Without a program the instance is there until the command is told to end.
#[tokio::test]
async fn without_a_program_it_waits_for_a_signal() {
    let cluster = Cluster::start(1).await;
    let watch = watch(&cluster).await;
    for (signal, port) in [("TERM", 1), ("INT", 2)] {
        let line = format!("register web --addr h:{port} --ttl 60");
        let mut waiting = cluster.follow(service(&cluster, &line), "waiting");
        let told = waiting.line(SOON, |line| line.contains(" registered at revision ")).await;
        assert!(told.starts_with(&format!("default/web/h:{port} ")), "{told}");

        send(signal, waiting.child.id().unwrap()).await;
        assert_eq!(ended(&mut waiting).await, Some(0));
        seen(&watch, &format!("DOWN default/web/h:{port} h:{port} DEREGISTERED")).await;
    }
}

/// A server is found by its name for as long as it runs.
#[tokio::test]
async fn a_web_server_is_found_by_its_name() {
    if Command::new("python3").arg("--version").output().await.is_err() {
        eprintln!("SKIPPED: there is no python3");
        return;
    }
    let cluster = Cluster::start(1).await;
    let port = Port::free();
    let line = format!("register web --addr {} --ttl 2", port.authority());
    let mut command = service(&cluster, &line);
    command.args(["--", "python3", "-m", "http.server", "--bind", "127.0.0.1"]);
    command.arg(port.number().to_string()).current_dir(cluster.path(""));
    let mut server = cluster.follow(command, "server");

    let found = eventually("the server to be found", SOON, async || {
        let found = run(&cluster, "resolve web").await;
        (!found.is_empty()).then(|| found.trim().to_owned())
    })
    .await;
    let answer = eventually("the server to answer", SOON, async || {
        let mut stream = TcpStream::connect(&found).await.ok()?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");

    send("INT", server.child.id().unwrap()).await;
    // It says goodbye to a key pressed, and ends in order.
    assert_eq!(ended(&mut server).await, Some(0), "{}", server.output());
    assert_eq!(run(&cluster, "resolve web --linearizable").await, "");
}

/// When the supervisor is killed its instance expires within its TTL and a second. That is measured
/// with what is registered for so long once it is dead: however slow the machine, that expires later.
#[tokio::test]
async fn a_killed_supervisor_leaves_its_instance_to_its_ttl() {
    let cluster = Cluster::start(3).await;
    let watch = watch(&cluster).await;
    let line = "register web --addr h:1 --ttl 2";
    let command = supervised(&cluster, line, "echo pid $$; exec sleep 1000");
    let mut supervisor = cluster.follow(command, "supervisor");
    let told = supervisor.line(SOON, |line| line.starts_with("pid ")).await;
    let stray = Stray(told.trim_start_matches("pid ").parse().unwrap());
    seen(&watch, "UP default/web/h:1 h:1").await;

    supervisor.child.kill().await.unwrap();
    run(&cluster, "register mark --addr h:2 --once --ttl 3").await;
    seen(&watch, "DOWN default/mark/h:2 h:2 EXPIRED").await;
    let output = watch.output();
    let [web, mark] = ["web/h:1 h:1", "mark/h:2 h:2"]
        .map(|name| output.find(&format!(" DOWN default/{name} EXPIRED")).unwrap_or(usize::MAX));
    assert!(web < mark, "{output}");
    // The program is left alone.
    assert!(Path::new(&format!("/proc/{}", stray.0)).exists());
}

/// An instance that somebody removes comes back as long as its supervisor lives, who says so.
#[tokio::test]
async fn a_removed_instance_comes_back() {
    let cluster = Cluster::start(1).await;
    let watch = watch(&cluster).await;
    let line = "register web --addr h:1 --ttl 3";
    let mut supervisor =
        cluster.follow(supervised(&cluster, line, "exec sleep 1000"), "supervisor");
    seen(&watch, "UP default/web/h:1 h:1").await;

    run(&cluster, "deregister web --id h:1").await;
    seen(&watch, "DOWN default/web/h:1 h:1 DEREGISTERED").await;
    let told = " default/web/h:1 was gone, and is registered again";
    supervisor.line(SOON, |line| line.ends_with(told)).await;
    assert_eq!(run(&cluster, "resolve web --linearizable").await, "h:1\n");

    send("TERM", supervisor.child.id().unwrap()).await;
    assert_eq!(ended(&mut supervisor).await, Some(143));
    assert_eq!(run(&cluster, "resolve web --linearizable").await, "");
    assert_eq!(watch.output().matches(" UP default/web/").count(), 2, "{}", watch.output());
}

/// A process that comes back under its session finds its instance, and nobody notices.
#[tokio::test]
async fn a_session_outlives_its_process() {
    let cluster = Cluster::start(3).await;
    let watch = watch(&cluster).await;
    let register = || service(&cluster, "register web --addr h:1 --ttl 30 --session s-1");
    let mut first = cluster.follow(register(), "first");
    first.line(SOON, |line| line.starts_with("default/web/h:1 registered ")).await;
    seen(&watch, "UP default/web/h:1 h:1").await;

    first.child.kill().await.unwrap();
    let mut second = cluster.follow(register(), "second");
    second.line(SOON, |line| line.starts_with("default/web/h:1 is registered already ")).await;
    send("TERM", second.child.id().unwrap()).await;
    assert_eq!(ended(&mut second).await, Some(0));
    seen(&watch, "DOWN default/web/h:1 h:1 DEREGISTERED").await;

    assert_eq!(watch.output().matches("default/web/h:1").count(), 2, "{}", watch.output());
}

/// Neither the death of a leader nor a while without any member ends a program, or takes more from
/// watchers than what really happened.
#[tokio::test]
async fn a_registration_outlives_members() {
    let mut cluster = Cluster::start(3).await;
    let watch = watch(&cluster).await;
    let line = "register web --addr h:1 --ttl 3";
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let mut supervisor = cluster.follow(supervised(&cluster, line, script), "supervisor");
    supervisor.line(SOON, |line| line == "ready").await;
    seen(&watch, "UP default/web/h:1 h:1").await;

    let leader = cluster.leader().await;
    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    cluster.leader().await;
    // When this one has expired, so would have the other, had nobody renewed it.
    run(&cluster, "register mark --addr h:2 --once --ttl 4").await;
    seen(&watch, "DOWN default/mark/h:2 h:2 EXPIRED").await;
    assert_eq!(run(&cluster, "resolve web --linearizable").await, "h:1\n");

    cluster.kill_all_that_run().await;
    let troubled = |line: &str| line.contains(" cannot be renewed, and is tried again: ");
    supervisor.line(SOON, troubled).await;
    for index in 0..cluster.len() {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    supervisor.line(SOON, |line| line.ends_with(" registered again")).await;
    send("TERM", supervisor.child.id().unwrap()).await;
    assert_eq!(ended(&mut supervisor).await, Some(0));
    seen(&watch, "DOWN default/web/h:1 h:1 DEREGISTERED").await;

    let output = watch.output();
    let of_web: Vec<&str> = output.lines().filter(|line| line.contains("/web/")).collect();
    assert_eq!(of_web.len(), 2, "{output}");
    assert_eq!(supervisor.output().matches(" cannot be renewed").count(), 1);
}

/// Nobody waits for ever for a cluster that is not there, and the program is not run.
#[tokio::test]
async fn without_a_cluster_nothing_is_run() {
    let free = Port::free();
    let mut command = quorate();
    command.args(["service", "register", "web", "--addr", "h:1", "--command-timeout", "1s"]);
    command.args(["--endpoints", &free.authority(), "--", "echo", "ran"]);

    let failed = finish(command).await;

    assert_eq!((failed.code, failed.stdout.as_str()), (Some(2), ""));
    let start = format!("Error: cannot connect to {}: ", free.authority());
    assert!(failed.stderr.starts_with(&start), "{failed:?}");
}
