"""
A stand-in for AWS: moto's server over a real socket, and in front of it a gate that counts what is
asked and lets it fail. With a Docker engine moto's Batch really starts the jobs' containers; they
get their credentials as machines on EC2 do, and images by digest from a registry of this machine.

The gate ends the children of an array with it, as AWS does, and can hold jobs that moto has ended.
Where else moto is not AWS: a role for
the service is demanded; jobs get neither an index nor the number of their nodes; an array whose
children have all failed stays SUBMITTED; a multi-node parallel job has one log and ends with its
last node; nothing is PENDING for long; no events are sent.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import unescape

import pytest

from tests.standins import forked
from tests.standins.memory_s3 import MemoryS3

BUCKET = "lab-rpac"
REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/rpaclab-driver"
KEYS = {"AWS_ACCESS_KEY_ID": "standin", "AWS_SECRET_ACCESS_KEY": "standin-secret"}
_LISTED = re.compile(rb"(<Key>([^<]*)</Key>(.*?)<LastModified>)([^<]*)", re.DOTALL)
_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


@dataclass
class Fault:
    """An answer in the place of, or behind, the server's own; used up after `times` requests."""

    action: str  # such as submitjob, PUT of S3; `*` for any but those of S3, `**` for all
    status: int = 400
    code: str = "ThrottlingException"
    message: str = "Rate exceeded"
    times: int = 1
    after: bool = False  # the server has done what was asked, and the answer gets lost
    hang_s: float = 0.0  # no answer at all: the connection is cut after so long
    path: str = ""  # only for requests whose path has this in it
    skip: int = 0  # so many requests go well before

    def answer(self, service: str) -> tuple[int, dict[str, str], bytes]:
        """In the form of S3, or of the REST and JSON protocols of Batch and Logs."""
        if service == "s3":
            xml = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
            return self.status, {"content-type": "application/xml"}, xml.encode()
        body = json.dumps({"__type": self.code, "message": self.message, "code": self.code})
        return self.status, {"x-amzn-ErrorType": self.code}, body.encode()


@dataclass
class Call:
    """One request."""

    service: str
    action: str
    body: bytes = field(repr=False)
    path: str = ""
    size: int = 0  # bytes of the body, also where that is not kept
    at: float = field(default_factory=time.monotonic)  # seconds


class Gate(ThreadingHTTPServer):
    """Passes requests on to moto, counts them, and fails some of them."""

    daemon_threads = True

    def __init__(self, host: str, backend: int) -> None:
        self.backend = backend
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.old: dict[str, timedelta] = {}  # keys of objects, and how much older they are told
        self.latency_s = 0.0  # every answer is held for so long, whatever else is asked meanwhile
        self.store: MemoryS3 | None = None  # has the objects instead of moto
        self.holding = False  # jobs are told to be RUNNING until one is terminated
        self.before: Callable[[Call], None] = lambda _: None
        self.after: Callable[[Call], None] = lambda _: None  # done, and not answered yet
        self.rewrite: Callable[[Call, Any], Any] = lambda _, said: said  # answers of Batch
        self._lock = threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes

            def handle_any(self) -> None:
                with contextlib.suppress(OSError):
                    gate.serve(self)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):  # whatever the method
                    return self.handle_any
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        super().__init__((host, 0), Handler)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        if handler.path.startswith("/latest/"):
            self._metadata(handler)
            return
        length = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(length)
        if handler.headers.get("transfer-encoding") == "chunked":
            body = _chunks(handler)
        call = _call(handler, body)
        call.size = len(body)
        if self.store and call.service == "s3":
            call.body = b""  # of a measurement: it may be gigabytes
        if call.action == "GetLogEvents":  # moto has one group for all
            asked = {**json.loads(body), "logGroupName": "/aws/batch/job"}
            body = json.dumps(asked).encode()
        with self._lock:
            self.calls.append(call)
            fault = next((f for f in self.faults if _fits(f, call)), None)
            if fault and fault.skip:
                fault.skip -= 1
                fault = None
            if fault:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
        self.before(call)
        if call.service == "s3" and call.action in ("PUT", "POST"):
            self.old.pop(_key(call.path), None)
        time.sleep(self.latency_s)
        if call.action == "terminatejob":
            self.holding = False
            self._terminate_children(json.loads(body))
        if fault is None:
            if self.store and call.service == "s3":
                answer = self.store.answer(handler.command, handler.path, handler.headers, body)
            else:
                answer = self._pass_on(handler, body)
            self.after(call)
            if call.action == "describejobs" and self.holding:
                answer = _running(*answer)
            _answer(handler, *self._rewritten(call, answer))
            return
        if fault.after:
            self._pass_on(handler, body)
            self.after(call)
        if fault.hang_s:
            time.sleep(fault.hang_s)
            handler.close_connection = True
            return
        _answer(handler, *fault.answer(call.service))

    def count(self, service: str | None = None) -> Counter[str]:
        """Actions asked for, by how often; without S3 unless it is named."""
        with self._lock:
            return Counter(
                call.action
                for call in self.calls
                if (call.service == service if service else call.service != "s3")
            )

    def _rewritten(
        self, call: Call, answer: tuple[int, dict[str, str], bytes]
    ) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = answer
        if call.service == "s3" and self.old:
            return _aged(self.old, call, answer)
        if call.service != "batch" or status != 200:
            return answer
        said = self.rewrite(call, json.loads(content or b"{}"))
        return status, headers, json.dumps(said).encode()

    def _pass_on(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=120)
        headers = {n: v for n, v in handler.headers.items() if n.lower() not in _HOP}
        headers["host"] = handler.headers.get("host", "localhost")
        with contextlib.closing(connection):
            connection.request(handler.command, handler.path, body=body or None, headers=headers)
            got = connection.getresponse()
            content = got.read()
        kept = {n: v for n, v in got.getheaders() if n.lower() not in _HOP}
        if handler.command == "HEAD":
            kept["content-length"] = got.getheader("content-length") or "0"
        return got.status, kept, content

    def _terminate_children(self, asked: dict[str, Any]) -> None:
        """The end of an array is that of its children, which moto leaves alone."""
        children = self._post("listjobs", {"arrayJobId": asked["jobId"]})["jobSummaryList"]
        for child in children:
            self._post("terminatejob", {**asked, "jobId": child["jobId"]})

    def _post(self, action: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=120)
        scope = f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/batch/aws4_request, Signature=x"
        headers = {"authorization": scope, "content-type": "application/json"}
        with contextlib.closing(connection):
            connection.request("POST", f"/v1/{action}", json.dumps(body), headers)
            return json.loads(connection.getresponse().read() or b"{}")

    def _metadata(self, handler: BaseHTTPRequestHandler) -> None:
        """What a machine's metadata service says of the credentials of its role."""
        handler.rfile.read(int(handler.headers.get("content-length") or 0))
        path = handler.path.removeprefix("/latest/")
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
        credentials = {
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "node",
            "SecretAccessKey": "node-secret", "Token": "token", "Expiration": expires,
            "LastUpdated": expires,
        }  # fmt: skip
        said = {"api/token": "token", "meta-data/iam/security-credentials/": "node"}
        text = said.get(path, json.dumps(credentials))
        _answer(handler, 200, {}, text.encode())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""


