//! Every bound of the system, each with its reason.

use crate::types::{Millis, Seconds};

/// Largest encoded request, in bytes; etcd's default.
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// What gRPC may receive beyond a request: room for framing, so that a request slightly too large
/// is refused by name instead of by the transport.
pub const REQUEST_OVERHEAD_BYTES: usize = 512 * 1024;
/// Operations in one list of a transaction; etcd's default.
pub const TXN_OPS_MAX: usize = 128;
/// How deep transactions may nest, so that no request can exhaust the stack.
pub const TXN_DEPTH_MAX: usize = 8;

/// Bytes of requests in one raft entry. raft lets a single larger entry pass and drops the next,
/// so the cap is ours. A single request above it gets an entry of its own.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// Requests in one raft entry, so that applying one entry never takes long.
pub const GROUP_REQUESTS_MAX: usize = 4_096;
/// Proposals that wait on one member for the log to take them or to be applied.
pub const PENDING_PROPOSALS_MAX: usize = 16_384;
/// Bytes of those proposals.
pub const PENDING_PROPOSAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Inputs that wait for the raft thread.
pub const DRIVER_QUEUE_MAX: usize = 65_536;
/// Reads that wait on one member for a quorum or for the applied index.
pub const WAITING_READS_MAX: usize = 65_536;
/// Records of an answer up to which a read is small: the task that asks does it by itself.
pub const SMALL_READ_KEYS_MAX: usize = 1_000;
/// Bytes of those records.
pub const SMALL_READ_BYTES_MAX: usize = 1024 * 1024;
/// Large answers of one member that are read or sent at once; an answer is in memory once.
pub const LARGE_READS_MAX: usize = 16;
/// Reads with small answers that may take long, and parts of streamed ones, which are under way at
/// once on one member.
pub const SLOW_READS_MAX: usize = 64;
/// Snapshots that a member sends to clients at once: each reads the whole state.
pub const SNAPSHOTS_MAX: usize = 2;
/// For so long a client may take nothing of its snapshot before its place is given away.
pub const SNAPSHOT_STALL_MAX: Millis = Millis(120_000);
/// Entries committed but not applied beyond which new proposals are refused; etcd's figure.
pub const APPLY_LAG_ENTRIES_MAX: u64 = 5_000;

/// URLs under which others reach a member: they are tried in turn.
pub const PEER_URLS_MAX: usize = 32;

/// Largest raft message of entries, in bytes.
pub const APPEND_MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Append messages on the way to one member.
pub const APPENDS_INFLIGHT_MAX: usize = 256;
/// Bytes appended by a leader but not committed.
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of committed entries handed to the applier at once.
pub const COMMITTED_BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of the log's newest entries kept in memory; older ones are read from disk.
pub const LOG_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of log that may be applied but not flushed into the state's files: it bounds the replay
/// at start.
pub const UNFLUSHED_LOG_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// Bytes of flushed log kept for members that lag, before they need a snapshot.
pub const LAGGARD_LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes that a file system must have left when the disk alone limits the store: room for a flush,
/// for a step of a compaction, and for a file of the log.
pub const DISK_RESERVE_BYTES: u64 = 192 * 1024 * 1024;
/// On a small file system it is one part of this many.
pub const DISK_RESERVE_SHARE: u64 = 4;
/// Bytes above the reserve with which a disk that was full counts as having room: what clients write
/// until the next look must not fill it again.
pub const DISK_RECOVERED_BYTES: u64 = 32 * 1024 * 1024;
/// On a small file system it is one part of this many.
pub const DISK_RECOVERED_SHARE: u64 = 16;
/// Bytes that a file system must have left for files to be rewritten: a step writes anew before the
/// old ones go, and the log goes on meanwhile.
pub const RECLAIM_ROOM_BYTES: u64 = 160 * 1024 * 1024;
/// On a small file system it is one part of this many.
pub const RECLAIM_ROOM_SHARE: u64 = 8;
/// Logical bytes of garbage from which files are rewritten without being asked.
pub const GARBAGE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Messages that wait for one member; further ones are dropped, which raft allows.
pub const PEER_QUEUE_MAX: usize = 4_096;
/// Largest message between members, in bytes: a full append and its frame.
pub const PEER_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one chunk of a snapshot file.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of messages that wait for one member; further ones are dropped.
pub const PEER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of snapshots that a member sends a second unless it is told otherwise: a gigabyte in a
/// quarter of a minute, and a fraction of what a disk and a network take.
pub const SNAPSHOT_SEND_RATE: u64 = 64 * 1024 * 1024;
/// Files of one snapshot; the engine makes files of 8 MiB and more.
pub const SNAPSHOT_FILES_MAX: usize = 65_536;
/// Bytes of one snapshot: far above what a store like this holds, so that only a sender gone wrong
/// meets it.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 << 40;

