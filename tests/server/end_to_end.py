#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""end_to_end.py PROGRAM: the example server from outside. What only hapax does is asked of hapax-server alone."""
import email.utils
import http.client
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from serving import Server, make_database  # noqa: E402

program = pathlib.Path(sys.argv[1]).resolve()
with_hapax = program.name.startswith("hapax")
RECORDS = 400
LONG = ("--ttl", "9999", "--refresh", "9998", "--negative-ttl", "9999", "--tenant-idle", "9999")


def until(what, condition, seconds=15):
    """Polls; how long it takes is not what is tested."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return value


def records(server):
    status, headers, body = server.ask("/record/7")
    text = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8", (status, headers)
    assert text.endswith("</article></body></html>\n") and "{{" not in text and "<odd>" not in text, text
    before = server.figures()["queries"]
    assert server.get("/record/7") == (200, body)
    assert server.figures()["queries"] == before, "a second get of a record asked the database"
    assert server.ask("/record/7", headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert server.ask("/record/7", headers={"If-None-Match": '"other"'})[0] == 200
    status, headers, empty = server.ask("/record/7", method="HEAD")
    assert status == 200 and empty == b"" and int(headers["Content-Length"]) == len(body)


def refusals(server):
    for path, status in (("/record/", 400), ("/record/x", 400), ("/record/07", 400), ("/record/-1", 400), ("/record/7/", 400),
                         ("/record/99999999999999999999", 400), ("/t/Bad/prices/1", 400), ("/t/shop-1/prices/40", 400),
                         ("/t/shop-1/prices/", 400), ("/t/shop-1/other", 404), ("/t/shop-99/prices/1", 404),
                         ("/prices/1", 400), ("/nothing", 404), ("/files/" + "x/" * 600 + "x", 414), ("/files/", 403)):
        assert server.get(path)[0] == status, (path, status, server.get(path))
    for method, path, body, status in (("POST", "/record/7", b"", 400), ("POST", "/record/7", b"\xff\xfe", 400),
                                       ("POST", "/record/7", b"a\0b", 400), ("POST", "/record/x", b"text", 400),
                                       ("POST", "/record/7", b"x" * 65537, 413), ("POST", "/record/999999", b"text", 404),
                                       ("POST", "/files/a.txt", b"text", 405), ("DELETE", "/record/7", None, 405),
                                       ("PUT", "/record/7", b"text", 405)):
        assert server.get(path, method=method, body=body)[0] == status, (method, path, status)
    chunks = iter([b"x" * 60000, b"x" * 60000])  # no length is said before
    assert server.get("/record/7", method="POST", body=chunks)[0] == 413


def absent_is_remembered(server):
    before = server.figures()["queries"]
    for _ in range(3):
        assert server.get("/record/123456")[0] == 404
    assert server.figures()["queries"] == before + 1, "a record that is not there was looked for again"


def files(server, directory):
    status, headers, body = server.ask("/files/sub/a.txt")
    assert (status, body) == (200, b"hello\n") and headers["Content-Type"].startswith("text/plain"), (status, body)
    modified = email.utils.parsedate_to_datetime(headers["Last-Modified"]).timestamp()
    assert modified == int((directory / "sub/a.txt").stat().st_mtime)
    assert server.ask("/files/sub/a.txt", headers={"If-Modified-Since": headers["Last-Modified"]})[0] == 304
    assert server.ask("/files/sub/a.txt", headers={"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})[0] == 200
    assert server.ask("/files/sub/a.txt", headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert server.get("/files/empty") == (200, b"")
    assert server.get("/files/long") == (200, b"0123456789abcdef" * 20000)
    for path in ("/files/sub", "/files/none.txt", "/files/link", "/files/up/secret", "/files/fifo"):
        assert server.get(path)[0] == 404, path
    for path in ("/files/../secret", "/files/sub/../../secret", "/files/%2e%2e/secret", "/files/sub/%2e%2e/%2e%2e/secret",
                 "/files//secret", "/files/.hidden", "/files/sub/"):
        status, body = server.get(path)
        assert status == 403 and b"secret\n" != body, (path, status)


def written_is_read(server):
    for round_ in range(20):
        server.get("/record/9")
        text = f"version {round_} of it"
        assert server.get("/record/9", method="POST", body=text.encode())[0] == 200
        assert f"<p>{text}</p>" in server.get("/record/9")[1].decode(), "a get after the answer read an old text"


def written_is_read_under_load(server):
    """Others load and read all the time; whoever has the answer to a write never reads what was there before."""
    stop = threading.Event()
    readers = [threading.Thread(target=lambda: [server.get("/record/11") for _ in iter(stop.is_set, True)]) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for round_ in range(40):
            assert server.get("/record/11", method="POST", body=f"round {round_} ".encode())[0] == 200
            assert f"round {round_} " in server.get("/record/11")[1].decode(), "an old text after the answer to a write"
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def one_query(server):
    """Sixteen connections ask for one cold record at the same moment."""
    before, keys = server.figures()["queries"], range(100, 130)
    barrier, answers = threading.Barrier(16), []

    def ask():
        connection = http.client.HTTPConnection(server.host, timeout=20)
        for key in keys:
            barrier.wait(20)
            connection.request("GET", f"/record/{key}")
            answers.append((key, connection.getresponse().read()))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16 * len(keys) and len(set(answers)) == len(keys), "answers to one address differ"
    queries = server.figures()["queries"] - before
    print(f"{len(keys)} cold records, 16 threads each: {queries} queries")
    assert queries == len(keys) or not with_hapax, queries


def tenants(server):
    before = server.figures()["queries"]
    status, mine = server.get("/t/shop-1/prices/3")
    assert status == 200 and b"<h1>shop-1: category 3</h1>" in mine
    assert server.figures()["queries"] == before + 2  # the tenant and the list
    assert server.get("/prices/3", headers={"X-Tenant": "shop-1"}) == (200, mine)
    assert server.figures()["queries"] == before + 2, "a tenant's list was computed twice"
    status, theirs = server.get("/t/shop-2/prices/3")
    assert status == 200 and b"<h1>shop-2: category 3</h1>" in theirs
    assert server.figures()["queries"] == before + 4


def metrics(server):
    status, headers, body = server.ask("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers
    samples, types = {}, {}
    name, number = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r"(?:[-+]?[0-9.]+(?:e[-+]?\d+)?|[-+]?Inf|NaN)"
    label = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"({name})(\{{(?:{label}(?:,{label})*,?)?\}})? ({number})")
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            family, kind = line.split(" ")[2:]
            assert family not in types and kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            types[family] = kind
        elif not line.startswith("# HELP "):
            match = sample.fullmatch(line)
            assert match, f"not a sample: {line}"
            assert match[1] in types, f"a sample without a type: {line}"
            samples[match[1] + (match[2] or "")] = float(match[3])
    assert samples["server_database_queries_total"] == server.figures()["queries"]
    assert samples["server_requests_total"] > 10
    if with_hapax:
        pages = {key: value for key, value in samples.items() if key.startswith("hapax_") and '"pages"' in key}
        assert any(value > 10 for key, value in pages.items() if "hits" in key), sorted(samples)


def statistics(server):
    if not with_hapax:
        assert server.get("/stats.json")[0] == 404
        return
    caches = {cache["name"]: cache for cache in server.json("/stats.json")["caches"]}
    assert set(caches) >= {"pages", "tenants", "prices"}, sorted(caches)
    assert caches["pages"]["hits"] > 10 and caches["pages"]["bound_weight"] == 64 << 20, caches["pages"]
    assert caches["pages"]["sampled_one_in"] == 1 and any(hot["key"].startswith("record/") for hot in caches["pages"]["hottest"])


def ends_under_load(server):
    """Every answer that begins is whole; then the connection ends; the server finds nothing alive."""
    answers, broken = [], []

    def ask(n):
        while True:
            try:
                status, body = server.get(f"/record/{1 + (n * 7 + len(answers)) % RECORDS}")
            except (ConnectionError, http.client.BadStatusLine):
                return
            except Exception as error:  # noqa: BLE001
                broken.append(repr(error))
                return
            answers.append(status)
            if status == 200 and not body.endswith(b"</html>\n"):
                broken.append("cut")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    until("answers", lambda: len(answers) > 100)
    code, said = server.end()
    for thread in threads:
        thread.join()
    assert not broken and set(answers) == {200}, (broken, set(answers))
    assert code == 0 and "nothing is left alive" in said, (code, said, server.told())
    assert server.told() == "", server.told()


def new_by_itself(work):
    """What was changed behind the server's back is seen after the ttl, or a refresh before it."""
    database = work / "changed.db"
    make_database(program, database, 20)
    with Server(program, database, "--ttl", "0.3", "--refresh", "0.1") as server:
        assert server.get("/record/3")[0] == 200
        with sqlite3.connect(database, timeout=10) as connection:
            connection.execute("UPDATE records SET body = 'from outside' WHERE id = 3")
        connection.close()
        until("the new text", lambda: b"<p>from outside</p>" in server.get("/record/3")[1])
        if with_hapax:
            until("refreshes", lambda: server.get("/record/3") and server.json("/stats.json")["caches"][0]["refreshes"] > 2)
            connection = sqlite3.connect(database, timeout=10)
            connection.execute("DROP TABLE comments")  # from now on each load fails
            connection.commit()
            connection.close()

            def stale():
                status, body = server.get("/record/3")
                assert status == 200 and b"<p>from outside</p>" in body, (status, body)
                return server.json("/stats.json")["caches"][0]["stale_hits"] > 0

            until("stale answers", stale)
            status, headers, _ = server.ask("/record/4")
            assert status == 503 and headers["Retry-After"], status
        code, said = server.end(signal.SIGINT)
        assert code == 0, (code, said, server.told())


