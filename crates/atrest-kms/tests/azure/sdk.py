"""Unwraps and wraps on the fake by Microsoft's own library: pip install azure-keyvault-keys azure-identity requests.

    sdk.py URL CA CERTIFICATE KEY     WRAPPED (in hex, one a line: by RSA and by AES) on standard input
"""

import os, sys

url, ca, certificate, key = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca
os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = url

import msal
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

TENANT, CLIENT, SECRET = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000", "client~secret.of.a.test"
SERVICE = "https://vault.azure.net/.default"

# Logins by a secret and by a certificate: the fake takes what the library makes.
pem = {"private_key": open(key).read(), "public_certificate": open(certificate).read()}
for credential in (SECRET, pem):
    login = {"client_credential": credential, "instance_discovery": False, "validate_authority": False}
    application = msal.ConfidentialClientApplication(CLIENT, authority=f"{url}/{TENANT}", **login)
    assert application.acquire_token_for_client([SERVICE])["access_token"]

managed = ManagedIdentityCredential()


class Credential:
    """The library asks for what the fake's challenge names, which is another service."""

    def get_token(self, *scopes, **_):
        return managed.get_token(SERVICE)


options = {"credential": Credential(), "api_version": "7.4", "verify_challenge_resource": False}
keys = KeyClient(url, **options)
for name, algorithm in (("disks", KeyWrapAlgorithm.rsa_oaep_256), ("aes", KeyWrapAlgorithm.aes_256)):
    found = keys.get_key(name)
    assert [version.version for version in keys.list_properties_of_key_versions(name)] == [found.properties.version]
    client = CryptographyClient(found, **options)
    print(client.unwrap_key(algorithm, bytes.fromhex(input())).key.hex())
    # Of AES keys in an HSM, the library wraps by itself, under a key that it draws.
    if name == "disks":
        print(client.wrap_key(algorithm, b"a DEK that another library wraps").encrypted_key.hex())
for missing in (lambda: keys.get_key("typo"), lambda: keys.get_deleted_key("disks")):
    try:
        missing()
        raise AssertionError("it is there")
    except ResourceNotFoundError as e:
        assert e.error.code == "KeyNotFound"
try:
    client.unwrap_key(KeyWrapAlgorithm.aes_256, bytes(40))
    raise AssertionError("it unwraps")
except HttpResponseError as e:
    assert (e.status_code, e.error.code) == (400, "BadParameter")
