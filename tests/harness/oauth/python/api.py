"""APIs by Flask and Authlib: one that asks for scopes, one that forgot to. In: one line of JSON on
standard input. Out: their ports by name, as JSON, in the first line of standard output."""

import json
import ssl
import sys
import threading
import urllib.request

from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from flask import Flask, jsonify
from joserfc.jwk import KeySet
from werkzeug.serving import make_server, WSGIRequestHandler

setup = json.loads(sys.stdin.readline())
trust = ssl.create_default_context(cafile=setup["authority"])


class Validator(JWTBearerTokenValidator):
    keys = None

    def get_jwks(self):
        if self.keys is None:
            with urllib.request.urlopen(setup["issuer"] + "/jwks", context=trust) as answer:
                self.keys = KeySet.import_key_set(json.load(answer))
        return self.keys


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_arguments):
        pass


def api(name, scopes):
    app = Flask(name)
    protect = ResourceProtector()
    protect.register_token_validator(Validator(setup["issuer"], "orders-api"))

    @app.get("/orders/<order>")
    @protect(scopes)
    def read(order):
        return jsonify(decision="served")

    return app


def serve(app):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(setup["certificate"], setup["key"])
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


apis = {"authlib": api("authlib", ["orders:read", "orders:admin"]), "authlib_unscoped": api("unscoped", None)}
print(json.dumps({name: serve(app) for name, app in apis.items()}), flush=True)
# The servers end with whoever started them.
sys.stdin.readline()