def tenants_go(work):
    """Nobody asks for a tenant any more: it goes, and its lists with it."""
    with Server(program, work / "server.db", "--tenant-idle", "0.2") as server:
        for category in range(5):
            assert server.get(f"/t/shop-1/prices/{category}")[0] == 200

        def alive():
            types = server.json("/stats.json")["environments"][0]["types"]
            return {kind["name"]: kind["alive"] for kind in types}

        until("the tenant's end", lambda: alive() == {"tenant": 0, "content": 0})
        assert server.end()[0] == 0


def bad_starts(work):
    (work / "no.db").write_bytes(b"this is no database, however long it may be" * 100)
    for options, code in ((["--port", "x"], 2), (["--port", "65536"], 2), (["--ttl", "0"], 2), (["--ttl", "1s"], 2), (["more"], 2),
                          (["--cache-bytes", "99999999999G"], 2), (["--threads", ""], 2), (["--no-such"], 2), (["--ttl", "nan"], 2),
                          (["--db", str(work / "absent.db")], 1), (["--db", str(work / "no.db")], 1),
                          (["--db", str(work / "server.db"), "--files", str(work / "absent")], 1),
                          (["--db", str(work / "server.db"), "--address", "localhost"], 1)):
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=20)
        assert done.returncode == code and done.stderr and not done.stdout, (options, done)


