//! Tables. A migration that has shipped is never changed: what is new is a new one, at the end.
//!
//! Times are microseconds since 1970 UTC. What is asked for by a column has a column; the rest of a record is
//! JSON, in the form in which the API shows it.

use rusqlite_migration::{M, Migrations};

const STEPS: &[M<'static>] = &[
    M::up(
        "CREATE TABLE limits (
        account       TEXT NOT NULL,
        scope         TEXT NOT NULL,
        class         TEXT NOT NULL,
        limit_text    TEXT NOT NULL,
        actor         TEXT NOT NULL,
        reason        TEXT NOT NULL,
        set_at_us     INTEGER NOT NULL,
        expires_at_us INTEGER,
        PRIMARY KEY (account, scope, class)
    ) STRICT;

    CREATE TABLE measures (
        prefix        TEXT PRIMARY KEY,
        kind          TEXT NOT NULL,
        actor         TEXT NOT NULL,
        reason        TEXT NOT NULL,
        set_at_us     INTEGER NOT NULL,
        expires_at_us INTEGER
    ) STRICT;

    CREATE TABLE audit (
        seq     INTEGER PRIMARY KEY,
        at_us   INTEGER NOT NULL,
        actor   TEXT NOT NULL,
        action  TEXT NOT NULL,
        subject TEXT NOT NULL,
        reason  TEXT NOT NULL,
        before  TEXT NOT NULL,
        after   TEXT NOT NULL
    ) STRICT;

    CREATE TABLE alerts (
        id           TEXT PRIMARY KEY,
        account      TEXT NOT NULL,
        open         INTEGER NOT NULL,
        opened_at_us INTEGER NOT NULL,
        at_us        INTEGER NOT NULL,
        alert        TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_account ON alerts (account, opened_at_us);
    CREATE INDEX alerts_by_time ON alerts (opened_at_us);
    CREATE INDEX alerts_open ON alerts (opened_at_us) WHERE open = 1;

    CREATE TABLE outbox (
        id            TEXT PRIMARY KEY,
        endpoint      TEXT NOT NULL,
        alert_id      TEXT NOT NULL,
        phase         TEXT NOT NULL,
        body          BLOB NOT NULL,
        state         TEXT NOT NULL,
        attempts      INTEGER NOT NULL,
        at_us         INTEGER NOT NULL,
        last_error    TEXT,
        created_at_us INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX outbox_pending ON outbox (id) WHERE state = 'pending';
    CREATE INDEX outbox_by_alert ON outbox (alert_id, id);
    CREATE INDEX outbox_by_time ON outbox (created_at_us);

    CREATE TABLE history (
        at_us    INTEGER NOT NULL,
        account  TEXT NOT NULL,
        class    TEXT NOT NULL,
        admitted INTEGER NOT NULL,
        refused  INTEGER NOT NULL,
        observed INTEGER NOT NULL,
        exempt   INTEGER NOT NULL,
        repeated INTEGER NOT NULL,
        PRIMARY KEY (at_us, account, class)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE kept (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT;",
    ),
    M::up(
        "CREATE TABLE suspensions (
        account       TEXT PRIMARY KEY,
        actor         TEXT NOT NULL,
        reason        TEXT NOT NULL,
        set_at_us     INTEGER NOT NULL,
        expires_at_us INTEGER
    ) STRICT;",
    ),
    M::up(
        "CREATE TABLE calls (
        seq          INTEGER PRIMARY KEY,
        account      TEXT NOT NULL,
        source       TEXT NOT NULL,
        from_number  TEXT NOT NULL,
        to_number    TEXT NOT NULL,
        setup_at_us  INTEGER NOT NULL,
        ring_at_us   INTEGER,
        answer_at_us INTEGER,
        end_at_us    INTEGER NOT NULL,
        status       INTEGER NOT NULL,
        cause        TEXT NOT NULL,
        ended_by     TEXT NOT NULL
    ) STRICT;
    CREATE INDEX calls_by_end ON calls (end_at_us);",
    ),
    M::up("ALTER TABLE calls ADD COLUMN trunk TEXT NOT NULL DEFAULT '';"),
    M::up(
        "CREATE TABLE messages (
        seq             INTEGER PRIMARY KEY,
        account         TEXT NOT NULL,
        system_id       TEXT NOT NULL,
        source          TEXT NOT NULL,
        command         TEXT NOT NULL,
        sequence        INTEGER NOT NULL,
        from_address    TEXT NOT NULL,
        from_ton        INTEGER,
        to_address      TEXT NOT NULL,
        to_ton          INTEGER,
        destinations    INTEGER NOT NULL,
        part            INTEGER NOT NULL,
        parts           INTEGER NOT NULL,
        data_coding     INTEGER,
        submitted_at_us INTEGER NOT NULL,
        latency_us      INTEGER NOT NULL,
        outcome         TEXT NOT NULL,
        status          INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX messages_by_time ON messages (submitted_at_us);",
    ),
    M::up("CREATE INDEX audit_of_edge ON audit (at_us) WHERE actor = 'edge';"),
];

pub(super) const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
