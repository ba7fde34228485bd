"""A model hub for tests: what `huggingface_hub` asks of one, on a port of this machine, repositories in memory.

    with Hub() as hub:
        subprocess.run([...], env=hub.environment(tmp_path))

Answers follow what the library reads of them; every request is recorded in `asked`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_these_tests"
OBJECTS = re.compile(r"/objects/(?P<oid>[0-9a-f]{64})")


@dataclass
class Repo:
    """A repository: commits, oldest first, each with all of its files."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], message: str, branch: str = "main") -> str:
        self.messages.append(message)
        name = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def at(self, revision: str) -> str | None:
        """The commit that a revision is."""
        return revision if revision in self.commits else self.branches.get(revision)


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    agent: str
    token: str


class Hub:
    """The server, while the block runs.

    Args:
        large: bytes from which on a file goes by way of the object store.
    """

    def __init__(self, large: int = 1 << 40) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.large = large
        self.claims: dict[str, int] = {}
        """Sizes that are told in place of the true ones, by a file's name."""
        self.between: Callable[[], object] = lambda: None
        """Called once files have arrived, before they are committed."""

    def __enter__(self) -> Hub:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answers,), {"hub": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Of a process whose hub this is, with a cache of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            **more,
        }

    def paths(self, method: str) -> list[str]:
        """What was asked for."""
        return [asked.path for asked in self.asked if asked.method == method]


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.serve()

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.asked.append(Asked(self.command, path, self.headers.get("User-Agent", ""), token))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self.chunks()
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return answer(self, **found.groupdict())
        return self.fail(404, "", f"no such place: {self.command} {path}")

    def chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def reply(self, data: bytes, status: int = 200, size: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def tell(self, value: object, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status, Content_Type="application/json")

    def fail(self, status: int, code: str, message: str) -> None:
        self.reply(b"", status, X_Error_Code=code, X_Error_Message=message)

    def repo_or_fail(self, name: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.private and token != TOKEN):
            self.fail(401 if token != TOKEN else 404, "RepoNotFound", "Repository not found")
        elif repo.gated:
            self.fail(403, "GatedRepo", "Access to this model is restricted")
        else:
            return repo
        return None

    def at_or_fail(self, name: str, revision: str | None) -> tuple[Repo, str] | None:
        repo = self.repo_or_fail(name)
        commit = repo.at(revision or "main") if repo else None
        if repo is None:
            return None
        if commit is None:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, commit

    def resolve(self, repo: str, revision: str, name: str) -> None:
        found = self.at_or_fail(repo, revision)
        if found is None:
            return
        there, commit = found
        data = there.commits[commit].get(name)
        if data is None:
            return self.fail(404, "EntryNotFound", "Entry not found")
        size = self.hub.claims.get(name) if self.command == "HEAD" else None
        self.reply(data, size=size, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=commit)

    def info(self, repo: str, revision: str | None = None) -> None:
        found = self.at_or_fail(repo, revision)
        if found is not None:
            there, commit = found
            siblings = [{"rfilename": name} for name in sorted(there.commits[commit])]
            self.tell({"_id": "1", "id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []})

    def tree(self, repo: str, revision: str) -> None:
        found = self.at_or_fail(repo, revision)
        if found is not None:
            files = found[0].commits[found[1]]
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in sorted(files.items())
            ]
            self.tell(entries)

    def create(self) -> None:
        asked = json.loads(self.body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.fail(401, "", "Invalid username or password.")
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            return self.tell({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.hub.repos[name] = Repo(private=private)
        repo.commit({".gitattributes": b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")
        self.tell({"url": f"{self.hub.url}/{name}", "name": name, "id": "1"})

    def preupload(self, repo: str, revision: str) -> None:
        modes = [
            {
                "path": entry["path"],
                "uploadMode": "lfs" if entry["size"] >= self.hub.large else "regular",
                "shouldIgnore": False,
            }
            for entry in json.loads(self.body)["files"]
        ]
        self.tell({"files": modes})

    def batch(self, repo: str) -> None:
        answers = []
        for entry in json.loads(self.body)["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self.hub.objects:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/objects/{entry['oid']}"}}
            answers.append(answer)
        self.tell({"transfer": "basic", "objects": answers})

    def put(self, oid: str) -> None:
        self.hub.objects[oid] = self.body
        self.reply(b"")

    def commit(self, repo: str, revision: str) -> None:
        self.hub.between()
        found = self.at_or_fail(repo, revision)
        if found is None:
            return
        there, parent = found
        files, message = dict(there.commits[parent]), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit") not in (None, parent):
                    return self.fail(412, "", "A commit has happened since. Please refresh and try again.")
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        name = there.commit(files, message)
        self.tell({"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name, "pullRequestUrl": None})

    def yaml(self) -> None:
        self.tell({"errors": [], "warnings": []})


REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/repos/create", Answers.create),
    ("POST", "/api/validate-yaml", Answers.yaml),
    ("POST", rf"/api/models/{REPO}/preupload/(?P<revision>.+)", Answers.preupload),
    ("POST", rf"/api/models/{REPO}/commit/(?P<revision>.+)", Answers.commit),
    ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)/?", Answers.tree),
    ("GET", rf"/api/models/{REPO}/revision/(?P<revision>.+)", Answers.info),
    ("GET", rf"/api/models/{REPO}", Answers.info),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Answers.batch),
    ("PUT", OBJECTS.pattern, Answers.put),
    ("GET HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Answers.resolve),
]
