# SPDX-License-Identifier: LGPL-2.1-or-later
"""A running example server: started on a free port of the loopback interface, asked, ended."""
import http.client
import json
import pathlib
import signal
import subprocess
import tempfile
import urllib.parse


class Server:
    """with Server(program, database, options) as server: ... ; ended with SIGTERM, and killed if that does not do it."""

    def __init__(self, program, database, *options, files=None):
        self.command = [str(program), "--db", str(database), "--port", "0", *options]
        if files:
            self.command += ["--files", str(files)]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        self.url = next((word for word in line.split() if word.startswith("http://")), None)
        if not self.url:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{' '.join(self.command)} did not start: {line}{self.told()}")
        self.host = urllib.parse.urlsplit(self.url).netloc

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()

    def told(self):
        self.errors.seek(0)
        return self.errors.read()

    def ask(self, path, method="GET", body=None, headers=None):
        """The path goes out as it is. Returns status, headers, body."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path, **more):
        status, _, body = self.ask(path, **more)
        return status, body

    def json(self, path):
        status, body = self.get(path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def figures(self):
        return self.json("/server.json")

    def end(self, signal_number=signal.SIGTERM):
        """Returns the exit status and what it said at the end."""
        self.process.send_signal(signal_number)
        try:
            said, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
            said += "killed: it did not end"
        return self.process.returncode, said


def make_database(program, path: pathlib.Path, records):
    subprocess.run([str(program), "--make-db", "--db", str(path), "--records", str(records)], check=True, timeout=120)
