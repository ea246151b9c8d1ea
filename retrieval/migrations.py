"""The schema of `twinspire.db`, as numbered migrations. Never edit one that was released: add another."""

from retrieval.database import Database, Migrations

migrations = Migrations("twinspire")


@migrations(name="001_items")
def items(db: Database) -> None:
    """Collections, their items, the segments that vectors stand for, and the vectors."""
    for statement in (
        """CREATE TABLE collections (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            items INTEGER NOT NULL DEFAULT 0, -- how many there are: counting a million takes too long
            sequence INTEGER NOT NULL DEFAULT 0, -- the highest segment rowid ever given out for it
            created_at TEXT NOT NULL
        )""",
        # AUTOINCREMENT: a rowid is never given twice, so it can be a vector's key for ever.
        """CREATE TABLE items (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            collection TEXT NOT NULL REFERENCES collections(name) ON DELETE CASCADE,
            id TEXT NOT NULL,
            modality TEXT NOT NULL,
            uri TEXT NOT NULL,
            digest BLOB NOT NULL,
            attributes TEXT NOT NULL,
            created_at TEXT NOT NULL,
            text TEXT NOT NULL, -- last, so that a filter need not read past it
            UNIQUE (collection, id)
        )""",
        # The unique index is in the order of ids; listings and scans go by rowid.
        "CREATE INDEX items_collection ON items(collection)",
        # start and end are NULL when the segment is the whole item. The collection is here too (as the
        # rowid of its row), so that its keys are found in order without touching the items and their texts.
        """CREATE TABLE segments (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            collection INTEGER NOT NULL REFERENCES collections(rowid) ON DELETE CASCADE,
            item INTEGER NOT NULL REFERENCES items(rowid) ON DELETE CASCADE,
            start REAL,
            end REAL
        )""",
        "CREATE INDEX segments_collection ON segments(collection)",
        "CREATE INDEX segments_item ON segments(item)",
        # Few items have spans, so asking whether a whole item was superseded by spans is cheap.
        "CREATE INDEX segments_spans ON segments(item) WHERE start IS NOT NULL",
        # Not WITHOUT ROWID: that moves a vector over a quarter of a page onto an overflow page of its own.
        """CREATE TABLE embeddings (
            segment INTEGER NOT NULL REFERENCES segments(rowid) ON DELETE CASCADE,
            encoder INTEGER NOT NULL REFERENCES encoders(rowid),
            vector BLOB NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (segment, encoder)
        )""",
        # A short key for the 64-character fingerprint, which would cost more than a small vector.
        """CREATE TABLE encoders (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            fingerprint TEXT NOT NULL UNIQUE,
            dims INTEGER NOT NULL,
            dtype TEXT NOT NULL
        )""",
    ):
        db.execute(statement)


@migrations(name="002_judgements")
def judgements(db: Database) -> None:
    """Judged queries, with the split that each belongs to."""
    for statement in (
        """CREATE TABLE queries (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            collection TEXT NOT NULL REFERENCES collections(name) ON DELETE CASCADE,
            id TEXT NOT NULL,
            text TEXT NOT NULL,
            split TEXT NOT NULL,
            UNIQUE (collection, id)
        )""",
        # candidate: the item was shown with the query, relevant (grade > 0) or not (grade 0).
        """CREATE TABLE qrels (
            query INTEGER NOT NULL REFERENCES queries(rowid) ON DELETE CASCADE,
            item_id TEXT NOT NULL,
            grade INTEGER NOT NULL,
            PRIMARY KEY (query, item_id)
        ) WITHOUT ROWID""",
    ):
        db.execute(statement)


@migrations(name="003_registry")
def registry(db: Database) -> None:
    """Models, index versions, the live alias of each collection, runs and jobs."""
    for statement in (
        """CREATE TABLE models (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            kind TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            metrics TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (name, version)
        )""",
        """CREATE TABLE indexes (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            collection TEXT NOT NULL REFERENCES collections(name) ON DELETE CASCADE,
            version TEXT NOT NULL,
            backend TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('ready', 'quarantined')),
            manifest TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (collection, version)
        )""",
        """CREATE TABLE aliases (
            collection TEXT PRIMARY KEY REFERENCES collections(name) ON DELETE CASCADE,
            version TEXT NOT NULL,
            previous TEXT NOT NULL,
            changed_at TEXT NOT NULL
        )""",
        """CREATE TABLE runs (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            collection TEXT NOT NULL,
            model TEXT NOT NULL,
            config TEXT NOT NULL,
            seed INTEGER NOT NULL,
            data_digest TEXT NOT NULL,
            metrics TEXT NOT NULL,
            artifacts TEXT NOT NULL,
            created_at TEXT NOT NULL
        )""",
        """CREATE TABLE jobs (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            collection TEXT NOT NULL,
            spec TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
            position TEXT NOT NULL,
            counts TEXT NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )""",
    ):
        db.execute(statement)


@migrations(name="004_media")
def media(db: Database) -> None:
    """Where media files lie, those that could not be read, and what frozen models made of them."""
    for statement in (
        # The uri media://name/rest is the file `rest` under the root `name`.
        """CREATE TABLE media_roots (
            name TEXT PRIMARY KEY,
            path TEXT NOT NULL
        )""",
        # segment and encoder: a stored item that could not be read for that encoder; NULL: a file that
        # did not become an item.
        """CREATE TABLE dead_letters (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            collection INTEGER NOT NULL REFERENCES collections(rowid) ON DELETE CASCADE,
            uri TEXT NOT NULL,
            segment INTEGER REFERENCES segments(rowid) ON DELETE CASCADE,
            encoder TEXT,
            reason TEXT NOT NULL,
            message TEXT NOT NULL,
            created_at TEXT NOT NULL
        )""",
        "CREATE INDEX dead_letters_segment ON dead_letters(segment, encoder) WHERE segment IS NOT NULL",
        "CREATE INDEX dead_letters_collection ON dead_letters(collection)",
        """CREATE TABLE feature_sets (
            rowid INTEGER PRIMARY KEY AUTOINCREMENT,
            fingerprint TEXT NOT NULL UNIQUE,
            layers INTEGER NOT NULL,
            width INTEGER NOT NULL
        )""",
        # values: little-endian float32, shape (layers, width).
        """CREATE TABLE features (
            segment INTEGER NOT NULL REFERENCES segments(rowid) ON DELETE CASCADE,
            feature_set INTEGER NOT NULL REFERENCES feature_sets(rowid),
            "values" BLOB NOT NULL,
            PRIMARY KEY (segment, feature_set)
        )""",
    ):
        db.execute(statement)


@migrations(name="005_windows")
def windows(db: Database) -> None:
    """How long the windows of sounds and videos are: those of several lengths may be there at once."""
    for statement in (
        # The length that the next index will have; 0 = no windows.
        "ALTER TABLE collections ADD COLUMN window_s REAL NOT NULL DEFAULT 0",
        "ALTER TABLE segments ADD COLUMN window_s REAL",  # NULL: no window
        'UPDATE segments SET window_s = round("end" - start, 3) WHERE start IS NOT NULL'
        " AND (SELECT modality FROM items WHERE rowid = segments.item) IN ('audio', 'video')",
        "UPDATE collections SET window_s = coalesce((SELECT window_s FROM segments"
        " WHERE segments.collection = collections.rowid AND start IS NOT NULL AND window_s > 0"
        " ORDER BY segments.rowid DESC LIMIT 1), 0)",
    ):
        db.execute(statement)
