"""Reads lines as Splunk would by `packaging/siem/splunk`. In: a JSON object on standard input: the two
configuration files, and for each source type lines and the native events that they are of. Out: a line for each
problem, and last one that says how much was looked at."""

import configparser
import datetime
import json
import re
import sys


def conf(text):
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def time_of(stanza, line, say):
    """The moment in microseconds, found as Splunk finds it."""
    prefix = re.search(stanza["TIME_PREFIX"], line)
    if not prefix:
        return say("no time")
    text = line[prefix.end():][:int(stanza["MAX_TIMESTAMP_LOOKAHEAD"])]
    if stanza["TIME_FORMAT"] == "%s%3N":
        return int(text) * 1000
    moment = datetime.datetime.strptime(text, stanza["TIME_FORMAT"].replace("%6N", "%f"))
    since = moment - datetime.datetime(1970, 1, 1)
    return since // datetime.timedelta(microseconds=1)


def extracted(stanza, line):
    """Fields by the extractions that are named, in their order."""
    found = {"_raw": line}
    names = stanza.get("REPORT-scopewatch", "")
    for name in filter(None, (each.strip() for each in names.split(","))):
        by = TRANSFORMS[name]
        source = found.get(by.get("SOURCE_KEY", "_raw"), "")
        matches = re.finditer(by["REGEX"], source)
        if "FORMAT" not in by:
            for match in matches:
                found.update(match.groupdict())
            continue
        name_of, value_of = by["FORMAT"].split("::")
        for match in matches:
            fill = lambda text: re.sub(r"\$(\d)", lambda m: match.group(int(m.group(1))), text)
            found.setdefault(fill(name_of), fill(value_of))
    aliases = stanza.get("FIELDALIAS-scopewatch", "").split()
    for at in range(0, len(aliases), 3):
        if aliases[at] in found:
            found[aliases[at + 2]] = found[aliases[at]]
    return found


def unescaped(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), text)


def controlled(text, kept=""):
    return "".join(c if c.isprintable() or c in kept or ord(c) > 0x9f else " " for c in text)


GIVEN = json.load(sys.stdin)
PROPS, TRANSFORMS = conf(GIVEN["props"]), conf(GIVEN["transforms"])
LOOKED = {}

used = {name.strip() for stanza in PROPS.values()
        for name in stanza.get("REPORT-scopewatch", "").split(",") if name.strip()}
if used != set(TRANSFORMS):
    print(f"used are {used}, there are {set(TRANSFORMS)}")
if set(PROPS) != set(GIVEN["types"]):
    print(f"source types are {set(PROPS)}")

for kind, (text, natives, rows) in GIVEN["types"].items():
    stanza = PROPS[kind]
    if stanza["TRUNCATE"] != "0" or stanza["SHOULD_LINEMERGE"] != "false":
        print(f"{kind}: lines are cut or joined")
    breaker = re.compile(stanza["LINE_BREAKER"])
    lines = [line for line in breaker.sub("\0", text).split("\0") if line]
    if len(lines) != len(natives):
        print(f"{kind}: {len(lines)} lines of {len(natives)} events")
    for line, native in zip(lines, natives):
        LOOKED[kind] = LOOKED.get(kind, 0) + 1

        def say(problem):
            print(f"{kind} {native['event']['type']}: {problem}")

        moment = datetime.datetime.strptime(native["event"]["time"], "%Y-%m-%dT%H:%M:%S.%fZ")
        wanted = (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
        seen = time_of(stanza, line, say)
        if stanza["TIME_FORMAT"] == "%s%3N":
            wanted = wanted // 1000 * 1000
        if seen != wanted:
            say(f"time is {seen}, not {wanted}")
        if stanza["KV_MODE"] == "json":
            if json.loads(line) != native:
                say("JSON is another")
            continue
        found = extracted(stanza, line)
        signature = found.get("signature")
        if signature != native["event"]["type"]:
            say(f"signature is {signature!r}")
        for path, name in rows:
            value = field(native, path)
            value = None if value is None else plain(value)
            got = found.get(name)
            got = None if got is None else unescaped(got)
            if value is not None:
                value = controlled(value, "\r\n" if kind == "scopewatch:cef" else "")
            if got != value:
                say(f"{name} is {got!r}, not {value!r}")

print("looked at", json.dumps(LOOKED, sort_keys=True))
