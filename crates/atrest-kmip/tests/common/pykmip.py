"""The owner of the keys at a PyKMIP server: one command a line, one line of answer each.

create NAME            an AES-256 key that encrypts and decrypts, active; its identifier
make NAME BITS MASK    a key of another length or with another mask
opaque|secret NAME     an object of another kind; its identifier
activate|deactivate|compromise|destroy UID
state UID STATE        sets the state in the server's database: no operation of KMIP leads back
mask UID MASK          sets the usage mask there
wrapped UID DEK        has the server wrap a DEK under a key, by Get with NIST key wrap
gcm UID AAD NONCE CIPHERTEXT TAG     decrypts here, by the library cryptography, under the key that the server hands out
"""
import os, sqlite3, sys
from kmip.core import enums
from kmip.pie import objects
from kmip.pie.client import ProxyKmipClient

folder, port = sys.argv[1], int(sys.argv[2])


def client():
    names = {name: f"{folder}/{file}" for name, file in (("cert", "client.pem"), ("key", "client.key"), ("ca", "ca.pem"))}
    return ProxyKmipClient(hostname="127.0.0.1", port=port, ssl_version="PROTOCOL_TLSv1_2", **names)


def make(kmip, name, bits, mask):
    # The client's own `create` allows both directions, whatever it is told.
    return kmip.register(objects.SymmetricKey(enums.CryptographicAlgorithm.AES, bits, os.urandom(bits // 8), mask, name))


def masks(text):
    return [enums.CryptographicUsageMask[name] for name in text.split("|")]


def alter(column, value, uid):
    with sqlite3.connect(f"{folder}/db") as db:
        tables = db.execute("select name from sqlite_master where type='table' and sql like ?", (f"%{column} %",))
        for (table,) in tables.fetchall():
            db.execute(f"update {table} set {column}=? where uid=?", (value, uid))


def run(kmip, command, *words):
    if command == "create":
        uid = make(kmip, words[0], 256, masks("ENCRYPT|DECRYPT"))
        kmip.activate(uid)
        return uid
    if command == "make":
        return make(kmip, words[0], int(words[1]), masks(words[2]))
    if command == "opaque":
        return kmip.register(objects.OpaqueObject(b"no key", enums.OpaqueDataType.NONE, words[0]))
    if command == "secret":
        data = objects.SecretData(os.urandom(32), enums.SecretDataType.PASSWORD, masks("DECRYPT"), words[0])
        return kmip.register(data)
    if command == "activate":
        kmip.activate(words[0])
    elif command == "deactivate":
        kmip.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, words[0])
    elif command == "compromise":
        kmip.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, words[0], compromise_occurrence_date=1)
    elif command == "destroy":
        kmip.destroy(words[0])
    elif command == "state":
        alter("state", enums.State[words[1]].value, words[0])
    elif command == "mask":
        alter("cryptographic_usage_mask", sum(mask.value for mask in masks(words[1])), words[0])
    elif command == "wrapped":
        dek = bytes.fromhex(words[1])
        key = objects.SymmetricKey(enums.CryptographicAlgorithm.AES, 8 * len(dek), dek, masks("ENCRYPT"), "dek")
        nist = {"block_cipher_mode": enums.BlockCipherMode.NIST_KEY_WRAP}
        how = {
            "wrapping_method": enums.WrappingMethod.ENCRYPT,
            "encryption_key_information": {"unique_identifier": words[0], "cryptographic_parameters": nist},
            "encoding_option": enums.EncodingOption.NO_ENCODING,
        }
        return kmip.get(kmip.register(key), key_wrapping_specification=how).value.hex()
    elif command == "gcm":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        aad, nonce, data, tag = words[1].encode(), *(bytes.fromhex(word) for word in words[2:])
        return AESGCM(kmip.get(words[0]).value).decrypt(nonce, data + tag, aad).hex()
    else:
        raise ValueError(command)
    return "done"


for line in sys.stdin:
    try:
        with client() as kmip:
            print("ok", run(kmip, *line.split()), flush=True)
    except Exception as error:
        print("error", repr(error), flush=True)
