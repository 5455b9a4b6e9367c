//! Compiles every `.proto` under `proto/` to Rust, without a `protoc` on the machine.
//!
//! The output is what `src/proto.rs` includes: one module for each proto package, with servers and
//! clients, and the descriptors of everything, for whoever needs the shape of messages at run time.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

/// Both the folder that is searched and the root that imports are relative to.
const PROTO_ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PROTO_ROOT}");

    let mut compiler = protox::Compiler::new([PROTO_ROOT])?;
    compiler.include_imports(true);
    compiler.open_files(proto_files(Path::new(PROTO_ROOT))?)?;

    #[expect(clippy::disallowed_methods, reason = "how cargo tells a build script where to write")]
    let out_dir = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let descriptors = Path::new(&out_dir).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    // From here on with the comments of the sources, which become doc comments.
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .build_transport(true)
        .bytes(".") // keys and values are shared from the receive buffer on, never copied
        .btree_map(".") // hash maps would bring an order of their own
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The `.proto` files below `dir`, in the order of their names; none if there is no such folder.
fn proto_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        if !dir.try_exists()? {
            continue;
        }
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
