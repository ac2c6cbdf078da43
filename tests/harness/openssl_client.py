"""A TLS client on a given OpenSSL, which makes every call in the way that it is told.

    openssl_client.py LIBCRYPTO LIBSSL PORT

Commands arrive as JSON lines {"do": …}, see COMMANDS; each is answered by one line. The first line
tells the version. Tokens travel on stdin, never in the arguments. Certificates are not verified:
this client is about calls.
"""

import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
import time

WANT_READ, WANT_WRITE, ZERO_RETURN = 2, 3, 6
CTRL_MODE, PARTIAL_WRITES, MOVING_BUFFER = 33, 1, 2
CTRL_MIN_VERSION, CTRL_MAX_VERSION = 123, 124
VERSIONS = {"1.2": 0x303, "1.3": 0x304}
NO_ENCRYPT_THEN_MAC = 1 << 19
ALLOW_RENEGOTIATION = 1 << 8  # Since 3.0; before it, nobody had to allow it.
UPDATE_REQUESTED = 1
EARLY_DATA_ACCEPTED = 2
SUITES = (b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
          b"TLS_AES_128_CCM_SHA256")
PEM = 1
BIO_READS, BIO_WRITES = 2, 3
SYS_EXIT = 60
PATIENCE = 10

# What memory holds that no call has filled: capturing it would make an event of it.
STALE_ANSWER = b"HTTP/1.1 299 Stale\r\nContent-Length: 0\r\n\r\n"
READS = ["SSL_read", "SSL_read_ex"]
STALE_REQUEST = b"GET /stale HTTP/1.1\r\nHost: stale\r\n\r\n"

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

BIO_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t,
    ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_void_p)


def load(libcrypto, libssl):
    """The library, with the types of the functions that are not int f(void *, …)."""
    crypto = ctypes.CDLL(libcrypto, mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(libssl)
    crypto.OpenSSL_version.restype = ctypes.c_char_p
    crypto.BIO_set_callback_ex.argtypes = [ctypes.c_void_p, BIO_CALLBACK]
    crypto.BIO_set_callback_ex.restype = None
    for name in ["TLS_client_method", "TLS_server_method", "SSL_CTX_new", "SSL_new",
                 "SSL_get_rbio", "SSL_get_wbio", "SSL_get1_session"]:
        getattr(library, name).restype = ctypes.c_void_p
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.SSL_CTX_new.argtypes = [pointer]
    for name in ["CTX_ctrl", "ctrl"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, number, ctypes.c_long, pointer]
    for name in ["new", "get_rbio", "get_wbio", "clear", "free", "up_ref", "do_handshake", "accept",
                 "get1_session", "session_reused", "renegotiate", "get_early_data_status"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer]
    for name in ["set_cipher_list", "set_ciphersuites", "set_session", "CTX_set_cipher_list",
                 "CTX_set_ciphersuites"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, pointer]
    for name in ["set_options", "CTX_set_options"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, ctypes.c_uint64]
    library.SSL_CTX_use_certificate_chain_file.argtypes = [pointer, ctypes.c_char_p]
    library.SSL_CTX_use_PrivateKey_file.argtypes = [pointer, ctypes.c_char_p, number]
    library.SSL_set_connect_state.argtypes = [pointer]
    for name in ["set_fd", "set_rfd", "get_error", "key_update"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, number]
    for name in ["read", "peek", "write"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, pointer, number]
    for name in ["read_ex", "write_ex", "write_early_data"]:
        getattr(library, f"SSL_{name}").argtypes = [pointer, pointer, size, pointer]
    if hasattr(library, "SSL_write_ex2"):
        library.SSL_write_ex2.argtypes = [pointer, pointer, size, ctypes.c_uint64, pointer]
    return crypto, library


libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_ulong
libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
libc.pthread_cancel.argtypes = [ctypes.c_ulong]
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class Answer:
    """A response with Content-Length, as its bytes arrive."""

    def __init__(self):
        self.received = bytearray()
        self.ended = False

    def whole(self):
        # Without a copy of the body: long ones are asked for often.
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.received[:end])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        self.status = int(head.split()[1])
        self.length = len(self.received) - end - 4
        return self.length >= int(fields.get(b"content-length", b"0"))


