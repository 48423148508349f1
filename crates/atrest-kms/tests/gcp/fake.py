"""A fake of Google Cloud KMS, of Google's token services and of a metadata server.

It is written from the public REST reference (cloudkms v1, "Using OAuth 2.0 for server to server applications", sts v1,
iamcredentials v1), and was never compared with the real services. Its cryptography is that of pyca/cryptography, its CRC-32C is
written here. It writes down what isn't of the documented form, and tests fail by that.

    fake.py [CERTIFICATE KEY]     with TLS
"""

import base64, hashlib, json, os, ssl, sys, threading, time, traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RING = "projects/fleet/locations/europe-west3/keyRings/disks"
SCOPE = "https://www.googleapis.com/auth/cloudkms"
IAM = "https://www.googleapis.com/auth/iam"
EMAIL = "disks@fleet.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/aks"
REFRESH, CLIENT_SECRET = "refresh-token-of-a-test", "client-secret-of-a-test"


class State:
    keys, tokens, complaints, logins = {}, {}, [], 0
    rights = {"get", "getversion", "encrypt", "decrypt"}
    reason = "IAM_PERMISSION_DENIED"
    skew = 0
    life = 3599
    subject = "a.subject.token"
    garble, left = "", 0
    impersonate = True
    lock = threading.Lock()


S = State()
ACCOUNT = rsa.generate_private_key(65537, 2048)

