#!/usr/bin/env python3
"""Models that do as they are told, for end-to-end tests: a stand-in of the agents' APIs.

It speaks the Messages API (Anthropic), the Responses API and Chat Completions (OpenAI) and the
Gemini API, streaming and not, over TLS on the host's loopback. What the model "thinks" is a script:
the steps that follow a phrase in the user's prompt. It keeps no state: the next step is the number
of tool results that the conversation has since that prompt.

--script FILE        {"PHRASE": [STEP...]}; a STEP is {"run": COMMAND}, {"write": [PATH, TEXT]} or
                     {"say": TEXT}. Behind the last one it says "The script is at its end."
--tls CERT KEY       the certificate, for the names that the agents know
--log FILE           a JSON line a request: time, method, host, path, key, phrase, step, result
--port-file FILE     where the port goes, once the server listens
"""
import argparse
import gzip
import http.server
import json
import os
import ssl
import threading
import time

END = "The script is at its end."
# What runs a command and what writes a file, by the names that the agents give to their tools.
RUN = {
    "Bash": lambda c: {"command": c, "description": "a step", "timeout": 600000},
    "bash": lambda c: {"command": c, "description": "a step", "timeout": 600000},
    "run_shell_command": lambda c: {"command": c, "description": "a step"},
    "exec_command": lambda c: {"cmd": c, "yield_time_ms": 30000},
    "shell_command": lambda c: {"command": c, "timeout_ms": 600000},
    "shell": lambda c: {"command": ["bash", "-lc", c], "timeout_ms": 600000},
    # Codex's takes JavaScript.
    "exec": lambda c: "const r = await tools.exec_command(" + json.dumps(
        {"cmd": c, "yield_time_ms": 30000}) + "); text(r.output ?? JSON.stringify(r));",
}
WRITE = {
    "Write": lambda p, t: {"file_path": p, "content": t},
    "write": lambda p, t: {"filePath": p, "content": t},
    "write_file": lambda p, t: {"file_path": p, "content": t},
}


