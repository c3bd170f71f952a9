"""
The part of Blob Storage that stores of runs use, on objects in memory: for measurements in which
Azurite, which takes milliseconds for each request, would be what is measured.

It reads and writes blobs, also in blocks, creates if absent, lists and deletes; tokens are not
looked at. Conditions and listings are those of obstore's own store in memory.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
PAGE = 5000  # blobs of one listing
_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"
_XML = {"content-type": "application/xml"}


class MemoryBlob:
    """Blobs of one container, by name."""

    def __init__(self) -> None:
        self.objects = MemoryStore()
        self._blocks: dict[str, dict[str, bytes]] = {}  # blob -> id -> content

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Status, headers and body of one request; the path begins with account and container."""
        where = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(where.query).items()}
        key = unquote(where.path).lstrip("/").partition("/")[2].partition("/")[2]
        try:
            match method, asked.get("comp"):
                case "PUT", None if not key:  # the container
                    return 201, {}, b""
                case "PUT", None:
                    return self._written(key, body, new=headers.get("if-none-match") == "*")
                case "PUT", "block":
                    self._blocks.setdefault(key, {})[asked["blockid"]] = body
                    return 201, {}, b""
                case "PUT", "blocklist":
                    names = [one.text or "" for one in ElementTree.fromstring(body)]
                    blocks = self._blocks.pop(key)
                    return self._written(key, b"".join(blocks[name] for name in names))
                case "GET", "list":
                    return 200, _XML, self._listing(asked["prefix"], asked.get("marker", ""))
                case (("GET" | "HEAD"), None) if key:
                    return self._read(method, key, headers.get("range", ""))
                case "POST", "batch":
                    return self._deleted(body)
                case "DELETE", None if key:
                    obstore.delete(self.objects, key)
                    return 202, {}, b""
        except FileNotFoundError:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b""
        except AlreadyExistsError:
            return 409, {"x-ms-error-code": "BlobAlreadyExists"}, b""
        return 501, _XML, b""

    def _written(self, key: str, body: bytes, *, new: bool = False) -> Answer:
        made = obstore.put(self.objects, key, body, mode="create" if new else "overwrite")
        return 201, {"etag": f'"{made["e_tag"]}"', **self._time(key)}, b""

    def _time(self, key: str) -> dict[str, str]:
        meta = obstore.head(self.objects, key)
        return {"last-modified": meta["last_modified"].strftime(_FORMAT)}

    def _read(self, method: str, key: str, part: str) -> Answer:
        got = obstore.get(self.objects, key)
        size = got.meta["size"]
        headers = {
            "etag": f'"{got.meta["e_tag"]}"', "x-ms-blob-type": "BlockBlob",
            "last-modified": got.meta["last_modified"].strftime(_FORMAT),
        }  # fmt: skip
        if method == "HEAD":
            return 200, {**headers, "content-length": str(size)}, b""
        content = bytes(got.bytes())
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", part):
            first, last = int(wanted[1]), int(wanted[2] or size - 1)
            headers["content-range"] = f"bytes {first}-{min(last, size - 1)}/{size}"
            return 206, headers, content[first : last + 1]
        return 200, headers, content

    def _listing(self, prefix: str, after: str) -> bytes:
        metas = (
            meta
            for page in obstore.list(self.objects, prefix=prefix, offset=after or None)
            for meta in page
        )
        page = list(islice(metas, PAGE + 1))
        found = (
            f"<Blob><Name>{escape(meta['path'])}</Name><Properties>"
            f"<Last-Modified>{meta['last_modified'].strftime(_FORMAT)}</Last-Modified>"
            f"<Etag>{meta['e_tag']}</Etag><Content-Length>{meta['size']}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for meta in page[:PAGE]
        )
        more = escape(page[PAGE - 1]["path"]) if len(page) > PAGE else ""
        blobs = f"<Blobs>{''.join(found)}</Blobs><NextMarker>{more}</NextMarker>"
        return f"<EnumerationResults>{blobs}</EnumerationResults>".encode()

    def _deleted(self, body: bytes) -> Answer:
        """A batch of deletions: each has a part of its own, in the answer, too."""
        limit = secrets.token_hex(8)
        parts = []
        paths = re.findall(rb"^DELETE (\S+) HTTP/1.1", body, re.MULTILINE)
        for number, path in enumerate(paths):
            status = self.answer("DELETE", path.decode(), {}, b"")[0]
            head = f"Content-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            parts.append(f"--{limit}\r\n{head}HTTP/1.1 {status} x\r\n\r\n\r\n")
        said = "".join([*parts, f"--{limit}--\r\n"]).encode()
        headers: dict[str, Any] = {"content-type": f"multipart/mixed; boundary={limit}"}
        return 202, headers, said
