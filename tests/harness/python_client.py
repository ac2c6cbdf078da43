"""An HTTP/1.1 client on Python's ssl module, driven over its standard input.

    python_client.py HOST PORT CAFILE              calls from stdin, one connection kept alive
    python_client.py HOST PORT CAFILE load N       N connections, until stdin is closed
    python_client.py HOST PORT CAFILE load N M     the same at leisure, M requests on each

Calls arrive as JSON lines {"method", "path", "headers", "body"}; each is answered by a line
{"status", "length", "local_port", "connection"}. Load reads one such line, repeats it on every
connection, each time as another trace, and ends with {"requests", "errors"}. Tokens travel on stdin, never in the arguments.
"""

import http.client
import json
import ssl
import sys
import threading
import time
import uuid

LEISURE = 0.004


def connect(host, port, cafile):
    context = ssl.create_default_context(cafile=cafile)
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=30)
    connection.connect()
    return connection


def send(connection, call):
    connection.request(call["method"], call["path"], body=call["body"], headers=call["headers"])
    response = connection.getresponse()
    return response.status, len(response.read())


def answer_calls(host, port, cafile):
    connection = connect(host, port, cafile)
    connections = 1
    for line in sys.stdin:
        if connection.sock is None:
            connection = connect(host, port, cafile)
            connections += 1
        local_port = connection.sock.getsockname()[1]
        status, length = send(connection, json.loads(line))
        reply = {"status": status, "length": length, "local_port": local_port,
                 "connection": connections}
        print(json.dumps(reply), flush=True)


def traced(call):
    """The call as a trace of its own (W3C Trace Context)."""
    trace = f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01"
    return {**call, "headers": {**call["headers"], "traceparent": trace}}


def load(host, port, cafile, connections, lifetime=None):
    call = json.loads(sys.stdin.readline())
    stop = threading.Event()
    lock = threading.Lock()
    total = {"requests": 0, "errors": []}

    def work():
        done, errors = 0, []
        try:
            connection = connect(host, port, cafile)
            while not stop.is_set():
                status, _ = send(connection, traced(call))
                done += 1
                if lifetime:
                    time.sleep(LEISURE)
                    if done % lifetime == 0:
                        connection.close()
                        connection = connect(host, port, cafile)
                if status != call["expect"]:
                    errors.append(f"status {status}")
        except Exception as error:  # whatever disturbs a request is what the test asks about
            errors.append(repr(error))
        with lock:
            total["requests"] += done
            total["errors"] += errors

    workers = [threading.Thread(target=work) for _ in range(connections)]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    stop.set()
    for worker in workers:
        worker.join()
    print(json.dumps(total), flush=True)


if __name__ == "__main__":
    host, port, cafile = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if len(sys.argv) > 4:
        load(host, port, cafile, *map(int, sys.argv[5:]))
    else:
        answer_calls(host, port, cafile)