def text_of(content):
    """The texts in a message's content, in whichever API's form."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or content.get("output") or "")
    return ""


def example_of(schema):
    """The least that a JSON schema asks for: what a model answers when it is asked for data."""
    kind = str(schema.get("type", "string")).lower()
    if schema.get("enum"):
        return schema["enum"][0]
    if kind == "object":
        return {k: example_of(v) for k, v in schema.get("properties", {}).items()}
    return {"array": [], "number": 1, "integer": 1, "boolean": False, "null": None}.get(kind, "nothing")


class Conversation:
    """Turns of ("user", text) and ("result", text), and the names of the tools on offer."""

    def __init__(self, turns, tools, schema=None):
        self.turns, self.tools, self.schema = turns, tools, schema

    def next(self, script):
        """(phrase, number of the step, what to do): ("say", text) or ("call", tool, arguments)."""
        for i in range(len(self.turns) - 1, -1, -1):
            phrase = next((p for p in script if self.turns[i][0] == "user" and p in self.turns[i][1]), None)
            if phrase is not None and self.tools:
                n = sum(kind == "result" for kind, _ in self.turns[i:])
                steps = script[phrase]
                return phrase, n, self.act(steps[n] if n < len(steps) else {"say": END})
        return None, 0, ("say", json.dumps(example_of(self.schema)) if self.schema else "Nothing to do.")

    def act(self, step):
        if "say" in step:
            return "say", step["say"]
        if "write" in step:
            for name in self.tools:
                if name in WRITE:
                    return "call", name, WRITE[name](*step["write"])
            path, text = step["write"]
            step = {"run": f"cat > '{path}' <<'END-OF-FILE'\n{text}\nEND-OF-FILE"}
        for name in self.tools:
            if name in RUN:
                return "call", name, RUN[name](step["run"])
        return "say", "No tool that runs a command: " + " ".join(self.tools)

    def last_result(self):
        return next((text for kind, text in reversed(self.turns) if kind == "result"), None)


# ---- Anthropic: POST /v1/messages ----------------------------------------------------------------

def from_messages(q):
    turns = []
    for m in q.get("messages", []):
        parts = m["content"] if isinstance(m["content"], list) else [{"type": "text", "text": m["content"]}]
        for part in parts:
            if part["type"] == "tool_result":
                turns.append(("result", text_of(part.get("content"))))
            elif part["type"] == "text" and m["role"] == "user":
                turns.append(("user", part["text"]))
    return Conversation(turns, [t.get("name", "") for t in q.get("tools", [])])


def messages_block(act, n):
    if act[0] == "say":
        return {"type": "text", "text": act[1]}
    return {"type": "tool_use", "id": f"toolu_standin{n:04}", "name": act[1], "input": act[2]}


def messages_answer(q, act, n):
    return {"id": f"msg_standin{n:04}", "type": "message", "role": "assistant", "model": q.get("model"),
            "content": [messages_block(act, n)], "stop_sequence": None,
            "stop_reason": "tool_use" if act[0] == "call" else "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 10}}


def messages_stream(q, act, n):
    whole = messages_answer(q, act, n)
    block = whole["content"][0]
    yield "message_start", {"message": {**whole, "content": [], "stop_reason": None}}
    if act[0] == "say":
        yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [{"type": "text_delta", "text": p} for p in pieces(act[1])]
    else:
        yield "content_block_start", {"index": 0, "content_block": {**block, "input": {}}}
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in pieces(json.dumps(act[2]))]
    yield "ping", {}
    for delta in deltas:
        yield "content_block_delta", {"index": 0, "delta": delta}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
                            "usage": {"output_tokens": 10}}
    yield "message_stop", {}


# ---- OpenAI: POST /v1/responses ------------------------------------------------------------------

def from_responses(q):
    turns = []
    items = q.get("input", [])
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        if item.get("type", "").endswith("_call_output"):
            turns.append(("result", text_of(item.get("output"))))
        elif item.get("role") == "user":
            turns.append(("user", text_of(item.get("content"))))
    tools = q.get("tools", []) + [
        t for item in items if isinstance(item, dict) and item.get("type") == "additional_tools"
        for t in item["tools"]]
    tools = [t for group in tools for t in group.get("tools", [group])]
    return Conversation(turns, [t.get("name", t["type"]) for t in tools])


def responses_item(act, n):
    if act[0] == "say":
        return {"type": "message", "id": f"msg_{n}", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": act[1], "annotations": []}]}
    if isinstance(act[2], str):
        return {"type": "custom_tool_call", "id": f"ctc_{n}", "call_id": f"call_{n}", "name": act[1],
                "input": act[2], "status": "completed"}
    return {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": act[1],
            "arguments": json.dumps(act[2]), "status": "completed"}


def responses_answer(q, act, n):
    return {"id": f"resp_{n}", "object": "response", "status": "completed", "model": q.get("model"),
            "output": [responses_item(act, n)], "error": None,
            "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0},
                      "total_tokens": 20}}


def responses_stream(q, act, n):
    whole, item = responses_answer(q, act, n), responses_item(act, n)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    if act[0] == "say":
        yield "response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}
        for p in pieces(act[1]):
            yield "response.output_text.delta", {"item_id": item["id"], "output_index": 0,
                                                 "content_index": 0, "delta": p}
    else:
        key = "input" if "input" in item else "arguments"
        event = "response.custom_tool_call_input" if key == "input" else "response.function_call_arguments"
        yield "response.output_item.added", {"output_index": 0, "item": {**item, key: ""}}
        for p in pieces(item[key]):
            yield event + ".delta", {"item_id": item["id"], "output_index": 0, "delta": p}
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": whole}


# ---- OpenAI: POST /v1/chat/completions -----------------------------------------------------------

def from_chat(q):
    turns = []
    for m in q.get("messages", []):
        if m["role"] == "tool":
            turns.append(("result", text_of(m.get("content"))))
        elif m["role"] == "user":
            turns.append(("user", text_of(m.get("content"))))
    return Conversation(turns, [t["function"]["name"] for t in q.get("tools", [])])


def chat_message(act, n):
    if act[0] == "say":
        return {"role": "assistant", "content": act[1]}
    return {"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": f"call_{n}", "type": "function",
         "function": {"name": act[1], "arguments": json.dumps(act[2])}}]}


def chat_answer(q, act, n, key="message"):
    end = "tool_calls" if act[0] == "call" else "stop"
    return {"id": f"chat_{n}", "object": "chat.completion", "created": 0, "model": q.get("model"),
            "choices": [{"index": 0, key: chat_message(act, n), "finish_reason": end}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}}


def chat_stream(q, act, n):
    yield None, {**chat_answer(q, act, n, "delta"), "object": "chat.completion.chunk"}
    yield None, "[DONE]"


# ---- Gemini: POST /v1beta/models/M:generateContent, :streamGenerateContent -----------------------

def from_gemini(q):
    turns = []
    for c in q.get("contents", []):
        for part in c.get("parts", []):
            if "functionResponse" in part:
                turns.append(("result", text_of(part["functionResponse"].get("response"))))
            elif "text" in part and c.get("role", "user") == "user":
                turns.append(("user", part["text"]))
    tools = [f["name"] for t in q.get("tools", []) for f in t.get("functionDeclarations", [])]
    config = q.get("generationConfig", {})
    return Conversation(turns, tools, config.get("responseSchema") or config.get("responseJsonSchema"))


def gemini_answer(q, act, n, text=None):
    part = {"text": text or act[1]} if act[0] == "say" else {
        "functionCall": {"name": act[1], "args": act[2]}, "thoughtSignature": "c3RhbmQtaW4="}
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0,
                            "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20}}


def gemini_stream(q, act, n):
    for p in pieces(act[1]) if act[0] == "say" else [None]:
        yield None, gemini_answer(q, act, n, p)


def pieces(text):
    """As it comes over the network: in parts."""
    return [text[i:i + 20] for i in range(0, len(text), 20)] or [""]


APIS = [  # the end of the path, how it is read, its answer, its stream
    ("/v1/messages", from_messages, messages_answer, messages_stream),
    ("/responses", from_responses, responses_answer, responses_stream),
    ("/chat/completions", from_chat, chat_answer, chat_stream),
    (":generateContent", from_gemini, gemini_answer, None),
    (":streamGenerateContent", from_gemini, None, gemini_stream),
]


# ---- GitHub Copilot: who the user is, where its APIs are, and its models -------------------------

COPILOT_USER = {
    "login": "mina", "copilot_plan": "individual", "access_type_sku": "monthly_subscriber", "chat_enabled": True,
    "endpoints": {"api": "https://api.githubcopilot.com", "telemetry": "https://telemetry.githubcopilot.com"}}
COPILOT_MODELS = {"object": "list", "data": [{
    "id": "gpt-5-mini", "name": "Stand-in", "object": "model", "vendor": "stand-in", "version": "1", "preview": False,
    "model_picker_enabled": True, "is_chat_default": True, "policy": {"state": "enabled", "terms": ""},
    "supported_endpoints": ["/chat/completions"],
    "capabilities": {"object": "model_capabilities", "type": "chat", "family": "gpt-5-mini", "tokenizer": "o200k_base",
                     "limits": {"max_context_window_tokens": 200000, "max_prompt_tokens": 100000,
                                "max_output_tokens": 16000},
                     "supports": {"streaming": True, "tool_calls": True, "parallel_tool_calls": False}}}]}

PAGES = {"/copilot_internal/user": COPILOT_USER, "/models": COPILOT_MODELS}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script = log = None
    lock = threading.Lock()

    def log_message(self, *args):
        pass

    def tell(self, **more):
        key = next((self.headers[h] for h in ("x-api-key", "x-goog-api-key", "Authorization")
                    if self.headers[h]), None)
        line = {"time": round(time.time(), 1), "method": self.command, "host": self.headers["Host"],
                "path": self.path, "key": key, **more}
        with self.lock, open(self.log, "a") as f:
            print(json.dumps(line), file=f)

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, value in events:
            if name is not None:
                value = {"type": name, **value}
            head = f"event: {name}\n" if name is not None else ""
            data = value if isinstance(value, str) else json.dumps(value)
            chunk = f"{head}data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def nothing_here(self):
        self.tell()
        self.answer(404, {"error": {"type": "not_found_error", "message": "the stand-in has no " + self.path}})

    do_HEAD = nothing_here

    def do_GET(self):
        # RFC 9110 15.5.22: who asks for WebSocket (codex) takes plain HTTP at once.
        if self.headers.get("Upgrade"):
            self.tell()
            self.answer(426, {})
        elif self.path.split("?")[0] in PAGES:
            self.tell()
            self.answer(200, PAGES[self.path.split("?")[0]])
        else:
            self.nothing_here()

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while n := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def do_POST(self):
        body, path = self.read_body(), self.path.split("?")[0]
        if path.endswith(("/count_tokens", ":countTokens")):
            self.tell()
            self.answer(200, {"input_tokens": 10, "totalTokens": 10})
            return
        for end, read, answer, stream in APIS:
            if path.endswith(end):
                q = json.loads(body)
                talk = read(q)
                phrase, n, act = talk.next(self.script)
                self.tell(phrase=phrase, step=n, act=act, result=talk.last_result(), tools=talk.tools)
                if stream and (q.get("stream") or not answer):
                    self.stream(stream(q, act, n))
                else:
                    self.answer(200, answer(q, act, n))
                return
        self.nothing_here()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--script", required=True)
    p.add_argument("--tls", nargs=2, required=True)
    p.add_argument("--log", required=True)
    p.add_argument("--port-file", required=True)
    a = p.parse_args()
    with open(a.script) as f:
        Handler.script = json.load(f)
    Handler.log = a.log
    open(a.log, "a").close()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*a.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with open(a.port_file + ".new", "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(a.port_file + ".new", a.port_file)
    server.serve_forever()


main()