class Session:
    """A session object and the socket beneath it."""

    def __init__(self, blocking, partial_writes, send_buffer, terms=None, before=None):
        self.blocking, self.send_buffer = blocking, send_buffer
        self.object = ssl.SSL_new(context)
        if partial_writes:
            ssl.SSL_ctrl(self.object, CTRL_MODE, PARTIAL_WRITES, None)
        if terms:
            self.agree(terms, before)

    def agree(self, terms, before):
        """Accepts these terms alone, and offers to resume the session `before`."""
        for control in [CTRL_MIN_VERSION, CTRL_MAX_VERSION]:
            ssl.SSL_ctrl(self.object, control, VERSIONS[terms["version"]], None)
        suite = terms["suite"].encode()
        if terms["version"] == "1.3":
            chosen = ssl.SSL_set_ciphersuites(self.object, suite)
        else:
            chosen = ssl.SSL_set_cipher_list(self.object, suite + b":@SECLEVEL=0")
        if chosen != 1:
            raise OSError(f"no suite {suite}")
        if not terms["encrypt_then_mac"]:
            ssl.SSL_set_options(self.object, NO_ENCRYPT_THEN_MAC)
        if before:
            ssl.SSL_set_session(self.object, ssl.SSL_get1_session(before.object))

    def dial(self, prelude=()):
        self.socket = socket.socket()
        if self.send_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        self.socket.connect(("127.0.0.1", port))
        talk(self.socket, "client", prelude)
        self.socket.setblocking(self.blocking)
        ssl.SSL_set_fd(self.object, self.socket.fileno())
        ssl.SSL_set_connect_state(self.object)
        self.begin_counts()
        return self

    def begin_counts(self):
        self.counts = {"blocked_reads": 0, "blocked_writes": 0, "reads": 0, "writes": 0}

    def handshake(self):
        while (returned := ssl.SSL_do_handshake(self.object)) != 1:
            self.wait(returned)

    def wait(self, returned):
        """Waits for what the failed call lacked; False at the end of the stream."""
        error = ssl.SSL_get_error(self.object, returned)
        if error == WANT_READ:
            select.select([self.socket], [], [], PATIENCE)
        elif error == WANT_WRITE:
            select.select([], [self.socket], [], PATIENCE)
        elif error != ZERO_RETURN:
            raise OSError(f"TLS error {error}")
        return error != ZERO_RETURN

    def call(self, function, buffer):
        """What one call returned, and how many bytes it moved."""
        if not function.endswith(("_ex", "_ex2")):
            returned = getattr(ssl, function)(self.object, buffer, len(buffer))
            return returned, max(returned, 0)
        # A length that only a successful call replaces.
        moved = ctypes.c_size_t(len(STALE_ANSWER))
        flags = [0] if function.endswith("2") else []
        arguments = [buffer, len(buffer), *flags, ctypes.byref(moved)]
        returned = getattr(ssl, function)(self.object, *arguments)
        return returned, moved.value if returned == 1 else 0

    def write(self, data, function="SSL_write"):
        """Writes all, each attempt from another buffer."""
        done = 0
        while done < len(data):
            buffer = ctypes.create_string_buffer(data[done:], len(data) - done)
            returned, moved = self.call(function, buffer)
            fill(buffer, STALE_REQUEST)
            before = buffer  # Keeps its place, so that the next is elsewhere.
            done += moved
            self.counts["writes" if moved else "blocked_writes"] += 1
            if not moved and not self.wait(returned):
                raise OSError("the peer ended the session")
        del before

    def read(self, answer, function="SSL_read", piece=16384, peek=False):
        """Makes one attempt to read a piece."""
        buffer = ctypes.create_string_buffer(piece)
        if peek:
            self.call("SSL_peek", buffer)
        fill(buffer, STALE_ANSWER)
        returned, moved = self.call(function, buffer)
        answer.received += buffer.raw[:moved]
        self.counts["reads" if moved else "blocked_reads"] += 1
        if not moved:
            answer.ended = not self.wait(returned)

    def finish(self, answer, how):
        """Reads the answer, or as told all until the end of the stream."""
        while not (answer.ended if how["until_end"] else answer.whole()):
            self.read(answer, how["read"], how["piece"], how["peek"])
        return self.report(answer)

    def exchange(self, request, how):
        answer = Answer()
        self.write(request, how["write"])
        return self.finish(answer, how)

    def report(self, answer):
        """What came of an exchange; calls are counted from here for the next one."""
        answer.whole()
        counts = self.counts
        self.begin_counts()
        return {"status": answer.status, "length": answer.length, "pid": os.getpid(),
                "local_port": self.socket.getsockname()[1], "object": self.object, **counts}


