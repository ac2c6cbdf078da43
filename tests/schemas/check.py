"""Checks mapped events by others' readers. In: a JSON object of texts on standard input: `native`
events and the same in each format, lines each, and `schema`, the fields of ECS. Out: a line for each problem, and last one that
says how much was looked at."""

import json
import sys

import jsonschema
import pycef
import rfc8785
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

# What a value of each type of Elasticsearch's is in JSON.
ONE = {"keyword": str, "constant_keyword": str, "wildcard": str, "match_only_text": str, "date": str,
       "ip": str, "long": int, "boolean": bool}


def ocsf(event, say):
    schema = OCSF.get_class_schema(OCSF.lookup_class_name_from_uid(event["class_uid"]),
                                   event["metadata"].get("profiles", []))
    for error in jsonschema.Draft202012Validator(schema).iter_errors(event):
        say(f"{'.'.join(map(str, error.path))}: {error.message[:300]}")
    if event["type_uid"] != event["class_uid"] * 100 + event.get("activity_id", -1):
        say("type_uid is not of class and activity")


def leaves(value, path=""):
    for name, inner in value.items():
        at = f"{path}.{name}" if path else name
        if isinstance(inner, dict):
            yield from leaves(inner, at)
        else:
            yield at, inner


def ecs(event, say):
    kinds = set()
    for path, value in leaves(event):
        if path.startswith("scopewatch."):
            continue
        field = ECS.get(path)
        if field is None:
            say(f"{path} is no field of ECS")
            continue
        is_list = "array" in field["normalize"]
        values = value if is_list and isinstance(value, list) else [value]
        if is_list is not isinstance(value, list) or any(
                type(each) is not ONE[field["type"]] for each in values):
            say(f"{path} is no {field['type']}{'[]' * is_list}: {value!r}")
            continue
        allowed = {each["name"]: each for each in field.get("allowed_values", [])}
        if allowed and not set(values) <= set(allowed):
            say(f"{path} may not be {value!r}")
        if path == "event.category":
            for each in values:
                kinds |= set(allowed.get(each, {}).get("expected_event_types", []))
    if not set(event["event"]["type"]) <= kinds:
        say(f"type {event['event']['type']} is none of {kinds}")


def pairs(found, native, say, names):
    for name, path in names.items():
        wanted = field(native, path)
        wanted = None if wanted is None else plain(wanted)
        if found.get(name) != wanted:
            say(f"{name} is {found.get(name)!r}, not {wanted!r}")


def cef(line, native, say):
    found = pycef.parse(line)
    if not found:
        return say("pycef reads nothing")
    if found["CEFVersion"] != "0" or found["DeviceVendor"] != "scopewatch":
        say(f"header: {found}")
    if found["DeviceEventClassID"] != native["event"]["type"]:
        say(f"class {found['DeviceEventClassID']}")
    if not 0 <= int(found["Severity"]) <= 10:
        say(f"severity {found['Severity']}")
    # pycef gives custom fields the name that their label says.
    pairs(found, native, say, {
        "externalId": "event.uid", "cat": "event.type", "suid": "identity.subject",
        "requestMethod": "http.method", "request": "http.path", "src": "client.ip",
        "spt": "client.port", "dst": "server.ip", "dpt": "server.port", "dhost": "server.host",
        "spid": "process.pid", "sproc": "process.comm", "client_id": "identity.client_id",
        "http_status": "http.status", "issuer": "token.iss", "scopes": "authz.scopes",
        "seq": "integrity.seq", "chain": "integrity.chain", "act": "authz.server_outcome",
    })


def leef(line, native, say):
    # By the format guide: six parts of a header, a delimiter in hexadecimal, then pairs.
    version, vendor, product, _, kind, delimiter, rest = line.split("|", 6)
    if (version, vendor, product) != ("LEEF:2.0", "scopewatch", "scopewatch"):
        say(f"header: {line[:60]}")
    if kind != native["event"]["type"] or delimiter != "x09":
        say(f"kind {kind}, delimiter {delimiter}")
    found = dict(pair.split("=", 1) for pair in rest.split("\t"))
    pairs(found, native, say, {
        "uid": "event.uid", "usrName": "identity.subject", "src": "client.ip",
        "dst": "server.ip", "dstPort": "server.port", "method": "http.method",
        "url": "http.path", "status": "http.status", "scopes": "authz.scopes",
        "seq": "integrity.seq", "hash": "integrity.hash", "pid": "process.pid",
    })


def canonical(text, ours, say):
    value = json.loads(text)
    value.pop("integrity", None)
    theirs = rfc8785.dumps(value)
    if theirs != ours.encode():
        say(f"canonical form of {text[:200]}: {ours!r}, not {theirs!r}")


OCSF = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
GIVEN = json.load(sys.stdin)
ECS = GIVEN.pop("schema", {})
NATIVE = [json.loads(line) for line in GIVEN["native"].splitlines()]
LOOKED = {}

for name, text in GIVEN.items():
    if name == "native":
        continue
    for nth, line in enumerate(text.split("\n")[:-1]):
        LOOKED[name] = LOOKED.get(name, 0) + 1
        kind = NATIVE[nth]["event"]["type"] if nth < len(NATIVE) else ""

        def say(problem):
            print(f"{name} {nth} {kind}: {problem}")

        if name in ("ocsf", "ecs"):
            globals()[name](json.loads(line), say)
        elif name in ("cef", "leef"):
            globals()[name](line, NATIVE[nth], say)
        else:
            before, after = json.loads(line)
            canonical(before, after, say)

print("looked at", json.dumps(LOOKED, sort_keys=True))
