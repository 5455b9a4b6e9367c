//! Programs in other languages, which `tests/clients/build.sh` builds.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

/// The first build fetches modules and compiles them.
const BUILD: Duration = Duration::from_secs(900);

/// Builds a program and returns where it is, or says that it is skipped.
pub(crate) async fn program(name: &str) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/build.sh");
    let mut command = Command::new(script);
    command.arg(name).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(BUILD, command.output()).await.expect("the build ends").unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} cannot be built:\n{stderr}");
    let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    if path.is_empty() {
        eprintln!("SKIPPED: {name}: {}", stderr.trim());
        return None;
    }
    Some(path)
}