def talk(peer, own, prelude):
    """Says and hears what comes before TLS: (who, text) in turn."""
    for who, text in prelude:
        if who == own:
            peer.sendall(text.encode())
        elif peer.recv(len(text), socket.MSG_WAITALL) != text.encode():
            raise OSError(f"the {who} did not say {text}")


def fill(buffer, text):
    text = text[:len(buffer)]
    ctypes.memmove(buffer, text, len(text))


def serialized(request):
    body = (request["body"] or "").encode()
    fields = {"Host": f"localhost:{port}", **request["headers"]}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{request['method']} {request['path']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def open_session(command):
    terms = command["terms"]
    before = sessions.get(command["session"]) if terms and terms["resume"] else None
    session = Session(command["blocking"], command["partial_writes"], command["send_buffer"],
                      terms, before)
    sessions[command["session"]] = session.dial(command["prelude"])
    if command["handshake"]:
        session.handshake()
    if terms and ssl.SSL_session_reused(session.object) != int(terms["resume"]):
        raise OSError(f"resumed or not, against what was asked for: {terms}")
    return {"object": session.object}


def serve(command):
    """Answers on another port, request by request, each connection in a thread of its own."""
    own = ssl.SSL_CTX_new(ssl.TLS_server_method())
    if ssl.SSL_CTX_use_certificate_chain_file(own, command["certificate"].encode()) != 1:
        raise OSError("no certificate")
    if ssl.SSL_CTX_use_PrivateKey_file(own, command["key"].encode(), PEM) != 1:
        raise OSError("no key")
    ssl.SSL_CTX_set_options(own, ALLOW_RENEGOTIATION)
    ssl.SSL_CTX_set_cipher_list(own, b"ALL:@SECLEVEL=0")
    ssl.SSL_CTX_set_ciphersuites(own, SUITES)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(peer):
        talk(peer, "server", command["prelude"])
        session = ssl.SSL_new(own)
        ssl.SSL_set_fd(session, peer.fileno())
        if ssl.SSL_accept(session) != 1:
            raise OSError("no handshake")
        buffer = ctypes.create_string_buffer(16384)
        while ssl.SSL_read(session, buffer, len(buffer)) > 0:
            ssl.SSL_write(session, ANSWER, len(ANSWER))

    def listen():
        while True:
            threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    return {"port": listener.getsockname()[1]}


def certify(command):
    """Sessions opened from here on have a certificate."""
    if ssl.SSL_CTX_use_certificate_chain_file(context, command["certificate"].encode()) != 1:
        raise OSError("no certificate")
    if ssl.SSL_CTX_use_PrivateKey_file(context, command["key"].encode(), PEM) != 1:
        raise OSError("no key")


def renegotiate(command):
    """Another handshake within the connection; TLS 1.2 only."""
    session = sessions[command["session"]]
    if ssl.SSL_renegotiate(session.object) != 1:
        raise OSError("no renegotiation")
    session.handshake()


def update_keys(command):
    """New keys for this end, and by request for the other; TLS 1.3 only."""
    if ssl.SSL_key_update(sessions[command["session"]].object, UPDATE_REQUESTED) != 1:
        raise OSError("no key update")


def exchange_early(command):
    """Resumes the session by the name of this one, with the request as early data."""
    name, request = command["session"], serialized(command["request"])
    session = Session(True, False, 0, {"version": "1.3", "suite": command["suite"],
                                       "encrypt_then_mac": True}, sessions[name]).dial()
    sessions[name] = session
    written = ctypes.c_size_t(0)
    buffer = ctypes.create_string_buffer(request, len(request))
    if ssl.SSL_write_early_data(session.object, buffer, len(buffer), ctypes.byref(written)) != 1:
        raise OSError("no early data")
    session.handshake()
    if ssl.SSL_get_early_data_status(session.object) != EARLY_DATA_ACCEPTED:
        raise OSError("early data was not accepted")
    return session.finish(Answer(), command["how"])


def exchange(command):
    session = sessions[command["session"]]
    return session.exchange(serialized(command["request"]), command["how"])


def exchange_in_two_threads(command):
    """One thread writes, another one reads."""
    session, answer, report = sessions[command["session"]], Answer(), {}
    data = serialized(command["request"])
    writer = threading.Thread(target=lambda: session.write(data, command["how"]["write"]))
    reader = threading.Thread(target=lambda: report.update(session.finish(answer, command["how"])))
    for thread in [writer, reader]:
        thread.start()
        thread.join()
    return report


def exchange_in_a_child(command):
    """A forked child takes over the session and ends without freeing it."""
    return in_a_child(lambda: exchange(command))


def exchange_in_children_of_one_pid(command):
    """Two children, one after the other, each with a connection by an object at one address."""
    session = Session(blocking=True, partial_writes=False, send_buffer=0)

    def answer():
        session.dial().handshake()
        return session.exchange(serialized(command["requests"][len(reports)]), command["how"])

    reports = []
    reports.append(in_a_child(answer))
    wanted = reports[0]["pid"]
    for _ in range(100):  # Other processes may take the id.
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(wanted - 1))
        report = in_a_child(lambda: answer() if os.getpid() == wanted else None)
        if report:
            return [*reports, report]
    raise OSError(f"process id {wanted} was not to be had again")


