"""A fake of Azure Key Vault, of Entra ID and of the services of managed identities.

It is written from the public REST reference (Key Vault 7.4, "Key Vault REST API error codes"; the token endpoint of Entra ID 2.0; the
metadata service 2018-02-01; App Service 2019-08-01), and was never compared with the real services. Its cryptography is that of
pyca/cryptography. It writes down what isn't of the documented form, and tests fail by that.

    fake.py [CERTIFICATE KEY]     with TLS
"""

import base64, email.utils, hashlib, json, os, ssl, sys, threading, time, traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

TENANT, OTHER_TENANT = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CLIENT, SECRET = "66666666-7777-8888-9999-000000000000", "client~secret.of.a.test"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class State:
    name = "https://contoso.vault.azure.net"
    service = "https://vault.azure.net"
    keys, deleted, tokens, complaints = {}, {}, {}, []
    secrets, deleted_secrets = {}, {}
    rights = {"get", "list", "wrapkey", "unwrapkey", "set"}
    denial = "ForbiddenByRbac"
    # Other applications than CLIENT, by their ids: each with its tenant and its rights.
    clients = {}
    # Uses of keys, as the vault's log has them: the names of operations are those of Azure Monitor.
    events = []
    recovery = "Recoverable"
    skew = 0
    life = 3599
    page = 25
    certificate = None
    federated = None
    login = None
    logins = 0
    # People say that it lets a disabled key wrap, and that it doesn't describe one: tests try both.
    get_of_disabled, wrap_of_disabled = True, False
    lock = threading.Lock()


S = State()


def now():
    return int(time.time()) + S.skew


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