def _key(path: str) -> str:
    """Key of the object that a request to S3 is about; empty when it is about a bucket."""
    return unquote(urlsplit(path).path).lstrip("/").partition("/")[2]


def _aged(
    old: Mapping[str, timedelta], call: Call, answer: tuple[int, dict[str, str], bytes]
) -> tuple[int, dict[str, str], bytes]:
    """An answer of S3 in which some objects are older."""
    status, headers, content = answer
    if by := old.get(_key(call.path)):
        headers = {
            name: format_datetime(parsedate_to_datetime(value) - by, usegmt=True)
            if name.lower() == "last-modified" else value
            for name, value in headers.items()
        }  # fmt: skip

    def told(found: re.Match[bytes]) -> bytes:
        written = datetime.fromisoformat(found[4].decode())
        written -= old.get(unescape(found[2].decode()), timedelta())
        return found[1] + written.strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()

    return status, headers, _LISTED.sub(told, content)


def _running(
    status: int, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """An answer of DescribeJobs with every job still at work."""
    said = json.loads(body)
    for job in said["jobs"]:
        job["status"] = "RUNNING"
        job.pop("stoppedAt", None)
    return status, headers, json.dumps(said).encode()


def _fits(fault: Fault, call: Call) -> bool:
    kind = {"*": call.service != "s3", "**": True}.get(fault.action, fault.action == call.action)
    return kind and fault.path in call.path


def _call(handler: BaseHTTPRequestHandler, body: bytes) -> Call:
    scope = handler.headers.get("authorization", "").partition("Credential=")[2].split("/")
    unsigned = "sts" if body.startswith(b"Action=") else "s3"  # a web identity signs nothing
    service = scope[3] if len(scope) > 3 else unsigned
    action = handler.headers.get("x-amz-target", "").rpartition(".")[2]
    if not action and service == "batch":
        action = handler.path.rpartition("/")[2]
    if not action and service == "s3":
        action = handler.command
    if not action:
        action = next((p[7:] for p in body.decode("latin-1").split("&") if p[:7] == "Action="), "")
    return Call(service, action, body, handler.path)


def _chunks(handler: BaseHTTPRequestHandler) -> bytes:
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0] or b"0", 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _answer(
    handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if "content-length" not in {name.lower() for name in headers}:
        handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@dataclass(frozen=True)
class AwsStandin:
    """An account of AWS that is none, with everything in it that a repository needs."""

    gate: Gate
    environment: Mapping[str, str]
    site: Mapping[str, Any]

    @property
    def of_jobs(self) -> Mapping[str, str]:
        """The environment of a job on GitHub: the role it may take on, and nothing to enter by."""
        bare = {name: v for name, v in self.environment.items() if name not in KEYS}
        return {**bare, "RPAC_AWS_ROLE": ROLE}

    def settings(self) -> str:
        """`rpac.yaml` of a repository that uses it."""
        return "schema: rpac/site/1\nallow: {clouds: [local, aws]}\nclouds:\n  aws: " + json.dumps(
            dict(self.site)
        )

    def age(self, days: float) -> None:
        """All that is in the bucket by now was written so many days ago."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        self.gate.old.update(dict.fromkeys(keys, timedelta(days=days)))

    def client(self, service: str) -> Any:
        """A client that goes past the gate."""
        with _making_clients:
            return _session().client(
                service, region_name=REGION, endpoint_url=f"http://127.0.0.1:{self.gate.backend}",
                aws_access_key_id="test", aws_secret_access_key="test",
            )  # fmt: skip


_making_clients = threading.Lock()  # a session is not for several threads


@cache
def _session() -> Any:
    """Kept: it reads the descriptions of the services' API, which are long."""
    import boto3

    return boto3.Session()


@contextlib.contextmanager
def serve(
    folder: Path, *, docker: bool, repository: str = "localhost:1/rpac"
) -> Iterator[AwsStandin]:
    """
    A running stand-in.

    Args:
        folder: for its log.
        docker: whether jobs start containers; else they succeed at once and do nothing.
        repository: of the nodes' images.
    """
    host = _bridge() if docker else "127.0.0.1"
    port = _free_port()
    gate = Gate(host, port)
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    address = f"http://{host}:{gate.server_port}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_moto(folder / "moto.log", port))
        stack.callback(gate.server_close)
        stack.callback(gate.shutdown)
        environment = {
            **KEYS, "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": REGION,
            "AWS_METADATA_ENDPOINT": address, "AWS_ALLOW_HTTP": "true",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip
        standin = AwsStandin(gate, environment, {})
        if not docker:
            _without_docker(port)
        yield AwsStandin(gate, environment, _account(standin, repository))


@contextlib.contextmanager
def _moto(log: Path, port: int) -> Iterator[None]:
    """moto's server, forked from one that is ready."""
    processes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve() -> None:
        done = forked.run(
            ["-H", "127.0.0.1", "-p", str(port)], log.parent,
            {**os.environ, "MOTO_DOCKER_NETWORK_MODE": ""}, limit_s=3600,
            code="from tests.standins.moto_ready import main; main()", started=processes.put,
            modules=("tests.standins.moto_ready",),
        )  # fmt: skip
        log.write_text(done.stdout + done.stderr)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    process = processes.get(timeout=120)
    try:
        _until_open(port)
        yield
    finally:
        os.kill(process, signal.SIGTERM)
        thread.join(20)


def _account(standin: AwsStandin, repository: str) -> dict[str, Any]:
    """A bucket, a network and roles."""
    ec2, iam = standin.client("ec2"), standin.client("iam")
    standin.client("s3").create_bucket(Bucket=BUCKET)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
        for n in range(2)
    ]
    group = ec2.create_security_group(GroupName="rpac", Description="nodes", VpcId=vpc)["GroupId"]
    roles = {}
    for name in ("node", "batch", "machine"):
        made = iam.create_role(RoleName=f"rpac-{name}", AssumeRolePolicyDocument="{}")
        roles[name] = made["Role"]["Arn"]
    profile = iam.create_instance_profile(InstanceProfileName="rpac")["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName="rpac", RoleName="rpac-machine")
    return {
        "region": REGION, "name": "rpaclab", "store": f"s3://{BUCKET}/runs",
        "repository": repository, "subnets": subnets[:1], "private_subnets": subnets[1:],
        "security_groups": [group], "instance_profile": profile, "job_role": roles["node"],
        "service_role": roles["batch"],
    }  # fmt: skip


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A container registry on this machine; yields `localhost:<port>`."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no container registry here: apt-get install docker-registry")
    port = _free_port()
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\nstorage:\n  filesystem:\n"
        f"    rootdirectory: {folder / 'registry'}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    )
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _until_open(port)
            yield f"localhost:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _without_docker(port: int) -> None:
    """Jobs end well after a moment, and nothing is started."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"batch": {"use_docker": False}, "lambda": {"use_docker": False}})
    with contextlib.closing(connection):
        connection.request("POST", "/moto-api/config", body, {"content-type": "application/json"})
        assert connection.getresponse().status in (200, 201)


def _bridge() -> str:
    """The address of this machine that containers see."""
    found = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return found.stdout.strip() or "172.17.0.1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")
