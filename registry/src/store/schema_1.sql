-- Times are seconds since 1970 (UTC). Keys, prefixes and router-ids are the text that travels;
-- signed documents, roles, tags and addresses are JSON.

CREATE TABLE network (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    root TEXT NOT NULL,
    prefix TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    tls_pin TEXT,
    issuer TEXT NOT NULL
) STRICT;

-- One row: the state in force.
CREATE TABLE state (
    epoch INTEGER PRIMARY KEY,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash TEXT NOT NULL UNIQUE,
    uses INTEGER NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER,
    prefix_length INTEGER NOT NULL,
    roles TEXT NOT NULL,
    tags TEXT NOT NULL
) STRICT;

-- A node keeps its prefix until its latest certificate is past its grace.
CREATE TABLE node (
    key TEXT PRIMARY KEY,
    router_id TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL UNIQUE,
    serial INTEGER NOT NULL,
    joined INTEGER NOT NULL
) STRICT;

CREATE TABLE certificate (
    serial INTEGER PRIMARY KEY,
    node TEXT NOT NULL REFERENCES node (key) ON DELETE CASCADE,
    not_after INTEGER NOT NULL,
    revoked INTEGER,
    chain TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_node ON certificate (node);

-- Which node spent which token: a repeated join is answered again.
CREATE TABLE spending (
    token INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    node TEXT NOT NULL REFERENCES node (key) ON DELETE CASCADE,
    spent INTEGER NOT NULL,
    PRIMARY KEY (token, node)
) STRICT;
CREATE INDEX spending_node ON spending (node);

-- Revoked keys stay revoked here; the state lists them while a certificate of theirs could hold.
CREATE TABLE banned (
    key TEXT PRIMARY KEY,
    revoked INTEGER NOT NULL,
    not_after INTEGER NOT NULL
) STRICT;

CREATE TABLE presence (
    node TEXT PRIMARY KEY REFERENCES node (key) ON DELETE CASCADE,
    addresses TEXT NOT NULL,
    seen INTEGER NOT NULL
) STRICT;
CREATE INDEX presence_seen ON presence (seen);