/// Client connections of one member at once; less when the limit of open files is low, since
/// the engines need files too.
pub const CLIENT_CONNECTIONS_MAX: u64 = 32_768;
/// Connections to the peer listener at once: a few for each member, and room for retries.
pub const PEER_CONNECTIONS_MAX: u64 = 1_024;
/// Calls of one client connection at once. Watches and keep-alives each hold one, so it is far
/// above gRPC's customary hundred. It bounds calls, not the bytes of answers that a client does not
/// take.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 65_536;
/// Bytes of the headers of one request.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of one stream that wait to be written to its connection.
pub const STREAM_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams of a connection that their client reset before we looked at them, and that we reset
/// because of the client: beyond it the connection is closed. A client that cancels all its calls
/// at once stays below; a flood of resets does not.
pub const RESET_STREAMS_MAX: usize = 4_096;

/// Revisions that the watch hub keeps in memory; a watcher further behind reads history.
pub const WATCH_RECENT_REVISIONS_MAX: usize = 8_192;
/// Bytes of events that the watch hub keeps in memory, their encodings included.
pub const WATCH_RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events of the recent revisions that groups of watchers want, each counted for each group.
pub const WATCH_MATCHES_MAX: usize = 1_000_000;
/// Bytes of history that watchers which catch up share, their encodings included.
pub const WATCH_HISTORY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of history that are read at once, unless one revision or one response has more. Many
/// revisions of a key are found as fast as one, so a piece is large.
pub const WATCH_PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Revisions that are read at once.
pub const WATCH_PIECE_REVISIONS_MAX: usize = 32_768;
/// Revisions that a watcher of a single key must be behind for the past of its key to be read apart:
/// fewer are read faster for all together.
pub const WATCH_FAR_REVISIONS: i64 = 4_096;
/// Versions of a key that are read apart; one that has more is found in what is read for all.
pub const WATCH_KEY_VERSIONS_MAX: usize = 1_000;
/// Keys of which a watch stream wants the past at a time.
pub const WATCH_KEYS_WANTED_MAX: usize = 256;
/// Keys of which the past is read at once.
pub const WATCH_KEYS_READ_MAX: usize = 512;
/// Revisions in one watch response while a watcher catches up; etcd's figure.
pub const WATCH_RESPONSE_REVISIONS_MAX: usize = 1_000;
/// Bytes that a watch stream puts together at a time, and that revisions which waited for room travel
/// together in, unless one revision has more. Measured as the best size on one connection.
pub const WATCH_CHUNK_BYTES: usize = 16 * 1024;
/// Bytes of events in one watch response while a watcher catches up, unless one revision has more.
pub const WATCH_CATCH_UP_BYTES_MAX: usize = 128 * 1024;
/// The same for a watcher whose client takes responses in pieces.
pub const WATCH_FRAGMENTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an event up to which it is copied into the chunk of each stream; a larger one is sent as
/// it lies, shared between streams.
pub const WATCH_COPIED_EVENT_BYTES_MAX: usize = 8 * 1024;
/// Requests of a watch stream that are carried out before its events have a turn.
pub const WATCH_REQUESTS_PER_TURN_MAX: usize = 64;
/// Watchers on one stream.
pub const WATCHERS_PER_STREAM_MAX: usize = 1_000_000;

