"""An issuer of JWTs for tests: it publishes its keys over HTTP, counts who asks, and signs whatever it is given."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

AUDIENCE = "jobworker"
MAKE: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(key: Any, kid: str | None, algorithm: str, **more: Any) -> dict[str, Any]:
    jwk: dict[str, Any] = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
    jwk.pop("key_ops", None)
    return jwk | ({"kid": kid} if kid is not None else {}) | more


class Issuer:
    """Serves until closed. `keys` are the private keys by name; `jwks` what is published of them."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests = 0
        self.keys: dict[str, Any] = {}
        self.jwks: list[dict[str, Any]] = []
        self.status = 200
        self.body: bytes | None = None  # in place of the JWKS
        self.location = ""
        self.gate = threading.Event()  # nobody is answered before it is set
        self.gate.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                issuer.gate.wait(60)
                body = issuer.body if issuer.body is not None else json.dumps({"keys": issuer.jwks}).encode()
                redirects = issuer.location and self.path != "/moved"
                self.send_response(302 if redirects else issuer.status)
                if redirects:
                    self.send_header("Location", issuer.location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}/jwks"
        self.name = f"https://issuer.example/{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, kid: str | None, algorithm: str = "ES256", key: Any = None, **more: Any) -> Any:
        """Publish a key; None: make one."""
        key = key or MAKE[algorithm]()
        self.keys[kid or ""] = key
        self.jwks.append(public_jwk(key, kid, algorithm, **more))
        return key

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return good claims, with these changed; None takes one away."""
        now = int(time.time())
        good = {"iss": self.name, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, "roles": ["ops"]}
        return {name: value for name, value in (good | claims).items() if value is not None}

    def token(
        self, kid: str | None = "one", algorithm: str = "ES256", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token signed with a key of that name, of which the header names what is given."""
        headers = ({"kid": kid} if kid is not None else {}) | (header or {})
        key = self.keys.get(kid or "") or MAKE[algorithm]()
        return jwt.encode(self.claims(**claims), key, algorithm, headers=headers)

    def raw(self, header: str | bytes, payload: str | bytes, kid: str = "one") -> str:
        """Return a token with exactly these texts, well signed with an RS256 key."""
        parts = [b64(text.encode() if isinstance(text, str) else text) for text in (header, payload)]
        signed = ".".join(parts)
        return f"{signed}.{b64(self.keys[kid].sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"
