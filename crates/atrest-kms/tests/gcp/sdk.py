"""Decrypts and encrypts on the fake by Google's own library: pip install google-cloud-kms requests.

    sdk.py PORT CA     a service account's credentials, and a CIPHERTEXT with what it is bound to (in hex), on standard input
"""

import json, os, sys, tempfile

port, ca = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca
url = f"https://127.0.0.1:{port}"
account, ciphertext, bound = json.loads(input()), bytes.fromhex(input()), bytes.fromhex(input())

from google.api_core.exceptions import BadRequest, NotFound
from google.auth import identity_pool
from google.auth.transport.requests import Request
from google.cloud import kms_v1
from google.oauth2 import credentials, service_account

SCOPES = ["https://www.googleapis.com/auth/cloudkms"]
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/aks"
RING = "projects/fleet/locations/europe-west3/keyRings/disks"

# All ways to log in: the fake takes what the library makes.
account["token_uri"] = f"{url}/token"
service_account.Credentials.from_service_account_info(account, scopes=SCOPES).refresh(Request())
with tempfile.NamedTemporaryFile("w") as subject:
    subject.write("a.subject.token")
    subject.flush()
    external = {"type": "external_account", "audience": POOL, "token_url": f"{url}/v1/token",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": subject.name}}
    identity_pool.Credentials.from_info(external, scopes=SCOPES).refresh(Request())
    name = "disks@fleet.iam.gserviceaccount.com"
    external["service_account_impersonation_url"] = f"{url}/v1/projects/-/serviceAccounts/{name}:generateAccessToken"
    identity_pool.Credentials.from_info(external, scopes=SCOPES).refresh(Request())
user = credentials.Credentials(None, refresh_token="refresh-token-of-a-test", token_uri=f"{url}/token", client_id="client",
                               client_secret="client-secret-of-a-test")

client = kms_v1.KeyManagementServiceClient(credentials=user, transport="rest", client_options={"api_endpoint": url[8:]})


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def request(name, field, data):
    return {"name": name, field: data, f"{field}_crc32c": crc32c(data), "additional_authenticated_data": bound,
            "additional_authenticated_data_crc32c": crc32c(bound)}


key = f"{RING}/cryptoKeys/disks"
version = f"{key}/cryptoKeyVersions/1"
assert client.get_crypto_key(name=key).primary.name == version
assert client.get_crypto_key_version(name=version).state == kms_v1.CryptoKeyVersion.CryptoKeyVersionState.ENABLED
plain = client.decrypt(request=request(key, "ciphertext", ciphertext))
assert plain.plaintext_crc32c == crc32c(plain.plaintext)
print(plain.plaintext.hex())
made = client.encrypt(request=request(version, "plaintext", b"a DEK that another library wraps"))
assert made.name == version and made.verified_plaintext_crc32c and made.verified_additional_authenticated_data_crc32c
assert made.ciphertext_crc32c == crc32c(made.ciphertext)
print(made.ciphertext.hex())
for error, call in ((NotFound, lambda: client.get_crypto_key(name=f"{RING}/cryptoKeys/typo")),
                    (BadRequest, lambda: client.decrypt(request=request(key, "ciphertext", ciphertext + b"x")))):
    try:
        call()
        raise AssertionError("it succeeds")
    except error:
        pass
