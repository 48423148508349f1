"""What `check` tries in Python: plaintext on the disk, readers beside a writer, and processes that are killed.

It is started as `processes.py EXTENSION FOLDER`, with the vault in the environment, and starts itself again for the
processes that are to be killed: `... write MODE` and `... transfer`.
"""
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

EXTENSION, FOLDER = sys.argv[1], Path(sys.argv[2])
MARKER = "every good secret is kept"
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(EXTENSION)


def connect(name, **parameters):
    uri = f"file:{FOLDER / name}?vfs=atrest" + "".join(f"&{key}={value}" for key, value in parameters.items())
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=20, check_same_thread=False)


def value(database, sql, *arguments):
    return database.execute(sql, arguments).fetchone()[0]


def expect(what, condition):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def whole(database):
    return value(database, "PRAGMA integrity_check") == "ok"


def files_of(name):
    return sorted(path.name for path in FOLDER.glob(f"{name}*"))


def plaintext_in(name):
    """The files of a database that have the marker, a piece of it, or what a plain one begins with."""
    words = [MARKER.encode(), MARKER.encode()[3:15], b"SQLite format 3", b"CREATE TABLE"]
    return [path for path in files_of(name) if any(word in (FOLDER / path).read_bytes() for word in words)]


# --- Plaintext, also in the middle of a transaction that no longer fits into the cache.

def secrecy():
    for mode, beside in [("delete", "-journal"), ("truncate", "-journal"), ("persist", "-journal"), ("wal", "-wal")]:
        name = f"secret-{mode}.db"
        database = connect(name)
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("PRAGMA cache_size=10")
        database.execute("CREATE TABLE secrets(id INTEGER PRIMARY KEY, text TEXT)")
        rows = [(f"{MARKER} {number} " * 20,) for number in range(3000)]
        database.execute("BEGIN")
        database.executemany("INSERT INTO secrets(text) VALUES (?)", rows)
        database.execute("COMMIT")
        database.execute("BEGIN")
        database.execute("UPDATE secrets SET text = 'and ' || text")
        log = FOLDER / f"{name}{beside}"
        expect(f"{mode}: a transaction is half in its {beside[1:]}", log.stat().st_size > 500_000)
        expect(f"{mode}: no plaintext, in {' '.join(files_of(name))}", plaintext_in(name) == [])
        database.execute("COMMIT")
        expect(f"{mode}: nor after it", plaintext_in(name) == [] and whole(database))
        database.close()

    # What SQLite sorts outside of memory: the files have no names, but this process has them open.
    database = connect("secret-delete.db")
    database.execute("PRAGMA cache_size=10")
    database.execute("PRAGMA temp_store=FILE")
    seen = b""
    rows = database.execute("SELECT text FROM secrets ORDER BY substr(text, 30), id DESC")
    rows.fetchone()
    for entry in Path("/proc/self/fd").iterdir():
        if entry.exists() and "(deleted)" in os.readlink(entry):
            seen += entry.read_bytes()
    expect("what is sorted is in a file", len(seen) > 500_000)
    expect("without plaintext", MARKER.encode()[3:15] not in seen)


# --- Several processes make one database at once: one of them gives it its key.

def make(name, start):
    database = connect(name)
    value(database, "SELECT count(*) FROM sqlite_schema") # while it is empty, as a rule
    time.sleep(max(0, start - time.time()))
    database.execute("CREATE TABLE IF NOT EXISTS t(maker INTEGER)")
    database.execute("INSERT INTO t VALUES (?)", (os.getpid(),))


def makers(rounds, processes=4):
    for number in range(rounds):
        start, children = time.time() + 0.05, []
        for _ in range(processes):
            children.append(os.fork())
            if children[-1] == 0:
                try:
                    make(f"made-{number}.db", start)
                    os._exit(0)
                finally:
                    os._exit(1)
        failures = [child for child in children if os.waitpid(child, 0)[1] != 0]
        assert not failures, f"{len(failures)} of {processes} failed"
        database = connect(f"made-{number}.db")
        assert whole(database) and value(database, "SELECT count(DISTINCT maker) FROM t") == processes
        database.close()
    expect(f"{rounds} databases made by {processes} processes at once have the rows of all", True)


# --- One process writes to a WAL while others read.

def readers():
    writer = connect("shared.db")
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=50")
    writer.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)")
    writer.executemany("INSERT INTO t VALUES (?, ?)", [(i, "x" * 900) for i in range(40)])
    done, wrong, reads = threading.Event(), [], [0, 0]

    def read(number):
        database = connect("shared.db")
        database.execute("PRAGMA cache_size=1")
        while not done.is_set():
            texts = [row[0] for row in database.execute("SELECT text FROM t ORDER BY id")]
            if len(texts) != 40 or len(set(texts)) != 1:
                wrong.append(texts)
            reads[number] += 1
        database.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 4
    writes = 0
    while time.monotonic() < end and not wrong:
        if writes % 100 == 0:
            value(writer, "PRAGMA atrest_rotate")
        writer.execute("UPDATE t SET text = ?", ("abcdefghij"[writes % 10] * 900,))
        writes += 1
    done.set()
    for thread in threads:
        thread.join()
    expect(f"{sum(reads)} reads beside {writes} transactions, each of one state", not wrong and min(reads) > 10)
    expect("the database is whole", whole(writer))