def main():
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        directory = work / "files"
        (directory / "sub").mkdir(parents=True)
        (directory / "sub/a.txt").write_text("hello\n")
        (directory / "empty").touch()
        (directory / "long").write_text("0123456789abcdef" * 20000)
        (work / "secret").write_text("secret\n")
        (directory / "link").symlink_to(work / "secret")
        (directory / "up").symlink_to(work)
        (directory / ".hidden").write_text("secret\n")
        os.mkfifo(directory / "fifo")
        make_database(program, work / "server.db", RECORDS)
        make_database(program, work / "again.db", RECORDS)
        assert (work / "server.db").read_bytes() == (work / "again.db").read_bytes(), "the database is not the same every time"
        with Server(program, work / "server.db", *LONG, "--max-file", "100K", "--sample", "1", files=directory) as server:
            for test in (records, refusals, absent_is_remembered, written_is_read, written_is_read_under_load, one_query, tenants,
                         metrics, statistics):
                test(server)
                print(f"{test.__name__}: good")
            files(server, directory)
            assert server.get("/healthz") == (200, b"ok\n") and server.get("/")[0] == 200
            ends_under_load(server)
        with Server(program, work / "server.db", "--threads", "0") as server:  # one for each connection
            records(server)
            assert server.end() == (0, "ended, nothing is left alive\n"), server.told()
        new_by_itself(work)
        if with_hapax:
            tenants_go(work)
        bad_starts(work)
    print("all good")


main()
