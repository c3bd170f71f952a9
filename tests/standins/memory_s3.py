"""
The part of S3 that stores of runs use, on objects in memory: for measurements in which moto, which
takes milliseconds for each request, would be what is measured.

It reads and writes objects, also in parts, creates if absent, lists and deletes; signatures are not
looked at. Conditions and listings are those of obstore's own store in memory.
"""

from __future__ import annotations

import secrets
from email.message import Message
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
PAGE = 1000  # objects of one listing
_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"
_XML = {"content-type": "application/xml"}


class MemoryS3:
    """Objects of one bucket, by key."""

    def __init__(self) -> None:
        self.objects = MemoryStore()
        self._parts: dict[str, dict[int, bytes]] = {}  # upload -> number -> content

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Status, headers and body of one request; the path begins with the bucket."""
        where = urlsplit(path)
        asked = parse_qs(where.query, keep_blank_values=True)
        key = unquote(where.path).lstrip("/").partition("/")[2]
        try:
            match method:
                case "PUT" if key and not asked:
                    mode: Any = "create" if headers.get("if-none-match") == "*" else "overwrite"
                    made = obstore.put(self.objects, key, body, mode=mode)
                    return 200, {"etag": f'"{made["e_tag"]}"'}, b""
                case "PUT" if "partNumber" in asked:
                    number = int(asked["partNumber"][0])
                    self._parts[asked["uploadId"][0]][number] = body
                    return 200, {"etag": f'"{number}"'}, b""
                case "POST" if "uploads" in asked:
                    return 200, _XML, self._begun()
                case "POST" if "uploadId" in asked:
                    return 200, _XML, self._joined(key, asked["uploadId"][0])
                case "DELETE" if "uploadId" in asked:
                    self._parts.pop(asked["uploadId"][0], None)
                    return 204, {}, b""
                case "GET" if "list-type" in asked:
                    after = asked.get("continuation-token", [""])[0]
                    return 200, _XML, self._listing(asked["prefix"][0], after)
                case "GET" | "HEAD" if key:
                    return self._read(method, key)
                case "POST" if "delete" in asked:
                    return 200, _XML, self._deleted(body)
                case "DELETE" if key:
                    obstore.delete(self.objects, key)
                    return 204, {}, b""
        except FileNotFoundError:
            return 404, _XML, b"<Error><Code>NoSuchKey</Code></Error>"
        except AlreadyExistsError:
            return 412, _XML, b"<Error><Code>PreconditionFailed</Code></Error>"
        return 501, _XML, b"<Error><Code>NotImplemented</Code></Error>"

    def contents(self) -> list[bytes]:
        """Of all objects."""
        keys = [meta["path"] for page in obstore.list(self.objects) for meta in page]
        return [bytes(obstore.get(self.objects, key).bytes()) for key in keys]

    def _read(self, method: str, key: str) -> Answer:
        got = obstore.get(self.objects, key)
        headers = {
            "last-modified": got.meta["last_modified"].strftime(_FORMAT),
            "etag": f'"{got.meta["e_tag"]}"',
            "content-length": str(got.meta["size"]),
        }
        return 200, headers, b"" if method == "HEAD" else bytes(got.bytes())

    def _begun(self) -> bytes:
        upload = secrets.token_hex(8)
        self._parts[upload] = {}
        return _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")

    def _joined(self, key: str, upload: str) -> bytes:
        parts = self._parts.get(upload, {})
        if parts:  # else a client asks again that has not heard the answer
            obstore.put(self.objects, key, b"".join(parts[n] for n in sorted(parts)))
            self._parts.pop(upload)
        made = obstore.head(self.objects, key)
        about = f"<Key>{escape(key)}</Key><ETag>{made['e_tag']}</ETag>"
        return _xml("CompleteMultipartUploadResult", about)

    def _listing(self, prefix: str, after: str) -> bytes:
        metas = (
            meta
            for page in obstore.list(self.objects, prefix=prefix, offset=after or None)
            for meta in page
        )
        page = list(islice(metas, PAGE + 1))
        found = (
            f"<Contents><Key>{escape(meta['path'])}</Key><Size>{meta['size']}</Size>"
            f"<LastModified>{meta['last_modified']:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>{meta['e_tag']}</ETag></Contents>"
            for meta in page[:PAGE]
        )
        more = "<IsTruncated>false</IsTruncated>"
        if len(page) > PAGE:
            token = escape(page[PAGE - 1]["path"])
            more = "<IsTruncated>true</IsTruncated>"
            more += f"<NextContinuationToken>{token}</NextContinuationToken>"
        return _xml("ListBucketResult", more + "".join(found))

    def _deleted(self, body: bytes) -> bytes:
        keys = [found.text or "" for found in ElementTree.fromstring(body).iterfind(".//{*}Key")]
        for key in keys:
            obstore.delete(self.objects, key)
        done = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return _xml("DeleteResult", done)


def _xml(name: str, content: str) -> bytes:
    return f"<{name}>{content}</{name}>".encode()
