//! `snapshot restore`: the data directory of a member of a new cluster.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{ArgAction, Args};

use crate::{
    backup::HashCheck,
    cli::{Error, error::Exit},
    config::{self, Inputs},
    server::{self, Restoration, Restored},
};

/// The flags of etcdutl.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
pub(in crate::cli) struct RestoreArgs {
    /// The snapshot
    pub(in crate::cli) file: PathBuf,
    /// Where to make the data directory; it must be empty or not be there
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data_dir: Option<String>,
    /// Not used: the log lies in the data directory
    #[arg(long, value_name = "DIR")]
    wal_dir: Option<String>,
    /// The name of the member
    #[arg(long, default_value = "default")]
    pub(in crate::cli) name: String,
    /// The members of the new cluster: name=peer-url, separated by commas
    #[arg(long, value_name = "MEMBERS")]
    initial_cluster: Option<String>,
    /// Keeps clusters apart that begin with the same members
    #[arg(long, value_name = "TEXT", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// The peer URLs of the member
    #[arg(long, value_name = "URLS", default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: String,
    /// Do not look at the SHA-256 at the end of the snapshot; other checksums are looked at
    #[arg(long, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true")]
    skip_hash_check: bool,
    /// Raise the revision by this much
    #[arg(long, value_name = "N", default_value_t = 0)]
    bump_revision: u64,
    /// Give up all history (required with --bump-revision, and refused without)
    #[arg(long, action = ArgAction::Set, value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true")]
    mark_compacted: bool,
    /// Not used
    #[arg(long, hide = true)]
    initial_memory_map_size: Option<u64>,
}

/// What the flags ask for. `data_dir` is where the directory is made if they do not say.
pub(in crate::cli) fn to_restore(
    args: &RestoreArgs,
    data_dir: Option<String>,
) -> Result<Restoration, Error> {
    if (args.bump_revision > 0) != args.mark_compacted {
        let what = "--mark-compacted required if --revision-bump > 0";
        return Err(Error::new(Exit::Usage, what));
    }
    if args.wal_dir.is_some() {
        let _ = writeln!(io::stderr(), "--wal-dir is not used: the log lies in the data directory");
    }
    let given = [
        ("name", Some(args.name.clone())),
        ("data-dir", args.data_dir.clone().or(data_dir)),
        ("initial-cluster", args.initial_cluster.clone()),
        ("initial-cluster-token", Some(args.initial_cluster_token.clone())),
        ("initial-advertise-peer-urls", Some(args.initial_advertise_peer_urls.clone())),
    ];
    let flags = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
    let config = config::load(&inputs).map_err(Error::failed)?.config;
    Ok(Restoration {
        snapshot: args.file.clone(),
        config,
        hash_check: if args.skip_hash_check { HashCheck::Skipped } else { HashCheck::Required },
        bump: args.bump_revision,
    })
}

pub(in crate::cli) fn restore(
    restoration: &Restoration,
    environment: &[(String, String)],
) -> Result<Restored, Error> {
    if let Some((_, text)) = environment.iter().find(|(name, _)| name == "FAILPOINTS") {
        server::arm_fail_points(text).map_err(Error::failed)?;
    }
    let restored = server::restore(restoration).map_err(Error::failed)?;
    if restored.is_suspect {
        writeln!(
            io::stderr(),
            "warning: the data of the member that sent this snapshot were known to be wrong (alarm \
             CORRUPT): use that of another member if there is one"
        )?;
    }
    Ok(restored)
}

/// What was done, in a sentence.
pub(super) fn sentence(restoration: &Restoration, restored: &Restored) -> String {
    format!(
        "Snapshot restored to {}: member {} ({}) of cluster {}, {} keys at revision {}",
        restoration.config.data_dir.display(),
        restoration.config.name,
        restored.member,
        restored.cluster,
        restored.head.keys,
        restored.revision
    )
}