CRC = []
for value in range(256):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    CRC.append(value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def now():
    return int(time.time()) + S.skew


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


def unb64url(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


class Refused(Exception):
    def __init__(self, status, body):
        self.status, self.body = status, body


def api_error(code, status, text, details=()):
    return Refused(code, {"error": {"code": code, "message": text, "status": status, "details": list(details)}})


def oauth_error(code, error, text):
    return Refused(code, {"error": error, "error_description": text})


class Version:
    def __init__(self):
        self.key, self.state, self.created = os.urandom(32), "ENABLED", now()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def answer(self, method):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, self.more = 200, ()
        try:
            found = self.route(method, urlsplit(self.path).path, body)
        except Refused as e:
            status, found = e.status, e.body
        text = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(text)))
        for name, value in self.more:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def expect(self, holds, text):
        if not holds:
            S.complaints.append(f"{self.command} {self.path}: {text}")

    def route(self, method, path, body):
        if path == "/test":
            return control(json.loads(body))
        if path == "/computeMetadata/v1/instance/service-accounts/default/token":
            if self.headers.get("Metadata-Flavor") != "Google":
                raise Refused(403, {})
            self.more = [("Metadata-Flavor", "Google")]
            return {"access_token": new_token(SCOPE), "expires_in": S.life, "token_type": "Bearer"}
        if path in ("/token", "/v1/token"):
            self.expect(method == "POST", "method")
            self.expect(self.headers["content-type"].startswith("application/x-www-form-urlencoded"), "content type")
            form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
            return self.exchange(form) if path == "/v1/token" else self.token(form)
        if path.endswith(":generateAccessToken"):
            self.expect(path == f"/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken", "path")
            self.bearer(IAM)
            if not S.impersonate:
                raise api_error(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied")
            # Google's own library names no delegates by null.
            asked = {name: value for name, value in json.loads(body).items() if value is not None}
            self.expect(asked == {"scope": [SCOPE], "lifetime": "3600s"}, "body")
            return {"accessToken": new_token(SCOPE), "expireTime": "2100-01-01T00:00:00Z"}
        return self.kms(method, path, body)

    def token(self, form):
        if form["grant_type"] == "refresh_token":
            if (form["client_id"], form["client_secret"]) != ("client", CLIENT_SECRET):
                raise oauth_error(401, "invalid_client", "Unauthorized")
            if form["refresh_token"] != REFRESH:
                raise oauth_error(400, "invalid_grant", "Token has been expired or revoked.")
            return {"access_token": new_token(SCOPE), "expires_in": S.life, "scope": SCOPE, "token_type": "Bearer"}
        self.expect(form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer", "grant type")
        head, claims, signature = form["assertion"].split(".")
        header, said = json.loads(unb64url(head)), json.loads(unb64url(claims))
        self.expect(header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}, "header")
        self.expect(set(said) == {"iss", "scope", "aud", "iat", "exp"}, "claims")
        self.expect(said["aud"].endswith("/token") and said["scope"] == SCOPE, "audience or scope")
        if said["iss"] != EMAIL:
            raise oauth_error(400, "invalid_grant", "Invalid grant: account not found")
        try:
            text = f"{head}.{claims}".encode()
            ACCOUNT.public_key().verify(unb64url(signature), text, padding.PKCS1v15(), hashes.SHA256())
        except Exception:
            raise oauth_error(400, "invalid_grant", "Invalid JWT Signature.")
        if not (said["iat"] - 300 <= now() < said["exp"] <= said["iat"] + 3600):
            text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            raise oauth_error(400, "invalid_grant", text)
        return {"access_token": new_token(SCOPE), "expires_in": S.life, "token_type": "Bearer"}

    def exchange(self, form):
        self.expect(form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange", "grant type")
        self.expect(form["requested_token_type"] == "urn:ietf:params:oauth:token-type:access_token", "requested type")
        self.expect(form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt", "subject's type")
        self.expect(form["audience"] == AUDIENCE, "audience")
        if form["subject_token"] != S.subject:
            raise oauth_error(400, "invalid_grant", "The given credential is rejected by the attribute condition.")
        return {"access_token": new_token(form["scope"]), "expires_in": S.life, "token_type": "Bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}

    def bearer(self, scope):
        kind, _, token = (self.headers.get("authorization") or "").partition(" ")
        if kind != "Bearer" or S.tokens.get(token) != scope:
            raise api_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")

    def kms(self, method, path, body):
        self.bearer(SCOPE)
        name, _, action = path.removeprefix("/v1/").partition(":")
        # Google's own library asks for numbers instead of names of states, which it takes too.
        self.expect(path.startswith("/v1/") and urlsplit(self.path).query in ("", "%24alt=json%3Benum-encoding%3Dint"), "path")
        parts = name.removeprefix(RING + "/cryptoKeys/").split("/")
        self.expect(name.startswith(RING + "/cryptoKeys/"), "name")
        key, wanted = parts[0], parts[2] if len(parts) == 3 and parts[1] == "cryptoKeyVersions" else None
        self.expect(len(parts) == 1 or wanted is not None, "name of a version")
        right = action or ("getversion" if wanted else "get")
        self.expect((method, right) in {("GET", "get"), ("GET", "getversion"), ("POST", "encrypt"), ("POST", "decrypt")},
                    "operation")
        if right not in S.rights:
            detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": S.reason, "domain": "googleapis.com"}
            raise api_error(403, "PERMISSION_DENIED", f"Permission denied on resource '{name}' (or it may not exist).",
                            [detail] if S.reason else [])
        if key not in S.keys:
            raise api_error(404, "NOT_FOUND", f"CryptoKey {RING}/cryptoKeys/{key} not found.")
        found = S.keys[key]
        if wanted and (not wanted.isdigit() or not 1 <= int(wanted) <= len(found["versions"])):
            raise api_error(404, "NOT_FOUND", f"CryptoKeyVersion {name} not found.")
        if right == "get":
            shown = {"name": name, "purpose": found["purpose"], "createTime": "2026-01-01T00:00:00.123456789Z"}
            if found["primary"]:
                shown["primary"] = self.shown(key, found["primary"])
            return shown
        if right == "getversion":
            return self.shown(key, int(wanted))
        self.expect(self.headers.get("content-type") == "application/json", "content type")
        return getattr(self, right)(key, found, wanted, json.loads(body))

    def shown(self, key, number):
        version = S.keys[key]["versions"][number - 1]
        made = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(version.created))
        return {"name": f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}", "state": version.state, "createTime": made,
                "protectionLevel": "SOFTWARE", "algorithm": S.keys[key]["algorithm"]}

    def checked(self, asked, field):
        data, crc = unb64(asked[field]), asked[field + "Crc32c"]
        self.expect(isinstance(crc, str), "a checksum is a text in JSON")
        if S.garble == "sent" and S.left > 0:
            S.left, data = S.left - 1, data + b"x"
        if int(crc) != crc32c(data):
            raise api_error(400, "INVALID_ARGUMENT", f"The checksum in field {field}_crc32c did not match the data in field.")
        return data

    def usable(self, key, number):
        version = S.keys[key]["versions"][number - 1]
        if version.state != "ENABLED":
            name = f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}"
            detail = {"@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                      "violations": [{"type": "KEY_" + version.state, "subject": name}]}
            raise api_error(400, "FAILED_PRECONDITION", f"{name} is not enabled, current state is: {version.state}.", [detail])
        return AESGCM(version.key)

    def garbled(self, kind):
        if S.garble != kind or S.left <= 0:
            return False
        S.left -= 1
        return True

    def encrypt(self, key, found, wanted, asked):
        fields = {"plaintext", "plaintextCrc32c", "additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c"}
        self.expect(set(asked) == fields, "body")
        plaintext, bound = self.checked(asked, "plaintext"), self.checked(asked, "additionalAuthenticatedData")
        number = int(wanted or found["primary"])
        nonce = os.urandom(12)
        ciphertext = number.to_bytes(4, "big") + nonce + self.usable(key, number).encrypt(nonce, plaintext, bound)
        answer = {"name": f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}", "ciphertext": b64(ciphertext),
                  "ciphertextCrc32c": str(crc32c(ciphertext)), "verifiedPlaintextCrc32c": True,
                  "verifiedAdditionalAuthenticatedDataCrc32c": True, "protectionLevel": "SOFTWARE"}
        if self.garbled("answered"):
            answer["ciphertext"] = b64(bytes([ciphertext[0] ^ 1]) + ciphertext[1:])
        for field in ("ciphertextCrc32c", "verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c"):
            if self.garbled("no " + field):
                del answer[field]
        if self.garbled("unverified"):
            answer["verifiedPlaintextCrc32c"] = False
        return answer

    def decrypt(self, key, found, wanted, asked):
        fields = {"ciphertext", "ciphertextCrc32c", "additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c"}
        self.expect(set(asked) == fields and wanted is None, "body or name")
        ciphertext, bound = self.checked(asked, "ciphertext"), self.checked(asked, "additionalAuthenticatedData")
        number = int.from_bytes(ciphertext[:4], "big")
        failed = api_error(400, "INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
        if not 1 <= number <= len(found["versions"]):
            raise failed
        cipher = self.usable(key, number)
        try:
            plaintext = cipher.decrypt(ciphertext[4:16], ciphertext[16:], bound)
        except Exception:
            raise failed
        answer = {"plaintext": b64(plaintext), "plaintextCrc32c": str(crc32c(plaintext)),
                  "usedPrimary": number == found["primary"], "protectionLevel": "SOFTWARE"}
        if self.garbled("answered"):
            answer["plaintext"] = b64(bytes([plaintext[0] ^ 1]) + plaintext[1:])
        if self.garbled("no plaintextCrc32c"):
            del answer["plaintextCrc32c"]
        return answer


def new_token(scope):
    with S.lock:
        S.logins += 1
        token = "ya29." + hashlib.sha256(str(S.logins).encode()).hexdigest()
    S.tokens[token] = scope
    return token


def control(order):
    """What tests tell it."""
    op = order.pop("op")
    if op == "new":
        key = S.keys.setdefault(order["key"], {"versions": [], "purpose": order.get("purpose", "ENCRYPT_DECRYPT"),
                                               "algorithm": order.get("algorithm", "GOOGLE_SYMMETRIC_ENCRYPTION")})
        key["versions"].append(Version())
        key["primary"] = len(key["versions"])
    elif op == "primary":
        S.keys[order["key"]]["primary"] = order["number"]
    elif op == "set":
        S.keys[order["key"]]["versions"][order.get("at", -1)].state = order["state"]
    elif op == "expire":
        S.tokens.clear()
    elif op == "state":
        for name, value in order.items():
            setattr(S, name, set(value) if name == "rights" else value)
    pem = ACCOUNT.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {"type": "service_account", "client_email": EMAIL, "private_key_id": "key-1", "private_key": pem.decode(),
               "token_uri": f"http://127.0.0.1:{server.server_address[1]}/token", "project_id": "fleet"}
    return {"complaints": S.complaints, "logins": S.logins, "account": account}


class Server(ThreadingHTTPServer):
    def handle_error(self, request, address):
        # A client that goes away is none of the fake's troubles. All else is a request that it doesn't understand.
        if not isinstance(sys.exc_info()[1], OSError):
            S.complaints.append(traceback.format_exc())
            traceback.print_exc()


server = Server(("127.0.0.1", 0), Handler)
server.daemon_threads = True
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