def in_a_child(work):
    """What `work` gives in a child, which ends at once."""
    result, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(report, json.dumps(work()).encode())
        os._exit(0)
    os.close(report)
    with open(result, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


def nested_exchanges(command):
    """While the first session writes to its socket, the second makes its whole exchange."""
    outer, inner = (sessions[name] for name in command["sessions"])
    requests = [serialized(request) for request in command["requests"]]
    reports = []

    @BIO_CALLBACK
    def on_bio(_bio, operation, _data, _len, _number, _long, returned, _processed):
        if operation == BIO_WRITES and not reports:
            reports.append(None)
            reports[0] = inner.exchange(requests[1], command["how"])
        return returned

    bio = ssl.SSL_get_wbio(outer.object)
    crypto.BIO_set_callback_ex(bio, on_bio)
    report = outer.exchange(requests[0], command["how"])
    crypto.BIO_set_callback_ex(bio, BIO_CALLBACK())
    return [report, *reports]


def interleaved_exchanges(command):
    """Two sessions on one thread take turns, a few bytes each."""
    pair = [sessions[name] for name in command["sessions"]]
    requests = [serialized(request) for request in command["requests"]]
    answers = [Answer(), Answer()]
    for start in range(0, max(map(len, requests)), 40):
        for session, request in zip(pair, requests):
            session.write(request[start:start + 40])
    while not all(answer.whole() for answer in answers):
        for session, answer in zip(pair, answers):
            if not answer.whole():
                session.read(answer, piece=40)
    return [session.report(answer) for session, answer in zip(pair, answers)]


def pipelined_exchanges(command):
    """Two requests in one write; the answers come one after the other."""
    session = sessions[command["sessions"][0]]
    session.write(b"".join(serialized(request) for request in command["requests"]))
    reports, rest = [], b""
    for _ in command["requests"]:
        answer = Answer()
        answer.received = rest
        while not answer.whole():
            session.read(answer)
        head, _, body = answer.received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        rest = body[length:]
        answer.received = answer.received[:len(answer.received) - len(rest)]
        reports.append(session.report(answer))
    return reports


def die_in_a_call(command):
    """A child is killed within a read on a session of its own, to which nobody answers."""
    session = Session(blocking=True, partial_writes=False, send_buffer=0)
    child = os.fork()
    if child == 0:
        session.dial().handshake()
        session.call(command["session"], ctypes.create_string_buffer(16384))
        os._exit(1)
    wait_channel = f"/proc/{child}/syscall"
    deadline = time.monotonic() + PATIENCE
    # Until it has answers to its handshake, and waits for more: read(2) is system call 0.
    while not open(wait_channel).read().startswith("0 ") and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise OSError("the read returned")


class Thread:
    """A thread that Python did not start, and that may end wherever it is."""

    def __init__(self, work):
        self.id, self.work, self.handle = 0, work, ctypes.c_ulong()
        self.routine = ROUTINE(self.run)
        if libc.pthread_create(ctypes.byref(self.handle), None, self.routine, None) != 0:
            raise OSError("no thread")

    def run(self, _argument):
        self.id = threading.get_native_id()
        self.work()

    def join(self):
        libc.pthread_join(self.handle, None)

    def cancel(self):
        """Cancels it once it waits for the session's socket."""
        wait_until(self.reads)
        libc.pthread_cancel(self.handle)
        self.join()
        wait_until(self.is_gone)
        time.sleep(0.01)  # Its stack was free at once, its id is a moment after it is gone.
        return self

    def reads(self):
        """Whether it is in read(2), system call 0."""
        return self.id and open(f"/proc/self/task/{self.id}/syscall").read().startswith("0 ")

    def is_gone(self):
        return self.id and not os.path.exists(f"/proc/self/task/{self.id}")


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise OSError(f"waited in vain for {condition}")
        time.sleep(0.01)


def read_nothing(session, function, returned):
    """A read for which nothing comes, into memory that looks like an answer."""
    session.call(function, ctypes.create_string_buffer(STALE_ANSWER * 9, len(STALE_ANSWER) * 9))
    returned.append(function)


def exit_in_a_call(command):
    """Threads end themselves while they are in reads on the session."""
    session, returned = sessions[command["session"]], []

    @BIO_CALLBACK
    def on_bio(_bio, operation, _data, _len, _number, _long, result, _processed):
        if operation == BIO_READS:
            libc.syscall(SYS_EXIT, 0)
        return result

    bio = ssl.SSL_get_rbio(session.object)
    crypto.BIO_set_callback_ex(bio, on_bio)
    for function in READS:
        # It is not joined: the C library knows nothing of its end, and would use its stack again
        # with what Python remembers of it.
        wait_until(Thread(lambda: read_nothing(session, function, returned)).is_gone)
    crypto.BIO_set_callback_ex(bio, BIO_CALLBACK())
    if returned:
        raise OSError(f"{returned} returned")


def cancel_in_a_call(command):
    """Threads are cancelled while they are in reads on the session; the last one."""
    session, returned = sessions[command["session"]], []
    for function in READS:
        last = Thread(lambda: read_nothing(session, function, returned)).cancel()
    if returned:
        raise OSError(f"{returned} returned")
    return last


def exchange_in_the_place_of_another(command):
    """A thread that has the id and the stack of one that ended in a read goes on with its session."""
    for _ in range(100):  # Others may take either.
        before, report = cancel_in_a_call(command), {}
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(before.id - 1))

        def go_on():
            if (threading.get_native_id(), libc.pthread_self()) == (before.id, before.handle.value):
                report.update(exchange(command))

        Thread(go_on).join()
        if report:
            return report
    raise OSError(f"the place of thread {before.id} was not to be had")


