//! What no header of CPython says, because the structure is private to a `.c` file: each with its file, and with the versions it
//! was compared with. To be looked up by hand for a new version; everything else is generated.

/// From the end of an object's header to the first field of `lockobject` and `rlockobject` (`Modules/_threadmodule.c`, 3.8 to 3.15)
/// and of `simplequeueobject` (`Modules/_queuemodule.c`, the same): the lock itself, or the address of its semaphore.
pub(crate) const LOCK_IN_OBJECT: u64 = 0;
/// From the end of the header to `rlockobject.rlock_owner`, and from there to `rlock_count` (`Modules/_threadmodule.c`, 3.8 to 3.15;
/// from 3.14 on `_PyRecursiveMutex.thread` and `.level`, at the same places).
pub(crate) const RLOCK_OWNER: u64 = 8;
pub(crate) const RLOCK_DEPTH_AFTER_OWNER: u64 = 8;
/// From the end of the header to `simplequeueobject.lst` and `.lst_pos` (`Modules/_queuemodule.c`, 3.8 to 3.12).
pub(crate) const SIMPLE_QUEUE_LIST: u64 = 16;
pub(crate) const SIMPLE_QUEUE_LIST_START: u64 = 24;
/// From the end of the header to `simplequeueobject.buf.num_items` (`Modules/_queuemodule.c`, 3.13 to 3.15).
pub(crate) const SIMPLE_QUEUE_ITEMS: u64 = 40;
/// From `PyInterpreterState.imports.lock` to its owner, likewise a `_PyRecursiveMutex` (3.13 to 3.15).
pub(crate) const IMPORT_LOCK_OWNER: u64 = 8;

/// From the end of the header to `buffered.lock`, and from there to `.owner` (`Modules/_io/bufferedio.c`, 3.8 to 3.15).
pub(crate) const BUFFERED_LOCK: u64 = 88;
pub(crate) const BUFFERED_OWNER_AFTER_LOCK: u64 = 8;
/// From the end of the header to `textio.buffer` (`Modules/_io/textio.c`, 3.8 to 3.15).
pub(crate) const TEXT_BUFFER: u64 = 16;
/// From the end of the header to the fields of `_abc_data` (`Modules/_abc.c`, 3.8 to 3.15).
pub(crate) const ABC_FIELDS: [(u64, &str); 3] =
    [(0, "_abc_registry"), (8, "_abc_cache"), (16, "_abc_negative_cache")];

/// `PyDictKeysObject` up to 3.10 (`Objects/dict-common.h`, which is not installed): `dk_size`, `dk_nentries` and `dk_indices`.
pub(crate) const OLD_KEYS_SIZE: u64 = 8;
pub(crate) const OLD_KEYS_ENTRIES: u64 = 32;
pub(crate) const OLD_KEYS_INDICES: u64 = 40;

/// From a semaphore in the parking lot back to `wait_entry.addr` and `.park_arg` (`Python/parking_lot.c`, 3.13 to 3.15).
pub(crate) const PARKED_ADDRESS_BEFORE: u64 = 8;
pub(crate) const PARK_ARGUMENT_BEFORE: u64 = 16;