/// Longest time to live of a lease; etcd's figure.
pub const LEASE_TTL_MAX: Seconds = Seconds(9_000_000_000);
/// Keys that leases whose time ran out delete in one entry of the log, unless one lease has more: so
/// other requests get in between. Also the checkpoints of leases in one entry.
pub const LEASE_KEYS_PER_ENTRY_MAX: usize = 1_000;
/// The same while others have requests, which wait for what is applied before them. Fifty thousand
/// leases and three members in one session on two processors: with 40 and 52 they are gone after 2.3
/// to 3.2 s, and puts take at most 2.4 times as long meanwhile; with 64 it is 2.2 to 2.5 s and up to
/// 8 times.
pub const LEASE_KEYS_AMONG_OTHERS_MAX: usize = 40;
/// Leases that the lease clock looks at in one go.
pub const LEASE_STEPS_MAX: usize = 20_000;
/// After this silence the log is told how long a lease has left; etcd's figure.
pub const LEASE_CHECKPOINT_AFTER: Millis = Millis(300_000);
/// Renewals of one stream that are answered together; the stream reads no further meanwhile.
pub const RENEWALS_PER_BATCH_MAX: usize = 1_024;
/// Renewals that are confirmed together, or go to the leader in one message.
pub const RENEWALS_PER_ROUND_MAX: usize = 8_192;
/// Leases for which the lease clock is held at a time, because the applier needs it too.
pub const RENEWALS_PER_LOCK_MAX: usize = 1_000;
/// Renewals that wait on one member.
pub const RENEWALS_WAITING_MAX: usize = 1 << 20;
/// Messages of renewals on the way to the leader: while it confirms one, the next one travels.
pub const RENEWAL_FORWARDS_MAX: usize = 2;
/// Messages of renewals of one member that the leader looks at together.
pub const RENEWAL_FORWARDS_TAKEN_MAX: usize = 16;
/// Leases in one command of remaining times.
pub const LEASES_PER_CHECKPOINT_MAX: usize = 4_096;

/// What a put counts for where space is checked, beside its bytes; etcd's figure.
pub const PUT_COST_BASE: u64 = 256;
/// What a lease counts for there; etcd's figure.
pub const LEASE_COST: u64 = 64;

/// For so long a lock or an election tries to take away what a call has left that came to nothing:
/// as long as the lease lives that it gets when it brings none.
pub const RECIPE_LEAVE_WITHIN: Millis = Millis(60_000);

/// Bytes of a peer URL.
pub const PEER_URL_BYTES_MAX: usize = 1024;
/// Senders that are in no list of members yet and are heard all the same, at a time.
pub const UNLISTED_PEERS_MAX: usize = 16;

/// Added to two election timeouts it bounds how long a request may take; etcd's figure.
pub const REQUEST_TIMEOUT_BASE: Millis = Millis(5_000);
/// After this time an unanswered read-index round is asked again with a new context.
pub const READ_INDEX_RETRY: Millis = Millis(500);

/// How often members compare their data.
pub const COMPARE_STATES_EVERY: Millis = Millis(300_000);

/// Keys in one bucket of the exact counts.
pub const COUNT_BUCKET_KEYS_MAX: u64 = 2_048;
/// Buckets under one upper bucket of the exact counts.
pub const COUNT_FANOUT_MAX: u64 = 512;
/// Changes of a count that its record carries along, before they are put away together: a record
/// stays small, and one in so many changes writes a further one.
pub const COUNT_CHANGES_MAX: usize = 8;

