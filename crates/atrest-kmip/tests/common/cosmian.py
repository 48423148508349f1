"""The owner of the keys at a server of Cosmian KMS, by its API in JSON over HTTPS: one command a line, one line of answer each.

create NAME            an AES-256 key that encrypts and decrypts, active; its identifier
make NAME BITS MASK    a key of another length or with another mask
activate|deactivate|compromise|destroy UID
gcm UID AAD NONCE CIPHERTEXT TAG     decrypts here, by the library cryptography, under the key that the server hands out
"""
import json, ssl, sys, urllib.error, urllib.request

folder, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
context.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
MASKS = {"ENCRYPT": 4, "DECRYPT": 8, "WRAP_KEY": 16, "UNWRAP_KEY": 32}


def item(tag, kind, value):
    return {"tag": tag, "type": kind, "value": value}


def text(tag, value):
    return item(tag, "TextString", value)


def name(value):
    return item("Name", "Structure", [text("NameValue", value), item("NameType", "Enumeration", "UninterpretedTextString")])


def ask(operation, *fields):
    body = json.dumps(item(operation, "Structure", fields)).encode()
    request = urllib.request.Request(f"https://localhost:{port}/kmip/2_1", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{error.code} {error.read().decode()}") from None


def find(found, tag):
    for part in found["value"]:
        if part["tag"] == tag:
            return part
    raise ValueError(f"no {tag} in {found}")


def make(key, bits, mask, *more):
    attributes = [
        item("CryptographicAlgorithm", "Enumeration", "AES"),
        item("CryptographicLength", "Integer", bits),
        item("CryptographicUsageMask", "Integer", sum(MASKS[bit] for bit in mask.split("|"))),
        item("KeyFormatType", "Enumeration", "TransparentSymmetricKey"),
        item("ObjectType", "Enumeration", "SymmetricKey"),
        name(key),
        *more,
    ]
    kind = item("ObjectType", "Enumeration", "SymmetricKey")
    return find(ask("Create", kind, item("Attributes", "Structure", attributes)), "UniqueIdentifier")["value"]


def revoke(uid, code, *more):
    reason = item("RevocationReason", "Structure", [item("RevocationReasonCode", "Enumeration", code)])
    ask("Revoke", text("UniqueIdentifier", uid), reason, *more)


def run(command, *words):
    if command == "create":
        uid = make(words[0], 256, "ENCRYPT|DECRYPT")
        ask("Activate", text("UniqueIdentifier", uid))
        return uid
    if command == "make":
        return make(words[0], int(words[1]), words[2])
    if command == "activate":
        ask("Activate", text("UniqueIdentifier", words[0]))
    elif command == "deactivate":
        revoke(words[0], "CessationOfOperation")
    elif command == "compromise":
        revoke(words[0], "KeyCompromise", item("CompromiseOccurrenceDate", "DateTime", "2020-01-01T00:00:00Z"))
    elif command == "destroy":
        ask("Destroy", text("UniqueIdentifier", words[0]), item("Remove", "Boolean", False))
    elif command == "gcm":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        got = ask("Get", text("UniqueIdentifier", words[0]), item("KeyFormatType", "Enumeration", "Raw"))
        block = find(find(got, "SymmetricKey"), "KeyBlock")
        key = bytes.fromhex(find(find(block, "KeyValue"), "KeyMaterial")["value"])
        aad, nonce, data, tag = words[1].encode(), *(bytes.fromhex(word) for word in words[2:])
        return AESGCM(key).decrypt(nonce, data + tag, aad).hex()
    else:
        raise ValueError(command)
    return "done"


for line in sys.stdin:
    try:
        print("ok", run(*line.split()), flush=True)
    except Exception as error:
        print("error", repr(error).replace("\n", " "), flush=True)
