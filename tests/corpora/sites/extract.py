#!/usr/bin/env python3
"""Takes the functions that the site planner looks at out of a library.

    extract.py LIBRARY PACKAGE > NAME.txt

PACKAGE is told in the output (name, version, distribution). Get other releases of Debian with
`apt-get -o Dir::Etc::sourcelist=FILE -o Dir::State::lists=DIR ... download libssl3t64`, and unpack
with `dpkg-deb -x`. Needs readelf. Output, one fact a line:

    # package, file name, build id
    version TEXT               text of the library about its version
    export NAME ADDRESS SIZE   exported function (hex)
    start ADDRESS              where some other exported function begins
    slot ADDRESS here TARGET   slot of the linkage table that leads to a function of the file
    slot ADDRESS elsewhere     ... of another file
    text ADDRESS OFFSET HEX    code, with its place in the file
"""

import re
import subprocess
import sys

WANTED = [
    "SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_write_ex2",
    "SSL_shutdown", "SSL_free", "SSL_clear",
    "EVP_KDF_derive", "EVP_PKEY_CTX_ctrl", "OSSL_PARAM_locate",
]
WRAPPERS = WANTED[:5]
STUB = 16


def readelf(*options):
    return subprocess.run(["readelf", "-W", *options, library], check=True,
                          capture_output=True, text=True).stdout


def near_targets(code, address):
    """Targets of anything that could be a near call or jump; too many do no harm."""
    for at in range(len(code) - 4):
        if code[at] in (0xE8, 0xE9):
            distance = int.from_bytes(code[at + 1:at + 5], "little", signed=True)
            yield address + at + 5 + distance


library, package = sys.argv[1:]
data = open(library, "rb").read()
segments = [[int(word, 16) for word in match.groups()] for match in re.finditer(
    r"^ +LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+) 0x\w+ R E", readelf("-l"), re.M)]
symbols = {}
for match in re.finditer(r"^ *\d+: (\w+) +(\w+) FUNC +\S+ +\S+ +\d+ ([^@\s]+)",
                         readelf("--dyn-syms"), re.M):
    address, size, name = match.groups()
    symbols.setdefault(name, (int(address, 16), int(size, 0)))
starts = sorted({address for address, _ in symbols.values()})


def code_at(address, size):
    for offset, start, length in segments:
        if start <= address and address + size <= start + length:
            return offset + address - start, data[offset + address - start:][:size]
    return None


def next_start(address):
    return next((start for start in starts if start > address), address)


pieces = {symbols[name][0]: symbols[name][1] for name in WANTED if name in symbols}
pieces.pop(symbols.get("OSSL_PARAM_locate", (0,))[0], None)
followed = set()
for name in WRAPPERS:
    if name not in symbols:
        continue
    address, size = symbols[name]
    for target in near_targets(code_at(address, size)[1], address):
        if code_at(target, STUB) is None or target in pieces:
            continue
        code = code_at(target, STUB)[1]
        jump = 4 if code.startswith(b"\xf3\x0f\x1e\xfa") else 0
        is_stub = b"\xff\x25" in code[jump:jump + 3]
        bound = STUB if is_stub else min(next_start(target) - target, 4096)
        pieces[target] = bound
        followed.add(next_start(target))
        if is_stub:
            at = jump + code[jump:].index(b"\xff\x25")
            followed.add(target + at + 6 + int.from_bytes(code[at + 2:at + 6], "little"))

build_id = re.search(r"Build ID: (\w+)", readelf("-n"))
print(f"# {package}, {library.rsplit('/', 1)[-1]}, build id {build_id and build_id[1]}")
version = re.search(rb"OpenSSL \d+\.\d+\.\d\w*[ -~]*", data)
if version:
    print("version", version[0].decode())
for name in WANTED:
    if name in symbols:
        print("export", name, *(f"{number:x}" for number in symbols[name]))
for start in starts:
    if start in followed:
        print(f"start {start:x}")
for slot, value, name in re.findall(
        r"^(\w+) +\w+ R_X86_64_(?:JUMP_SLOT|GLOB_DAT)\S* +(\w+) ([^@\s]+)", readelf("-r"), re.M):
    if int(slot, 16) in followed:
        print("slot", slot.lstrip("0"), f"here {int(value, 16):x}" if int(value, 16) else "elsewhere")
for address, size in sorted(pieces.items()):
    offset, code = code_at(address, size)
    print("text", f"{address:x}", f"{offset:x}", code.hex())