class Version:
    def __init__(self, kind, key=None):
        self.id = os.urandom(16).hex()
        self.kind = kind
        self.enabled, self.nbf, self.exp = True, None, None
        with S.lock:
            # Versions that are made in one second are in order nevertheless.
            self.created = max([now()] + [v.created + 1 for k in S.keys.values() for v in k])
        if key is not None:
            self.key = key
        elif kind.startswith("RSA"):
            self.key = rsa.generate_private_key(65537, int(kind[3:7]))
        else:
            self.key = os.urandom(32)

    def attributes(self):
        found = {"enabled": self.enabled, "created": self.created, "updated": self.created,
                 "recoveryLevel": S.recovery, "recoverableDays": 90}
        found.update({name: getattr(self, name) for name in ("nbf", "exp") if getattr(self, name) is not None})
        return found

    def web_key(self, name):
        found = {"kid": f"{S.name}/keys/{name}/{self.id}", "key_ops": ["wrapKey", "unwrapKey"]}
        if self.kind.startswith("RSA"):
            n = self.key.public_key().public_numbers().n
            return found | {"kty": "RSA-HSM" if self.kind.endswith("HSM") else "RSA", "n": b64(n.to_bytes((n.bit_length() + 7) // 8, "big")), "e": "AQAB"}
        return found | {"kty": "oct-HSM"} if self.kind == "AES" else found | {"kty": "EC", "crv": "P-256"}

    def wrap(self, alg, data):
        if self.kind == "AES" and alg == "A256KW":
            return keywrap.aes_key_wrap(self.key, data)
        return self.key.public_key().encrypt(data, oaep(alg)) if self.kind.startswith("RSA") else None

    def unwrap(self, alg, data):
        if self.kind == "AES" and alg == "A256KW":
            return keywrap.aes_key_unwrap(self.key, data)
        return self.key.decrypt(data, oaep(alg)) if self.kind.startswith("RSA") else None


class SecretVersion:
    def __init__(self, asked):
        self.id = os.urandom(16).hex()
        self.value, self.tags, self.kind = asked["value"], asked.get("tags"), asked.get("contentType")
        self.enabled, self.nbf, self.exp, self.created = True, None, None, now()

    attributes = Version.attributes

    def bundle(self, name):
        found = {"value": self.value, "id": f"{S.name}/secrets/{name}/{self.id}", "attributes": self.attributes()}
        found |= {"contentType": self.kind} if self.kind else {}
        return found | ({"tags": self.tags} if self.tags is not None else {})


def oaep(alg):
    if alg == "RSA1_5":
        return padding.PKCS1v15()
    digest = {"RSA-OAEP-256": hashes.SHA256(), "RSA-OAEP": hashes.SHA1()}[alg]
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


class Refused(Exception):
    def __init__(self, status, body, headers=()):
        self.status, self.body, self.headers = status, body, headers


def vault_error(status, code, text, inner=None, headers=()):
    error = {"code": code, "message": text}
    if inner:
        error["innererror"] = {"code": inner}
    return Refused(status, {"error": error}, headers)


def entra_error(status, code, number, text):
    return Refused(status, {"error": code, "error_description": f"AADSTS{number}: {text}", "error_codes": [number],
                            "timestamp": "2026-01-01 00:00:00Z", "trace_id": "t", "correlation_id": "c"})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(now(), usegmt=True)

    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def do_PUT(self):
        self.answer("PUT")

    def answer(self, method):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        status, headers = 200, ()
        try:
            found = self.route(method, parts.path, query, body)
        except Refused as e:
            status, found, headers = e.status, e.body, e.headers
        text = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def expect(self, holds, text):
        if not holds:
            S.complaints.append(f"{self.command} {self.path}: {text}")

    def route(self, method, path, query, body):
        if path == "/test":
            return control(json.loads(body))
        if path.endswith("/v2.0/.well-known/openid-configuration"):
            # Microsoft's own library asks for it first.
            address = f"https://{self.headers['Host']}/{TENANT}"
            return {"token_endpoint": f"{address}/oauth2/v2.0/token", "issuer": f"{address}/v2.0",
                    "authorization_endpoint": f"{address}/oauth2/v2.0/authorize"}
        if path.endswith("/oauth2/v2.0/token"):
            return self.entra(method, path.split("/")[1], body)
        if path == "/metadata/identity/oauth2/token":
            self.expect(self.headers.get("Metadata") == "true", "no Metadata: true")
            self.expect(query.get("api-version") == "2018-02-01", "api-version")
            self.expect(set(query) <= {"api-version", "resource", "client_id"}, "unknown parameters")
            return self.managed(query)
        if path == "/msi/token":
            if self.headers.get("X-IDENTITY-HEADER") != "header-of-a-test":
                raise Refused(403, {"statusCode": 403, "message": "forbidden"})
            self.expect(query.get("api-version") == "2019-08-01", "api-version")
            return self.managed(query, app=True)
        return self.vault(method, path, query, body)

    def managed(self, query, app=False):
        if query.get("client_id") not in (None, CLIENT):
            raise Refused(400, {"error": "invalid_request", "error_description": "Identity not found"})
        if S.login:
            raise Refused(*S.login)
        token = new_token(query["resource"])
        found = {"access_token": token, "expires_on": str(int(time.time()) + S.life), "resource": query["resource"],
                 "token_type": "Bearer", "client_id": CLIENT}
        if not app:
            found |= {"expires_in": str(S.life), "ext_expires_in": str(S.life), "not_before": "1", "refresh_token": ""}
        return found

    def entra(self, method, tenant, body):
        self.expect(method == "POST", "method")
        self.expect(self.headers["content-type"].startswith("application/x-www-form-urlencoded"), "content type")
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        if S.login:
            raise Refused(*S.login)
        if tenant not in (TENANT, OTHER_TENANT):
            raise entra_error(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        self.expect(form.get("grant_type") == "client_credentials", "grant type")
        client = form.get("client_id")
        if tenant != (TENANT if client == CLIENT else S.clients.get(client, {}).get("tenant")):
            raise entra_error(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        service, default = form["scope"].rsplit("/", 1)
        self.expect(default == ".default", "scope")
        if "client_secret" in form:
            if form["client_secret"] != SECRET:
                raise entra_error(401, "invalid_client", 7000215, "Invalid client secret provided.")
        else:
            self.expect(form.get("client_assertion_type") == ASSERTION, "assertion type")
            self.assertion(form["client_assertion"])
        return {"token_type": "Bearer", "expires_in": S.life, "ext_expires_in": S.life, "access_token": new_token(service, client, tenant)}

    def assertion(self, text):
        if S.federated is not None:
            if text != S.federated:
                raise entra_error(401, "invalid_client", 700213, "No matching federated identity record found.")
            return
        head, claims, signature = text.split(".")
        header, said = json.loads(unb64(head)), json.loads(unb64(claims))
        certificate = x509.load_pem_x509_certificate(S.certificate.encode())
        self.expect((header["alg"], header["typ"]) == ("PS256", "JWT"), "header")
        thumbprint = b64(certificate.fingerprint(hashes.SHA256()))
        # Microsoft's own library pads it.
        if header["x5t#S256"].rstrip("=") != thumbprint:
            raise entra_error(401, "invalid_client", 700027, "The certificate isn't registered.")
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        certificate.public_key().verify(unb64(signature), f"{head}.{claims}".encode(), pss, hashes.SHA256())
        self.expect(said["aud"].endswith(f"/{TENANT}/oauth2/v2.0/token"), "audience")
        self.expect(said["iss"] == said["sub"] == CLIENT and len(said["jti"]) == 36, "claims")
        if not said.get("nbf", said["iat"]) - 300 <= now() < said["exp"]:
            raise entra_error(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")

    def vault(self, method, path, query, body):
        challenge = [("WWW-Authenticate", 'Bearer authorization="https://evil.example/t", resource="https://evil.example"')]
        kind, _, token = (self.headers.get("authorization") or "").partition(" ")
        service, client, tenant = S.tokens.get(token, (None, None, None))
        if kind != "Bearer" or service is None:
            raise vault_error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", headers=challenge)
        if service != S.service:
            raise vault_error(401, "Unauthorized", "AKV10022: Invalid audience.", headers=challenge)
        if tenant != TENANT:
            issuers = [f"https://sts.windows.net/{name}/" for name in (TENANT, tenant)]
            text = f"AKV10032: Invalid issuer. Expected one of {issuers[0]}, found {issuers[1]}."
            raise vault_error(401, "Unauthorized", text, headers=challenge)
        self.rights = S.rights if client == CLIENT else S.clients[client]["rights"]
        self.expect(query.get("api-version") == "7.4", "api-version")
        self.expect(set(query) <= {"api-version", "$skiptoken"}, "unknown parameters")
        parts = path.split("/")[1:]
        if parts[0] in ("secrets", "deletedsecrets"):
            return self.secret(method, parts, body)
        event = {"identity": client, "operation": operation_of(method, parts), "key": "/".join(parts[1:3]), "status": 200}
        try:
            return self.keys(method, parts, query, body)
        except Refused as e:
            event["status"] = e.status
            raise
        finally:
            S.events.append(event)

    def keys(self, method, parts, query, body):
        if parts[0] == "deletedkeys" and len(parts) == 2:
            self.allow("get", parts[1])
            if parts[1] not in S.deleted:
                raise vault_error(404, "KeyNotFound", f"Deleted Key not found: {parts[1]}")
            version = S.deleted[parts[1]][-1]
            return {"recoveryId": f"{S.name}/deletedkeys/{parts[1]}", "deletedDate": now(), "scheduledPurgeDate": now(),
                    "key": version.web_key(parts[1]), "attributes": version.attributes()}
        self.expect(parts[0] == "keys" and 2 <= len(parts) <= 4, "path")
        name = parts[1]
        if method == "GET" and parts[2:] == ["versions"]:
            self.allow("list", name)
            return self.versions(self.key(name), name, query)
        if method == "GET":
            self.allow("get", name)
            version = self.version(name, parts[2] if len(parts) > 2 else "")
            if not version.enabled and not S.get_of_disabled:
                raise vault_error(403, "Forbidden", "Operation get is not allowed on a disabled key.", "KeyDisabled")
            return {"key": version.web_key(name), "attributes": version.attributes()}
        self.expect(method == "POST" and len(parts) == 4 and parts[3] in ("wrapkey", "unwrapkey"), "operation")
        self.expect(self.headers.get("content-type") == "application/json", "content type")
        asked = json.loads(body)
        self.expect(set(asked) == {"alg", "value"}, "body")
        self.allow(parts[3], name)
        return self.operate(self.version(name, parts[2]), name, parts[3], asked)

    def secret(self, method, parts, body):
        name, wanted = parts[1], parts[2] if len(parts) > 2 else ""
        if parts[0] == "deletedsecrets":
            self.expect(method == "GET" and len(parts) == 2, "deleted secret")
            self.allow("get", name)
            if name not in S.deleted_secrets:
                raise vault_error(404, "SecretNotFound", f"Deleted Secret not found: {name}")
            found = S.deleted_secrets[name][-1].bundle(name)
            del found["value"]
            return found | {"recoveryId": f"{S.name}/deletedsecrets/{name}", "deletedDate": now(), "scheduledPurgeDate": now()}
        if method == "PUT":
            self.expect(len(parts) == 2 and self.headers.get("content-type") == "application/json", "set secret")
            asked = json.loads(body)
            self.expect({"value"} <= set(asked) <= {"value", "tags", "contentType", "attributes"}, "body")
            self.expect(len(asked["value"]) <= 25600 and len(asked.get("tags") or {}) <= 15, "limits")
            self.allow("set", name)
            if name in S.deleted_secrets:
                raise vault_error(409, "Conflict", f"Secret {name} is currently in a deleted but recoverable state.",
                                  "ObjectIsDeletedButRecoverable")
            S.secrets.setdefault(name, []).append(SecretVersion(asked))
            return S.secrets[name][-1].bundle(name)
        self.expect(method == "GET" and len(parts) <= 3, "get secret")
        self.allow("get", name)
        found = [version for version in S.secrets.get(name, []) if wanted in ("", version.id)]
        if not found:
            raise vault_error(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")
        if not found[-1].enabled:
            raise vault_error(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return found[-1].bundle(name)

    def allow(self, right, name):
        if right not in self.rights:
            raise vault_error(403, "Forbidden", f"Caller is not authorized to perform action on '{name}'.", S.denial)

    def key(self, name):
        if name not in S.keys:
            raise vault_error(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
        return S.keys[name]

    def version(self, name, wanted):
        found = [version for version in self.key(name) if wanted in ("", version.id)]
        if not found:
            raise vault_error(404, "KeyNotFound", f"A key with (name/id) {name}/{wanted} was not found in this key vault.")
        return found[-1]

    def versions(self, versions, name, query):
        start = int(query.get("$skiptoken", "0"))
        items = [{"kid": f"{S.name}/keys/{name}/{v.id}", "attributes": v.attributes()} for v in versions]
        end = start + S.page
        # The link names a host to which no token may go.
        link = f"https://evil.example:443/keys/{name}/versions?api-version=7.4&$skiptoken={end}&maxresults=25"
        return {"value": items[start:end], "nextLink": link if end < len(items) else None}

    def operate(self, version, name, action, asked):
        shown = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}[action]
        if not version.enabled and not (action == "wrapkey" and S.wrap_of_disabled):
            raise vault_error(403, "Forbidden", f"Operation {shown} is not allowed on a disabled key.", "KeyDisabled")
        late = version.exp is not None and now() >= version.exp
        early = version.nbf is not None and now() < version.nbf
        if action == "wrapkey" and (late or early):
            # The inner code isn't documented.
            raise vault_error(403, "Forbidden", f"Operation {shown} is not allowed outside of the key's time.", "KeyTime")
        try:
            data = unb64(asked["value"])
            done = version.wrap(asked["alg"], data) if action == "wrapkey" else version.unwrap(asked["alg"], data)
        except Exception:
            done = None
        if done is None:
            raise vault_error(400, "BadParameter", "The parameter is incorrect.\r\n")
        return {"kid": f"{S.name}/keys/{name}/{version.id}", "value": b64(done)}


def operation_of(method, parts):
    if parts[0] == "deletedkeys":
        return "KeyGetDeleted"
    if method == "POST":
        return {"wrapkey": "KeyWrap", "unwrapkey": "KeyUnwrap"}.get(parts[-1], parts[-1])
    return "KeyListVersions" if parts[-1] == "versions" else "KeyGet"


def new_token(service, client=CLIENT, tenant=TENANT):
    with S.lock:
        S.logins += 1
        token = "eyJ." + b64(hashlib.sha256(str(S.logins).encode()).digest())
    S.tokens[token] = service, client, tenant
    if "evil" in service:
        S.complaints.append(f"a token for {service}")
    return token


def control(order):
    """What tests tell it."""
    op = order.pop("op")
    if op == "new":
        S.keys.setdefault(order["key"], []).append(Version(order.get("kind", "RSA2048")))
    elif op == "import":
        key = serialization.load_pem_private_key(order["pem"].encode(), None)
        S.keys.setdefault(order["key"], []).append(Version(f"RSA{key.key_size}", key))
    elif op == "client":
        S.clients.setdefault(order["id"], {"tenant": order["tenant"], "rights": set()})
    elif op == "grant":
        S.clients[order["id"]]["rights"] = set(order["rights"])
    elif op == "events":
        events, S.events = S.events, []
        return {"events": events}
    elif op == "set":
        versions = S.keys[order.pop("key")]
        at = order.pop("at", -1)
        for name, value in order.items():
            setattr(versions[at], name, now() + value if name in ("nbf", "exp") and value is not None else value)
    elif op == "set-secret":
        version = S.secrets[order.pop("secret")][order.pop("at", -1)]
        for name, value in order.items():
            setattr(version, name, now() + value if name in ("nbf", "exp") and value is not None else value)
    elif op == "delete-secret":
        S.deleted_secrets[order["secret"]] = S.secrets.pop(order["secret"])
    elif op == "purge-secret":
        S.deleted_secrets.pop(order["secret"])
    elif op == "delete":
        S.deleted[order["key"]] = S.keys.pop(order["key"])
    elif op == "recover":
        S.keys[order["key"]] = S.deleted.pop(order["key"])
    elif op == "purge":
        S.deleted.pop(order["key"])
    elif op == "expire":
        S.tokens.clear()
    elif op == "state":
        for name, value in order.items():
            setattr(S, name, set(value) if name == "rights" else value)
    return {"complaints": S.complaints, "logins": S.logins,
            "versions": {name: [v.id for v in versions] for name, versions in S.keys.items()}}


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