/// Tags of an instance: it is found by a few words.
pub const INSTANCE_TAGS_MAX: usize = 64;
/// Ports of an instance beside its main one.
pub const INSTANCE_PORTS_MAX: usize = 32;
/// Entries of an instance's metadata, which every reader of its service is sent.
pub const INSTANCE_METADATA_MAX: usize = 64;
/// Characters of the name of such an entry; Prometheus makes a label of it.
pub const INSTANCE_METADATA_NAME_LEN_MAX: usize = 128;
/// Bytes of the value of such an entry.
pub const INSTANCE_METADATA_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Characters of a version, a zone, a tag and an address: as many as a name has.
pub const INSTANCE_TEXT_LEN_MAX: usize = 253;
/// Bytes of an instance as it is stored: thousands of one service are in memory together.
pub const INSTANCE_BYTES_MAX: usize = 64 * 1024;
/// Instances of a session: its record names all of them, and is written anew for each.
pub const SESSION_INSTANCES_MAX: usize = 1_000;
/// The longest time to live of what is registered: a day after its process nothing is left of it.
pub const REGISTRATION_TTL_MAX: Seconds = Seconds(86_400);
/// The time to live of what asks for none.
pub const REGISTRATION_TTL_DEFAULT: Seconds = Seconds(15);
/// How often a write to the registry is tried that others always get in between of. Of those that
/// write the same thing at the same time one succeeds each time.
pub const REGISTRY_TRIES_MAX: u32 = 64;

/// Bytes of memory for what readers of the registry are told, unless another bound is set: well above
/// a hundred thousand instances.
pub const REGISTRY_VIEW_BYTES: u64 = 256 * 1024 * 1024;
/// Revisions with changes of the registry that followers share; one further behind reads history.
pub const REGISTRY_RECENT_REVISIONS_MAX: usize = 8_192;
/// Bytes of memory of these, about.
pub const REGISTRY_RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of memory for what followers that read history have of their own, all together.
pub const REGISTRY_CATCH_UP_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Followers of the registry that read what history begins with, at once.
pub const REGISTRY_CATCH_UPS_MAX: usize = 8;
/// How long a follower may take over the snapshot that it begins with: it keeps what has changed since
/// as it was.
pub const REGISTRY_SNAPSHOT_WITHIN: Millis = Millis(300_000);
/// Instances of services that are read from the store for readers at once: what memory does not have.
pub const REGISTRY_RESOLVES_MAX: usize = 16;
/// Revisions behind which the registry's view is loaded again: that is faster than reading what
/// happened in between.
pub const REGISTRY_FAR_REVISIONS: i64 = 100_000;
/// Lists of all services at a revision that are remembered, for who asks for further pages.
pub const REGISTRY_LISTINGS_MAX: usize = 16;
/// Services in these lists, all together.
pub const REGISTRY_LISTED_MAX: usize = 1_000_000;
/// Lists of all services that are made from the store at once: each reads all instances.
pub const REGISTRY_CENSUSES_MAX: usize = 2;

/// Bytes of a JSON request that is too large which are read all the same, and kept nowhere.
pub const GATEWAY_PASSED_OVER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of what a watcher of the registry is told in one answer, unless one instance has more: large
/// enough for thousands of small instances, small enough for a client's buffer.
pub const REGISTRY_ANSWER_BYTES: usize = 256 * 1024;
/// Services on a page when none is asked for.
pub const SERVICES_PER_PAGE_DEFAULT: usize = 100;
/// Services on a page.
pub const SERVICES_PER_PAGE_MAX: usize = 1_000;
/// How long a request over HTTP waits for a change that does not say.
pub const BLOCKING_QUERY_WAIT_DEFAULT: Millis = Millis(300_000);
/// How long it waits at most, so that one whose client is gone without a word ends.
pub const BLOCKING_QUERY_WAIT_MAX: Millis = Millis(600_000);