def fail_to_write(command):
    """Writes that begin the handshake and move nothing: the server is not heard."""
    session = sessions[command["session"]]
    silence, peer = socket.socketpair()
    silence.setblocking(False)
    ssl.SSL_set_rfd(session.object, silence.fileno())
    fail(session, ["SSL_write", "SSL_write_ex"], STALE_REQUEST)
    ssl.SSL_set_fd(session.object, session.socket.fileno())
    silence.close()
    peer.close()


def fail_to_read(command):
    """Reads where nothing has arrived."""
    fail(sessions[command["session"]], ["SSL_read", "SSL_read_ex"], STALE_ANSWER)


def fail(session, functions, stale):
    for function in functions:
        _, moved = session.call(function, ctypes.create_string_buffer(stale, len(stale)))
        if moved:
            raise OSError(f"{function} moved {moved} bytes")


def handshake(command):
    sessions[command["session"]].handshake()


def clear(command):
    """The object serves another connection."""
    session = sessions[command["session"]]
    session.socket.close()
    if ssl.SSL_clear(session.object) != 1:
        raise OSError("SSL_clear failed")
    session.dial()
    session.handshake()


def free(command):
    session = sessions.pop(command["session"])
    ssl.SSL_free(session.object)
    session.socket.close()


def free_and_open(command):
    """A new object, at the address of the one freed if the allocator has it so."""
    before = sessions.pop(command["session"])
    before.socket.close()
    ssl.SSL_free(before.object)
    others = []  # They take what room the allocator likes better, and keep it.
    for _ in range(64):
        session = Session(blocking=True, partial_writes=False, send_buffer=0)
        if session.object == before.object:
            break
        others.append(session)
    for other in others:
        if other is not session:
            ssl.SSL_free(other.object)
    sessions[command["session"]] = session.dial()
    session.handshake()


