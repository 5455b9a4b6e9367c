//! How RocksDB is set up.
//!
//! No write-ahead log: the raft log is one already. Hence `atomic_flush`, without which a crash
//! could leave the families at different commits. Memory is bounded in two places, one block cache
//! and one budget for unflushed writes, both for all families together.
//!
//! What flushes and compactions write is not limited. The engine's limiter tunes itself from a
//! twentieth of its limit upwards by a twentieth a second; until it had caught up with large values,
//! clients waited for flushes: 100 kB each came at a tenth of the rate, with a p99 of 2 s.
//!
//! Indexes and filters are cut into partitions of a few KiB, which come and go in the cache like any
//! other block. A whole index of a file grows to a large part of a cache shard; a few million keys
//! were then enough for each read to load and decompress one, and writes fell to a fiftieth.

use std::sync::Arc;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DataBlockIndexType, LogLevel, Options,
};

use crate::{
    node::fail_points,
    state::Family,
    storage::store::{
        filter::{self, CompactedMark},
        pace::Pace,
    },
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// What a file gathers before it is written: little, so that whoever waits for the disk or the
/// processor meanwhile waits for a moment.
const FILE_BUFFER_BYTES: u64 = 128 * 1024;

/// Memory of the state store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Cached blocks of files, their indexes and filters included.
    pub block_cache_bytes: usize,
    /// Writes that are not flushed yet.
    pub write_buffer_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let buffer = fail_points::size("write-buffer-bytes", 64 * MIB as u64);
        Self {
            block_cache_bytes: 128 * MIB,
            write_buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
        }
    }
}

/// What the databases of one store share.
pub(super) struct Shared {
    options: StoreOptions,
    cache: Cache,
}

impl Shared {
    pub(super) fn new(options: StoreOptions) -> Self {
        // Readers take no lock of it, as they do with a list of what was used last. The engine finds
        // out by itself how large its entries are.
        Self { options, cache: Cache::new_hyper_clock_cache(options.block_cache_bytes, 0) }
    }

    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_paranoid_checks(true);
        options.set_db_write_buffer_size(self.options.write_buffer_bytes);
        options.set_max_background_jobs(2);
        options.set_writable_file_max_buffer_size(FILE_BUFFER_BYTES);
        options.set_bytes_per_sync(MIB as u64);
        options.set_max_open_files(1024);
        options.set_skip_stats_update_on_db_open(true);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(4 * MIB);
        options.set_keep_log_file_num(2);
        options
    }

    /// All families. `mark` says which records of history are garbage, `pace` how fast files are
    /// rewritten.
    pub(super) fn families(
        &self,
        mark: &Arc<CompactedMark>,
        pace: &Arc<Pace>,
    ) -> Vec<ColumnFamilyDescriptor> {
        let family = |family: Family| {
            let mut options = self.family(family);
            filter::install(family, &mut options, mark, pace);
            if matches!(family, Family::Versions | Family::Counts) {
                // A file that no write touches any more is visited all the same, for its garbage.
                options.set_periodic_compaction_seconds(DAY_SECONDS);
            }
            ColumnFamilyDescriptor::new(family.name(), options)
        };
        Family::ALL.into_iter().map(family).collect()
    }

    fn family(&self, family: Family) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_format_version(6);
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(4 * KIB);
        table.set_pin_top_level_index_and_filter(true);

        let mut options = Options::default();
        let point_lookups = match family {
            Family::Current | Family::Versions | Family::Leases => true,
            Family::Events | Family::Counts | Family::Meta | Family::Auth => false,
        };
        if point_lookups {
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(true);
            table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(0.02);
        }
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(self.options.write_buffer_bytes / 2);
        options.set_max_write_buffer_number(4);
        // Old versions are rewritten file by file to get rid of garbage, each time for a short while.
        let file_bytes = if family == Family::Versions { 8 * MIB } else { 32 * MIB };
        options.set_target_file_size_base(file_bytes as u64);
        options.set_level_compaction_dynamic_level_bytes(true);
        // What lives is read and rewritten all the time, and the processor is what is short; history
        // and events are read seldom.
        let (compression, at_the_bottom) = match family {
            Family::Current => (DBCompressionType::None, DBCompressionType::None),
            Family::Versions | Family::Events => (DBCompressionType::Lz4, DBCompressionType::Zstd),
            Family::Counts | Family::Meta | Family::Leases | Family::Auth => {
                (DBCompressionType::Lz4, DBCompressionType::Lz4)
            }
        };
        options.set_compression_type(compression);
        options.set_bottommost_compression_type(at_the_bottom);
        options
    }
}
