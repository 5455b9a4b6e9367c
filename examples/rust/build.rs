//! Makes the stubs of registry.proto, without a `protoc` on the machine.

use std::error::Error;

const ROOT: &str = "../../proto";
const FILE: &str = "quorate/registry/v1/registry.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}/{FILE}");
    let files = protox::compile([FILE], [ROOT])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
