#!/usr/bin/env python3
"""The network, for end-to-end tests: a web server and a tiny image registry on the host's loopback.

--dir DIR            files to serve
--registry DIR       also an OCI registry (GET only): DIR/blobs/sha256-HEX, DIR/NAME/TAG.json
--tls CERT KEY       speak TLS
--log FILE           one line a request: METHOD PATH USER-AGENT
--keys FILE          one line a request: PATH X-API-KEY AUTHORIZATION, "-" for none
--port-file FILE     where the port goes, once the server listens
Paths of its own: /keys answers what --keys writes, /echo answers the body of a POST, /bytes/N answers N bytes, /whoami the peer;
/ws switches protocols when asked to, and then answers every byte with itself; a client that has a
WebSocket's key (RFC 6455) gets its messages back, each of at most 125 bytes.
"""
import argparse
import base64
import functools
import hashlib
import http.server
import os
import re
import ssl

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry = None
    log = None
    keys = None

    def key_line(self):
        return " ".join([self.path, self.headers.get("X-Api-Key", "-"),
                         self.headers.get("Authorization", "-")])

    def log_request(self, *args):
        if self.keys is not None and hasattr(self, "headers"):
            with open(self.keys, "a") as f:
                print(self.key_line(), file=f)
        super().log_request(*args)

    def log_message(self, fmt, *args):
        with open(self.log, "a") as f:
            agent = self.headers.get("User-Agent", "-") if hasattr(self, "headers") else "-"
            print(self.command, self.path, agent, file=f)

    def answer(self, body, kind="text/plain", **headers):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def from_registry(self):
        m = re.fullmatch(r"/v2/(?:([a-z0-9-]+)/(manifests|blobs)/([a-z0-9:.-]+))?", self.path)
        if self.registry is None or m is None:
            return False
        if m[1] is None:
            self.answer(b"{}", "application/json")
            return True
        blob = m[3].replace(":", "-")
        path = os.path.join(self.registry, "blobs", blob)
        kind = "application/octet-stream"
        if m[2] == "manifests":
            kind = MANIFEST
            if not m[3].startswith("sha256:"):
                with open(os.path.join(self.registry, m[1], m[3])) as f:
                    blob = f.read().strip()
                path = os.path.join(self.registry, "blobs", blob)
        with open(path, "rb") as f:
            self.answer(f.read(), kind, Docker_Content_Digest=blob.replace("-", ":"))
        return True

    def do_GET(self):
        m = re.fullmatch(r"/bytes/(\d+)", self.path)
        if m:
            self.answer(b"x" * int(m[1]))
        elif self.path == "/ws" and self.headers.get("Upgrade"):
            self.upgrade()
        elif self.path == "/keys":
            self.answer(self.key_line().encode())
        elif self.path == "/whoami":
            self.answer(self.client_address[0].encode())
        elif not self.from_registry():
            super().do_GET()

    def upgrade(self):
        key = self.headers.get("Sec-WebSocket-Key")
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        if key:
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        self.wfile.flush()
        if key:
            self.echo_messages()
        else:
            self.echo_raw()
        self.close_connection = True

    def echo_raw(self):
        while data := self.connection.recv(65536):
            self.connection.sendall(data)

    def echo_messages(self):
        while len(head := self.rfile.read(6)) == 6:
            data = self.rfile.read(head[1] & 0x7f)
            data = bytes(b ^ head[2 + i % 4] for i, b in enumerate(data))
            self.connection.sendall(bytes([head[0], len(data)]) + data)

    def do_HEAD(self):
        if not self.from_registry():
            super().do_HEAD()

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/nonexistent")
    p.add_argument("--registry")
    p.add_argument("--tls", nargs=2)
    p.add_argument("--log", required=True)
    p.add_argument("--keys")
    p.add_argument("--port-file", required=True)
    a = p.parse_args()
    Handler.registry = a.registry
    Handler.log = a.log
    Handler.keys = a.keys
    open(a.log, "a").close()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=a.dir))
    server.daemon_threads = True
    if a.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*a.tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(a.port_file + ".new", "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(a.port_file + ".new", a.port_file)
    server.serve_forever()


main()