# --- A writer that is killed.

def write(mode):
    """Transactions without end. Each is told when it is committed."""
    database = connect(f"killed-{mode}.db")
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("PRAGMA cache_size=5") # so that pages go to the database before the commit
    database.execute("PRAGMA wal_autocheckpoint=40")
    database.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, turn INTEGER, text TEXT)")
    database.execute("CREATE TABLE IF NOT EXISTS told(turn INTEGER)")
    turn = value(database, "SELECT coalesce(max(turn), 0) FROM told")
    while True:
        turn += 1
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO told VALUES (?)", (turn,))
        database.execute("UPDATE t SET turn = ?, text = ? WHERE id % 3 = ?", (turn, f"{MARKER} {turn} " * 15, turn % 3))
        database.executemany("INSERT INTO t(turn, text) VALUES (?, ?)", [(turn, f"{turn} " * 60)] * 20)
        database.execute("DELETE FROM t WHERE id <= ?", (20 * (turn - 30),))
        database.execute("COMMIT")
        print(turn, flush=True)


def transfer():
    """Moves between two databases, whose transactions are one."""
    database = connect("purse.db")
    database.execute("PRAGMA cache_size=1")
    database.execute("ATTACH ? AS other", (f"file:{FOLDER / 'chest.db'}",))
    database.execute("PRAGMA other.cache_size=1")
    turn = value(database, "SELECT coalesce(max(id), 0) FROM log")
    while True:
        turn += 1
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE t SET coins = coins - 1, text = ?", (f"{turn}" * 50,))
        database.execute("UPDATE other.t SET coins = coins + 1, text = ?", (f"{turn}" * 50,))
        database.execute("INSERT INTO log VALUES (?)", (turn,))
        database.execute("INSERT INTO other.log VALUES (?)", (turn,))
        database.execute("COMMIT")
        print(turn, flush=True)


def super_journals():
    return [name for name in os.listdir(FOLDER) if "-mj" in name]


def kill(*arguments, when=lambda: True):
    """Starts a writer, and kills it at some instant, but not before `when`. The last number that it told."""
    command = [sys.executable, __file__, EXTENSION, str(FOLDER), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        time.sleep(random.random() * 0.08)
        while process.poll() is None and not when():
            pass
        time.sleep(random.random() * 0.003)
        process.send_signal(signal.SIGKILL)
        told = first + process.stdout.read()
        assert process.wait() == -signal.SIGKILL, f"{arguments}: it ended by itself"
    return int(told[:told.rindex("\n")].split("\n")[-1])


def kills(mode, beside, rounds):
    left, name = 0, f"killed-{mode}.db"
    for _ in range(rounds):
        told = kill("write", mode)
        left += (FOLDER / (name + beside)).exists()
        assert plaintext_in(name) == [], plaintext_in(name)
        database = connect(name)
        last = value(database, "SELECT max(turn) FROM told")
        assert whole(database), f"{mode}: not whole after a kill"
        assert last in (told, told + 1), f"{mode}: {told} was told, {last} is there"
        assert value(database, "SELECT count(DISTINCT turn) FROM told") == last
        rows = value(database, "SELECT count(*) FROM t WHERE turn = ?", last)
        assert rows >= 20, f"{mode}: {rows} rows of transaction {last}"
        database.close()
    expect(f"{mode}: {last} transactions, {rounds} kills, of which {left} left a {beside[1:]}: none is lost", left > 0)


def transfers(rounds):
    for name in ("purse.db", "chest.db"):
        database = connect(name)
        database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, coins INTEGER, text TEXT)")
        database.execute("CREATE TABLE log(id INTEGER PRIMARY KEY)")
        database.executemany("INSERT INTO t(coins, text) VALUES (?, '')", [(1000,)] * 200)
        database.close()
    supers = 0
    for number in range(rounds):
        for stray in super_journals(): # who is killed before a journal names it leaves it for good, as without encryption
            os.remove(FOLDER / stray)
        told = kill("transfer", when=super_journals)
        supers += bool(super_journals())
        # Each of the two is the first to be opened in turn, and none has the other attached.
        names = ["purse.db", "chest.db"][:: 1 if number % 2 else -1]
        seen = []
        for name in names:
            database = connect(name)
            assert whole(database)
            seen.append((value(database, "SELECT max(id) FROM log"), value(database, "SELECT sum(coins) FROM t")))
            database.close()
        (first, coins), (second, others) = seen
        assert first == second and first in (told, told + 1), f"{told} was told, {first} and {second} are there"
        assert coins + others == 400_000, f"{coins} + {others} coins"
    expect(f"a transaction over two databases: {first} of them, {rounds} kills, of which {supers} left a super-journal:"
           " all or nothing", supers > 0)


def main(task="check", *arguments):
    if task == "write":
        write(*arguments)
    elif task == "transfer":
        transfer()
    else:
        secrecy()
        makers(5)
        readers()
        kills("delete", "-journal", 15)
        kills("persist", "-journal", 8)
        kills("wal", "-wal", 15)
        transfers(8)


main(*sys.argv[3:])
