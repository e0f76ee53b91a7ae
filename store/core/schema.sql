-- Schema 6 of the store. Comments stand between the statements only: text inside a statement is kept in sqlite_schema, and that is compared with
-- this file at each open.
--
-- A row with a mac carries an HMAC-SHA-256 over all of its other columns (integrity.c). Rows of settings, objects, versions, roles, bindings, blocks,
-- clock, backup_keys, rotations, hooks and notices are members of the main set, rows of requests, pending_acts, drills, events, marks, hook_places, changes, binding_use and keks are
-- members of the trail; state.mac seals the hashes of both. version_data is bound by versions.envelope_hash; stages, stage_chunks and restore_pieces go when a daemon starts. Times are nanoseconds since the epoch; INT64_MIN and INT64_MAX stand for "none".
--
-- A column that came with a later schema stands last, where ALTER TABLE puts it and as it writes it, and may be null: the MAC leaves trailing nulls out, so
-- that rows of before stay authentic.

-- The head: serial moves with every commit, epoch with those of the main set. next_* are ids that were never used. trail is the hash of the trail, behind a pad. mac seals all of it and
-- the hash of the main set. The last three are null from a migration until the vault is opened, which needs the key.
CREATE TABLE state(
	id INTEGER PRIMARY KEY CHECK(id = 1),
	epoch INTEGER NOT NULL,
	members INTEGER NOT NULL,
	next_object INTEGER NOT NULL,
	next_role INTEGER NOT NULL,
	next_binding INTEGER NOT NULL,
	mac BLOB NOT NULL
, serial INTEGER, trail_members INTEGER, trail BLOB) STRICT;

