#!/usr/bin/env python3
"""Records sessions of OpenSSL's client with its server as text for the tests of tls/.

    record.py OPENSSL-BINARY [NAME...]   writes pki/ (if it is absent) and openssl/NAME.txt

Each session runs through a proxy that notes the ciphertext in the order in which it passed. The
lines that both ends said are the expected plaintext, the server's key log holds the secrets.
Keys and certificates are for these tests only.
"""

import pathlib
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PKI = HERE / "pki"
OUT = HERE / "openssl"
OPENSSL = sys.argv[1] if len(sys.argv) > 1 else "openssl"
WANTED = sys.argv[2:]
LEGACY = ":@SECLEVEL=0"

# name: (arguments of both ends, of the server, of the client, what the client types, the server)
# A letter alone is a command of the tool: R renegotiate, K update keys of both, k of one side.
HELLO = ["GET /client HTTP/1.1"]
ANSWER = ["HTTP/1.1 200 OK"]
TLS12 = ["-tls1_2"]
TLS13 = ["-tls1_3"]


def suite12(cipher, extra=()):
    return (TLS12 + ["-cipher", cipher + LEGACY] + list(extra), [], [], HELLO, ANSWER)


def suite13(suite, said=HELLO, answered=ANSWER):
    return (TLS13 + ["-ciphersuites", suite, "-cipher", "ALL" + LEGACY], [], [], said, answered)


SESSIONS = {
    "tls12_aes128_ccm": suite12("AES128-CCM"),
    "tls12_aes256_ccm8": suite12("DHE-RSA-AES256-CCM8"),
    "tls12_dhe_chacha20": suite12("DHE-RSA-CHACHA20-POLY1305"),
    "tls12_rsa_aes256_gcm": suite12("AES256-GCM-SHA384"),
    "tls12_cbc_sha_etm": suite12("AES128-SHA"),
    "tls12_cbc_sha_mte": suite12("ECDHE-RSA-AES256-SHA", ["-no_etm"]),
    "tls12_cbc_sha256_etm": suite12("DHE-RSA-AES256-SHA256"),
    "tls12_cbc_sha256_mte": suite12("AES128-SHA256", ["-no_etm"]),
    "tls12_cbc_sha384_etm": suite12("ECDHE-RSA-AES256-SHA384"),
    "tls12_cbc_sha384_mte": suite12("ECDHE-RSA-AES256-SHA384", ["-no_etm"]),
    "tls12_renegotiation": (
        TLS12, ["-client_renegotiation"], [],
        HELLO + ["R"] + ["GET /again HTTP/1.1"], ANSWER + ["", "HTTP/1.1 204 No Content"]),
    "tls12_renegotiation_client_certificate": (
        TLS12 + ["-cipher", "ECDHE-RSA-AES128-SHA" + LEGACY],
        ["-CAfile", "ca.pem", "-no_ticket", "-no_cache"],
        ["-cert", "client.pem", "-key", "client.key"],
        HELLO + ["", "GET /secret HTTP/1.1"], ANSWER + ["R", "HTTP/1.1 200 OK"]),
    "tls13_aes128_ccm": suite13("TLS_AES_128_CCM_SHA256"),
    "tls13_aes128_ccm8": suite13("TLS_AES_128_CCM_8_SHA256"),
    "tls13_key_update": suite13(
        "TLS_AES_256_GCM_SHA384",
        HELLO + ["K", "GET /updated HTTP/1.1"], ANSWER + ["", "", "k", "HTTP/1.1 200 Updated"]),
    "tls13_client_certificate": (
        TLS13, ["-Verify", "1", "-CAfile", "ca.pem"],
        ["-cert", "client.pem", "-key", "client.key"], HELLO, ANSWER),
}
# Sessions that resume an earlier one: (arguments of both, of the server, of the resuming client,
# how often the session is resumed before the recording: the second time it is a replay).
RESUMED = {
    "tls12_resumed_ticket": (TLS12, [], [], 0),
    "tls12_resumed_id": (TLS12 + ["-no_ticket"], [], [], 0),
    "tls13_resumed": (TLS13, [], [], 0),
    "tls13_early_data": (TLS13, ["-early_data"], ["-early_data", "early.txt"], 0),
    "tls13_early_data_refused": (TLS13, ["-early_data"], ["-early_data", "early.txt"], 1),
    "tls13_early_data_retry": (
        TLS13, ["-early_data", "-groups", "P-384"], ["-early_data", "early.txt"], 0),
}
EARLY = b"GET /early HTTP/1.1\n"