def free_one_of_two_references(command):
    session = sessions[command["session"]]
    ssl.SSL_up_ref(session.object)
    ssl.SSL_free(session.object)


def leave(_command):
    """Ends the process with all of its sessions open."""
    os._exit(0)


COMMANDS = {
    "open": open_session, "serve": serve, "exchange": exchange,
    "certify": certify, "renegotiate": renegotiate, "update_keys": update_keys, "exchange_early": exchange_early,
    "exchange_in_two_threads": exchange_in_two_threads,
    "exchange_in_a_child": exchange_in_a_child,
    "exchange_in_children_of_one_pid": exchange_in_children_of_one_pid,
    "cancel_in_a_call": lambda command: cancel_in_a_call(command) and None,
    "exchange_in_the_place_of_another": exchange_in_the_place_of_another,
    "exit_in_a_call": exit_in_a_call,
    "nested_exchanges": nested_exchanges,
    "pipelined_exchanges": pipelined_exchanges, "die_in_a_call": die_in_a_call,
    "interleaved_exchanges": interleaved_exchanges, "fail_to_write": fail_to_write,
    "fail_to_read": fail_to_read, "handshake": handshake, "clear": clear, "free": free,
    "free_and_open": free_and_open,
    "free_one_of_two_references": free_one_of_two_references, "leave": leave,
}


if __name__ == "__main__":
    crypto, ssl = load(sys.argv[1], sys.argv[2])
    port = int(sys.argv[3])
    context = ssl.SSL_CTX_new(ssl.TLS_client_method())
    ssl.SSL_CTX_ctrl(context, CTRL_MODE, MOVING_BUFFER, None)
    sessions = {}
    about = {"version": crypto.OpenSSL_version(0).decode(),
             "has_write_ex2": hasattr(ssl, "SSL_write_ex2")}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(COMMANDS[command["do"]](command)), flush=True)