CREATE TABLE settings(
	id INTEGER PRIMARY KEY CHECK(id = 1),
	vault BLOB NOT NULL,
	name TEXT NOT NULL,
	retention_days INTEGER NOT NULL,
	purge_protection INTEGER NOT NULL,
	enforce_validity INTEGER NOT NULL,
	value_max INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Secrets, keys and certificates share one name space, with what was soft-deleted: deleted_at is a date, purge_at stands on the vault's own clock.
CREATE TABLE objects(
	id INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL,
	name TEXT NOT NULL UNIQUE,
	incarnation INTEGER NOT NULL,
	enabled INTEGER NOT NULL,
	deleted_at INTEGER,
	purge_at INTEGER,
	created INTEGER NOT NULL,
	changed INTEGER NOT NULL,
	last_version INTEGER NOT NULL,
	mac BLOB NOT NULL
, served INTEGER) STRICT;

-- KEKs that some version's key is wrapped by.
CREATE TABLE keks(
	id INTEGER PRIMARY KEY,
	kek BLOB NOT NULL UNIQUE
) STRICT;

-- id is object << 32 | number: one b-tree, in the order in which it is loaded. envelope_hash is SHA-256 of the row in version_data. Of a version that was
-- destroyed dek_record and envelope_hash are empty, and there is no row in version_data. epoch: of the commit that made the version (null: before schema 3).
-- withdrawn: of the commit that disabled it, null while it is enabled.
CREATE TABLE versions(
	id INTEGER PRIMARY KEY,
	size INTEGER NOT NULL,
	created INTEGER NOT NULL,
	not_before INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	enabled INTEGER NOT NULL,
	content_type TEXT,
	tags TEXT,
	kek INTEGER NOT NULL REFERENCES keks(id),
	dek_record BLOB NOT NULL,
	envelope_hash BLOB NOT NULL,
	mac BLOB NOT NULL
, epoch INTEGER, withdrawn INTEGER) STRICT;

-- Apart, so that loading the metadata does not page through the values.
CREATE TABLE version_data(
	id INTEGER PRIMARY KEY REFERENCES versions(id),
	envelope BLOB NOT NULL
) STRICT;

CREATE TABLE roles(
	id INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	actions INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

CREATE TABLE bindings(
	id INTEGER PRIMARY KEY,
	role INTEGER NOT NULL,
	principal TEXT NOT NULL,
	scope TEXT NOT NULL,
	valid_from INTEGER NOT NULL,
	valid_until INTEGER NOT NULL,
	reason TEXT,
	created_by TEXT,
	created INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- How much time has passed, as nobody can set it (clock.c): counted ns when the machine, in the boot of that id, had been up for uptime ns.
CREATE TABLE clock(
	id INTEGER PRIMARY KEY CHECK(id = 1),
	counted INTEGER NOT NULL,
	boot BLOB NOT NULL,
	uptime INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Who is denied everything. Ids come from next_binding.
CREATE TABLE blocks(
	id INTEGER PRIMARY KEY,
	principal TEXT NOT NULL,
	reason TEXT,
	created_by TEXT,
	created INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- For people only. Without a mac of its own: it moves with every use.
CREATE TABLE binding_use(
	id INTEGER PRIMARY KEY,
	last_used INTEGER NOT NULL
) STRICT;

-- What each commit changed, for followers; id is epoch << 20 | n. The MACs before and after let a follower move the hash of the set.
CREATE TABLE changes(
	id INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL,
	row INTEGER NOT NULL,
	old_mac BLOB,
	new_mac BLOB
) STRICT;

-- Answers to requests that may be repeated. neighbour: in whose share they are kept (fs/neighbour.h).
CREATE TABLE requests(
	id INTEGER PRIMARY KEY,
	uid INTEGER NOT NULL,
	user_ns INTEGER NOT NULL,
	request BLOB NOT NULL,
	digest BLOB NOT NULL,
	answer TEXT NOT NULL,
	created INTEGER NOT NULL,
	mac BLOB NOT NULL, neighbour INTEGER,
	UNIQUE(uid, user_ns, request)
) STRICT;

CREATE INDEX requests_created ON requests(created);

CREATE INDEX requests_neighbour ON requests(neighbour);

-- Staged writes, under the daemon's own key.
CREATE TABLE stages(
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	size INTEGER NOT NULL,
	dirty INTEGER NOT NULL,
	counter INTEGER NOT NULL,
	last_unique INTEGER NOT NULL,
	mac BLOB NOT NULL
, manner INTEGER, base INTEGER, start INTEGER) STRICT;

-- id is stage << 8 | index.
CREATE TABLE stage_chunks(
	id INTEGER PRIMARY KEY,
	counter INTEGER NOT NULL,
	sealed BLOB NOT NULL
) STRICT;

CREATE TABLE pending_acts(
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	act TEXT NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Kind 1, always id 1: the Ed25519 key that signs backups, its private half in record. Kind 2: X25519 keys of those who may recover backups.
CREATE TABLE backup_keys(
	id INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL,
	name TEXT NOT NULL UNIQUE,
	public_key BLOB NOT NULL,
	record BLOB,
	created INTEGER NOT NULL,
	created_by TEXT,
	mac BLOB NOT NULL
) STRICT;

-- The last backup that was restored into a scratch vault and found good.
CREATE TABLE drills(
	id INTEGER PRIMARY KEY CHECK(id = 1),
	at INTEGER NOT NULL,
	backup_created INTEGER NOT NULL,
	secrets INTEGER NOT NULL,
	versions INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Pieces of backups that are being handed in for a restore: ciphertext, whose signature is verified before anything comes of it.
CREATE TABLE restore_pieces(
	id INTEGER PRIMARY KEY,
	restore BLOB NOT NULL,
	uid INTEGER NOT NULL,
	at INTEGER NOT NULL,
	created INTEGER NOT NULL,
	bytes BLOB NOT NULL,
	UNIQUE(restore, at)
) STRICT;

-- What is done, or told, by itself. generator or command makes the new value; times are spans.
CREATE TABLE rotations(
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	scope TEXT NOT NULL UNIQUE,
	action INTEGER NOT NULL,
	every INTEGER NOT NULL,
	before INTEGER NOT NULL,
	expiry INTEGER NOT NULL,
	generator TEXT NOT NULL,
	command TEXT NOT NULL,
	user INTEGER NOT NULL,
	timeout INTEGER NOT NULL,
	created_by INTEGER NOT NULL,
	created INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Programs that are told of events; events is a set of bits.
CREATE TABLE hooks(
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	scope TEXT NOT NULL,
	events INTEGER NOT NULL,
	command TEXT NOT NULL,
	user INTEGER NOT NULL,
	debounce INTEGER NOT NULL,
	timeout INTEGER NOT NULL,
	created_by INTEGER NOT NULL,
	created INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- Settings that came later; without a row the vault has what it is made with.
CREATE TABLE notices(
	id INTEGER PRIMARY KEY CHECK(id = 1),
	near_days INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- How much of what was before is kept; counted is what the vault's clock showed when the rule was made.
CREATE TABLE histories(
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	scope TEXT NOT NULL UNIQUE,
	versions INTEGER NOT NULL,
	span INTEGER NOT NULL,
	created_by INTEGER NOT NULL,
	created INTEGER NOT NULL,
	counted INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- The stream of events. id is where the line begins in it, so that any byte of it is found by one look-up.
CREATE TABLE events(
	id INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	kind INTEGER NOT NULL,
	object INTEGER NOT NULL,
	version INTEGER NOT NULL,
	same INTEGER NOT NULL,
	name TEXT NOT NULL,
	line TEXT NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- By object: what was told of which version, and how often its rotation failed.
CREATE TABLE marks(
	id INTEGER PRIMARY KEY,
	version INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	told INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	retry INTEGER NOT NULL,
	mac BLOB NOT NULL
) STRICT;

-- By hook: how far in the stream of events it has come.
CREATE TABLE hook_places(
	id INTEGER PRIMARY KEY,
	delivered INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	retry INTEGER NOT NULL,
	mac BLOB NOT NULL
, why TEXT) STRICT;
