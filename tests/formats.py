"""A second implementation of docs/formats.md and docs/formats, written from their text and sharing no code with the library.

    formats.py make FOLDER TEXT...             makes the examples of the texts from their inputs
    formats.py cache SECRET FILE               the blocks of a host cache that its disk lacks
    formats.py open-file VAULT KEY FILE CONTEXT
    formats.py open VAULT KEY ENVELOPE CONTEXT IMAGE
                                               opens what the library made; KEY is a root key file or pass:PASSPHRASE
    formats.py written-map IMAGE DEK           the generations of the pages of a volume's map of written chunks, and the chunks

It needs Python 3.9 and the package `cryptography`.
"""

import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

MIB = 1 << 20


# Conventions

def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    data = base64.b64decode(text, validate=True)
    assert b64(data) == text, f"not canonical Base64: {text}"
    return data


def hkdf(key, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info.encode()).derive(key)


def hkdf_expand(prk, info):
    return HKDFExpand(hashes.SHA256(), 32, info.encode()).derive(prk)


def mac_of(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def key_url(url):
    """Vault, key and version."""
    return re.fullmatch(r"([!-~]{1,512})/keys/([A-Za-z0-9._-]{1,127})/([A-Za-z0-9._-]{1,127})", url).groups()


# Envelope

DEK_ALGORITHMS = {1: 32, 2: 64, 7: 32}
XTS = 2
CTR = 7
WRAP_ALGORITHMS = {1: "A256KW", 2: "A256KWP", 3: "RSA-OAEP-256", 4: "RSA-OAEP", 5: "RSA1_5", 6: "opaque"}


def envelope_make(dek, url, wrapped, context, algorithm=None):
    algorithm = algorithm or next(code for code, size in DEK_ALGORITHMS.items() if size == len(dek))
    covered = struct.pack(">8s6H", b"atrestEV", 1, algorithm, 1, len(url), len(wrapped), len(context))
    covered += url.encode() + wrapped + context
    return covered + mac_of(hkdf(dek, None, "atrest envelope v1"), covered)


def envelope_open(data, unwrap, context):
    magic, version, algorithm, wrap, url_len, wrapped_len, context_len = struct.unpack(">8s6H", data[:20])
    assert (magic, version, WRAP_ALGORITHMS[wrap]) == (b"atrestEV", 1, "A256KW")
    assert len(data) == 20 + url_len + wrapped_len + context_len + 32
    url, rest = data[20:20 + url_len].decode("ascii"), data[20 + url_len:]
    wrapped, rest = rest[:wrapped_len], rest[wrapped_len:]
    assert rest[:context_len] == context, "another context"
    dek = unwrap(url, wrapped)
    assert len(dek) == DEK_ALGORITHMS[algorithm]
    assert algorithm == CTR or dek[:len(dek) // 2] != dek[len(dek) // 2:]
    assert hmac.compare_digest(mac_of(hkdf(dek, None, "atrest envelope v1"), data[:-32]), data[-32:]), "MAC"
    return dek


# Encrypted file

PREFIX, SLOT = 8192, 4096


def slot_make(dek, nonce, generation, envelope):
    covered = struct.pack(">8sHHQ16s", b"atrestFP", 1, len(envelope), generation, nonce) + envelope
    slot = (covered + mac_of(hkdf(dek, None, "atrest file prefix v1"), covered)).ljust(SLOT - 32, b"\0")
    return slot + hashlib.sha256(slot).digest()


def slot_read(slot):
    """Generation, nonce, envelope, what the MAC covers, and the MAC; None if the slot isn't sound."""
    magic, version, envelope_len, generation, nonce = struct.unpack(">8sHHQ16s", slot[:36])
    if (magic, version) != (b"atrestFP", 1) or hashlib.sha256(slot[:-32]).digest() != slot[-32:]:
        return None
    end = 36 + envelope_len
    if envelope_len > 3892 or any(slot[end + 32:-32]):
        return None
    return generation, nonce, slot[36:end], slot[:end], slot[end:end + 32]


def stream(dek, nonce, data):
    ctr = Cipher(algorithms.AES(dek), modes.CTR(nonce)).encryptor()
    return ctr.update(data) + ctr.finalize()


def file_open(data, unwrap, context, sector_size=None):
    sound = [slot for slot in (slot_read(data[:SLOT]), slot_read(data[SLOT:PREFIX])) if slot]
    _, nonce, envelope, covered, mac = max(sound, key=lambda slot: slot[0])
    algorithm, = struct.unpack(">H", envelope[10:12])
    assert algorithm == (XTS if sector_size else CTR)
    dek = envelope_open(envelope, unwrap, context)
    assert hmac.compare_digest(mac_of(hkdf(dek, None, "atrest file prefix v1"), covered), mac), "MAC"
    if sector_size:
        return sectors(dek, {"sector_size": sector_size, "iv_tweak": "0"}, data[PREFIX:], False)
    return stream(dek, nonce, data[PREFIX:])


# Volume

def token_mac_input(token, uuid, metadata):
    out = bytearray()

    def field(data):
        data = data.encode() if isinstance(data, str) else data
        out.extend(struct.pack(">I", len(data)) + data)

    def u32(number):
        field(struct.pack(">I", number))

    def u64(number):
        field(struct.pack(">Q", int(number)))

    field("atrest luks2 token v1")
    field(uuid)
    field(token["encryption_type"])
    u32(token["key_size"])
    field(token["key_url"])
    field(token["algorithm"])
    field(unb64(token["wrapped_dek"]))
    field(unb64(token["context"]))
    u64(token["data_size"])
    segments = sorted(metadata["segments"].items(), key=lambda item: int(item[0]))
    u32(len(segments))
    for number, segment in segments:
        u32(int(number))
        u64(segment["offset"])
        field("dynamic") if segment["size"] == "dynamic" else u64(segment["size"])
        field(segment["type"])
        if segment["type"] == "crypt":
            u64(segment["iv_tweak"])
            field(segment["encryption"])
            u32(segment["sector_size"])
            field(b"\1" if "integrity" in segment else b"\0")
        u32(len(segment.get("flags", [])))
        for flag in segment.get("flags", []):
            field(flag)
    digests = sorted(metadata["digests"].items(), key=lambda item: int(item[0]))
    u32(len(digests))
    for number, digest in digests:
        u32(int(number))
        u32(len(digest["segments"]))
        for segment in digest["segments"]:
            u32(int(segment))
        if digest["type"] != "pbkdf2":
            field("other")
            continue
        field("pbkdf2")
        field(digest["hash"])
        u32(digest["iterations"])
        field(unb64(digest["salt"]))
        field(unb64(digest["digest"]))
    requirements = metadata["config"].get("requirements", [])
    requirements = requirements["mandatory"] if isinstance(requirements, dict) else requirements
    u32(len(requirements))
    for requirement in requirements:
        field(requirement)
    return bytes(out)


def token_mac(dek, token, uuid, metadata):
    return mac_of(hkdf(dek, None, "atrest luks2 token v1"), token_mac_input(token, uuid, metadata))


BINARY = ">6sHQQ48s32s64s40s48sQ184x64s3584x"


def binary_header(primary, size, seqid, label, salt, uuid, subsystem, checksum):
    magic = b"LUKS\xba\xbe" if primary else b"SKUL\xba\xbe"
    return struct.pack(BINARY, magic, 2, size, seqid, label.encode(), b"sha256", salt, uuid.encode(), subsystem.encode(),
                       0 if primary else size, checksum)


def header_copy(primary, text, **fields):
    area = text.encode().ljust(fields["size"] - 4096, b"\0")
    assert area.endswith(b"\0")
    checksum = hashlib.sha256(binary_header(primary, **fields, checksum=b"") + area).digest()
    return binary_header(primary, **fields, checksum=checksum) + area


def copy_open(image, at, primary):
    """UUID, sequence number and metadata of a copy of the header, if it is whole."""
    head = image[at:at + 4096]
    magic, version, size, seqid, label, algorithm, salt, uuid, subsystem, offset, checksum = struct.unpack(BINARY, head)
    assert magic == (b"LUKS\xba\xbe" if primary else b"SKUL\xba\xbe") and version == 2 and offset == at
    copy = bytearray(image[at:at + size])
    copy[448:512] = bytes(64)
    assert algorithm.rstrip(b"\0") == b"sha256" and checksum == hashlib.sha256(copy).digest().ljust(64, b"\0")
    text = bytes(copy[4096:]).rstrip(b"\0").decode()
    return uuid.rstrip(b"\0").decode(), seqid, size, json.loads(text), salt


def xts(dek, number, data, encrypt):
    cipher = Cipher(algorithms.AES(dek), modes.XTS(struct.pack("<QQ", number, 0)))
    worker = cipher.encryptor() if encrypt else cipher.decryptor()
    return worker.update(data) + worker.finalize()


def sectors(dek, segment, data, encrypt):
    """A whole data area. Sector numbers count units of 512 bytes, whatever the sector size is."""
    size, first = segment["sector_size"], int(segment["iv_tweak"])
    pieces = [xts(dek, first + at // 512, data[at:at + size], encrypt) for at in range(0, len(data), size)]
    return b"".join(pieces)


WRITTEN = "atrest written map v1"
PAGE_CHUNKS = 32320


def written_keys(dek, salt):
    """Of the pages' encryption, of their MAC, and of the token's MAC."""
    keys = HKDF(hashes.SHA256(), 96, salt, WRITTEN.encode()).derive(dek)
    return keys[:32], keys[32:64], keys[64:]


def written_token_mac(dek, token, uuid):
    salt = unb64(token["salt"])
    fields = [WRITTEN.encode(), uuid.encode(), struct.pack(">Q", int(token["offset"])),
              struct.pack(">I", token["chunk_size"]), struct.pack(">I", token["pages"]), salt]
    return mac_of(written_keys(dek, salt)[2], b"".join(struct.pack(">I", len(field)) + field for field in fields))


def written_page(keys, nonce, number, generation, chunks):
    bits = bytearray(4040)
    for chunk in chunks:
        bits[chunk // 8] |= 1 << chunk % 8
    page = nonce + stream(keys[0], nonce, struct.pack(">Q", generation) + bits)
    return page + mac_of(keys[1], struct.pack(">Q", number) + page)


def written_page_open(keys, number, page):
    """Its generation and its chunks; None if it is damaged."""
    if len(page) != 4096 or mac_of(keys[1], struct.pack(">Q", number) + page[:4064]) != page[4064:]:
        return None
    plain = stream(keys[0], page[:16], page[16:4064])
    return struct.unpack(">Q", plain[:8])[0], [c for c in range(PAGE_CHUNKS) if plain[8 + c // 8] >> c % 8 & 1]


def written_map_open(image, dek):
    """The generations of the pages, and the chunks that were written."""
    uuid = image[168:208].rstrip(b"\0").decode()
    metadata = json.loads(image[4096:16384].rstrip(b"\0"))
    assert metadata["config"]["requirements"]["mandatory"] == ["atrest-written-v1"]
    token, = [token for token in metadata["tokens"].values() if token["type"] == "atrest-written"]
    assert hmac.compare_digest(written_token_mac(dek, token, uuid), unb64(token["mac"])), "MAC"
    keys, offset, pages = written_keys(dek, unb64(token["salt"])), int(token["offset"]), token["pages"]
    generations, written = [], []
    for number in range(pages):
        copies = [image[offset + (copy * pages + number) * 4096:][:4096] for copy in range(2)]
        sound = [page for page in (written_page_open(keys, number, copy) for copy in copies) if page]
        assert sound and abs(sound[0][0] - sound[-1][0]) <= 1
        generation, chunks = max(sound)
        generations.append(generation)
        written += [number * PAGE_CHUNKS + chunk for chunk in chunks]
    return generations, written


def volume_open(image, unwrap):
    uuid, seqid, size, metadata, salt = copy_open(image, 0, True)
    second = copy_open(image, size, False)
    assert (uuid, seqid, size, metadata) == second[:4] and salt != second[4], "the copies differ"
    assert "requirements" not in metadata["config"]
    assert int(metadata["config"]["json_size"]) == size - 4096
    (number, segment), = metadata["segments"].items()
    assert segment["type"] == "crypt" and segment["encryption"] == "aes-xts-plain64"
    token = next(token for token in metadata["tokens"].values() if token["type"] == "atrest")
    assert token["version"] == 1 and token["keyslots"] == [] and token["algorithm"] == "A256KW"
    dek = unwrap(token["key_url"], unb64(token["wrapped_dek"]))
    assert len(dek) == token["key_size"]
    digest = next(digest for digest in metadata["digests"].values() if number in digest["segments"])
    proof = unb64(digest["digest"])
    assert hashlib.pbkdf2_hmac(digest["hash"], dek, unb64(digest["salt"]), digest["iterations"], len(proof)) == proof
    assert hmac.compare_digest(token_mac(dek, token, uuid, metadata), unb64(token["mac"])), "MAC"
    room = len(image) - int(segment["offset"])
    room -= room % segment["sector_size"]
    assert segment["size"] == "dynamic" and int(token["data_size"]) == room
    offset = int(segment["offset"])
    return dek, unb64(token["context"]), sectors(dek, segment, image[offset:offset + room], False)


# Vault

def root_key(root, key):
    salt = unb64(root["salt"])
    assert len(salt) == 32
    if root["kdf"] == "key-file":
        return mac_of(salt, key)  # HKDF-Extract
    if root["kdf"] == "pbkdf2":
        assert root["hash"] in ("sha256", "sha512") and 1000 <= root["iterations"] <= 10_000_000
        return hashlib.pbkdf2_hmac(root["hash"], key, salt, root["iterations"], 32)
    assert root["kdf"] == "argon2id"
    cost = {"iterations": root["passes"], "lanes": root["lanes"], "memory_cost": root["memory_kib"]}
    return Argon2id(salt=salt, length=32, **cost).derive(key)


def seal(body, prk):
    text = json.dumps(body, indent=2) + "\n"
    mac = mac_of(hkdf_expand(prk, "atrest vault mac v1"), text.encode())
    trailer = {"sha256": b64(hashlib.sha256(text.encode()).digest()), "mac": b64(mac)}
    return text + json.dumps(trailer, separators=(",", ":")) + "\n"


def vault_make_version_1(uuid, generation, root, key):
    prk = root_key(root, key)
    verifier = b64(hkdf_expand(prk, "atrest vault verifier v1"))
    return seal({"format": "atrest-vault", "version": 1, "uuid": uuid, "generation": generation,
                 "root": {**root, "verifier": verifier}, "keys": []}, prk)


def vault_make(uuid, root, key, keys, grants, changes, uses):
    """A vault and its log."""
    prk = root_key(root, key)
    verifier = b64(hkdf_expand(prk, "atrest vault verifier v1"))
    kek = hkdf_expand(prk, "atrest vault kek v1")
    chain_key = hkdf_expand(prk, "atrest vault audit v1")
    keys = [{"name": name, "next_version": next_version, "versions": [
        {"version": version, "kind": "AES-256", "created": created, "origin": origin, "enabled": True,
         "kek": b64(aes_key_wrap(kek, secret))}
        for version, created, origin, secret in versions]} for name, next_version, versions in keys]
    log, heads, mac, ends = "", [f"0:{b64(bytes(32))}"], bytes(32), [0]
    for seq, entry in enumerate(changes + uses, 1):
        covered = json.dumps({"seq": seq, **entry}, separators=(",", ":"))[:-1]
        mac = mac_of(chain_key, mac + covered.encode())
        log += f'{covered},"mac":"{b64(mac)}"}}\n'
        heads.append(f"{seq}:{b64(mac)}")
        ends.append(len(log))
    version = 4 if root["kdf"] == "pbkdf2" else 3
    body = {"format": "atrest-vault", "version": version, "uuid": uuid, "id": f"urn:uuid:{uuid}", "region": "westeurope",
            "tenant": "contoso", "retention_days": 90, "purge_protection": True, "refuse_expired": False,
            "generation": 1 + len(changes),
            "audit": {"start": heads[0], "anchor": heads[len(changes)], "length": ends[len(changes)]},
            "root": {**root, "verifier": verifier}, "keys": keys, "grants": grants}
    return seal(body, prk), log


def vault_open(data, key, log):
    """The vault's KEKs by URL."""
    assert data.endswith(b"\n")
    end = data.rindex(b"\n", 0, -1) + 1
    text, trailer = data[:end], json.loads(data[end:])
    assert hashlib.sha256(text).digest() == unb64(trailer["sha256"])
    body = json.loads(text)
    later = body["root"]["kdf"] == "pbkdf2" or "audit_key" in body["root"]
    assert (body["format"], body["version"]) == ("atrest-vault", 4 if later else 3)
    prk = root_key(body["root"], key)
    assert hkdf_expand(prk, "atrest vault verifier v1") == unb64(body["root"]["verifier"]), "wrong key"
    assert hmac.compare_digest(mac_of(hkdf_expand(prk, "atrest vault mac v1"), text), unb64(trailer["mac"])), "MAC"
    kek = hkdf_expand(prk, "atrest vault kek v1")
    audit_key = body["root"].get("audit_key")
    audit_check(body["audit"], log,
                aes_key_unwrap(kek, unb64(audit_key)) if audit_key else hkdf_expand(prk, "atrest vault audit v1"))
    assert all(version["kind"] == "AES-256" for key in body["keys"] for version in key["versions"])
    return {f"{body['id']}/keys/{key['name']}/{version['version']}": aes_key_unwrap(kek, unb64(version["kek"]))
            for key in body["keys"] for version in key["versions"]}


def audit_check(record, log, key):
    """Of a log that is not damaged."""
    archived = record.get("archived")
    if archived and (archived["length"], archived["sha256"]) == (len(log), b64(hashlib.sha256(log).digest())):
        log = b""
    seq, mac = record["start"].split(":")
    seq, mac, torn, at, heads = int(seq), unb64(mac), b"", 0, {record["start"]: 0}
    for line in log.splitlines(keepends=True):
        covered, _, end = line.rpartition(b',"mac":"')
        wanted, at = mac_of(key, mac + torn + covered), at + len(line)
        if end == b64(wanted).encode() + b'"}\n':
            entry = json.loads(line)
            assert entry["seq"] == seq + 1 and entry.get("torn") == (len(torn) - 1 if torn else None)
            assert entry.get("after") in (None, f"{seq}:{b64(mac)}")
            seq, mac, torn = seq + 1, wanted, b""
            heads[f"{seq}:{b64(mac)}"] = at
        else:
            assert end[44:] != b'"}\n', f"entry {seq + 1}"
            torn += line
    assert len(torn) <= 16384 and all(piece.endswith(b" torn") for piece in torn.split(b"\n")[:-1])
    assert heads[record["anchor"]] == record["length"]


# Managed disks

def chunk_map_open(data, size):
    """The chunks that an incremental snapshot of `size` bytes holds."""
    magic, version, chunk, count = struct.unpack_from("<8sIIQ", data)
    assert (magic, version, chunk) == (b"ATRESTCM", 1, 65536) and count == (size + 65535) // 65536
    bits = data[56:56 + (count + 7) // 8]
    assert data[24:56] == hashlib.sha256(data[:24] + bits).digest()
    assert len(data) % 4096 == 0 and not any(data[56 + len(bits):])
    return [c for c in range(8 * len(bits)) if bits[c // 8] >> c % 8 & 1]


# The examples

def dump(data):
    """16 bytes a line behind their offset; `*` stands for lines of zeros; the last line is the length."""
    lines, zeros = [], False
    for at in range(0, len(data), 16):
        line = data[at:at + 16]
        if any(line) or at == 0:
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
            lines.append(f"{at:04x}  {line.hex(' '):47}  {text}")
            zeros = False
        elif not zeros:
            lines.append("*")
            zeros = True
    return "\n".join(lines) + f"\n{len(data):04x}\n"


def block(text, name):
    return re.search(rf"<!-- example: {name} -->\n```[a-z]*\n(.*?)^```$", text, re.S | re.M).group(1)


def make(text, folder):
    inputs = dict(line.split(None, 1) for line in block(text, "inputs").splitlines())
    raw = {name: bytes.fromhex(value) for name, value in inputs.items() if re.fullmatch("([0-9a-f]{2}){16,}", value)}
    created = int(inputs["created"])

    root = {"kdf": "key-file", "salt": b64(raw["vault-salt"])}
    vault, log = vault_make(inputs["vault-uuid"], root, raw["key-file"], [
        ("disks", 3, [(1, created, "generated", raw["kek-1"]), (2, created + 60, "imported", raw["kek-2"])]),
    ], [{"identity": "disk-set-1", "operations": ["get", "wrapKey", "unwrapKey"]}], [
        {"time": created, "operation": "create", "key": "disks", "version": "1", "outcome": "ok"},
        {"time": created + 60, "operation": "importVersion", "key": "disks", "version": "2", "outcome": "ok"},
        {"time": created + 120, "operation": "grant", "subject": "disk-set-1", "outcome": "ok"},
    ], [
        {"time": created + 180, "identity": "disk-set-1", "operation": "wrapKey", "key": "disks", "version": "2",
         "outcome": "ok"},
        {"time": created + 240, "identity": "disk-set-2", "operation": "unwrapKey", "key": "disks",
         "outcome": "access-denied"},
    ])
    cost = {"kdf": "argon2id", "memory_kib": 64, "passes": 1, "lanes": 1, "salt": b64(raw["vault-salt"])}
    by_passphrase = vault_make_version_1(inputs["vault-uuid"], 1, cost, inputs["passphrase"].encode())
    cost = {"kdf": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": b64(raw["vault-salt"])}
    by_pbkdf2, _ = vault_make(inputs["vault-uuid"], cost, inputs["passphrase"].encode(), [], [], [], [])

    url = f"urn:uuid:{inputs['vault-uuid']}/keys/disks/2"
    dek, context = raw["dek"], inputs["context"].encode()
    wrapped = aes_key_wrap(raw["kek-2"], dek)
    envelope = envelope_make(dek, url, wrapped, context)

    file_envelope = envelope_make(raw["file-dek"], url, aes_key_wrap(raw["kek-2"], raw["file-dek"]), context, CTR)
    slot = slot_make(raw["file-dek"], raw["file-nonce"], 1, file_envelope)
    sectors_slot = slot_make(dek, raw["file-nonce"], 1, envelope)
    file_data = stream(raw["file-dek"], raw["file-nonce"], inputs["plaintext"].encode())

    data = bytes(4096) + inputs["plaintext"].encode().ljust(4096, b"\0")
    proof = hashlib.pbkdf2_hmac("sha256", dek, raw["digest-salt"], 1000)
    token = {"type": "atrest", "keyslots": [], "version": 1, "encryption_type": "customer-key", "key_size": len(dek),
             "key_url": url, "algorithm": "A256KW", "wrapped_dek": b64(wrapped), "context": b64(context),
             "data_size": str(len(data))}
    segment = {"type": "crypt", "offset": str(MIB), "size": "dynamic", "iv_tweak": "0", "encryption": "aes-xts-plain64",
               "sector_size": 4096}
    digest = {"type": "pbkdf2", "keyslots": [], "segments": ["0"], "hash": "sha256", "iterations": 1000,
              "salt": b64(raw["digest-salt"]), "digest": b64(proof)}
    metadata = {"keyslots": {}, "tokens": {"0": token}, "segments": {"0": segment}, "digests": {"0": digest},
                "config": {"json_size": "12288", "keyslots_size": str(MIB - 2 * 16384)}}
    mac_input = token_mac_input(token, inputs["volume-uuid"], metadata)
    token["mac"] = b64(token_mac(dek, token, inputs["volume-uuid"], metadata))
    area = json.dumps(metadata, separators=(",", ":"))
    fields = {"size": 16384, "seqid": 1, "label": "payroll", "uuid": inputs["volume-uuid"], "subsystem": ""}
    primary = header_copy(True, area, salt=raw["salt-primary"], **fields)
    secondary = header_copy(False, area, salt=raw["salt-secondary"], **fields)
    ciphertext = sectors(dek, segment, data, True)
    image = (primary + secondary).ljust(MIB, b"\0") + ciphertext

    written = {"type": "atrest-written", "keyslots": [], "version": 1, "offset": "1040384", "chunk_size": 4096, "pages": 1,
               "salt": b64(raw["digest-salt"])}
    written["mac"] = b64(written_token_mac(dek, written, inputs["volume-uuid"]))
    page = written_page(written_keys(dek, raw["digest-salt"]), raw["file-nonce"], 0, 2, [0, 1, 9])
    assert written_page_open(written_keys(dek, raw["digest-salt"]), 0, page) == (2, [0, 1, 9])

    for name, content in {
        "keys.vault": vault, "keys.vault.audit": log, "passphrase.vault": by_passphrase, "root.key": raw["key-file"],
        "envelope.bin": envelope, "volume.img": image,
        # The blocks of the text.
        "vault.txt": vault, "audit.txt": log, "passphrase-vault.txt": by_passphrase, "pbkdf2-vault.txt": by_pbkdf2, "envelope.txt": dump(envelope),
        "file-prefix.txt": dump(slot), "file-data.txt": dump(file_data),
        "file-sectors.txt": dump(sectors_slot),
        "token.txt": json.dumps(token, indent=2) + "\n", "metadata.txt": area + "\n", "mac-input.txt": dump(mac_input),
        "written-token.txt": json.dumps(written, indent=2) + "\n", "written-page.txt": dump(page[:48] + page[4064:]),
        "binary-header.txt": dump(primary[:512]), "sector.txt": dump(ciphertext[4096:4096 + 64]),
    }.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


# The host cache

CACHE_BLOCK = 4096
CACHE_ENTRY = struct.Struct(">QQI4s16s")


def cache_sector(mac_key, kind, data, offset):
    """A sector, if its MAC matches."""
    body, mac = data[offset:offset + 480], data[offset + 480:offset + 512]
    return body if hmac.compare_digest(mac_of(mac_key, kind + body), mac) else None


def cache_waiting(secret, data):
    """The blocks that the disk may lack, by their numbers."""
    magic, version, block_size, slots, journal, _, salt = struct.unpack_from(">8sH2xIII16s32s", data)
    assert (magic, version, block_size) == (b"atrestHC", 1, CACHE_BLOCK)
    derived = lambda info, length: HKDF(hashes.SHA256(), length, salt, info.encode()).derive(secret)
    data_key, block_key = derived("atrest host cache v1 data", 64), derived("atrest host cache v1 blocks", 32)
    mac_key = derived("atrest host cache v1 records", 32)
    assert cache_sector(mac_key, b"atrestHC", data, 0)
    marks = [cache_sector(mac_key, b"atrestHM", data, offset) for offset in (4096, 8192)]
    _, tail, durable = max(struct.unpack_from(">QQQ", mark) for mark in marks if mark)
    first_slot = -(-(12288 + 512 * journal) // 4096) * 4096
    waiting, number = {}, tail
    while number < tail + journal:
        record = cache_sector(mac_key, b"atrestHJ", data, 12288 + number % journal * 512)
        if not record or struct.unpack_from(">Q", record)[0] != number:
            break
        for i in range(struct.unpack_from(">H", record, 8)[0]):
            block, generation, slot, zeros, tag = CACHE_ENTRY.unpack_from(record, 24 + 40 * i)
            assert zeros == bytes(4) and slot < slots
            sealed = data[first_slot + slot * CACHE_BLOCK:][:CACHE_BLOCK]
            if hmac.compare_digest(mac_of(block_key, struct.pack(">QIQ", block, slot, generation) + sealed)[:16], tag):
                tweak = struct.pack("<QQ", generation, slot)
                cipher = Cipher(algorithms.AES(data_key), modes.XTS(tweak)).decryptor()
                waiting[block] = cipher.update(sealed) + cipher.finalize()
            else:
                assert number >= durable
        number += 1
    assert number >= durable
    return waiting


def unwrapper(vault, key):
    key = key[5:].encode() if key.startswith("pass:") else Path(key).read_bytes()
    keks = vault_open(Path(vault).read_bytes(), key, Path(vault + ".audit").read_bytes())
    assert all(key_url(url)[1] for url in keks)
    return lambda url, wrapped: aes_key_unwrap(keks[url], wrapped)


def open_all(vault, key, envelope, context, image):
    unwrap = unwrapper(vault, key)
    print("envelope", envelope_open(Path(envelope).read_bytes(), unwrap, context.encode()).hex())
    dek, context, data = volume_open(Path(image).read_bytes(), unwrap)
    print("volume", dek.hex(), context.hex(), hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make("".join(Path(text).read_text() for text in sys.argv[3:]), Path(sys.argv[2]))
    elif sys.argv[1] == "chunk-map":
        print(*chunk_map_open(Path(sys.argv[2]).read_bytes(), int(sys.argv[3])))
    elif sys.argv[1] == "written-map":
        generations, written = written_map_open(Path(sys.argv[2]).read_bytes(), bytes.fromhex(sys.argv[3]))
        print(generations, written)
    elif sys.argv[1] == "cache":
        secret = hkdf(bytes.fromhex(sys.argv[2]), None, "atrest host cache of a volume v1 host cache")
        for block, content in sorted(cache_waiting(secret, Path(sys.argv[3]).read_bytes()).items()):
            print(block, hashlib.sha256(content).hexdigest())
    elif sys.argv[1] == "open-file":
        vault, key, file, context, *sector_size = sys.argv[2:]
        data = file_open(Path(file).read_bytes(), unwrapper(vault, key), context.encode(), *map(int, sector_size))
        sys.stdout.buffer.write(data)
    else:
        open_all(*sys.argv[2:])
