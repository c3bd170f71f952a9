"""
moto's server with all it needs for an account, imported and used once: what takes it seconds.

For `forked`, whose children `main` makes servers of; this process serves nobody any more.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import boto3
import requests
from moto.moto_api._internal import mock_random
from moto.server import ThreadedMotoServer
from moto.server import main as _serve

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def main() -> None:
    """Serve, with the words of the command line."""
    mock_random.seed()  # else every child would make up the same ids
    _serve(sys.argv[1:])


def _use_once() -> None:
    """Services are made, and read the descriptions of their API, when they are first asked."""
    said = logging.getLogger("werkzeug")
    said.setLevel(logging.WARNING)  # a line for each request is of use to a test alone
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    session: Any = boto3.Session()
    for service, question, words in _QUESTIONS:
        client = session.client(service, region_name="us-east-1", endpoint_url=url, **KEYS)
        getattr(client, question)(**words)
        client.close()
    requests.post(f"{url}/moto-api/reset", timeout=60).raise_for_status()
    server.stop()
    said.setLevel(logging.NOTSET)


_QUESTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("s3", "list_buckets", {}),
    ("ec2", "describe_vpcs", {}),
    ("iam", "create_role", {"RoleName": "r", "AssumeRolePolicyDocument": json.dumps({})}),
    ("batch", "describe_job_queues", {}),
    ("logs", "describe_log_groups", {}),
    ("sts", "get_caller_identity", {}),
)
_use_once()