def run(*arguments):
    subprocess.run([OPENSSL, *arguments], cwd=PKI, check=True, capture_output=True)


def wanted(sessions):
    return [item for item in sessions.items() if not WANTED or item[0] in WANTED]


def make_pki():
    PKI.mkdir()
    years = ["-days", "36500"]
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
        "-subj", "/CN=scopewatch test CA", *years)
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        (PKI / "extensions").write_text(
            f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\nsubjectAltName=DNS:{name}.test\n")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", "request",
            "-subj", f"/C=FR/O=Example, Inc./CN={name}.test")
        run("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-extfile", "extensions", "-out", f"{name}.pem", *years)
    for leftover in ("extensions", "request", "ca.key", "ca.srl"):
        (PKI / leftover).unlink(missing_ok=True)


class Proxy(threading.Thread):
    """Passes one connection on and notes what went by."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = target
        self.flow = []

    def run(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target))
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, ("client", server))
        selector.register(server, selectors.EVENT_READ, ("server", client))
        while selector.get_map():
            for key, _ in selector.select():
                who, other = key.data
                try:
                    passed = key.fileobj.recv(65536)
                except OSError:
                    passed = b""
                if not passed:
                    selector.unregister(key.fileobj)
                    try:
                        other.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    continue
                if self.flow and self.flow[-1][0] == who:
                    self.flow[-1][1].extend(passed)
                else:
                    self.flow.append((who, bytearray(passed)))
                other.sendall(passed)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start(arguments, scratch):
    return subprocess.Popen(
        [OPENSSL, *arguments], cwd=scratch, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)


def type_line(process, line):
    if line:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
    time.sleep(0.3)


def said(lines):
    return b"".join(line.encode() + b"\n" for line in lines if len(line) > 1)


class Server:
    def __init__(self, both, extra, scratch):
        self.port, self.log = free_port(), scratch / "keys"
        self.log.unlink(missing_ok=True)
        self.process = start(
            ["s_server", "-port", str(self.port), "-cert", "server.pem", "-key", "server.key",
             "-keylogfile", str(self.log), "-alpn", "http/1.1", *both, *extra], scratch)
        time.sleep(0.4)

    def talk(self, both, extra, scratch, client_lines, server_lines):
        proxy = Proxy(self.port)
        proxy.start()
        before = self.log.read_text() if self.log.exists() else ""
        client = start(
            ["s_client", "-connect", f"127.0.0.1:{proxy.port}", "-servername", "server.test",
             "-CAfile", "ca.pem", "-alpn", "http/1.1", *both, *extra], scratch)
        time.sleep(0.5)
        for index in range(max(len(client_lines), len(server_lines))):
            for process, lines in ((client, client_lines), (self.process, server_lines)):
                if index < len(lines):
                    type_line(process, lines[index])
        type_line(client, "Q")
        out, _ = client.communicate(timeout=10)
        proxy.join(timeout=5)
        return proxy.flow, self.log.read_text()[len(before):], out


def write(name, flow, log, client, server):
    lines = ["# Recorded by record.py."]
    for line in log.splitlines():
        if line and not line.startswith("#"):
            lines.append("keylog " + line)
    lines += [f"{who} {passed.hex()}" for who, passed in flow]
    lines += [f"expect client {client.hex()}", f"expect server {server.hex()}"]
    (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(name, sum(len(passed) for _, passed in flow), "bytes,", log.count("\n"), "key log lines")


def main():
    if not PKI.exists():
        make_pki()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        for file in PKI.iterdir():
            (scratch / file.name).write_bytes(file.read_bytes())
        (scratch / "early.txt").write_bytes(EARLY)
        for name, (both, of_server, of_client, typed, answered) in wanted(SESSIONS):
            server = Server(both, of_server, scratch)
            flow, log, _ = server.talk(both, of_client, scratch, typed, answered)
            server.process.kill()
            write(name, flow, log, said(typed), said(answered))
        for name, (both, of_server, of_client, replays) in wanted(RESUMED):
            server = Server(both, of_server, scratch)
            server.talk(both, ["-sess_out", "session"], scratch, HELLO, ANSWER)
            for _ in range(replays + 1):
                flow, log, out = server.talk(
                    both, ["-sess_in", "session", *of_client], scratch, HELLO, ANSWER)
            server.process.kill()
            accepted = b"Early data was accepted" in out
            write(name, flow, log, (EARLY if accepted else b"") + said(HELLO), said(ANSWER))


if __name__ == "__main__":
    main()
